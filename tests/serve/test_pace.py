"""The pace of a model is learnt from its calls, and says when one more request would wait too long."""

from __future__ import annotations

import numpy as np
import pytest

from perennial.serve.pace import Pace


def paced(fixed_s: float, row_s: float, sizes: list[int]) -> Pace:
    pace = Pace()
    for rows in sizes:
        pace.took(rows, fixed_s + row_s * rows)
    return pace


def test_the_cost_of_a_call_is_that_of_a_line_through_the_calls_seen() -> None:
    sizes = np.random.default_rng(0).integers(1, 200, 400).tolist()
    pace = paced(0.002, 0.0001, sizes)
    slope, start = np.polyfit(sizes, [0.002 + 0.0001 * rows for rows in sizes], 1)
    assert pace.cost_s(1000) == pytest.approx(start + slope * 1000, rel=0.05)
    assert pace.cost_s(1) == pytest.approx(start + slope, rel=0.3)


def test_before_calls_of_different_sizes_a_batch_costs_what_a_row_does() -> None:
    pace = paced(0.005, 0.0, [1] * 50)
    assert pace.cost_s(500) == pytest.approx(0.005)


def test_whoever_comes_first_is_always_taken() -> None:
    assert Pace().allows(0)
    assert paced(3.0, 0.0, [1]).allows(0)
    assert paced(3.0, 0.0, [1]).allows(0, rows=10_000)


def test_S01_of_a_slow_model_few_may_wait_and_of_a_quick_one_many() -> None:
    slow = paced(0.0, 0.01, [1, 2, 3, 4, 5, 6, 7, 8] * 20)
    quick = paced(0.0, 0.00001, [1, 2, 3, 4, 5, 6, 7, 8] * 20)
    most = [max(waiting for waiting in range(5000) if pace.allows(waiting)) for pace in (slow, quick)]
    assert most[0] < 20
    assert most[1] > 1000
    # More than a second in the queue is never decent.
    assert not paced(0.0, 0.5, [1, 2, 3] * 20).allows(3)


def test_one_call_that_was_held_up_tells_nothing() -> None:
    pace = paced(0.001, 0.0, [1] * 100)
    pace.took(1, 30.0)
    assert pace.cost_s(1) < 0.002
    for _ in range(200):
        pace.took(1, 0.1)
    assert pace.cost_s(1) == pytest.approx(0.1, rel=0.05)  # a model that did become slower is found out
