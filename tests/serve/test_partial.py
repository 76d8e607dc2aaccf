"""When some rows of a request get no answer: who else is asked, what each protocol says, what is written down."""

from __future__ import annotations

import json
import time
from typing import Any

import grpc
import pyarrow as pa
import pyarrow.ipc as ipc
import pytest

from perennial.loop import fallback
from perennial.loop.failsafe import FailSafePolicy
from perennial.models.guards.spec import FailSafe
from perennial.serve.protocols.grpc_messages import SERVICE, message
from perennial.serve.routing import goes_to_canary


def chain(*links: Any) -> dict[str, Any]:
    return FailSafe.of(FailSafePolicy(fallbacks=links)).to_builtins()


def rows_of_both(share: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """A row for the live version, and one for the canary."""
    names = [f"p{at}" for at in range(100)]
    live = next(name for name in names if not goes_to_canary("salt", name, share))
    canary = next(name for name in names if goes_to_canary("salt", name, share))
    return {"person": live, "x": 1.0}, {"person": canary, "x": 2.0}


def inference(rows: list[dict[str, Any]], **more: Any) -> bytes:
    inputs = [
        {"name": "person", "datatype": "BYTES", "shape": [len(rows)], "data": [row["person"] for row in rows]},
        {"name": "x", "datatype": "FP64", "shape": [len(rows)], "data": [row["x"] for row in rows]},
    ]
    return json.dumps({"inputs": inputs, **more}).encode()


def stream(rows: list[dict[str, Any]]) -> bytes:
    table = pa.Table.from_pylist(rows)
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def test_rows_that_were_answered_are_told_where_the_protocol_can_say_so_of_each(place: Any) -> None:
    """The canary is slower than the caller's patience; the live version answers its own rows."""
    place.desire(place.endpoint(live=place.linear(1), canary=place.arm(2, slow_s=0.4), share=0.5))
    service = place.serve("--fronts", "1")
    place.applied()
    mine, hers = rows_of_both(0.5)

    def ask(path: str, body: bytes, kind: str = "application/json", **headers: str) -> Any:
        time.sleep(0.5)  # what was too late for the one before is over
        return service.send("POST", path, body, Content_Type=kind, **headers)

    hurry = {"X_Request_Timeout_Ms": "150"}
    arrow = "application/vnd.apache.arrow.stream"
    reply = ask("/predict/wage", json.dumps({"records": [mine, hers, mine]}).encode(), **hurry)
    assert reply.status == 200
    first, second, third = reply.json["predictions"]
    assert [row["prediction"] for row in (first, third)] == [pytest.approx(2.0)] * 2
    assert (second["prediction"], second["version"], second["arm"]) == (None, 2, "canary")
    assert "did not answer within" in second["error"]
    assert "error" not in first
    assert ask("/predict/wage", stream([mine]), arrow).status == 200  # what reads them is loaded with the first one
    told = ask("/predict/wage", stream([mine, hers]), arrow, **hurry)
    found = ipc.open_stream(told.body).read_all()
    assert (told.status, found["prediction"].null_count, found["error"].null_count) == (200, 1, 1)
    # Of these protocols a client looks at the status alone: the request is to be asked again as a whole.
    assert ask("/v2/models/wage/infer", inference([mine])).status == 200
    assert ask("/v2/models/wage/infer", inference([mine, hers]), **hurry).status == 504
    instances = json.dumps({"instances": [mine, hers]}).encode()
    assert ask("/v1/models/wage:predict", instances, **hurry).status == 504
    assert ask("/predict/wage", json.dumps({"records": [hers]}).encode(), **hurry).status == 504  # no row was answered
    written = place.predicted()
    assert [told.status for told in written] == [200, 200, 200, 200, 504, 504, 504]
    assert [output["prediction"] for output in written[0].outputs] == [pytest.approx(2.0), None, pytest.approx(2.0)]
    assert all(output["prediction"] is None for told in written[4:] for output in told.outputs)


def test_over_grpc_a_request_fails_as_a_whole_whichever_front_is_in_charge_of_its_key(place: Any) -> None:
    place.desire(place.endpoint(live=place.linear(1), canary=place.arm(2, slow_s=1.0), share=0.5))
    place.serve("--fronts", "2", "--grpc-port", "0")
    place.applied()
    request = message("ModelInferRequest")(model_name="wage")
    people = [row["person"].encode() for row in rows_of_both(0.5)]
    request.inputs.add(name="person", datatype="BYTES", shape=[2]).contents.bytes_contents.extend(people)
    request.inputs.add(name="x", datatype="FP64", shape=[2]).contents.fp64_contents.extend([1.0, 2.0])
    request.parameters["timeout"].int64_param = 500_000
    with grpc.insecure_channel(place.status().grpc) as channel:
        infer = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        for at in range(4):
            time.sleep(0.7)
            with pytest.raises(grpc.RpcError) as error:
                infer(request.SerializeToString(), metadata=(("idempotency-key", f"k{at}"),), timeout=120)
            assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert [frame.source for frame, _ in place.frames()] == ["grpc"] * 4


@pytest.fixture(scope="module")
def service(shared: Any) -> Any:
    """Of the tests below, each with endpoints of its own."""
    simple = fallback.version("simple@live")
    return shared.answering(
        shared.endpoint(
            "spared", live=shared.arm(7), spare=shared.linear(3), failsafe=chain(simple, fallback.constant(-1.0))
        ),
        shared.endpoint("used_up", live=shared.arm(2), spare=shared.arm(3), failsafe=chain(simple)),
        shared.endpoint("alone", live=shared.arm(2)),
        shared.endpoint("slow", live=shared.arm(1, slow_s=0.4)),
        options=("--grpc-port", "0"),
    )


def written_of(place: Any, endpoint: str) -> list[Any]:
    return [written for written in place.predicted() if written.endpoint == endpoint]


def test_a_version_that_always_fails_is_stood_in_for_by_the_one_that_the_chain_names(shared: Any, service: Any) -> None:
    fails = {"person": "p", "x": -1.0}
    assert service.status()["endpoints"]["spared"]["spare"] == 3
    (told,) = service.predict(fails, endpoint="spared").json["predictions"]
    assert (told["prediction"], told["version"], told["arm"]) == (pytest.approx(2.0), 3, "spare")
    assert told["flags"] == [{"guard": "fallback", "action": "fall_back", "says": "version 7 did not answer"}]
    assert "error" not in told
    (written,) = written_of(shared, "spared")
    assert (written.versions, written.arms, written.status) == ([3], ["spare"], 200)
    assert [(flag.guard, flag.action) for flag in written.flags[0]] == [("fallback", "fall_back")]
    metrics = service.get("/metrics").body.decode()
    assert 'perennial_fallbacks_total{endpoint="spared",arm="spare"} 1' in metrics
    assert 'perennial_guards_total{endpoint="spared",guard="fallback",action="fall_back"} 1' in metrics
    (well,) = service.predict({"person": "p", "x": 1.0}, endpoint="spared").json["predictions"]
    assert (well["arm"], "flags" in well) == ("live", False)
    dies = {"person": "p", "x": -2.0}
    (told,) = service.predict(dies, endpoint="spared").json["predictions"]
    assert (told["prediction"], told["arm"]) == (pytest.approx(1.0), "spare")


def test_a_chain_that_is_used_up_says_try_again_and_a_version_alone_says_that_it_fails(
    shared: Any, service: Any
) -> None:
    fails = {"person": "p", "x": -1.0}
    refused = service.predict(fails, endpoint="used_up", key="k")
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert refused.json["error_code"] == "TEMPORARILY_UNAVAILABLE"
    assert "x is cursed" in refused.json["message"]
    # Asked anew: it is not remembered as an answer.
    assert service.predict(fails, endpoint="used_up", key="k").status == 503
    assert [told.status for told in written_of(shared, "used_up")] == [503, 503]
    assert service.predict(fails, endpoint="alone").status == 500
    well, failed = service.predict({"person": "p", "x": 1.0}, fails, endpoint="used_up").json["predictions"]
    assert (well["prediction"], failed["prediction"], "x is cursed" in failed["error"]) == (3.0, None, True)


def test_the_timeout_of_a_request_is_the_callers_deadline_over_http_and_grpc(shared: Any, service: Any) -> None:
    row = {"person": "p", "x": 1.0}

    def ask(**parameters: Any) -> Any:
        return service.send("POST", "/v2/models/slow/infer", inference([row], parameters=parameters))

    assert [ask(timeout=told).status for told in (50_000, 0, 20_000_000)] == [504, 200, 200]
    for wrong in (-1, 1.5, True, "soon"):
        refused = ask(timeout=wrong)
        assert (refused.status, "parameters.timeout" in refused.json["error"]) == (400, True), wrong
    with grpc.insecure_channel(shared.status().grpc) as channel:
        infer = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        request = message("ModelInferRequest")(model_name="slow")
        request.inputs.add(name="person", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"p")
        request.inputs.add(name="x", datatype="FP64", shape=[1]).contents.fp64_contents.append(1.0)
        assert infer(request.SerializeToString(), timeout=120)
        request.parameters["timeout"].int64_param = 50_000
        with pytest.raises(grpc.RpcError) as error:
            infer(request.SerializeToString(), timeout=120)
        assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        request.parameters["timeout"].string_param = "soon"
        with pytest.raises(grpc.RpcError) as error:
            infer(request.SerializeToString(), timeout=120)
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert service.predict(row, endpoint="slow").status == 200
