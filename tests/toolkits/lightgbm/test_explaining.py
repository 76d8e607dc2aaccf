"""LightGBM explained: its own TreeSHAP, in the unit that adds up to its answers, also at the end of a pipeline."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import polars as pl
import pytest
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from perennial.evaluate.explain import explain, explain_rows
from perennial.evaluate.explain.asked import asked, classes_of
from perennial.evaluate.explain.attribution import attributor
from perennial.models.build import predictor_of
from perennial.models.package import Predictor
from perennial.models.preparation import learn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # shap on a newer matplotlib
    import shap

CATEGORIES = ["ethnicity", "region", "gender", "occupation", "sector", "union", "married"]


@pytest.fixture(scope="module")
def wages(shared_data: Path) -> pl.DataFrame:
    return pl.read_csv(shared_data / "cps_wages" / "cps1985.csv").drop("rownames")


def _predictor(model: Any, table: pl.DataFrame, target: str, y: Any = None) -> tuple[Predictor, pl.DataFrame]:
    arrow = table.to_arrow()
    preparation = learn(arrow, target=target)
    raw = preparation.raw(arrow)
    x = preparation.columns(raw)
    given = x.to_pandas() if any(isinstance(kind, pl.Enum) for kind in x.dtypes) else x.to_numpy()
    fitted = model.fit(given, preparation.y(arrow) if y is None else y)
    return predictor_of(model=fitted, preparation=preparation, sample=raw, compiles=False).native, raw


def test_values_are_those_of_the_shap_package_and_add_up(wages: pl.DataFrame) -> None:
    table = wages.select("wage", "education", "experience", "age")
    predictor, raw = _predictor(lightgbm.LGBMRegressor(n_estimators=40, max_depth=4, verbose=-1), table, "wage")
    x = predictor.preparation.columns(raw)
    found = attributor(predictor, x, x).explain(x, asked(predictor))
    assert (found.method, found.unit) == ("tree", "value")
    assert found.base + found.values.sum(axis=1) == pytest.approx(predictor.scorer.answer(x).values, rel=1e-9)
    explainer = shap.TreeExplainer(predictor.scorer.model, feature_perturbation="tree_path_dependent")
    assert found.values == pytest.approx(explainer.shap_values(x.to_numpy()), abs=1e-9)


def test_categories_and_early_stopping(wages: pl.DataFrame) -> None:
    model = lightgbm.LGBMRegressor(n_estimators=300, learning_rate=0.3, verbose=-1)

    class Stopping:
        def fit(self, x: Any, y: Any) -> Any:
            stop = lightgbm.early_stopping(3, verbose=False)
            return model.fit(x[:350], y[:350], eval_X=x[350:], eval_y=y[350:], callbacks=[stop])

    predictor, raw = _predictor(Stopping(), wages, "wage")
    assert 0 < model.best_iteration_ < 300
    x = predictor.preparation.columns(raw)
    found = attributor(predictor, x, x).explain(x, asked(predictor))
    assert (found.method, found.unit) == ("tree", "value")
    assert found.answers == pytest.approx(predictor.scorer.answer(x).values)


def test_other_objectives_find_their_unit(wages: pl.DataFrame) -> None:
    table = wages.select("wage", "education", "experience", "age")
    poisson = lightgbm.LGBMRegressor(n_estimators=20, objective="poisson", verbose=-1)
    predictor, raw = _predictor(poisson, table, "wage")
    x = predictor.preparation.columns(raw)
    found = attributor(predictor, x, x).explain(x, asked(predictor))
    assert (found.method, found.unit) == ("tree", "log")
    # A tree with linear leaves has no exact attributions in LightGBM: sampled, with the reason.
    linear = lightgbm.LGBMRegressor(n_estimators=10, linear_tree=True, verbose=-1)
    predictor, raw = _predictor(linear, table, "wage")
    way = attributor(predictor, x, x)
    assert way.method == "sampled"
    assert "linear trees" in (way.why or "")


@pytest.mark.parametrize("target, unit", [("union", "log-odds"), ("occupation", "margin")])
def test_classes_are_explained_in_log_odds_or_margins(target: str, unit: str, wages: pl.DataFrame) -> None:
    table = wages.select("wage", "education", "experience", target)
    predictor, raw = _predictor(lightgbm.LGBMClassifier(n_estimators=20, max_depth=3, verbose=-1), table, target)
    x = predictor.preparation.columns(raw)
    way = attributor(predictor, x, x)
    margins = []
    for label in classes_of(predictor):
        found = way.explain(x, asked(predictor, of=label))
        assert (found.method, found.unit) == ("tree", unit)
        margins.append(found.answers)
    table_of = predictor.scorer.answer(x).probabilities
    assert table_of is not None
    if unit == "margin":
        powers = np.exp(np.array(margins)).T
        assert powers / powers.sum(axis=1, keepdims=True) == pytest.approx(table_of, abs=1e-9)
    else:
        assert 1 / (1 + np.exp(-np.array(margins).T)) == pytest.approx(table_of, abs=1e-9)


def test_as_the_last_step_of_a_pipeline(wages: pl.DataFrame) -> None:
    encode = make_column_transformer((OneHotEncoder(), CATEGORIES), remainder="passthrough")
    arrow = wages.to_arrow()
    preparation = learn(arrow, target="wage")
    raw = preparation.raw(arrow)
    model = make_pipeline(encode, lightgbm.LGBMRegressor(n_estimators=30, verbose=-1)).fit(
        preparation.x(raw), preparation.y(arrow)
    )
    predictor = predictor_of(model=model, preparation=preparation, sample=raw, compiles=False).native
    x = preparation.columns(raw)
    found = attributor(predictor, x, x).explain(x, asked(predictor))
    assert found.method == "tree"
    assert found.columns == x.columns
    assert found.answers == pytest.approx(predictor.scorer.answer(x).values, rel=1e-9)
    raw_values = model[-1].predict(encode.transform(x), pred_contrib=True, validate_features=False)
    names = [name.partition("__")[2] for name in encode.get_feature_names_out()]
    own = [at for at, name in enumerate(names) if name.startswith("occupation_")]
    assert found.values[:, x.columns.index("occupation")] == pytest.approx(raw_values[:, own].sum(axis=1), abs=1e-9)


def test_registration_and_one_row(wages: pl.DataFrame) -> None:
    predictor, raw = _predictor(lightgbm.LGBMRegressor(n_estimators=40, max_depth=4, verbose=-1), wages, "wage")
    made, attributions = explain(predictor, raw, wages["wage"].to_numpy(), budget_s=120)
    assert (made.method, made.unit, made.loss) == ("tree", "value", "rmse")
    assert attributions.columns == predictor.preparation.columns(raw).columns
    one = explain_rows(predictor, raw.head(1), background=raw)[0]
    assert one.explained == pytest.approx(one.prediction, rel=1e-9)
