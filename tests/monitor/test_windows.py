"""Windows of event time: when one looks makes no difference, and nothing is skipped."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from perennial.monitor.windows import DAY, Window, closed_windows

EVENTS = st.lists(st.integers(0, 400), max_size=60).map(lambda times: np.array(sorted(times), dtype=np.int64))


def test_a_window_ends_at_the_first_whole_period_with_enough_rows() -> None:
    at = np.array([0, 1, DAY, 3 * DAY - 1, 3 * DAY])
    assert closed_windows(at, 0, 10 * DAY, min_rows=2) == [Window(0, DAY), Window(DAY, 3 * DAY)]
    assert closed_windows(at, 0, 3 * DAY, min_rows=2) == [Window(0, DAY), Window(DAY, 3 * DAY)]
    assert closed_windows(at, 0, 3 * DAY - 1, min_rows=2) == [Window(0, DAY)]
    assert closed_windows(at, 0, 10 * DAY, min_rows=6) == []
    assert closed_windows(at[:0], 0, 10 * DAY, min_rows=1) == []


def test_rows_before_the_start_belong_to_no_window() -> None:
    assert closed_windows(np.array([1, 2, 13]), 10, 99, min_rows=1, period=10) == [Window(10, 20)]


@given(at=EVENTS, min_rows=st.integers(1, 8), period=st.integers(1, 50), looks=st.lists(st.integers(0, 450)))
def test_F16_when_one_looks_makes_no_difference(at: np.ndarray, min_rows: int, period: int, looks: list[int]) -> None:
    """Whoever looks often, each time from the last window's end and knowing only what came before, finds the same."""
    at_once = closed_windows(at, 0, 450, min_rows=min_rows, period=period)
    found: list[Window] = []
    for now in [*sorted(looks), 450]:
        start = found[-1].end if found else 0
        found += closed_windows(at[at < now], start, now, min_rows=min_rows, period=period)
    assert found == at_once


@given(at=EVENTS, min_rows=st.integers(1, 8), period=st.integers(1, 50))
def test_P3_windows_lie_end_to_end_and_hold_every_row_up_to_the_last(
    at: np.ndarray, min_rows: int, period: int
) -> None:
    windows = closed_windows(at, 0, 1000, min_rows=min_rows, period=period)
    edges = [0, *(window.end for window in windows)]
    assert [window.start for window in windows] == edges[:-1]
    held = [int(np.sum((at >= window.start) & (at < window.end))) for window in windows]
    assert all(rows >= min_rows for rows in held)
    assert len(at) - sum(held) < min_rows  # the rest is still too few for one more
    for window in windows:  # and each is as short as it can be
        assert (window.end - window.start) % period == 0
        assert int(np.sum((at >= window.start) & (at < window.end - period))) < min_rows
