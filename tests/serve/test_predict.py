"""A prediction over HTTP: answered by the model, written down, counted; bad input refused with a pointer."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

import pytest


def test_a_prediction_is_the_models_and_is_in_the_segment_when_the_answer_is_here(place: Any) -> None:
    place.desire(place.endpoint(live=place.linear(3)))
    service = place.serve()
    place.applied()
    reply = service.predict({"person": "ann", "x": 2.0})
    assert reply.status == 200, reply.body
    (answer,) = reply.json["predictions"]
    assert abs(answer["prediction"] - 5.0) < 1e-9
    assert (answer["version"], answer["arm"]) == (3, "live")
    (frame,) = place.predicted()
    assert frame.id == answer["id"]
    assert frame.inputs == [{"person": "ann", "x": 2.0}]
    assert frame.entities == ["ann"]
    assert frame.outputs == [{"prediction": answer["prediction"]}]
    columns = service.send("POST", "/predict/wage", b'{"columns": {"person": ["a", "b"], "x": [1, 2.5]}}')
    assert [round(row["prediction"], 9) for row in columns.json["predictions"]] == [4.0, 5.5]
    status = service.status()
    assert (status["received"], status["stored"], status["dropped"], status["pending"]) == (3, 3, 0, 0)
    assert "perennial_predictions_stored_total 3" in service.get("/metrics").body.decode()
    assert service.stop() == 0
    assert place.status().ready is False


@pytest.fixture(scope="module")
def service(shared: Any) -> Any:
    """A worker's model behind the endpoint `wage`."""
    return shared.answering(shared.endpoint(live=shared.arm(1)))


def _rows(count: int) -> bytes:
    return json.dumps({"records": [{"person": "p", "x": 1.0}] * count}).encode()


BAD = {
    "unknown endpoint": ("POST", "/predict/wages", _rows(1), 404, "there is no endpoint 'wages'"),
    "unknown path": ("GET", "/predictions", None, 404, "there is no /predictions"),
    "wrong method": ("GET", "/predict/wage", None, 405, "takes POST"),
    "broken JSON": ("POST", "/predict/wage", b'{"records": [', 400, "not JSON"),
    "no JSON": ("POST", "/predict/wage", b"\xff\xfe\x00", 400, "not JSON"),
    "no body": ("POST", "/predict/wage", b"", 400, "not JSON"),
    "neither form": ("POST", "/predict/wage", b"{}", 400, '"records" or "columns"'),
    "deep JSON": ("POST", "/predict/wage", b'{"records":' + b"[" * 100_000, 422, "Expected `object`"),
    "NaN": ("POST", "/predict/wage", b'{"records": [{"person": "p", "x": NaN}]}', 422, "records[0].x"),
    "Infinity": ("POST", "/predict/wage", b'{"records": [{"person": "p", "x": Infinity}]}', 400, "Infinity"),
    "1e999": ("POST", "/predict/wage", b'{"records": [{"person": "p", "x": 1e999}]}', 422, "out of range"),
    "5,000 digits": ("POST", "/predict/wage", b'{"records": [{"x": ' + b"9" * 5000 + b"}]}", 422, "out of range"),
    "lone surrogate": ("POST", "/predict/wage", b'{"records": [{"person": "\\ud800", "x": 1}]}', 422, "surrogate"),
    "unknown column": ("POST", "/predict/wage", b'{"records": [{"x": 1, "y": 2}]}', 422, "column 'y' is unknown"),
    "missing column": ("POST", "/predict/wage", b'{"records": [{"person": "p"}]}', 422, "column 'x' is missing"),
    "wrong type": ("POST", "/predict/wage", b'{"records": [{"person": "p", "x": "1"}]}', 422, "records[0].x"),
    "ragged columns": ("POST", "/predict/wage", b'{"columns": {"person": ["p"], "x": [1, 2]}}', 422, "has 2 values"),
    "empty batch": ("POST", "/predict/wage", _rows(0), 422, "1 to 100 rows"),
    "too many rows": ("POST", "/predict/wage", _rows(101), 422, "1 to 100 rows"),
    "body over the limit": ("POST", "/predict/wage", b" " * 1_100_000, 413, "limit"),
}


