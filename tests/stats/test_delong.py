"""DeLong against pROC's published values, against a count of pairs, and against its own coverage."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from perennial.stats import LengthMismatch, NothingToCount, OutOfRange, auc, paired_auc


@pytest.fixture(scope="module")
def bleeding(shared_data: Path) -> pl.DataFrame:
    table = pl.read_csv(shared_data / "check_values" / "aSAH.csv")
    return table.with_columns(poor=(pl.col("outcome") == "Poor").cast(pl.Int64))


def test_published_values_of_wfns_against_s100b(bleeding: pl.DataFrame) -> None:
    truth = bleeding["poor"].to_numpy()
    found = paired_auc(truth, bleeding["s100b"].to_numpy(), bleeding["wfns"].to_numpy(), margin=0.01)
    assert round(auc(truth, bleeding["wfns"].to_numpy()).estimate, 6) == 0.823679
    assert round(auc(truth, bleeding["s100b"].to_numpy()).estimate, 6) == 0.731369
    assert found.statistic == pytest.approx(2.20898359144091, abs=1e-14)
    assert round(found.p_value or 0, 10) == 0.0271757822
    assert found.interval is not None
    assert (round(found.interval.low, 7), round(found.interval.high, 7)) == (0.0104062, 0.1742144)
    assert found.decision == "better"


@pytest.mark.parametrize("better, worse, z", [("wfns", "ndka", 2.79777591868904), ("ndka", "s100b", -1.39077002573558)])
def test_published_z_of_the_other_markers(bleeding: pl.DataFrame, better: str, worse: str, z: float) -> None:
    found = paired_auc(bleeding["poor"].to_numpy(), bleeding[worse].to_numpy(), bleeding[better].to_numpy(), margin=0.0)
    assert found.statistic == pytest.approx(z, abs=1e-14)


@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=60))
def test_area_is_the_share_of_ordered_pairs(rows: list[tuple[bool, int]]) -> None:
    truth, scores = np.array([row[0] for row in rows]), np.array([float(row[1]) for row in rows])
    if truth.all() or not truth.any():
        with pytest.raises(NothingToCount):
            auc(truth, scores)
        return
    difference = scores[truth][:, None] - scores[~truth][None, :]
    assert auc(truth, scores).estimate == pytest.approx(np.mean((difference > 0) + 0.5 * (difference == 0)))
    assert auc(truth, scores).estimate == pytest.approx(roc_auc_score(truth, scores))


def test_only_the_order_of_scores_counts(bleeding: pl.DataFrame) -> None:
    truth, scores = bleeding["poor"].to_numpy(), bleeding["ndka"].to_numpy()
    assert auc(truth, scores) == auc(truth, np.log(scores) * 1e-3)
    same = paired_auc(truth, scores, np.exp(scores / 1000), margin=0.01)
    assert (same.effect, same.statistic, same.p_value) == (0.0, None, None)
    assert same.decision == "non-inferior"


def test_interval_covers_the_true_area() -> None:
    rng, covered = np.random.default_rng(0), 0
    true_area = 0.5 * (1 + math.erf(0.5))  # normal scores one standard deviation apart
    for _ in range(400):
        truth = rng.random(150) < 0.4
        found = auc(truth, rng.normal(size=150) + truth)
        covered += found.low <= true_area <= found.high
    assert 0.92 <= covered / 400 <= 0.98


def test_one_row_per_cluster_is_no_cluster() -> None:
    rng = np.random.default_rng(1)
    truth, a, b = rng.random(300) < 0.3, rng.normal(size=300), rng.normal(size=300)
    one = auc(truth, a, clusters=np.arange(300))
    assert (one.low, one.high) == pytest.approx((auc(truth, a).low, auc(truth, a).high))
    plain, clustered = (paired_auc(truth, a, b, margin=0.1, clusters=clusters) for clusters in (None, np.arange(300)))
    assert clustered.statistic == pytest.approx(plain.statistic)


def test_repeated_rows_of_an_entity_do_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(2)
    truth = rng.random(200) < 0.4
    scores = rng.normal(size=200) + truth
    once = auc(truth, scores)
    thrice = auc(np.tile(truth, 3), np.tile(scores, 3), clusters=np.tile(np.arange(200), 3))
    naive = auc(np.tile(truth, 3), np.tile(scores, 3))
    assert thrice.high - thrice.low == pytest.approx(once.high - once.low, rel=0.03)
    assert naive.high - naive.low < 0.7 * (once.high - once.low)


def test_a_perfect_order_is_not_taken_for_certainty() -> None:
    truth = np.arange(40) >= 20
    found = auc(truth, np.arange(40.0))
    assert found.estimate == found.high == 1.0
    assert found.low == pytest.approx(0.025 ** (1 / 20))
    both = paired_auc(truth, np.arange(40.0), np.where(truth, 1.0, 0.0), margin=0.01)
    assert both.effect == 0.0
    assert both.decision == "inconclusive"


def test_few_rows_of_a_class_are_inconclusive() -> None:
    truth = np.arange(100) < 9
    assert math.isinf(auc(truth, np.arange(100.0)).low)
    found = paired_auc(truth, np.arange(100.0), -np.arange(100.0), margin=0.1)
    assert found.decision == "inconclusive"
    assert "9, at least 10" in found.reasons[0]


def test_worse_within_the_margin_is_said() -> None:
    rng = np.random.default_rng(3)
    truth = rng.random(40_000) < 0.5
    scores = rng.normal(size=40_000) + 2 * truth
    found = paired_auc(truth, scores, scores + rng.normal(size=40_000) * 0.2, margin=0.02)
    assert found.decision == "non-inferior"
    assert any("worse" in reason for reason in found.reasons)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(LengthMismatch):
        auc([1, 0], [1.0])
    with pytest.raises(OutOfRange, match="neither"):
        auc([1, 2], [1.0, 2.0])
    with pytest.raises(OutOfRange):
        auc([1, 0], [1.0, float("nan")])
    with pytest.raises(OutOfRange):
        paired_auc([1, 0], [1.0, 2.0], [1.0, 2.0], margin=-1)
