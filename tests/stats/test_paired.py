"""Paired comparisons and bootstrap intervals."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.stats import (
    LengthMismatch,
    NothingToCount,
    OutOfRange,
    bootstrap_interval,
    noninferiority_rows,
    paired_anytime,
    paired_losses,
    paired_rmse,
    paired_verdict,
    resample_means,
    root_mean,
)


@pytest.mark.parametrize(
    "low, high, verdict",
    [
        (0.001, 0.02, "better"),
        (-0.005, 0.02, "non-inferior"),
        (-0.005, -0.001, "non-inferior"),
        (-0.05, -0.011, "inferior"),
        (-0.05, 0.02, "inconclusive"),
        (-0.05, -0.005, "inconclusive"),
        (-math.inf, math.inf, "inconclusive"),
    ],
)
def test_four_verdicts(low: float, high: float, verdict: str) -> None:
    assert paired_verdict(low, high, 0.01) == verdict


def test_size_check_value() -> None:
    assert noninferiority_rows(0.1, 0.01, alpha=0.05, power=0.8) == 6183


def test_interval_matches_the_normal_one_for_many_rows() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(20_000), rng.random(20_000) * 0.98
    found = paired_losses(a, b, margin=0.01)
    assert found.interval is not None
    half = 1.96 * (a - b).std() / math.sqrt(20_000)
    assert found.effect == pytest.approx((a - b).mean(), rel=1e-12)
    assert (found.interval.high - found.interval.low) / 2 == pytest.approx(half, rel=0.08)


def test_equal_seeds_give_equal_results() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random(500), rng.random(500)
    first, again, other = (paired_losses(a, b, margin=0.1, seed=seed) for seed in (3, 3, 4))
    assert first.as_dict() == again.as_dict()
    assert first.interval != other.interval
    assert json.loads(json.dumps(first.as_dict()))["interval"]["n"] == 500


def test_repeated_rows_of_an_entity_do_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.random(300), rng.random(300)
    once = paired_losses(a, b, margin=0.01)
    entities = [f"e{i}" for i in range(300)]
    thrice = paired_losses(np.tile(a, 3), np.tile(b, 3), margin=0.01, clusters=entities * 3)
    naive = paired_losses(np.tile(a, 3), np.tile(b, 3), margin=0.01)
    assert once.interval is not None
    assert thrice.interval is not None
    assert naive.interval is not None
    width = once.interval.high - once.interval.low
    assert thrice.interval.high - thrice.interval.low == pytest.approx(width, rel=0.05)
    assert naive.interval.high - naive.interval.low < 0.65 * width
    assert thrice.details["units"] == 300


def test_many_clusters_are_joined_without_changing_the_spread() -> None:
    rng = np.random.default_rng(3)
    rows = rng.exponential(size=(30_000, 1))
    drawn = resample_means(rows, clusters=np.arange(30_000) // 2)
    assert drawn.units == 15_000
    assert drawn.means[0] == pytest.approx(rows.mean())
    assert drawn.resampled.std() == pytest.approx(rows.std() / math.sqrt(30_000), rel=0.08)


def test_rmse_difference_is_in_the_unit_of_the_target() -> None:
    error = np.random.default_rng(4).normal(size=5000)
    found = paired_rmse(error, 0.9 * error, margin=0.01)
    assert found.decision == "better"
    assert found.effect == pytest.approx(0.1 * math.sqrt(np.mean(error**2)))
    assert found.details["champion_rmse"] == pytest.approx(math.sqrt(np.mean(error**2)))


def test_equal_models_are_non_inferior() -> None:
    loss = np.random.default_rng(5).random(100)
    assert paired_losses(loss, loss, margin=0.01).decision == "non-inferior"


def test_few_units_are_inconclusive_whatever_they_say() -> None:
    found = paired_losses(np.ones(1000), np.zeros(1000), margin=0.01, clusters=np.arange(1000) % 10)
    assert found.decision == "inconclusive"
    assert "too few independent units: 10" in found.reasons[0]
    peeked = paired_anytime(np.ones(99), np.zeros(99), margin=0.01, tuned_for=1000)
    assert peeked.decision == "inconclusive"


def test_worse_within_the_margin_is_said() -> None:
    rng = np.random.default_rng(6)
    loss = rng.random(10_000)
    found = paired_losses(loss, loss + 0.005, margin=0.01)
    assert found.decision == "non-inferior"
    assert any("worse" in reason for reason in found.reasons)


def test_anytime_interval_follows_its_formula() -> None:
    rng = np.random.default_rng(7)
    a, b = rng.random(1000), rng.random(1000)
    found = paired_anytime(a, b, margin=0.01, tuned_for=1000)
    assert found.interval is not None
    assert found.interval.high - found.effect == pytest.approx(0.0384 / 0.4 * (a - b).std(), rel=2e-3)
    clustered = paired_anytime(a, b, margin=0.01, tuned_for=1000, clusters=np.arange(1000) // 5)
    assert clustered.details["units"] == 200


@pytest.mark.long
def test_peeking_at_the_anytime_interval_is_safe() -> None:
    rng = np.random.default_rng(8)
    wrong = 0
    for _ in range(300):
        a, b = rng.random(3000), rng.random(3000)
        looks = (paired_anytime(a[:n], b[:n], margin=0.0, tuned_for=1000).decision for n in range(100, 3001, 50))
        wrong += any(decision in ("better", "inferior") for decision in looks)
    assert wrong / 300 <= 0.05


def test_bootstrap_interval_of_a_metric_covers() -> None:
    rng = np.random.default_rng(9)
    covered = 0
    for seed in range(200):
        found = bootstrap_interval(rng.normal(size=400) ** 2, root_mean, resamples=400, seed=seed)
        covered += found.low <= 1.0 <= found.high
    assert 0.9 <= covered / 200 <= 0.99


def test_metric_of_several_means() -> None:
    hits = np.random.default_rng(10).integers(0, 2, size=(500, 3)).astype(float)
    f1 = bootstrap_interval(hits, lambda m: 2 * m[..., 0] / (2 * m[..., 0] + m[..., 1] + m[..., 2]))
    tp, fp, fn = hits.mean(axis=0)
    assert f1.estimate == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert f1.low < f1.estimate < f1.high


@given(st.lists(st.floats(-10, 10), min_size=20, max_size=50), st.floats(-5, 5))
def test_shifting_every_row_shifts_the_interval(values: list[float], by: float) -> None:
    plain = bootstrap_interval(values, resamples=50)
    moved = bootstrap_interval(np.array(values) + by, resamples=50)
    assert (moved.low, moved.high) == pytest.approx((plain.low + by, plain.high + by), abs=1e-9)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(LengthMismatch):
        paired_losses([1.0], [1.0, 2.0], margin=0.1)
    with pytest.raises(LengthMismatch):
        paired_losses([1.0], [1.0], margin=0.1, clusters=[1, 2])
    with pytest.raises(NothingToCount):
        paired_losses([], [], margin=0.1)
    with pytest.raises(OutOfRange, match="finite"):
        paired_losses([float("nan")], [1.0], margin=0.1)
    with pytest.raises(OutOfRange):
        paired_losses([1.0], [1.0], margin=-0.1)
    with pytest.raises(OutOfRange):
        bootstrap_interval([float("inf")])
    with pytest.raises(OutOfRange):
        noninferiority_rows(0.0, 0.01)