def test_S13_bad_requests_are_answered_with_a_4xx_that_says_what_is_wrong(place: Any) -> None:
    place.desire(place.endpoint(live=place.arm(1)))
    service = place.serve("--max-rows", "100", "--max-body-bytes", "1000000")
    place.applied()
    wrong = []
    for name, (method, path, body, status, says) in BAD.items():
        reply = service.send(method, path, body)
        told = reply.json
        if (reply.status, says in str(told)) != (status, True) or told.keys() < {"error_code", "message", "request_id"}:
            wrong.append((name, reply.status, told))
    assert not wrong
    assert service.predict({"person": "p", "x": 1}).status == 200
    assert service.predict(*[{"person": "p", "x": 1}] * 100).status == 200
    assert service.status()["received"] == 101


def test_S12_a_huge_body_is_refused_without_reading_on(service: Any) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as client:
        client.sendall(b"POST /predict/wage HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000000\r\n\r\n{")
        told = b"".join(iter(lambda: client.recv(65536), b""))  # until the service closes the connection
    assert told.startswith(b"HTTP/1.1 413 ")
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as client:
        client.sendall(b"POST /predict/wage HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"%x\r\n%s\r\n" % (1 << 20, b" " * (1 << 20))
        for _ in range(11):
            client.sendall(piece)
        assert client.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_C05_a_page_of_another_site_cannot_ask(service: Any) -> None:
    body = b'{"records": [{"person": "p", "x": 1}]}'
    assert service.send("POST", "/predict/wage", body, Host="evil.example").status == 403
    assert service.send("POST", "/predict/wage", body, Origin="http://evil.example").status == 403
    assert service.send("POST", "/predict/wage", body, Sec_Fetch_Site="cross-site").status == 403
    assert service.send("POST", "/predict/wage", body, Origin=f"http://127.0.0.1:{service.port}").status == 200


def test_F18_a_row_that_raises_gets_an_error_and_its_neighbours_an_answer(shared: Any, service: Any) -> None:
    alone = service.predict({"person": "p", "x": -1})
    assert alone.status == 500
    assert alone.json["error_code"] == "USER_CODE_ERROR"
    assert "x is cursed" in alone.json["message"]
    (written,) = (one for one in shared.predicted() if one.id == alone.json["request_id"])
    assert "x is cursed" in written.outputs[0]["error"]
    among = service.predict({"person": "p", "x": 1}, {"person": "p", "x": -1}, {"person": "p", "x": 2})
    assert [row["prediction"] for row in among.json["predictions"]] == [2, None, 3]

    replies: dict[int, Any] = {}
    threads = [
        threading.Thread(
            target=lambda i=i: replies.update({i: service.predict({"person": "p", "x": -1 if i == 7 else i})})
        )
        for i in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {i: reply.status for i, reply in replies.items()} == {i: 500 if i == 7 else 200 for i in range(16)}


def test_what_the_model_prints_goes_to_the_log_and_disturbs_nothing(shared: Any, service: Any) -> None:
    assert service.predict({"person": "p", "x": -4}).json["predictions"][0]["prediction"] == -3
    assert "the model talks" in shared.log()


def test_F14_the_same_key_gives_the_same_ids_and_answers_also_after_kill_9(place: Any) -> None:
    place.desire(place.endpoint(live=place.arm(1)))
    service = place.serve()
    place.applied()
    first = service.predict({"person": "p", "x": 1}, {"person": "q", "x": 2}, key="once")
    assert service.predict({"person": "p", "x": 1}, {"person": "q", "x": 2}, key="once").body == first.body
    assert service.predict({"person": "p", "x": 9}, key="once").status == 409
    service.kill()
    service = place.serve()
    place.applied()
    place.desire(place.endpoint(live=place.arm(2)))
    place.applied()
    assert service.predict({"person": "p", "x": 1}, {"person": "q", "x": 2}, key="once").body == first.body
    assert len(place.predicted()) == 1
    assert service.predict({"person": "p", "x": 1}, key="x" * 251).status == 400


def test_F14_one_key_from_many_clients_at_once_is_computed_once(place: Any) -> None:
    place.desire(place.endpoint(live=place.arm(1, slow_s=0.2)))
    service = place.serve()
    place.applied()
    bodies: set[bytes] = set()
    threads = [
        threading.Thread(target=lambda: bodies.add(service.predict({"person": "p", "x": 1}, key="k").body))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bodies) == 1
    assert len(place.predicted()) == 1


def test_P15_a_service_without_endpoints_is_well(place: Any) -> None:
    service = place.serve()
    place.applied(0)
    paths = ("/livez", "/health", "/readyz", "/status", "/metrics")
    assert {path: service.get(path).status for path in paths} == dict.fromkeys(paths, 200)
