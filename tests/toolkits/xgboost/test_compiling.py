"""XGBoost models, compiled: equal to the booster, with categories and missing values."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import xgboost
from sklearn.datasets import load_digits

from perennial.models.compiling import timing
from perennial.models.compiling.compiler import Compiled, compile_model
from perennial.models.flavors import flavor_named
from perennial.models.preparation import learn


def compiled(model: Any, frame: pl.DataFrame, target: str) -> tuple[Compiled, Any, pl.DataFrame]:
    table = frame.to_arrow()
    cut = int(frame.height * 0.7)
    preparation = learn(table.slice(0, cut), target=target)
    signature = preparation.signature
    raw, labels = preparation.columns(preparation.raw(table.slice(0, cut))), preparation.y(table.slice(0, cut))
    classes = {label: i for i, label in enumerate(signature.classes or [])}
    model.fit(raw.to_pandas(), np.array([classes[v] for v in labels.tolist()]) if classes else labels)
    x = preparation.columns(preparation.raw(table.slice(cut)))
    native = flavor_named("xgboost").scorer(model, signature, x)
    return compile_model(model, "xgboost", signature, native, x), native, x


def _equal(found: Compiled, native: Any, x: pl.DataFrame) -> None:
    assert found.scorer is not None, found.report
    got, wanted = found.scorer.answer(x), native.answer(x)
    if wanted.probabilities is None:
        np.testing.assert_allclose(got.values, wanted.values, rtol=1e-5, atol=1e-6)
        return
    np.testing.assert_allclose(got.probabilities, wanted.probabilities, rtol=0, atol=1e-5)
    assert (got.probabilities.argmax(axis=1) == wanted.probabilities.argmax(axis=1)).all()


@pytest.fixture(autouse=True)
def _whatever_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a form is quick enough depends on the machine, and is not asked here."""
    monkeypatch.setattr(timing, "FASTER", 0.0)
    monkeypatch.setattr(timing, "SLOWER", float("inf"))


@pytest.fixture(scope="module")
def digits() -> pl.DataFrame:
    found = load_digits()
    return pl.DataFrame(found.data, schema=[f"p{i}" for i in range(64)]).with_columns(digit=pl.Series(found.target))


@pytest.fixture(scope="module")
def mixed() -> pl.DataFrame:
    draw = np.random.default_rng(0)
    kind = draw.choice(["red", "green", "blue", "grey", "black"], 3000)
    a = draw.normal(size=3000)
    score = a + np.isin(kind, ["red", "grey"]) * 1.5 + draw.normal(size=3000) / 3
    frame = pl.DataFrame({"a": a, "kind": kind, "n": draw.integers(0, 9, 3000), "score": score})
    gone = pl.Series(draw.random(3000) < 0.1)
    return frame.with_columns(
        a=pl.when(gone).then(None).otherwise(pl.col("a")),
        y=pl.when(pl.col("score") > 0.5).then(pl.lit("yes")).otherwise(pl.lit("no")),
    )


def test_several_classes_and_early_stopping_rounds(digits: pl.DataFrame) -> None:
    found, native, x = compiled(xgboost.XGBClassifier(n_estimators=20, n_jobs=1), digits, "digit")
    _equal(found, native, x)
    assert found.report.form == "onnx-float32"


@pytest.mark.parametrize("objective", ["reg:squarederror", "reg:pseudohubererror"])
def test_regression(objective: str, mixed: pl.DataFrame) -> None:
    model = xgboost.XGBRegressor(n_estimators=20, objective=objective, n_jobs=1)
    _equal(*compiled(model, mixed.drop("y", "kind"), "score"))


def test_categories_and_missing_values(mixed: pl.DataFrame) -> None:
    model = xgboost.XGBClassifier(n_estimators=20, enable_categorical=True, max_cat_to_onehot=1, n_jobs=1)
    found, native, x = compiled(model, mixed.drop("score"), "y")
    _equal(found, native, x)
    assert found.report.form == "onnx-float64"
    assert x["a"].null_count() > 0


def test_a_booster_without_trees_stays_native(mixed: pl.DataFrame) -> None:
    model = xgboost.XGBRegressor(booster="gblinear", n_jobs=1)
    found, _, _ = compiled(model, mixed.drop("y", "kind").drop_nulls(), "score")
    assert found.report.form is None
    assert "gblinear" in found.report.reason
