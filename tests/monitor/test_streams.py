"""The budget of an endpoint holds in simulated windows without change, and a change is found within it."""

from __future__ import annotations

import numpy as np
import pytest

from perennial.errors import Invalid
from perennial.monitor.watching.budget import SHARES, Budget
from perennial.monitor.watching.streams import Stream
from perennial.monitor.windows import DAY


def alarms(stream: Stream, windows: np.ndarray) -> list[int]:
    state, found = None, []
    for number, values in enumerate(windows):
        told = stream.step(state, values)
        state = told.state
        if told.is_alarm:
            found.append(number)
    return found


def test_shares_of_a_budget_add_up_to_all_of_it() -> None:
    assert sum(SHARES.values()) == pytest.approx(1.0)
    budget = Budget(alarms=1, days=30)
    assert sum(budget.per_window(kind, DAY) for kind in SHARES) == pytest.approx(1 / 30)
    assert budget.evidence("performance_drop", DAY, streams=2) == pytest.approx(2 * 30 / 0.2)


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(Invalid, match="allows nothing"):
        Budget(alarms=0)


def test_no_more_alarms_than_the_budget_while_nothing_changes_at_the_edge_of_what_is_tolerated() -> None:
    draw = np.random.default_rng(1)
    evidence, streams, days = 50.0, 40, 500
    stream = Stream.of_reference(draw.random(5000) < 0.1, tolerance=0.0, evidence=evidence)
    bound = stream.design.mus[0]
    found = sum(len(alarms(stream, draw.random((days, 200)) < bound)) for _ in range(streams))
    assert found <= streams * days / evidence  # the guarantee is of the mean; it is far from tight


def test_a_rise_beyond_the_tolerance_is_found_and_a_fall_only_where_it_matters() -> None:
    draw = np.random.default_rng(2)
    reference = draw.normal(10.0, 2.0, 4000)
    up, both = (
        Stream.of_reference(reference, tolerance=0.2, evidence=1000.0, side=side, low=0.0, span=20.0)
        for side in ("above", "both")
    )
    rise, fall = draw.normal(11.0, 2.0, (5, 500)), draw.normal(9.0, 2.0, (5, 500))
    assert alarms(up, rise)
    assert not alarms(up, fall)
    assert alarms(both, rise)
    assert alarms(both, fall)
    told = up.step(None, rise[0])
    assert told.mean == pytest.approx(rise[0].mean(), abs=0.01)
    assert up.reference_mean == pytest.approx(10.0, abs=0.1)


def test_counts_say_the_same_as_rows_and_an_empty_window_says_nothing() -> None:
    stream = Stream.of_rate(0.01, evidence=100.0)
    rows = np.zeros(300)
    rows[:9] = 1.0
    by_rows, by_counts = stream.step(None, rows), stream.step_counts(None, 9, 300)
    assert by_rows.evidence == pytest.approx(by_counts.evidence)
    assert by_rows.mean == by_counts.mean == 0.03
    empty = stream.step(by_rows.state, np.zeros(0))
    assert empty.state["carries"] == by_rows.state["carries"]
    assert not empty.is_alarm
