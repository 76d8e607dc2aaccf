"""A version that fails too often is left alone, and trusted again when it is well."""

from __future__ import annotations

import random
from collections import deque

from perennial.serve.breaker import Breaker


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker(share=0.5, calls=4, open_s=10.0, probes=3)
    assert breaker.heard([False] * 4, now)
    return breaker


def test_it_opens_when_the_share_of_the_latest_calls_failed_and_not_before_there_are_enough() -> None:
    breaker = Breaker(share=0.5, calls=4, open_s=10.0, probes=3)
    assert not breaker.heard([False, False, False], 0.0)
    assert breaker.state == "closed"
    assert breaker.heard([True], 0.0)
    assert breaker.state == "open"


def test_failures_of_long_ago_do_not_count() -> None:
    breaker = Breaker(share=0.5, calls=4, open_s=10.0, probes=3)
    assert not breaker.heard([False, True, True, True, False, True, True, True, False], 0.0)


def test_it_is_tried_again_after_its_time_and_closes_after_so_many_good_probes() -> None:
    breaker = opened(100.0)
    assert not breaker.look(109.9)
    assert breaker.look(110.0)
    assert breaker.state == "half-open"
    assert not breaker.look(110.0)
    assert not breaker.heard([True, True], 111.0)
    assert breaker.heard([True], 112.0)
    assert breaker.state == "closed"
    assert not breaker.heard([False, False, False], 113.0)  # what was before is forgotten


def test_one_bad_probe_opens_it_for_its_whole_time_again() -> None:
    breaker = opened(0.0)
    breaker.look(10.0)
    assert breaker.heard([True, True, False], 15.0)
    assert breaker.state == "open"
    assert not breaker.look(24.9)
    assert breaker.look(25.0)


def test_what_is_heard_while_it_is_open_changes_nothing() -> None:
    breaker = opened(0.0)
    assert not breaker.heard([True] * 50, 1.0)
    assert breaker.state == "open"


def test_it_opens_exactly_where_a_window_over_all_calls_says_so() -> None:
    draws = random.Random(0)
    for _ in range(200):
        went = [draws.random() < 0.6 for _ in range(40)]
        breaker = Breaker(share=0.5, calls=10, open_s=1e9)
        window: deque[bool] = deque(maxlen=10)
        expected = None
        for at, is_well in enumerate(went):
            window.append(is_well)
            if expected is None and len(window) == 10 and window.count(False) >= 5:
                expected = at
        found = next((at for at, is_well in enumerate(went) if breaker.heard([is_well], 0.0)), None)
        assert found == expected
