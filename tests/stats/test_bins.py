"""Bins: where they sit, that counts add, and that nothing is lost on the way through JSON."""

from __future__ import annotations

import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from perennial.stats import CategoryBins, LengthMismatch, NumericBins, OutOfRange, bins_from_dict

numbers = hnp.arrays(np.float64, st.integers(0, 60), elements=st.floats(allow_nan=True, allow_infinity=True))
texts = st.lists(st.one_of(st.none(), st.sampled_from(["a", "b", "c", ""]), st.text(max_size=3)), max_size=60)


def test_deciles_of_distinct_values_hold_a_tenth_each() -> None:
    reference = np.random.default_rng(0).permutation(1000).astype(float)
    assert NumericBins.from_reference(reference).count(reference).tolist() == [0, *[100] * 10, 0, 0]


def test_equal_quantiles_are_merged() -> None:
    reference = [0.0] * 70 + [1.0] * 30
    bins = NumericBins.from_reference(reference)
    assert bins.uppers == (0.0, 1.0)
    assert bins.count(reference).tolist() == [0, 70, 30, 0, 0]


def test_a_constant_column_still_shows_values_on_either_side() -> None:
    bins = NumericBins.from_reference([5.0] * 20)
    assert bins.count([4.9, 5.0, 5.1, 5.1, float("nan")]).tolist() == [1, 1, 2, 1]


def test_infinite_values_lie_outside_and_do_not_move_the_bounds() -> None:
    bins = NumericBins.from_reference([1.0, 2.0, np.inf, -np.inf], n_bins=2)
    assert bins.uppers == (1.0, 2.0)
    assert bins.count([-np.inf, np.inf, 1.5]).tolist() == [1, 0, 1, 1, 0]


def test_a_reference_without_values_tells_present_from_missing() -> None:
    bins = NumericBins.from_reference([float("nan")] * 3)
    assert bins.labels == ("present", "missing")
    assert bins.count([1.0, float("nan"), 2.0]).tolist() == [2, 1]


def test_many_bins_count_like_few() -> None:
    rng = np.random.default_rng(1)
    reference, current = rng.normal(size=5000), rng.normal(1.0, 2.0, size=5000)
    current[::7] = np.nan
    many = NumericBins.from_reference(reference, n_bins=200)
    by_hand = [
        int(np.sum(current < many.low)),
        int(np.sum((current >= many.low) & (current <= many.uppers[0]))),
        *(int(np.sum((current > a) & (current <= b))) for a, b in zip(many.uppers, many.uppers[1:], strict=False)),
        int(np.sum(current > many.uppers[-1])),
        int(np.sum(np.isnan(current))),
    ]
    assert many.count(current).tolist() == by_hand
    few = NumericBins(many.low, many.uppers[::10])
    assert few.count(current).sum() == len(current)


@given(reference=numbers, first=numbers, second=numbers)
def test_numeric_counts_add_up_and_cover_every_row(
    reference: np.ndarray, first: np.ndarray, second: np.ndarray
) -> None:
    bins = NumericBins.from_reference(reference)
    both = bins.count(np.concatenate([first, second]))
    assert both.dtype == np.int64
    assert both.shape == (bins.n_bins,) == (len(bins.labels),)
    assert both.sum() == len(first) + len(second)
    assert (bins.count(first) + bins.count(second) == both).all()
    assert bins_from_dict(json.loads(json.dumps(bins.as_dict()))) == bins


@given(reference=texts, first=texts, second=texts)
def test_category_counts_add_up_and_cover_every_row(
    reference: list[str | None], first: list[str | None], second: list[str | None]
) -> None:
    bins = CategoryBins.from_reference(reference, top=3)
    both = bins.count(first + second)
    assert both.dtype == np.int64
    assert both.shape == (bins.n_bins,) == (len(bins.labels),)
    assert both.sum() == len(first) + len(second)
    assert (bins.count(first) + bins.count(second) == both).all()
    assert bins_from_dict(json.loads(json.dumps(bins.as_dict()))) == bins


