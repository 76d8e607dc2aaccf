"""Requests with large bodies have a process of their own: the others are answered meanwhile."""

from __future__ import annotations

import json
import os
import signal
import threading
import zlib
from typing import Any

import numpy as np
import pytest

from perennial.serve.forwarding import LARGE_BYTES

ROW = {"person": "p", "x": 1.0}
ROWS = 4000


def large_body(first: float = 0.0) -> bytes:
    rows = [{"person": f"p{at}-{'w' * 300}", "x": first + at} for at in range(ROWS)]
    body = json.dumps({"records": rows}).encode()
    assert len(body) > LARGE_BYTES
    return body


def ask(service: Any, body: bytes, **headers: str) -> Any:
    return service.send("POST", "/predict/wage", body, **headers)


@pytest.fixture
def service(place: Any) -> Any:
    return place.answering(place.endpoint(live=place.linear(1)), options=("--fronts", "2"))


def test_a_large_request_is_answered_by_a_process_that_answers_nothing_else(place: Any, service: Any) -> None:
    assert len(service.fronts()) == 2  # the third one is started with the first large request
    replies = [service.predict(ROW), ask(service, large_body()), service.predict(ROW)]
    assert [reply.status for reply in replies] == [200, 200, 200]
    rows = replies[1].json["predictions"]
    np.testing.assert_allclose([row["prediction"] for row in rows], np.arange(ROWS) + 1.0, rtol=1e-9)
    assert len(service.fronts()) == 3
    counts = place.writers()
    assert counts[2] == 1
    assert counts.get(0, 0) + counts.get(1, 0) == 2
    status = service.status()
    assert (status["received"], status["stored"]) == (ROWS + 2, ROWS + 2)


def test_small_requests_are_answered_while_a_large_one_is_not(service: Any) -> None:
    before = service.fronts()
    assert ask(service, large_body()).status == 200
    (large,) = set(service.fronts()) - set(before)
    os.kill(large, signal.SIGSTOP)
    replies: list[Any] = []
    asking = threading.Thread(target=lambda: replies.append(ask(service, large_body())))
    asking.start()
    assert {service.predict(ROW).status for _ in range(200)} == {200}
    assert replies == []
    os.kill(large, signal.SIGCONT)
    asking.join()
    assert replies[0].status == 200


def test_what_is_wrong_with_a_large_request_is_told_as_of_any_other(service: Any) -> None:
    body = json.loads(large_body())
    body["records"][2500]["x"] = "wide"
    refused = ask(service, json.dumps(body).encode())
    assert (refused.status, refused.json["where"]) == (422, "records[2500].x")
    body = large_body()
    assert service.send("POST", "/predict/nothing", body).status == 404
    assert service.send("POST", "/livez", body).status == 405
    packed = zlib.compress(body)
    assert len(packed) < LARGE_BYTES < len(body)
    assert ask(service, packed, Content_Encoding="deflate").status == 200


def test_a_key_makes_a_repeated_large_request_one_prediction_also_after_a_restart(place: Any, service: Any) -> None:
    first = ask(service, large_body(), Idempotency_Key="k1")
    assert ask(service, large_body(), Idempotency_Key="k1").body == first.body
    assert ask(service, large_body(5.0), Idempotency_Key="k1").status == 409
    assert service.stop() == 0
    again = place.serve("--fronts", "2")
    place.applied()
    assert ask(again, large_body(), Idempotency_Key="k1").body == first.body
    assert sum(len(told.inputs) == ROWS for told in place.predicted()) == 1


def test_versions_change_for_large_requests_as_for_others_and_a_killed_process_is_replaced(
    place: Any, service: Any
) -> None:
    before = service.fronts()
    assert ask(service, large_body()).json["predictions"][0]["version"] == 1
    place.applied(place.desire(place.endpoint(live=place.linear(2))))
    assert ask(service, large_body()).json["predictions"][0]["version"] == 2
    (large,) = set(service.fronts()) - set(before)
    os.kill(large, signal.SIGKILL)
    place.until(lambda: len(found := service.fronts()) == 3 and large not in found, "the next one")
    assert ask(service, large_body()).json["predictions"][0]["version"] == 2
    assert service.stop() == 0
