"""What is compressed or comes over gRPC is no way around the process for large requests, nor around the limits."""

from __future__ import annotations

import gzip
import json
import os
import signal
import threading
import zlib
from typing import Any

import grpc
import numpy as np
import pytest

from perennial.serve.forwarding import LARGE_BYTES
from perennial.serve.protocols.grpc_messages import SERVICE, message

ROW = {"person": "p", "x": 1.0}
ROWS = 4000


def body(rows: int = ROWS) -> bytes:
    return json.dumps({"records": [{"person": f"p{at}-{'w' * 300}", "x": float(at)} for at in range(rows)]}).encode()


def call(rows: int = ROWS, wrong: str = "") -> bytes:
    made = message("ModelInferRequest")(model_name=wrong or "wage")
    person = made.inputs.add(name="person", datatype="BYTES", shape=[rows])
    person.contents.bytes_contents.extend(f"p{at}-{'w' * 300}".encode() for at in range(rows))
    made.inputs.add(name="x", datatype="FP64", shape=[rows]).contents.fp64_contents.extend(map(float, range(rows)))
    return made.SerializeToString()


def infer(address: str, data: bytes, **metadata: str) -> Any:
    with grpc.insecure_channel(address, [("grpc.max_receive_message_length", -1)]) as channel:
        ask = channel.unary_unary(f"/{SERVICE}/ModelInfer", None, message("ModelInferResponse").FromString)
        return ask(
            data, timeout=60.0, metadata=tuple((name.replace("_", "-"), told) for name, told in metadata.items())
        )


def refused(address: str, data: bytes, **metadata: str) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        infer(address, data, **metadata)
    return error.value.code(), error.value.details() or ""


def answering(place: Any) -> Any:
    return place.answering(place.endpoint(live=place.linear(1)), options=("--fronts", "1", "--grpc-port", "0"))


@pytest.fixture
def service(place: Any) -> Any:
    """Of one test, which counts what it writes down or pauses a process of it."""
    return answering(place)


@pytest.fixture(scope="module")
def refusing(shared: Any) -> Any:
    """Of the tests in which it refuses."""
    return answering(shared)


def pack(service: Any, data: bytes, coding: str = "gzip", path: str = "/predict/wage") -> Any:
    return service.send("POST", path, data, Content_Encoding=coding)


def test_S12_compressed_bodies_are_expanded_where_they_are_small_and_handed_on_where_they_are_large(
    place: Any, service: Any
) -> None:
    small = json.dumps({"records": [ROW]}).encode()
    assert pack(service, gzip.compress(small)).status == 200
    assert len(service.fronts()) == 1
    for coding, packed in (("gzip", gzip.compress(body())), ("deflate", zlib.compress(body()))):
        told = pack(service, packed, coding)
        assert told.status == 200
        np.testing.assert_allclose(
            [row["prediction"] for row in told.json["predictions"]], np.arange(ROWS) + 1.0, rtol=1e-9
        )
    assert place.writers() == {0: 1, 1: 2}


def test_S12_what_is_wrong_with_a_large_compressed_body_is_told_as_of_any_other(refusing: Any) -> None:
    wrong = json.loads(body())
    wrong["records"][2500]["x"] = "wide"
    told = pack(refusing, gzip.compress(json.dumps(wrong).encode()))
    assert (told.status, told.json["where"]) == (422, "records[2500].x")
    packed = gzip.compress(body())
    assert pack(refusing, packed, path="/predict/nothing").status == 404
    assert pack(refusing, packed[:-100]).status == 400  # not whole
    assert pack(refusing, packed + b"more").status == 400
    damaged = bytearray(packed)
    damaged[-5] ^= 1  # of the checksum
    assert pack(refusing, bytes(damaged)).status == 400
    assert pack(refusing, packed, "br").status == 415
    assert refusing.predict(ROW).status == 200


def test_S12_a_bomb_is_refused_and_the_front_that_it_came_to_never_expands_it(place: Any, service: Any) -> None:
    bomb = zlib.compress(b" " * 200_000_000, 9)
    before = service.fronts()
    assert pack(service, bomb, "deflate").status == 413
    # With the process for large requests at rest, bombs wait for it, and small requests do not.
    (large,) = set(service.fronts()) - set(before)
    os.kill(large, signal.SIGSTOP)
    replies: list[Any] = []
    asking = [threading.Thread(target=lambda: replies.append(pack(service, bomb, "deflate"))) for _ in range(8)]
    for thread in asking:
        thread.start()
    assert {service.predict(ROW).status for _ in range(100)} == {200}
    assert replies == []
    os.kill(large, signal.SIGCONT)
    for thread in asking:
        thread.join()
    assert [reply.status for reply in replies] == [413] * 8
    # What is refused by its ratio alone is small when it is expanded, and is refused at once.
    assert pack(service, zlib.compress(b" " * 900_000, 9), "deflate").status == 413


def test_large_messages_of_grpc_are_answered_by_the_process_for_large_requests(place: Any, service: Any) -> None:
    address = place.status().grpc
    data = call()
    assert len(data) > LARGE_BYTES
    told = infer(address, data)
    assert (told.model_name, told.model_version) == ("wage", "1")
    np.testing.assert_allclose(told.outputs[0].contents.fp64_contents, np.arange(ROWS) + 1.0, rtol=1e-9)
    small = infer(address, call(2))
    np.testing.assert_allclose(small.outputs[0].contents.fp64_contents, [1.0, 2.0])
    assert place.writers() == {0: 1, 1: 1}
    assert b'protocol="grpc",code="200"} 2' in service.get("/metrics").body


def test_what_is_wrong_with_a_large_message_of_grpc_is_told_as_of_any_other(shared: Any, refusing: Any) -> None:
    address = shared.status().grpc
    assert refused(address, call(wrong="nothing"))[0] is grpc.StatusCode.NOT_FOUND
    code, says = refused(address, call(10_001))
    assert (code, "10000" in says.replace(",", "")) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    assert refused(address, b"\xff" * 2_000_000)[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert refused(address, call(), idempotency_key="k" * 251)[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert refused(address, b"\x00" * (10 * 1024 * 1024 + 1))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refusing.send("POST", "/grpc/infer", call(2)).status == 405  # no address of clients


def test_a_key_makes_a_repeated_large_message_of_grpc_one_prediction(place: Any, service: Any) -> None:
    address = place.status().grpc
    first, again = (infer(address, call(), idempotency_key="k1") for _ in range(2))
    assert (first.id, first.outputs) == (again.id, again.outputs)
    assert refused(address, call(ROWS - 1), idempotency_key="k1")[0] is grpc.StatusCode.ABORTED
    assert len(place.predicted()) == 1
