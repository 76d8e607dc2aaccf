"""Columns of two windows as numbers: what each kind is compared by, and what is left out."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import polars as pl
import pytest

from perennial.monitor.multivariate.encoding import MAX_CATEGORIES, Encoded, encode


def of(old: object, new: object, dtype: object = None) -> Encoded:
    return encode(pl.DataFrame({"x": pl.Series(old, dtype=dtype)}), pl.DataFrame({"x": pl.Series(new, dtype=dtype)}))  # type: ignore[arg-type]


def test_numbers_and_truth_values_are_themselves_and_missing_is_nan() -> None:
    found = of([1, None, 3], [2, 2, None])
    assert found.reference[:, 0].tolist()[::2] == [1.0, 3.0]
    assert np.isnan(found.reference[1, 0])
    assert found.is_category == (False,)
    truth = of([True, False, None], [False])
    assert truth.reference[:2, 0].tolist() == [1.0, 0.0]
    assert np.isnan(truth.reference[2, 0])
    assert of([1, 2], [2.5]).current[0, 0] == 2.5
    assert of([timedelta(minutes=2)], [timedelta(seconds=3)]).reference[0, 0] == 120.0


def test_infinite_values_become_finite_beyond_all_others() -> None:
    found = of([1.0, float("inf"), 5.0], [float("-inf"), 2.0, float("nan")])
    assert found.reference[1, 0] > 5.0
    assert found.current[0, 0] < 1.0
    assert np.isfinite(found.reference).all()
    assert np.isnan(found.current[2, 0])
    assert np.isfinite(of([float("inf")], [float("-inf")]).reference).all()


@pytest.mark.parametrize("dtype", [pl.String, pl.Categorical, pl.Enum(["a", "b", "c"])])
def test_categories_get_the_same_code_on_both_sides(dtype: object) -> None:
    found = of(["a", "b", None, "a"], ["b", "a", "c", None], dtype)
    old, new = found.reference[:, 0], found.current[:, 0]
    assert found.is_category == (True,)
    assert (old[0], old[1]) == (new[1], new[0])
    assert new[2] not in old
    assert np.isnan(old[2])
    assert np.isnan(new[3])


def test_rare_categories_share_a_code() -> None:
    found = of([f"c{i}" for i in range(400) for _ in range(1 + (i < 100))], ["c0"])
    codes = np.unique(found.reference)
    assert len(codes) == MAX_CATEGORIES + 1
    assert codes.max() == MAX_CATEGORIES


def test_time_that_moved_on_is_compared_by_weekday_and_time_of_day_alone() -> None:
    start = datetime(2026, 1, 5, tzinfo=UTC)  # a Monday
    before = [start + timedelta(hours=6 * i) for i in range(80)]
    after = [one + timedelta(days=70) for one in before]
    found = of(before, after)
    assert found.sources == ("x", "x")
    assert found.is_category == (True, False)
    assert (found.reference == found.current).all()
    assert found.reference[1].tolist() == [0.0, 6 * 3600.0]


def test_moments_within_the_range_of_the_reference_are_compared_as_moments_too() -> None:
    births = [date(1950, 1, 1) + timedelta(days=37 * i) for i in range(300)]
    found = of(births, [None, *births[100:200]])
    assert found.sources == ("x", "x")
    assert found.is_category == (True, False)
    assert np.isnan(found.current[0]).all()
    assert of([time(1), time(2)], [time(3)]).sources == ("x",)


def test_counters_are_left_out_and_a_change_of_unit_is_not() -> None:
    ids = of(list(range(100)), list(range(100, 200)))
    assert ids.sources == ()
    assert "counts up" in ids.left_out["x"]
    cents = of([i / 7 for i in range(100)], [100 * (i + 20) / 7 for i in range(100)])
    assert cents.sources == ("x",)
    repeated = of([i % 50 for i in range(100)], [1000 * (1 + i % 50) for i in range(100)])
    assert repeated.sources == ("x",)


def test_what_cannot_be_compared_is_named() -> None:
    old = pl.DataFrame({"a": [1], "gone": [1], "text": ["1"], "nested": [[1.0]], "empty": [None]})
    new = pl.DataFrame({"a": [2], "new": [1], "text": [1], "nested": [[1.0]], "empty": [None]})
    found = encode(old, new)
    assert found.sources == ("a",)
    assert found.left_out["gone"] == "only in the reference"
    assert found.left_out["new"] == "only in the current window"
    assert found.left_out["text"] == "String in the reference, Int64 now"
    assert "List" in found.left_out["nested"]
    assert found.left_out["empty"] == "holds no value"


def test_a_column_that_fell_silent_is_compared_by_what_is_missing() -> None:
    found = encode(pl.DataFrame({"x": ["a", None]}), pl.DataFrame({"x": [None, None]}))
    assert found.reference[:, 0].tolist() == [0.0, 1.0]
    assert found.current[:, 0].tolist() == [1.0, 1.0]


def test_no_column_in_common_leaves_matrices_without_columns() -> None:
    found = encode(pl.DataFrame({"a": [1, 2]}), pl.DataFrame({"b": [1]}))
    assert (found.reference.shape, found.current.shape) == ((2, 0), (1, 0))
