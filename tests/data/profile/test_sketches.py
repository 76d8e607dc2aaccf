"""Each sketch against the exact figure, and parts against the whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from perennial.data.profile.sketches import CAPACITY, Distinct, Frequent, Moments, Quantiles, mixed, runs

NUMBERS = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False) | st.integers(-3, 3).map(float), max_size=60)


def moments_of(values: np.ndarray) -> Moments:
    made = Moments()
    made.add(*runs(np.sort(values)))
    return made


def quantiles_of(values: np.ndarray) -> Quantiles:
    made = Quantiles()
    different, counts = runs(np.sort(values))
    made.add(different, counts.astype(float))
    return made


@pytest.mark.parametrize("n", [0, 1, 50, 3_000, 20_000, 300_000])
def test_the_number_of_distinct_values_is_within_four_standard_errors(n: int) -> None:
    sketch = Distinct()
    for part in np.array_split(np.arange(n, dtype=np.int64) * 7 - 3, 5):
        sketch.add(mixed(part))
        sketch.add(mixed(part))  # what was seen before counts nothing
    assert sketch.estimate() == pytest.approx(n, rel=4 * 0.016, abs=0.5)


def test_the_error_of_the_number_of_distinct_values_is_the_one_that_is_stated() -> None:
    random = np.random.default_rng(0)
    errors = []
    for _ in range(60):
        sketch = Distinct()
        sketch.add(mixed(random.integers(0, 2**62, 30_000)))
        errors.append(sketch.estimate() / 30_000 - 1)
    assert np.std(errors) < 1.25 * 0.016
    assert abs(np.mean(errors)) < 4 * 0.016 / math.sqrt(60)


def test_distinct_values_of_parts_merge_to_those_of_the_whole() -> None:
    one, other, whole = Distinct(), Distinct(), Distinct()
    one.add(mixed(np.arange(0, 6_000)))
    other.add(mixed(np.arange(4_000, 9_000)))
    whole.add(mixed(np.arange(0, 9_000)))
    one.merge(other)
    assert np.array_equal(one.registers, whole.registers)


def test_a_hash_is_the_same_for_ever() -> None:
    assert mixed(np.array([0, 1, -1])).tolist() == [0, 6238072747940578789, 13029008266876403067]
    assert mixed(np.array([0.0]))[0] == mixed(np.array([-0.0]))[0]


@given(NUMBERS, NUMBERS)
def test_moments_of_parts_merge_to_those_of_the_whole(one: list[float], other: list[float]) -> None:
    merged = moments_of(np.array(one))
    merged.merge(moments_of(np.array(other)))
    whole = moments_of(np.array(one + other))
    for name in ("mean", "sd"):
        a, b = getattr(merged, name), getattr(whole, name)
        assert (a is None) == (b is None)
        assert a is None or a == pytest.approx(b, rel=1e-9, abs=1e-6)


def test_moments_are_those_of_numpy_and_scipy() -> None:
    values = np.random.default_rng(1).gamma(2.0, 3.0, 5_000)
    made = Moments()
    for part in np.array_split(values, 7):
        made.merge(moments_of(part))
    assert made.mean == pytest.approx(values.mean())
    assert made.sd == pytest.approx(values.std(ddof=1))
    assert made.skew == pytest.approx(scipy_stats.skew(values))
    assert made.kurtosis == pytest.approx(scipy_stats.kurtosis(values))


def test_moments_far_from_zero_keep_their_digits() -> None:
    made = moments_of(1e12 + np.array([1.0, 2.0, 3.0]))
    assert made.sd == 1.0


def test_values_too_large_to_square_have_a_mean_and_no_spread() -> None:
    made = moments_of(np.array([1e300, 3e300]))
    assert made.mean == pytest.approx(2e300)
    assert made.sd is None


@given(NUMBERS.filter(len), st.lists(st.floats(0.01, 1.0), min_size=1, max_size=5))
def test_quantiles_of_a_small_column_are_exact(values: list[float], shares: list[float]) -> None:
    made = quantiles_of(np.array(values))
    made.finish()
    exact = np.quantile(values, shares, method="inverted_cdf")
    ordered = np.sort(values)
    for found, share, wanted in zip(made.at(shares), shares, exact, strict=True):
        rank = share * len(values)
        # A share that falls exactly between two values may round to either.
        near = ordered[max(round(rank) - 1, 0) : round(rank) + 1] if abs(rank - round(rank)) < 1e-6 else [wanted]
        assert found in near


@pytest.mark.parametrize("batch", [500, 20_000])
def test_ranks_are_within_half_a_percent_however_many_batches(batch: int) -> None:
    values = np.random.default_rng(2).lognormal(0, 2, 600_000)
    made = Quantiles()
    for start in range(0, values.size, batch):
        different, counts = runs(np.sort(values[start : start + batch]))
        made.add(different, counts.astype(float))
    made.finish()
    shares = np.linspace(0.001, 0.999, 200)
    ranks = np.searchsorted(np.sort(values), made.at(list(shares))) / values.size
    assert np.abs(ranks - shares).max() < 0.005
    assert made.values.size <= 1024
    assert made.weights.sum() == pytest.approx(values.size)


def test_sorted_input_is_no_harder() -> None:
    made = Quantiles()
    for start in range(0, 1_000_000, 5_000):
        made.add(np.arange(start, start + 5_000, dtype=float), np.ones(5_000))
    made.finish()
    found = np.array(made.at([0.1, 0.5, 0.9])) / 1_000_000
    assert np.abs(found - [0.1, 0.5, 0.9]).max() < 0.005


def test_merged_quantiles_are_those_of_all() -> None:
    random = np.random.default_rng(3)
    one, other = random.normal(0, 1, 50_000), random.normal(5, 1, 100_000)
    merged = quantiles_of(one)
    merged.merge(quantiles_of(other))
    ordered = np.sort(np.concatenate([one, other]))
    ranks = np.searchsorted(ordered, merged.at([0.2, 0.5, 0.8])) / ordered.size
    assert np.abs(ranks - [0.2, 0.5, 0.8]).max() < 0.005


def test_all_values_are_counted_exactly_while_there_are_few() -> None:
    made = Frequent()
    for _ in range(3):
        made.add(list(range(CAPACITY)), [2] * CAPACITY)
    assert made.is_complete
    assert made.counts == [6] * CAPACITY


def test_a_frequent_value_is_found_among_many_and_its_count_is_within_the_bound() -> None:
    random = np.random.default_rng(4)
    made = Frequent()
    total, true = 0, 0
    for _ in range(20):
        batch = np.concatenate([np.full(300, -1), random.integers(0, 10**6, 9_700)])
        different, counts = runs(np.sort(batch))
        places, kept = made.of_batch(counts)
        made.add(different[places].tolist(), kept.tolist())
        total, true = total + batch.size, true + 300
    assert made.values[0] == -1
    assert made.counts[0] <= true <= made.counts[0] + made.slack
    assert made.slack <= total / (CAPACITY + 1)
