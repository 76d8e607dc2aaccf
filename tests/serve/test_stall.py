"""A worker stands still while callers ask, and ask again."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def test_S03_after_a_stall_everybody_who_asks_again_is_answered(place: Any) -> None:
    place.desire(place.endpoint(live=place.arm(1)))
    service = place.serve("--timeout-s", "1", "--fronts", "2")
    place.applied()

    def asked_until_answered(number: int) -> tuple[set[int], float]:
        statuses: set[int] = set()
        end = time.monotonic() + 100
        while 200 not in statuses and time.monotonic() < end:
            reply = service.predict({"person": f"p{number}", "x": float(number)})
            statuses.add(reply.status)
            if reply.status != 200:
                assert reply.status in (503, 504)
                time.sleep(0.1)
        return statuses, reply.json["predictions"][0]["prediction"]

    (worker,) = service.workers()
    os.kill(worker, signal.SIGSTOP)
    with ThreadPoolExecutor(8) as callers:
        asked = [callers.submit(asked_until_answered, number) for number in range(1, 9)]
        time.sleep(2.5)
        assert not any(told.done() for told in asked)
        os.kill(worker, signal.SIGCONT)
        told = [one.result() for one in asked]
    assert [answer for _, answer in told] == [float(number + 1) for number in range(1, 9)]
    assert all(statuses & {503, 504} for statuses, _ in told)
