"""Traces of a real service, as a collector on loopback gets them over OTLP."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from perennial.serve.protocols.grpc_messages import SERVICE, message
from perennial.serve.tracing import Traces
from perennial.serve.watching import Seen
from tests.serve.conftest import Place

ROW = {"person": "Zaphod", "x": 1234567.5}
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """What is sent to /v1/traces."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    import gzip

                    body = gzip.decompress(body)
                collector.bodies.append(body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def spans(self) -> list[Any]:
        found: list[Any] = []
        for body in self.bodies:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    found += scope.spans
        return found

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def status_of(span: Any) -> int:
    return next(told.value.int_value for told in span.attributes if told.key == "http.response.status_code")


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def test_a_request_is_one_trace_with_its_parts_and_goes_on_with_the_callers(place: Place, collector: Collector) -> None:
    place.desire(place.endpoint(live=place.linear(3)), place.endpoint("fails", live=place.arm(4)))
    options = ["--otlp-endpoint", collector.address, "--trace-share", "1", "--fronts", "2", "--grpc-port", "0"]
    service = place.serve(*options)
    place.applied()
    sampled = {"Traceparent": f"00-{TRACE}-{PARENT}-01"}
    body = json.dumps({"records": [ROW, ROW]}).encode()
    answered = service.send("POST", "/predict/wage", body, **sampled)
    unsampled = {"Traceparent": f"00-{TRACE[::-1]}-{PARENT}-00"}
    assert service.send("POST", "/predict/wage", body, **unsampled).status == 200
    assert service.predict(ROW | {"x": -1.0}, endpoint="fails").status == 500
    assert service.predict({"person": "p"}).status == 422
    assert service.get("/livez").status == 200
    with grpc.insecure_channel(place.status().grpc) as channel:
        request = message("ModelInferRequest")(model_name="wage")
        request.inputs.add(name="x", datatype="FP64", shape=[1]).contents.fp64_contents.append(1.0)
        trace = (("traceparent", f"00-{TRACE[:-1]}0-{PARENT}-01"),)
        assert channel.unary_unary(f"/{SERVICE}/ModelInfer")(request.SerializeToString(), metadata=trace, timeout=30)
    assert service.stop() == 0  # the last spans are sent before it ends
    spans = collector.spans()
    roots = {span.trace_id.hex(): span for span in spans if span.name.startswith("predict ")}
    assert sorted(span.name for span in roots.values()) == ["predict fails", *["predict wage"] * 3]
    root = roots[TRACE]
    assert root.parent_span_id.hex() == PARENT
    told = {told.key: told.value for told in root.attributes}
    assert told["perennial.request_id"].string_value == answered.json["predictions"][0]["id"]
    assert (told["perennial.version"].string_value, told["perennial.rows"].int_value) == ("3", 2)
    assert status_of(root) == 200
    parts = [span for span in spans if span.trace_id == root.trace_id and span is not root]
    parts.sort(key=lambda span: span.start_time_unix_nano)
    assert [span.name for span in parts] == ["decode", "model", "capture"]
    assert {span.parent_span_id for span in parts} == {root.span_id}
    ends = [root.start_time_unix_nano]
    for span in parts:
        assert ends[-1] <= span.start_time_unix_nano <= span.end_time_unix_nano
        ends.append(span.end_time_unix_nano)
    assert ends[-1] <= root.end_time_unix_nano
    assert TRACE[::-1] not in roots  # its caller did not want it
    assert roots[f"{TRACE[:-1]}0"].parent_span_id.hex() == PARENT
    (failed,) = [span for span in roots.values() if span.name == "predict fails"]
    assert failed.status.code == 2
    others = [span for trace, span in roots.items() if span.name == "predict wage" and not trace.startswith(TRACE[:-1])]
    assert [status_of(span) for span in others] == [422]
    assert not any(b"Zaphod" in body or b"1234567" in body for body in collector.bodies)


def test_a_collector_that_is_not_there_costs_no_answer(place: Place) -> None:
    place.desire(place.endpoint(live=place.linear(3)))
    service = place.serve("--otlp-endpoint", "http://127.0.0.1:9", "--trace-share", "1")
    place.applied()
    assert [service.predict(ROW).status for _ in range(20)] == [200] * 20
    assert service.stop() == 0


def test_of_requests_without_a_trace_a_share_is_traced() -> None:
    exporter = InMemorySpanExporter()
    traces = Traces(exporter, share=0.2)
    for at in range(1000):
        traces.saw(Seen("plain", "wage", 200, f"r{at}", (1,), 1, 1.0, 1.1, 1.2, 1.3, 1.4))
    traces.close()
    roots = [span for span in exporter.get_finished_spans() if span.parent is None]
    # 200 expected of a binomial, standard deviation 12.6: five of them.
    assert 137 <= len(roots) <= 263
    assert len(exporter.get_finished_spans()) == 4 * len(roots)


def test_without_the_setting_nothing_of_opentelemetry_is_loaded() -> None:
    code = (
        "import sys; import perennial.serve.front, perennial.serve.__main__, perennial.serve.tracing;"
        "perennial.serve.tracing.check_installed();"
        "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
