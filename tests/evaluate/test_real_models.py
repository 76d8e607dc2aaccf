"""Whole evaluations of real models on real rows: what is in them, and what they say."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from perennial.errors import LoopError
from perennial.evaluate.answers import Answers, HeldOut, Ints
from perennial.evaluate.evaluation import evaluate
from perennial.evaluate.material import Ask, Live, Material
from perennial.loop.declaration import EvaluatePolicy
from perennial.models.facts.evaluation import Evaluation
from perennial.types import canonical_json


def evaluated(
    model: Any, train: pl.DataFrame, test: pl.DataFrame, target: str, policy: EvaluatePolicy, **more: Any
) -> Evaluation:
    inputs = tuple(name for name in train.columns if name != target)
    classes = sorted(train[target].unique().to_list(), key=str)

    def fit(positions: Ints) -> Ask:
        part = train[positions]
        fitted = model.fit(part.select(inputs).to_pandas(), part[target].to_numpy())

        def ask(frame: pl.DataFrame) -> Answers:
            table = fitted.predict_proba(frame.select(inputs).to_pandas())
            return Answers.of_arrays(None, table, fitted.classes_.tolist(), "classification")

        return ask

    ask = fit(np.arange(len(train)))
    on_test, on_train = (HeldOut.of(part[target], ask(part), "classification") for part in (test, train))
    material = Material(train_frame=train.drop(target), test_frame=test.drop(target), inputs=inputs, ask=ask, fit=fit)
    assert list(on_train.answers.classes) == [str(name) for name in classes]
    return evaluate(
        "classification", test=on_test, train=on_train, split="given", material=material, policy=policy, **more
    )


@pytest.fixture(scope="module")
def census(adult: tuple[pl.DataFrame, pl.DataFrame]) -> tuple[pl.DataFrame, pl.DataFrame]:
    train, test = (part.with_columns(pl.col("income").str.strip_chars(".")).drop("fnlwgt") for part in adult)
    return train[:12_000], test


def test_the_census_of_incomes(census: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    train, test = census
    texts = [name for name in train.columns if train[name].dtype == pl.String and name != "income"]
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    model = make_pipeline(
        make_column_transformer((encoder, texts), remainder="passthrough"),
        HistGradientBoostingClassifier(random_state=0, max_iter=60),
    )
    policy = EvaluatePolicy(groups=("sex", "race"), learning_curve=True)
    found = evaluated(model, train, test, "income", policy)
    assert found.test["accuracy"].value == pytest.approx(0.87, abs=0.01)
    assert found.test["roc_auc"].value == pytest.approx(0.925, abs=0.01)
    assert set(found.baselines) == {"constant", "linear"}
    assert found.baseline == found.baselines["constant"]
    assert found.baselines["linear"]["accuracy"].value == pytest.approx(0.85, abs=0.01)
    against = {one.against: one for one in found.comparisons}
    assert against["the linear baseline"].decision == "better"
    (by_income,) = found.calibration
    assert by_income.of == ">50K"
    assert by_income.error < 0.02
    weak = [row for row in found.slices if row.is_confirmed and row.found_by == "search"]
    assert weak
    assert all(row.value.value < row.rest for row in weak)  # type: ignore[operator]
    assert any("marital_status" in row.where or "relationship" in row.where for row in weak)
    assert [one.column for one in found.fairness] == ["sex", "race"]
    assert any(text.startswith("by sex, Female is selected 0.") for text in found.says)
    assert any(text.startswith("weak where ") for text in found.says)
    assert {row.disturbance for row in found.robustness} == {"noise"}
    learned = next(curve for curve in found.curves if curve.name == "accuracy on unseen rows")
    assert learned.x == [1200, 2400, 4800, 8400, 12_000]
    assert learned.y[-1] > learned.y[0]
    assert any(text.startswith("more data would ") for text in found.says)
    assert found.overfits is None
    assert msgspec.json.decode(msgspec.json.encode(found), type=Evaluation) == found
    canonical_json(msgspec.to_builtins(found))


def test_a_model_that_is_worse_than_live_for_one_group_is_told_so(census: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    train, test = census
    numbers = [name for name in train.columns if train[name].dtype != pl.String]
    frames = [part.select(*numbers, "sex", "income") for part in (train, test)]
    model = make_pipeline(
        make_column_transformer((StandardScaler(), numbers), (OneHotEncoder(handle_unknown="ignore"), ["sex"])),
        LogisticRegression(max_iter=500),
    )
    truth = test["income"].to_numpy()
    women = (test["sex"] == "Female").to_numpy()
    known = np.where(women & (np.random.default_rng(0).random(len(test)) < 0.97), truth, "<=50K")
    live = Answers.of_arrays(known, None, ("<=50K", ">50K"), "classification")
    fresh = np.ones(len(test), dtype=bool)
    found = evaluated(
        model,
        *frames,
        "income",
        EvaluatePolicy(groups=("sex",), robustness=False),
        live=Live(name="version 7", answers=live, fresh=fresh),
    )
    by_group = {one.against: one.decision for one in found.comparisons if one.against.startswith("version 7")}
    assert by_group["version 7 where sex = Female"] == "inferior"
    assert by_group["version 7 where sex = Male"] == "better"
    assert any(text.startswith("worse than version 7 where sex = Female: accuracy falls behind") for text in found.says)
    assert found.robustness == []


def test_digits_have_ten_classes_and_a_forest_knows_its_rows_by_heart() -> None:
    data = load_digits()
    frame = pl.DataFrame(data.data, schema=[f"p{i}" for i in range(64)]).with_columns(digit=pl.Series(data.target))
    model = RandomForestClassifier(n_estimators=30, random_state=0)
    found = evaluated(model, frame[:900], frame[900:], "digit", EvaluatePolicy())
    assert found.test["accuracy"].value > 0.9
    assert found.test["roc_auc"].value > 0.99
    assert "f1" not in found.test
    assert found.overfits is not None
    assert found.says[0] == f"it overfits: {found.overfits}"
    (shown,) = found.calibration
    assert shown.of == "most probable class"
    linear = next(one for one in found.comparisons if one.against == "the linear baseline")
    assert linear.decision in {"better", "inconclusive"}
    assert (linear.decision == "better") is not any("the linear baseline" in text for text in found.says)


def test_a_group_that_is_not_there_is_an_error(census: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    train, test = (part.select("age", "income") for part in census)
    model = LogisticRegression()
    with pytest.raises(LoopError, match="the data have no column 'sex'"):
        evaluated(model, train, test, "income", EvaluatePolicy(groups=("sex",)))
