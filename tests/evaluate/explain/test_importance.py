"""Permutation importance and the groups of features that are permuted together."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.inspection import permutation_importance as scikit_learns
from sklearn.linear_model import LinearRegression
from sklearn.svm import LinearSVC

from perennial.evaluate.explain.groups import association, groups
from perennial.evaluate.explain.importance import Loss, permutation_importance


def test_education_in_words_and_in_years_are_one_group(adult: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    found = groups(adult[1].drop("income"))
    assert ["education", "education_num"] in found
    assert sorted(name for names in found for name in names) == sorted(adult[1].drop("income").columns)
    assert all(len(names) == 1 for names in found if "education" not in names)


def test_association_of_numbers_is_spearmans(wages_1985: pl.DataFrame) -> None:
    for first, second in (("age", "experience"), ("wage", "education")):
        wanted = abs(spearmanr(wages_1985[first], wages_1985[second]).statistic)
        assert association(wages_1985[first], wages_1985[second]) == pytest.approx(wanted)


def test_association_of_unrelated_columns_of_many_levels_is_small() -> None:
    rng = np.random.default_rng(0)
    a, b = (pl.Series([f"v{i}" for i in rng.integers(0, 50, 1000)]) for _ in range(2))
    assert association(a, b) < 0.2
    assert association(a, a.str.to_uppercase()) > 0.97
    assert association(a, pl.Series(rng.normal(size=1000))) < 0.2
    assert association(a, a.str.slice(1).cast(pl.Int64)) > 0.97
    assert association(pl.Series([1.0, 1.0, 1.0]), pl.Series([1.0, 2.0, 3.0])) == 0.0


def test_a_group_shows_what_each_of_its_features_alone_hides(fitted: Any) -> None:
    rng = np.random.default_rng(1)
    signal = rng.normal(size=3000)
    frame = pl.DataFrame({"a": signal, "copy": signal + rng.normal(0, 1e-3, 3000), "noise": rng.normal(size=3000)})
    table = frame.with_columns(y=pl.Series(np.where(signal > 0, "up", "down")))
    predictor = fitted(HistGradientBoostingClassifier(max_iter=30, max_features=0.5, random_state=0), table, "y")
    truth = (signal > 0).astype(np.int64)
    alone = permutation_importance(predictor, frame, truth, [["a"], ["copy"], ["noise"]])
    together = permutation_importance(predictor, frame, truth, groups(frame))
    assert together[0].features == ["a", "copy"]
    assert together[0].rise > 1.2 * max(one.rise for one in alone)
    assert together[0].low < together[0].rise < together[0].high
    assert abs(together[1].rise) < 0.02


def test_rise_is_scikit_learns(fitted: Any, wages_1985: pl.DataFrame) -> None:
    table = wages_1985.select("wage", "education", "experience", "age").cast(pl.Float64)
    predictor = fitted(LinearRegression(), table, "wage")
    frame, truth = table.drop("wage"), table["wage"].to_numpy()
    found = {one.features[0]: one for one in permutation_importance(
        predictor, frame, truth, [["education"], ["experience"]], repeats=60
    )}  # fmt: skip
    theirs = scikit_learns(
        predictor.scorer.model,
        frame.to_pandas(),
        truth,
        scoring="neg_root_mean_squared_error",
        n_repeats=60,
        random_state=0,
    )
    assert found["education"].rise == pytest.approx(theirs.importances_mean[0], rel=0.05)
    assert found["experience"].rise == pytest.approx(theirs.importances_mean[1], rel=0.1)


def test_loss_of_each_kind_of_answer(fitted: Any) -> None:
    rng = np.random.default_rng(2)
    frame = pl.DataFrame({"a": rng.normal(size=500)})
    table = frame.with_columns(y=pl.when(pl.col("a") > 0).then(pl.lit("up")).otherwise(pl.lit("down")))
    predictor = fitted(LinearSVC(), table, "y")
    truth = (frame["a"].to_numpy() > 0).astype(np.int64)
    loss, answered = Loss(predictor, truth), predictor.answers(frame)
    assert loss.name(answered) == "error_rate"
    assert loss.of(answered) < 0.02
    # A label that the model never saw is always wrong.
    assert Loss(predictor, np.full(500, 2)).of(answered) == 1.0
