"""KS and Wasserstein, from values and from counts, against scipy and the published facts about their noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from perennial.stats import (
    BinMismatch,
    NothingToCount,
    NumericBins,
    OutOfRange,
    ks_critical,
    ks_distance,
    ks_distance_from_bins,
    ks_test,
    ks_test_from_bins,
    wasserstein,
    wasserstein_from_bins,
)

samples = st.lists(st.floats(-50, 50) | st.integers(-3, 3).map(float), min_size=1, max_size=60)


@given(samples, samples)
def test_exact_distances_agree_with_scipy(first: list[float], second: list[float]) -> None:
    points = np.array([*first, *second])
    below = [np.mean(np.asarray(side) <= points[:, np.newaxis], axis=1) for side in (first, second)]
    assert ks_distance(first, second) == pytest.approx(float(np.abs(below[0] - below[1]).max()))
    moved = wasserstein(first, second, scale=1.0)
    assert moved == pytest.approx(stats.wasserstein_distance(first, second), abs=1e-9)
    assert moved == pytest.approx(wasserstein(second, first, scale=1.0), abs=1e-9)
    assert wasserstein(first, first) == 0.0
    assert ks_distance(first, first) == 0.0


@given(samples, samples, st.integers(1, 12))
def test_binned_ks_never_exceeds_the_exact_one(first: list[float], second: list[float], n_bins: int) -> None:
    bins = NumericBins.from_reference(first, n_bins=n_bins)
    r, c = bins.count(first)[:-1], bins.count(second)[:-1]
    assert ks_distance_from_bins(r, c) <= ks_distance(first, second) + 1e-12


def test_missing_values_are_left_out() -> None:
    assert ks_distance([1.0, float("nan"), 2.0], [1.0, 2.0]) == 0.0
    assert wasserstein([1.0, float("nan"), 3.0], [1.0, 3.0]) == 0.0
    assert ks_test([float("nan")] * 50, [1.0] * 50).decision == "undecided"


def test_wasserstein_is_in_standard_deviations_of_the_reference() -> None:
    values = np.random.default_rng(0).normal(3.0, 20.0, size=5000)
    assert wasserstein(values, values + 2.0) == pytest.approx(2.0 / values.std())
    assert wasserstein([5.0] * 4, [5.0]) == 0.0
    assert wasserstein([5.0] * 4, [5.1]) == math.inf


@pytest.mark.parametrize("shift, widening", [(0.0, 1.0), (0.3, 1.0), (-2.0, 1.0), (0.0, 1.6), (5.0, 0.5)])
@pytest.mark.parametrize("n_bins", [10, 40])
def test_wasserstein_from_bins_is_close_and_closer_with_more_of_them(
    shift: float, widening: float, n_bins: int
) -> None:
    rng = np.random.default_rng(1)
    reference, current = rng.normal(size=20_000), rng.normal(shift, widening, size=8000)
    bins, scale = NumericBins.from_reference(reference, n_bins=n_bins), float(reference.std())
    beyond = tuple(
        float(np.maximum(side, 0.0).sum())
        for side in (bins.low - current, current - bins.uppers[-1])  # type: ignore[operator]
    )
    found = wasserstein_from_bins(bins, bins.count(reference), bins.count(current), scale=scale, current_beyond=beyond)
    assert found == pytest.approx(wasserstein(reference, current), abs=0.1 if n_bins == 10 else 0.05, rel=0.1)


def test_mass_beyond_the_bins_counts_as_at_their_edge_unless_its_distance_is_given() -> None:
    reference = np.arange(1000.0)
    bins = NumericBins.from_reference(reference)
    r, c = bins.count(reference), bins.count(reference + 1e6)
    assert wasserstein_from_bins(bins, r, c, scale=1.0) < 1000
    beyond = (0.0, float((reference + 1e6 - 999).sum()))
    assert wasserstein_from_bins(bins, r, c, scale=1.0, current_beyond=beyond) == pytest.approx(1e6, rel=1e-3)
    low = (float((1e6 - reference).sum()), 0.0)
    c = bins.count(reference - 1e6)
    assert wasserstein_from_bins(bins, r, c, scale=1.0, current_beyond=low) == pytest.approx(1e6, rel=1e-3)


def test_counts_of_shards_give_the_distance_of_the_whole() -> None:
    rng = np.random.default_rng(2)
    reference, shards = rng.normal(size=3000), [rng.normal(0.2, 1, size=700) for _ in range(3)]
    bins = NumericBins.from_reference(reference)
    added = sum(bins.count(shard) for shard in shards)
    whole = bins.count(np.concatenate(shards))
    assert ks_test_from_bins(bins.count(reference)[:-1], added[:-1]) == ks_test_from_bins(
        bins.count(reference)[:-1], whole[:-1]
    )


def test_critical_values() -> None:
    assert f"{ks_critical(0.05):.3f}" == "1.358"
    assert f"{ks_critical(0.01):.3f}" == "1.628"


def test_plain_p_values_call_a_shift_that_nobody_minds_as_windows_grow() -> None:
    # N(0, 1) against N(0.02, 1), true KS 0.008, rows a side, median of the p-value, and what was printed elsewhere as
    # the median, of a few runs: it lies between the quartiles of single ones. Values fall on a grid of 4,000 steps,
    # which lowers the distance by next to nothing (whole samples give .22 and 1.3e-4 for the first two).
    rng = np.random.default_rng(3)
    edges = stats.norm.ppf(np.arange(1, 4000) / 4000)
    p, q = np.full(4000, 1 / 4000), np.diff([0.0, *stats.norm.cdf(edges - 0.02), 1.0])
    assert np.abs(np.cumsum(p) - np.cumsum(q)).max() == pytest.approx(0.008, abs=5e-5)
    for n, median, factor, single in (
        (10_000, 0.22, 1.15, 0.31),
        (100_000, 1.5e-4, 1.5, 4e-4),
        (10**6, 8e-31, 5, 2e-28),
    ):
        found = [ks_test_from_bins(rng.multinomial(n, p), rng.multinomial(n, q)) for _ in range(1200)]
        low, middle, high = np.quantile([one.details["p_no_difference"] for one in found], [0.25, 0.5, 0.75])  # type: ignore[arg-type]
        assert median / factor < middle < median * factor
        assert low < single < high
        assert {one.decision for one in found} == {"within tolerance"}
    plain = [
        (stats.ks_2samp(a, b).pvalue, ks_test(a, b).details["p_no_difference"])
        for a, b in ((rng.normal(size=10_000), rng.normal(0.02, 1, 10_000)) for _ in range(20))
    ]
    assert [ours for _, ours in plain] == pytest.approx([theirs for theirs, _ in plain], abs=0.01)


@pytest.mark.parametrize("n, m", [(200, 200), (5000, 500), (10_000, 10_000)])
def test_a_shift_at_the_tolerance_is_rarely_called_and_one_of_three_times_it_is_seen(n: int, m: int) -> None:
    rng = np.random.default_rng(4)

    def rejected(true: float) -> float:
        # Uniform on [true, 1 + true] against uniform on [0, 1]: KS distance `true`.
        return float(np.mean([ks_test(rng.random(n), true + rng.random(m)).decision == "shifted" for _ in range(120)]))

    assert rejected(0.0) <= 0.01
    assert rejected(0.05) <= 0.08
    if m >= 500:
        assert rejected(0.15) > 0.9


def test_the_tolerance_rule_is_the_stated_one() -> None:
    rng = np.random.default_rng(5)
    reference, current = rng.normal(size=900), rng.normal(0.4, 1, size=400)
    found = ks_test(reference, current, 0.1, alpha=0.01)
    margin = 1.6276 * math.sqrt(1 / 900 + 1 / 400)
    assert found.details["margin"] == pytest.approx(margin, rel=1e-4)
    assert found.effect == pytest.approx(found.statistic - margin, abs=1e-4)  # type: ignore[operator]
    assert (found.decision == "shifted") == (found.statistic - margin > 0.1) == ((found.p_value or 0) <= 0.01)  # type: ignore[operator]


def test_p_value_and_rule_agree_at_every_size() -> None:
    for moved in range(0, 500, 7):
        found = ks_test_from_bins([1000, 1000], [500 - moved, 500 + moved], 0.08, alpha=0.03)
        assert found.p_value is not None
        assert (found.decision == "shifted") == (found.p_value < 0.03)


def test_wrong_input_is_refused() -> None:
    bins = NumericBins.from_reference([1.0, 2.0])
    for error, wrong in (
        (NothingToCount, lambda: ks_distance([], [1.0])),
        (NothingToCount, lambda: ks_distance_from_bins([0, 0], [1, 1])),
        (BinMismatch, lambda: ks_distance_from_bins([1], [1, 1])),
        (OutOfRange, lambda: ks_distance_from_bins([-1, 2], [1, 1])),
        (OutOfRange, lambda: ks_test([1.0], [1.0], 1.0)),
        (OutOfRange, lambda: ks_critical(0.0)),
        (OutOfRange, lambda: wasserstein([1.0, math.inf], [1.0])),
        (OutOfRange, lambda: wasserstein([1.0], [1.0], scale=0.0)),
        (BinMismatch, lambda: wasserstein_from_bins(bins, [1, 1], [1, 1], scale=1.0)),
        (NothingToCount, lambda: wasserstein_from_bins(bins, bins.count([]), bins.count([1.0]), scale=1.0)),
        (NothingToCount, lambda: wasserstein_from_bins(NumericBins(None, ()), [1, 1], [1, 1], scale=1.0)),
        (
            OutOfRange,
            lambda: wasserstein_from_bins(
                bins, bins.count([1.0]), bins.count([1.0]), scale=1.0, current_beyond=(-1.0, 0.0)
            ),
        ),
    ):
        with pytest.raises(error):
            wrong()
