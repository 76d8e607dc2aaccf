"""Versions come and go, processes die and end, and no client notices; the limits hold one below and one above."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from typing import Any

import psutil
import pytest

ROW = {"person": "p", "x": 1.0}


def answers(replies: list[Any]) -> list[tuple[float, dict[str, Any]]]:
    return [(x, reply.json["predictions"][0]) for x, reply in replies if reply.status == 200]


def progress(place: Any, load: Any, count: int = 40) -> None:
    before = len(load.replies)
    place.until(lambda: len(load.replies) >= before + count, "progress of the clients")


def test_S05_hot_swaps_of_compiled_versions_fail_no_request_and_each_answer_is_one_versions(place: Any) -> None:
    arms = [place.linear(version) for version in range(1, 12)]
    place.desire(place.endpoint(live=arms[0]))
    service = place.serve("--fronts", "2")
    place.applied()
    assert service.workers() == []
    load = place.load(service)
    for at, arm in enumerate(arms[1:], 1):
        progress(place, load)
        place.applied(place.desire(place.endpoint(live=arm, fallback=arms[at - 1])))
    progress(place, load)
    replies = load.end()
    assert load.failures == []
    assert [reply.body for _, reply in replies if reply.status != 200] == []
    seen = [answer["version"] for _, answer in answers(replies)]
    assert set(seen) == set(range(1, 12))
    assert all(answer["prediction"] == pytest.approx(x + answer["version"]) for x, answer in answers(replies))
    status = service.status()
    assert status["received"] == status["stored"] == len(replies)
    written = {frame.id: (frame.versions[0], frame.outputs[0]["prediction"]) for frame in place.predicted()}
    assert written == {answer["id"]: (answer["version"], answer["prediction"]) for _, answer in answers(replies)}
    writers = {path.name.split("-")[0] for path in place.segments.glob("*.seg")}
    assert len(writers) >= 1
    assert len(service.fronts()) == 2


def test_S16_versions_that_come_and_go_leave_no_process_and_no_descriptor_behind(place: Any) -> None:
    arms = [place.linear(1), place.arm(2)]  # one in the fronts, one in a worker of its own

    def swapped() -> None:
        for arm in (arms[1], arms[0]):
            place.applied(place.desire(place.endpoint(live=arm)))
            assert service.predict(ROW).json["predictions"][0]["version"] == arm.version

    def held() -> tuple[int, int]:
        every = [root, *root.children(recursive=True)]
        return len(every), sum(process.num_fds() for process in every)

    service = place.answering(place.endpoint(live=arms[0]))
    root = psutil.Process(service.process.pid)
    for _ in range(2):
        swapped()
    place.until(lambda: service.workers() == [], "the end of the last worker")
    before = held()
    for _ in range(6):
        swapped()
    place.until(lambda: held() <= before, f"as few processes and descriptors as before {before}")


@pytest.mark.parametrize("why", ["does not load", "golden", "not here"])
def test_S06_a_version_that_cannot_be_served_leaves_the_old_one_where_it_is(place: Any, why: str) -> None:
    old = place.linear(1)
    place.desire(place.endpoint(live=old))
    service = place.serve()
    place.applied()
    load = place.load(service, 2)
    if why == "does not load":
        new = place.arm(2, loads=False)
    elif why == "golden":
        new = place.linear(2)
        other = place.linear(3)
        manifest = json.loads(place.objects.get(new.package))
        manifest["files"]["golden.json"] = json.loads(place.objects.get(other.package))["files"]["golden.json"]
        new = type(new)(version=2, package=place.objects.put(json.dumps(manifest).encode()), trusted=True)
    else:
        new = type(old)(version=2, package="0" * 64, trusted=True)
    place.desire(place.endpoint(live=new, fallback=old))
    place.until(lambda: service.status()["problem"], "a problem")
    progress(place, load)
    status = service.status()
    told = status["endpoints"]["wage"]
    assert (told["live"], "version 2" in told["problem"]) == (1, True)
    assert (status["revision"], status["seen"], status["ready"]) == (1, 2, True)
    assert service.get("/readyz").json["status"] == "degraded"
    replies = load.end()
    assert load.failures == []
    assert {(reply.status, reply.json["predictions"][0]["version"]) for _, reply in replies} == {(200, 1)}
    place.desire(place.endpoint(live=place.linear(4), fallback=old))
    place.applied()
    assert service.predict(ROW).json["predictions"][0]["version"] == 4
    assert service.status()["problem"] is None


def test_S07_rolled_back_by_hand_the_bad_version_answers_nobody_a_second_later(place: Any) -> None:
    good, bad = place.linear(1), place.linear(2)
    place.desire(place.endpoint(live=bad, fallback=good))
    service = place.serve()
    place.applied()
    load = place.load(service)
    progress(place, load)
    place.applied(place.desire(place.endpoint(live=good)))
    rolled_back = len(load.replies)
    progress(place, load, 100)
    replies = load.end()
    assert [reply.status for _, reply in replies if reply.status != 200] == []
    # Requests that were under way when all fronts knew of it, one for each client, may still be in that order.
    assert {answer["version"] for _, answer in answers(replies[rolled_back + 4 :])} == {1}


def test_S09_a_front_that_is_killed_under_load_takes_only_its_own_requests_with_it(place: Any) -> None:
    place.desire(place.endpoint(live=place.linear(1)))
    service = place.serve("--fronts", "2")
    place.applied()
    got: dict[str, float] = {}
    for _ in range(2):
        load = place.load(service)
        progress(place, load)
        fronts = place.until(lambda: len(found := service.fronts()) == 2 and found, "both fronts")
        os.kill(fronts[0], signal.SIGKILL)
        place.until(lambda fronts=fronts: len(found := service.fronts()) == 2 and found != fronts, "a new front")
        place.until(lambda: b"perennial_fronts 2" in service.get("/metrics").body, "a front that tells")
        replies = load.end()
        assert [reply.body for _, reply in replies if reply.status != 200] == []
        assert all(answer["prediction"] == pytest.approx(x + 1) for x, answer in answers(replies))
        # Of four clients, each with one request under way, those of the front that died were cut off.
        assert len(load.failures) <= 4
        got.update((answer["id"], answer["prediction"]) for _, answer in answers(replies))
    assert all(service.predict(ROW).status == 200 for _ in range(20))
    written = {frame.id: frame.outputs[0]["prediction"] for frame in place.predicted()}
    assert got.items() <= written.items()
    status = service.status()
    assert status["received"] == status["stored"] + status["dropped"] + status["pending"]


def test_S10_sigterm_under_load_loses_no_acknowledged_answer_and_ends_with_0(place: Any) -> None:
    place.desire(place.endpoint(live=place.linear(1)), place.endpoint("slow", live=place.arm(2, slow_s=0.3)))
    service = place.serve("--fronts", "2")
    place.applied()
    load = place.load(service)
    slow = type(load)(service, 2, "slow")
    progress(place, load)
    place.until(lambda: slow.replies, "a slow answer")
    assert service.stop() == 0
    replies, late = load.end(), slow.end()
    assert {reply.status for _, reply in replies + late} <= {200, 503}
    assert len(late) >= 2
    got = {answer["id"]: answer["prediction"] for _, answer in answers(replies + late)}
    written = {frame.id: frame.outputs[0]["prediction"] for frame in place.predicted()}
    assert got.items() <= written.items()
    status = place.status()
    assert (status.ready, status.pending, status.received) == (False, 0, status.stored)
    assert status.stored == len(written)


def test_S10_a_restart_serves_what_the_spec_says_and_counts_on(place: Any) -> None:
    place.desire(place.endpoint(live=place.linear(1)))
    ids = []
    for _ in range(2):
        service = place.serve()
        place.applied()
        ids += [service.predict(ROW).json["predictions"][0]["id"] for _ in range(3)]
        assert service.stop() == 0
    assert len(set(ids)) == 6
    assert [frame.id for frame in place.predicted()] == sorted(ids)


# Limits, one below and one above


@pytest.fixture(scope="module")
def limited(shared: Any) -> Any:
    return shared.answering(
        shared.endpoint(live=shared.linear(1)), options=("--max-body-bytes", "200000", "--max-rows", "50")
    )


def test_C18_the_body(limited: Any) -> None:
    body = json.dumps({"records": [ROW]}).encode()
    assert limited.send("POST", "/predict/wage", body + b" " * (200_000 - len(body))).status == 200
    refused = limited.send("POST", "/predict/wage", body + b" " * (200_001 - len(body)))
    assert (refused.status, "200000" in refused.json["message"]) == (413, True)


def test_C18_the_rows(limited: Any) -> None:
    assert limited.predict(*[ROW] * 50).status == 200
    refused = limited.predict(*[ROW] * 51)
    assert (refused.status, refused.json["where"]) == (422, "records")
    columns = {"person": ["p"] * 51, "x": [1.0] * 51}
    assert limited.send("POST", "/predict/wage", json.dumps({"columns": columns}).encode()).status == 422
    columns = {name: values[:50] for name, values in columns.items()}
    assert limited.send("POST", "/predict/wage", json.dumps({"columns": columns}).encode()).status == 200


def test_C18_the_depth_of_json(limited: Any) -> None:
    told = []
    for depth in (64, 65, 20_000):
        # Three levels are the body's own; NaN leads to the parser that looks at all of it.
        deep = b"[" * (depth - 3) + b"]" * (depth - 3)
        body = b'{"records": [{"person": "p", "x": NaN, "y": %b}]}' % deep
        told.append(limited.send("POST", "/predict/wage", body))
    assert ["deeper than 64" in reply.json["message"] for reply in told] == [False, True, True]
    assert {reply.status for reply in told} <= {400, 422}


def test_C18_the_length_of_a_text(place: Any) -> None:
    place.desire(place.endpoint(live=place.linear(1)))
    service = place.serve()
    place.applied()
    most = 1024 * 1024
    assert service.predict(ROW | {"person": "é" * most}).status == 200
    refused = service.predict(ROW | {"person": "é" * (most + 1)})
    assert (refused.status, refused.json["where"]) == (422, "records[0].person")


def test_C18_the_length_of_a_key(limited: Any) -> None:
    assert limited.predict(ROW, key="k" * 250).status == 200
    refused = limited.predict(ROW, key="k" * 251)
    assert (refused.status, "250 characters" in refused.json["message"]) == (400, True)


@pytest.mark.parametrize("pieces", [1, 40])
def test_C18_the_headers(limited: Any, pieces: int) -> None:
    body = json.dumps({"records": [ROW]}).encode()
    first = b"POST /predict/wage HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\nConnection: close\r\n" % len(body)
    told = []
    for size in (15 * 1024, 17 * 1024):
        filled = b"".join(b"X-%03d: %b\r\n" % (at, b"a" * 90) for at in range((size - len(first)) // 99))
        data = first + filled + b"\r\n" + body
        with socket.create_connection(("127.0.0.1", limited.port), timeout=60) as client:
            for at in range(pieces):
                client.sendall(data[at * len(data) // pieces : (at + 1) * len(data) // pieces])
                time.sleep(0.001)
            told.append(b"".join(iter(lambda client=client: client.recv(65536), b"")).split()[1])
    assert told == [b"200", b"431"]


def test_C18_one_header_that_never_ends(limited: Any) -> None:
    with socket.create_connection(("127.0.0.1", limited.port), timeout=60) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * 60_000)
        assert client.recv(65536).split()[1] == b"431"


def test_C18_the_address(limited: Any) -> None:
    assert limited.get("/livez?" + "a" * (8192 - 7)).status == 200
    assert limited.get("/livez?" + "a" * (8192 - 6)).status == 431
