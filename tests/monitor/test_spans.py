"""Spans hold every row once, and none of them only a handful."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.errors import Invalid
from perennial.monitor.reporting.spans import MIN_ROWS, spans

DAY = 86_400_000_000


@given(
    st.lists(st.integers(0, 400), min_size=1, max_size=900),
    st.sampled_from([None, "hour", "day", "week", "month", "150 rows", "7"]),
)
def test_every_row_is_in_one_span(days: list[int], window: str | None) -> None:
    at = np.array(days, dtype=np.int64) * DAY
    found, _ = spans(at, len(at), window)
    assert sorted(np.concatenate([one.rows for one in found]).tolist()) == list(range(len(at)))
    assert all(one.start is not None and one.end is not None and one.start < one.end for one in found)


@given(st.lists(st.integers(0, 60), min_size=MIN_ROWS, max_size=900))
def test_no_span_of_time_holds_fewer_rows_than_a_test_needs(days: list[int]) -> None:
    found, _ = spans(np.array(days, dtype=np.int64) * DAY, len(days), "day")
    assert min(len(one.rows) for one in found) >= MIN_ROWS
    starts = [one.start for one in found]
    assert starts == sorted(starts)  # pyright: ignore[reportArgumentType]


def test_months_and_weeks_are_those_of_the_calendar() -> None:
    at = np.repeat(np.arange(0, 366) * DAY, 10)  # 1970
    months, name = spans(at, len(at), "month")
    assert name == "month"
    assert [one.label for one in months][:3] == ["1970-01", "1970-02", "1970-03"]
    assert [len(one.rows) for one in months][:3] == [310, 280, 310]
    weeks, _ = spans(at, len(at), "week")
    assert weeks[1].label == "1970-01-12", "the days from Thursday the 1st join the week of Monday the 5th"


def test_a_window_is_chosen_by_how_many_rows_there_are() -> None:
    dense = np.repeat(np.arange(10) * DAY, 600)
    assert spans(dense, len(dense), None)[1] == "day"
    thin = np.repeat(np.arange(300) * DAY, 20)
    assert spans(thin, len(thin), None)[1] == "month"
    assert spans(None, 1000, None) == ([], "")


def test_a_window_that_is_none_is_a_sentence() -> None:
    with pytest.raises(Invalid, match="no window 'fortnight'"):
        spans(np.zeros(5, np.int64), 5, "fortnight")
    with pytest.raises(Invalid, match="need times"):
        spans(None, 5, "day")
    with pytest.raises(Invalid, match="at least one row"):
        spans(None, 5, "0 rows")
