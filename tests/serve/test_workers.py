"""Workers and the service itself are killed, hang and end; clients notice as little as can be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import psutil
import pytest


def answered(replies: list[Any]) -> list[tuple[float, dict[str, Any]]]:
    return [(x, reply.json["predictions"][0]) for x, reply in replies if reply.status == 200]


def test_F19_a_killed_worker_costs_no_request(place: Any) -> None:
    place.desire(place.endpoint(live=place.arm(1)))
    service = place.serve()
    place.applied()
    load = place.load(service)
    for _ in range(2):
        before = len(load.replies)
        place.until(lambda before=before: len(load.replies) > before + 20, "progress of the clients")
        (worker,) = service.workers()
        os.kill(worker, signal.SIGKILL)
        place.until(lambda worker=worker: len(found := service.workers()) == 1 and found != [worker], "a new worker")
    before = len(load.replies)
    place.until(lambda: len(load.replies) > before + 20, "progress of the clients")
    replies = load.end()
    assert [reply.body for _, reply in replies if reply.status != 200] == []
    assert all(answer["prediction"] == x + 1 for x, answer in answered(replies))
    status = service.status()
    assert status["received"] == status["stored"] == len(replies) == len(place.predicted())


def test_P1_every_answer_is_in_the_segments_after_kill_9_of_the_service_under_load(place: Any) -> None:
    place.desire(place.endpoint(live=place.arm(1)))
    got: dict[str, float] = {}
    for _ in range(2):
        service = place.serve()
        place.applied()
        load = place.load(service)
        place.until(lambda load=load: len(load.replies) > 50, "progress of the clients")
        workers = service.workers()
        service.kill()
        got.update((answer["id"], answer["prediction"]) for _, answer in answered(load.end()))
        place.until(lambda workers=workers: not any(map(_runs, workers)), "the end of the workers")
    written = {frame.id: frame.outputs[0]["prediction"] for frame in place.predicted()}
    assert got.items() <= written.items()
    assert len({frame.id for frame in place.predicted()}) == len(place.predicted())


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_F19_a_request_that_kills_its_worker_takes_no_neighbour_with_it(place: Any) -> None:
    place.desire(place.endpoint(live=place.arm(1, slow_s=0.05)))
    service = place.serve()
    place.applied()
    replies: dict[int, Any] = {}
    threads = [
        threading.Thread(
            target=lambda i=i: replies.update({i: service.predict({"person": "p", "x": -2 if i == 3 else i})})
        )
        for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {i: reply.status for i, reply in replies.items()} == {i: 503 if i == 3 else 200 for i in range(8)}
    assert replies[3].headers["retry-after"] == "1"
    assert "died twice" in replies[3].json["message"]
    status = service.status()
    assert status["received"] == status["stored"] == 8


def test_F17_a_hanging_model_gives_504_and_its_worker_is_replaced(place: Any) -> None:
    place.desire(place.endpoint(live=place.arm(1)), place.endpoint("other", live=place.arm(2)))
    service = place.serve("--timeout-s", "3")
    place.applied()
    hanging = threading.Thread(target=lambda: replies.append(service.predict({"person": "p", "x": -3}, key="k")))
    replies: list[Any] = []
    hanging.start()
    place.until(lambda: service.status()["pending"] == 1)
    assert service.predict({"person": "p", "x": 1}, endpoint="other").status == 200
    hanging.join()
    assert replies[0].status == 504
    assert replies[0].json["error_code"] == "DEADLINE_EXCEEDED"
    # The key was not answered, so it is free; the attempts stay in the log.
    place.until(lambda: service.predict({"person": "p", "x": 1}, key="k").status == 200, "a new worker")
    told = [frame.status for frame in place.predicted()]
    assert (told[:2], told[-1], {*told[2:]} <= {200, 503}) == ([504, 200], 200, True)


def test_S17_until_the_model_is_warm_the_answer_is_503_with_retry_after(place: Any) -> None:
    place.desire(place.endpoint(live=place.arm(1, load_s=0.5)))
    service = place.serve()
    place.until(lambda: service.status()["seen"] == 1)
    early = service.predict({"person": "p", "x": 1})
    assert (early.status, early.headers["retry-after"]) == (503, "1")
    assert "being loaded" in early.json["message"]
    ready = service.get("/readyz")
    assert (ready.status, ready.headers["retry-after"]) == (503, "1")
    assert service.get("/livez").status == 200
    place.applied()
    assert service.get("/readyz").status == 200
    assert service.predict({"person": "p", "x": 1}).status == 200


def test_S10_sigterm_lets_requests_in_flight_finish_and_exits_0(place: Any) -> None:
    place.desire(place.endpoint(live=place.arm(1, slow_s=0.7)))
    service = place.serve()
    place.applied()
    replies: list[Any] = []
    asking = threading.Thread(target=lambda: replies.append(service.predict({"person": "p", "x": 1})))
    asking.start()
    place.until(lambda: service.status()["pending"] == 1)
    workers = service.workers()
    assert service.stop() == 0
    asking.join()
    assert replies[0].status == 200
    place.until(lambda: not any(map(_runs, workers)), "the end of the workers")


@pytest.mark.skipif(not hasattr(psutil, "RLIMIT_FSIZE"), reason="limits of another process are Linux's")
def test_P3_an_answer_that_cannot_be_written_down_is_not_given_and_is_counted(place: Any) -> None:
    place.desire(place.endpoint(live=place.arm(1)))
    service = place.serve("--fronts", "1")
    place.applied()
    assert service.predict({"person": "p", "x": 1}).status == 200
    process = psutil.Process(service.fronts()[0])
    unlimited = process.rlimit(psutil.RLIMIT_FSIZE)
    (segment,) = place.segments.glob("*.seg")
    process.rlimit(psutil.RLIMIT_FSIZE, (segment.stat().st_size + 10, unlimited[1]))  # the disk takes ten bytes more
    refused = service.predict({"person": "p", "x": 2})
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert "could not be written down" in refused.json["message"]
    status = service.status()
    assert (status["received"], status["stored"], status["dropped"], status["pending"]) == (2, 1, 1, 0)
    assert "could not be written down" in status["problem"]
    process.rlimit(psutil.RLIMIT_FSIZE, unlimited)
    assert service.predict({"person": "p", "x": 3}).status == 200
    assert service.status()["problem"] is None
    assert [frame.inputs[0]["x"] for frame in place.predicted()] == [1.0, 3.0]


def test_with_die_with_parent_it_ends_when_its_standard_input_does(place: Any) -> None:
    place.desire(place.endpoint(live=place.arm(1)))
    service = place.serve("--die-with-parent")
    place.applied()
    service.process.stdin.close()
    assert service.process.wait(15) == 0


def test_a_worker_that_hangs_ends_with_a_killed_service(place: Any) -> None:
    place.desire(place.endpoint(live=place.arm(1)))
    service = place.serve()
    place.applied()
    asking = place.until(lambda: _ask_in_background(service))
    place.until(lambda: service.status()["pending"] == 1)
    workers = service.workers()
    service.kill()
    asking.join()
    place.until(lambda: not any(map(_runs, workers)), "the end of the workers")


def _ask_in_background(service: Any) -> threading.Thread:
    def ask() -> None:
        try:
            service.predict({"person": "p", "x": -3})
        except OSError:
            return  # it was killed

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def _refused(*arguments: str) -> tuple[int, str, float]:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "perennial.serve", *arguments], capture_output=True, text=True, timeout=120
    )
    return done.returncode, done.stderr, time.monotonic() - started


def test_F12_a_busy_port_is_exit_2_and_names_the_port_and_the_remedy(place: Any, tmp_path: Any) -> None:
    service = place.serve()
    (tmp_path / "other").mkdir()
    code, says, _ = _refused("--workspace", str(tmp_path / "other"), "--port", str(service.port))
    assert code == 2
    assert f"port {service.port} is in use" in says
    assert "--serving-port" in says


def test_F11_a_second_service_of_a_workspace_is_exit_2_and_names_the_first(place: Any) -> None:
    service = place.serve()
    code, says, _ = _refused("--workspace", str(place.folder), "--port", "0")
    assert code == 2
    assert f"process {service.process.pid} at http://127.0.0.1:{service.port}" in says
    service.kill()
    place.serve()


def test_a_folder_that_is_not_there_is_exit_2(tmp_path: Any, place: Any) -> None:
    code, says, _ = _refused("--workspace", str(tmp_path / "nothing"))
    assert (code, "there is no workspace here" in says) == (2, True)
