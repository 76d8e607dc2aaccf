"""Windows of event time: when one looks makes no difference, and nothing is skipped."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from perennial.monitor.windows import (
    DAY,
    HOUR,
    WEEK,
    Window,
    calendar_cells,
    closed_windows,
    periods,
    revised_windows,
)

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


TIMES = st.lists(st.integers(0, 4 * 10**15), min_size=1, max_size=60).map(lambda times: np.array(sorted(times)))


@given(at=TIMES, period=st.sampled_from(["hour", "day", "week", "month"]), min_rows=st.integers(1, 8))
def test_P3_periods_begin_and_end_with_the_calendar_and_hold_enough_rows(at, period, min_rows) -> None:
    if period == "hour":
        at = at // 1_000_000
    windows = periods(at, period, int(at[-1]) + 62 * DAY, min_rows=min_rows)
    edges = [edge for window in windows for edge in (window.start, window.end)]
    assert edges[1:-1:2] == edges[2::2]  # end to end
    for edge in edges:
        moment = datetime.fromtimestamp(edge / 1e6, tz=UTC)
        assert (moment.minute, moment.second, moment.microsecond) == (0, 0, 0)
        assert period == "hour" or moment.hour == 0
        assert period != "week" or moment.weekday() == 0
        assert period != "month" or moment.day == 1
    held = [int(np.sum((at >= window.start) & (at < window.end))) for window in windows]
    assert all(rows >= min_rows for rows in held)
    assert len(at) - sum(held) < min_rows
    if windows:
        assert windows[0].start <= at[0]


def test_the_newest_period_is_not_closed_before_it_ends() -> None:
    at = np.array([0, HOUR, 25 * HOUR])
    assert periods(at, "day", 2 * DAY - 1) == [Window(0, DAY)]
    assert periods(at, "day", 2 * DAY) == [Window(0, DAY), Window(DAY, 2 * DAY)]
    assert periods(at[:0], "day", DAY) == []


def test_late_rows_revise_the_windows_that_they_belong_to_and_no_other() -> None:
    closed = [Window(0, 10), Window(10, 30), Window(30, 40)]
    assert revised_windows(closed, np.array([9, 10, 29, 40])) == closed[:2]
    assert revised_windows(closed, np.array([40, 99, -1])) == []


@given(st.integers(-(10**15), 10**16))
def test_a_cell_is_the_season_weekday_and_hour_of_the_calendar(at: int) -> None:
    moment = datetime.fromtimestamp(at // 1_000_000, tz=UTC)
    season = {12: 0, 1: 0, 2: 0, 3: 1, 4: 1, 5: 1, 6: 2, 7: 2, 8: 2}.get(moment.month, 3)
    assert calendar_cells(np.array([at])).tolist() == [(season * 7 + moment.weekday()) * 24 + moment.hour]
    assert WEEK == 7 * DAY
