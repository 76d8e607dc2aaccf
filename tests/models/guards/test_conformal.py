"""Split conformal prediction: exact ranks, another implementation's numbers, and coverage on real rows."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import betabinom
from sklearn.datasets import load_digits
from sklearn.linear_model import LinearRegression, LogisticRegression, QuantileRegressor

from perennial.models.guards.conformal import (
    MAX_SCORES,
    absolute_scores,
    aps_scores,
    kept,
    lac_scores,
    p_values,
    quantile,
    quantile_scores,
    rank,
    score_limit,
)


@pytest.mark.parametrize("n, alpha, at", [(99, 0.1, 90), (199, 0.2, 160), (9, 0.1, 9), (8, 0.1, 9), (999, 0.001, 999)])
def test_the_rank_is_exact_also_where_floating_point_is_not(n: int, alpha: float, at: int) -> None:
    """ceil((n + 1)(1 - alpha)): of 99 scores the 90th at 0.1; of 8 the ninth, which there is not."""
    assert rank(n, alpha) == at


def test_the_quantile_is_a_score_that_is_there() -> None:
    scores = kept(np.random.default_rng(0).permutation(np.arange(1.0, 100.0)))
    assert quantile(scores, 0.1) == 90.0
    assert quantile(scores, 0.005) == quantile(scores, 0.0) == quantile(scores, -0.2) == math.inf
    assert quantile(scores, 1.0) == quantile(scores, 1.7) == -math.inf
    assert quantile(kept([]), 0.1) == math.inf


def test_of_many_scores_ten_thousand_are_kept_and_promise_no_less() -> None:
    every = np.random.default_rng(0).normal(size=54_321)
    few = kept(every)
    assert len(few) == MAX_SCORES
    for alpha in (0.5, 0.1, 0.01, 0.001, 0.0002):
        whole = np.sort(every)
        assert quantile(few, alpha) >= quantile(whole, alpha)
        assert quantile(few, alpha) <= quantile(whole, max(alpha - 2e-4, 1e-5))


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities and labels of calibration and test rows, by a model fitted to others."""
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    train, calibration, test = order[:600], order[600:1100], order[1100:]
    p = LogisticRegression(C=1e-4, max_iter=500).fit(X[train], y[train]).predict_proba(X)
    return p[calibration], y[calibration], p[test], y[test]


@pytest.mark.parametrize("alpha, labels, covered", [(0.1, 667, 616), (0.05, 823, 660)])
def test_sets_are_those_of_another_implementation(alpha: float, labels: int, covered: int) -> None:
    """MAPIE 1.6 (SplitConformalClassifier, lac) gives so many labels in all, and so many true ones, on these rows."""
    p, y, fresh, truth = digits()
    limit = quantile(kept(lac_scores(p)[np.arange(len(y)), y]), alpha)
    members = lac_scores(fresh) <= limit
    assert (int(members.sum()), int(members[np.arange(len(truth)), truth].sum())) == (labels, covered)


@pytest.mark.parametrize("score", [lac_scores, aps_scores])
@pytest.mark.parametrize("alpha", [0.1, 0.05])
def test_sets_hold_the_digit_as_often_as_they_promise(score: object, alpha: float) -> None:
    p, y, fresh, truth = digits()
    limit = quantile(kept(score(p)[np.arange(len(y)), y]), alpha)  # type: ignore[operator]
    held = int((score(fresh)[np.arange(len(truth)), truth] <= limit).sum())  # type: ignore[operator]
    assert within(held, len(truth), len(y), alpha)


def test_aps_scores_by_hand() -> None:
    """0.5, 0.3, 0.2: the least likely label needs all three."""
    assert aps_scores([[0.3, 0.5, 0.2]]) == pytest.approx(np.array([[0.8, 0.5, 1.0]]))


@pytest.fixture(scope="module")
def earnings(shared_data: Path) -> pl.DataFrame:
    """Log wages of 28,155 men in 1988."""
    return pl.read_csv(shared_data / "cps_wages" / "cps1988.csv.gz").select(
        "education", "experience", wage=pl.col("wage").log()
    )


@pytest.mark.parametrize("is_quantile", [False, True])
@pytest.mark.parametrize("alpha", [0.1, 0.2])
def test_intervals_hold_the_wage_as_often_as_they_promise(
    earnings: pl.DataFrame, alpha: float, *, is_quantile: bool
) -> None:
    X, y = earnings.select("education", "experience").to_numpy(), earnings["wage"].to_numpy()
    order = np.random.default_rng(1).permutation(len(y))
    train, calibration, test = order[:1000], order[1000:2000], order[2000:7000]
    if is_quantile:
        heads = [QuantileRegressor(quantile=q, alpha=0).fit(X[train], y[train]) for q in (alpha / 2, 1 - alpha / 2)]
        low, high = (head.predict(X) for head in heads)
        limit = quantile(kept(quantile_scores(y[calibration], low[calibration], high[calibration])), alpha)
        held = (low[test] - limit <= y[test]) & (y[test] <= high[test] + limit)
    else:
        answers = LinearRegression().fit(X[train], y[train]).predict(X)
        limit = quantile(kept(absolute_scores(y[calibration], answers[calibration])), alpha)
        held = np.abs(y[test] - answers[test]) <= limit
    assert within(int(held.sum()), len(test), len(calibration), alpha)


def test_p_values_of_rows_like_the_calibration_are_uniform() -> None:
    """P(p <= k / (n + 1)) is k / (n + 1), exactly: a hundred thousand draws of 20 scores."""
    scores = np.random.default_rng(0).normal(size=(100_000, 20))
    chances = np.array([p_values(np.sort(row[:19]), row[19:])[0] for row in scores[:20_000]])
    for share in (0.05, 0.2, 0.5):
        assert abs((chances <= share + 1e-12).mean() - share) <= 4 * math.sqrt(share * (1 - share) / 20_000)


def test_the_limit_fires_where_the_p_value_does() -> None:
    calibration = np.sort(np.random.default_rng(0).normal(size=2999))
    fresh = np.random.default_rng(1).normal(size=20_000) * 1.5
    for p in (0.001, 0.0101, 0.3):
        assert ((fresh > score_limit(calibration, p)) == (p_values(calibration, fresh) <= p)).all()
    assert score_limit(calibration[:50], 0.001) == calibration[49]  # so few rows never give such a p-value


def within(held: int, n: int, calibrated: int, alpha: float) -> bool:
    """Whether the count lies in the middle 99.9 % of its exact law, a beta-binomial of the rank."""
    at = rank(calibrated, alpha)
    low, high = betabinom.ppf([0.0005, 0.9995], n, at, calibrated + 1 - at)
    return bool(low <= held <= high)