def test_fifty_categories_are_kept_and_the_rest_is_other() -> None:
    reference = [f"c{i:03d}" for i in range(60) for _ in range(60 - i)]
    bins = CategoryBins.from_reference(reference)
    assert len(bins.categories) == 50
    assert bins.categories[0] == "c000"
    assert bins.count(reference)[-2] == sum(range(1, 11))


def test_object_arrays_and_nan_count_as_text_and_missing() -> None:
    values = np.array(["a", None, float("nan"), "b"], dtype=object)
    assert CategoryBins(("a",)).count(values).tolist() == [1, 1, 2]


def test_a_category_that_is_no_text_is_refused() -> None:
    with pytest.raises(OutOfRange, match="turn the column into text"):
        CategoryBins.from_reference([1, 2])  # type: ignore[list-item]


@pytest.mark.parametrize(
    "record",
    [
        {"kind": "other"},
        {"kind": "numeric", "low": 0.0, "uppers": "1"},
        {"kind": "numeric", "low": "0", "uppers": [1.0]},
        {"kind": "numeric", "low": 0.0, "uppers": [2.0, 1.0]},
        {"kind": "numeric", "low": None, "uppers": [2.0]},
        {"kind": "category", "categories": [1]},
        {"kind": "category", "categories": ["a", "a"]},
    ],
)
def test_a_damaged_record_is_refused(record: dict) -> None:
    with pytest.raises(OutOfRange):
        bins_from_dict(record)


@given(reference=numbers, values=numbers)
def test_places_are_those_of_the_counts(reference: np.ndarray, values: np.ndarray) -> None:
    bins = NumericBins.from_reference(reference, n_bins=4)
    assert np.bincount(bins.places(values), minlength=bins.n_bins).tolist() == bins.count(values).tolist()


@given(reference=texts, values=texts)
def test_distinct_values_with_their_counts_count_like_the_rows(
    reference: list[str | None], values: list[str | None]
) -> None:
    bins = CategoryBins.from_reference(reference, top=2)
    distinct = list(dict.fromkeys(values))
    counts = [values.count(value) for value in distinct]
    assert bins.count_distinct(distinct, counts).tolist() == bins.count(values).tolist()


def test_distinct_values_need_a_count_each() -> None:
    with pytest.raises(LengthMismatch):
        CategoryBins(("a",)).count_distinct(["a", "b"], [1])


bounds_and_ties = st.one_of(
    st.sampled_from([-math.inf, -1.0, -5e-324, -0.0, 0.0, 5e-324, 1.0, math.nextafter(1.0, 2.0), math.inf]),
    st.floats(allow_nan=False),
)


@given(
    reference=st.lists(bounds_and_ties, max_size=30).map(np.array),
    values=st.lists(bounds_and_ties, min_size=1).map(np.array),
)
def test_bounds_that_no_value_reaches_are_left_out_without_a_difference(
    reference: np.ndarray, values: np.ndarray
) -> None:
    bins = NumericBins.from_reference(reference)
    found = bins.count(values, within=(float(values.min()), float(values.max())))
    assert found.tolist() == bins.count(values).tolist()
    if bins.low is not None:
        below, at_most = int(np.sum(values < bins.low)), np.searchsorted(np.sort(values), bins.uppers, side="right")
        assert found.tolist() == [below, *np.diff([below, *at_most, len(values)]).tolist(), 0]


@given(reference=st.lists(bounds_and_ties, min_size=1), n_bins=st.integers(1, 12))
def test_bounds_are_the_quantiles_of_numpy(reference: list[float], n_bins: int) -> None:
    finite = [value for value in reference if math.isfinite(value)]
    assume(finite)
    expected = np.quantile(finite, np.arange(1, n_bins + 1) / n_bins, method="inverted_cdf")
    bins = NumericBins.from_reference(np.array(reference), n_bins=n_bins)
    assert bins.uppers == tuple(np.unique(expected).tolist())
    assert bins.low == min(finite)


@given(values=texts)
def test_categories_of_distinct_values_are_those_of_the_rows(values: list[str | None]) -> None:
    distinct = Counter(values)
    found = CategoryBins.from_distinct([*distinct], [*distinct.values()], top=3)
    assert found == CategoryBins.from_reference(values, top=3)
