"""What is computed at registration, on real data, and what the budget leaves out."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from perennial import stats
from perennial.evaluate.answers import codes_of
from perennial.evaluate.explain import explain
from perennial.models.facts.explanation import Explanation


def test_income_is_explained_by_what_is_known_to_drive_it(
    adult: tuple[pl.DataFrame, pl.DataFrame], fitted: Any
) -> None:
    model = HistGradientBoostingClassifier(max_iter=40, categorical_features="from_dtype", random_state=0)
    predictor = fitted(model, adult[0], "income")
    truth, _ = codes_of(adult[1]["income"], ["<=50K", ">50K"])
    found, attributions = explain(predictor, adult[1].drop("income"), truth, budget_s=120)
    assert (found.method, found.unit, found.of, found.loss) == ("tree", "log-odds", ">50K", "log_loss")
    assert found.rows == attributions.height == 1000
    assert attributions.columns == adult[1].drop("income").columns
    top = {name for one in found.importance[:5] for name in one.features}
    assert {"capital_gain", "education_num", "age"} <= top
    assert len({one.feature for one in found.effects}) == 10
    age = next(one for one in found.effects if one.feature == "age")
    assert (age.kind, age.of) == ("ale", ">50K")
    middle = int(np.searchsorted(np.array(age.grid, dtype=float), 45))
    assert age.effect[middle] > age.effect[0] + 0.05  # at 45 more earn much than at 17
    assert found.mean_abs["age"] == pytest.approx(attributions["age"].abs().mean())
    assert msgspec.json.decode(msgspec.json.encode(found), type=Explanation) == found
    assert stats.attribution_drift(attributions[:500], attributions[500:]).l1 < 0.3


def test_equal_seeds_give_equal_explanations(wages_1985: pl.DataFrame, fitted: Any) -> None:
    table = wages_1985.select("wage", "education", "experience", "age")
    predictor = fitted(KNeighborsRegressor(), table, "wage")
    frame, truth = table.drop("wage"), table["wage"].to_numpy()
    (first, rows), (again, same_rows) = (explain(predictor, frame, truth, budget_s=300, seed=3) for _ in range(2))
    assert first == again
    assert rows.equals(same_rows)
    assert first.method == "sampled"
    assert first.error is not None
    assert 0 < first.error < 1
    assert first.loss == "rmse"


def test_what_the_budget_does_not_allow_is_said(wages_1985: pl.DataFrame, fitted: Any) -> None:
    table = wages_1985.select("wage", "education", "experience", "age")
    predictor = fitted(KNeighborsRegressor(), table, "wage")
    found, attributions = explain(predictor, table.drop("wage"), table["wage"].to_numpy(), budget_s=1e-6)
    assert (found.importance, found.effects, found.rows, attributions.height) == ([], [], 0, 0)
    assert len(found.left_out) == 3
    assert "permutation importance" in found.left_out[0]


def test_of_several_classes_the_most_frequent_is_explained_and_the_others_named(
    wages_1985: pl.DataFrame, fitted: Any
) -> None:
    table = wages_1985.select("occupation", "wage", "education", "experience", "gender")
    predictor = fitted(
        HistGradientBoostingClassifier(max_iter=10, categorical_features="from_dtype"), table, "occupation"
    )
    truth, _ = codes_of(table["occupation"], [str(name) for name in predictor.signature.classes])
    found, _ = explain(predictor, table.drop("occupation"), truth, budget_s=120)
    assert found.of == table["occupation"].mode()[0]
    assert found.unit == "margin"
    assert any("other classes" in reason for reason in found.left_out)


def test_features_that_have_no_effect_to_show_are_named(fitted: Any) -> None:
    rng = np.random.default_rng(0)
    table = pl.DataFrame({"a": rng.normal(size=300), "same": [1.0] * 300, "text": [f"t{i}" for i in range(300)]})
    table = table.with_columns(y=pl.col("a") * 2)
    model = make_pipeline(OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), LinearRegression())
    predictor = fitted(model, table, "y")
    found, _ = explain(predictor, table.drop("y"), table["y"].to_numpy(), budget_s=60)
    assert any("'same'" in reason for reason in found.left_out)
    assert any("'text'" in reason for reason in found.left_out)


def test_no_rows_give_no_explanation(wages_1985: pl.DataFrame, fitted: Any) -> None:
    table = wages_1985.select("wage", "education")
    predictor = fitted(LinearRegression(), table, "wage")
    found, rows = explain(predictor, table.drop("wage").head(0), np.zeros(0))
    assert found.left_out
    assert rows.is_empty()
