"""Linear models exactly, anything else by sampling: against the definition, and within the stated error."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from perennial.evaluate.explain.asked import asked
from perennial.evaluate.explain.attribution import attributor
from perennial.evaluate.explain.sampled import evaluations, sampled


def test_linear_regression_is_coefficient_times_distance_from_the_mean(fitted: Any, wages_1985: pl.DataFrame) -> None:
    table = wages_1985.select("wage", "education", "experience", "age")
    predictor = fitted(LinearRegression(), table, "wage")
    x = predictor.preparation.columns(table.drop("wage"))
    way = attributor(predictor, x, x.head(80))
    found = way.explain(x, asked(predictor))
    assert (found.method, found.unit, found.of) == ("linear", "value", "wage")
    distance = x.to_numpy() - x.head(80).to_numpy().mean(axis=0)
    assert found.values == pytest.approx(distance * predictor.scorer.model.coef_)
    assert found.answers == pytest.approx(predictor.scorer.answer(x).values)
    assert found.base == pytest.approx(predictor.scorer.answer(x.head(80)).values.mean())


def test_a_linear_pipeline_is_the_definition(fitted: Any, wages_1985: pl.DataFrame, by_definition: Any) -> None:
    table = wages_1985.select("wage", "education", "experience", "region", "occupation", "union")
    columns = make_column_transformer(
        (OneHotEncoder(), ["region", "occupation", "union"]), (StandardScaler(), ["education", "experience"])
    )
    predictor = fitted(make_pipeline(columns, LinearRegression()), table, "wage")
    x = predictor.preparation.columns(table.drop("wage"))
    background = x.sample(30, seed=0)
    found = attributor(predictor, x, background).explain(x.head(5), asked(predictor))
    assert found.method == "linear"
    for row in range(5):

        def value(known: frozenset[int], r: int = row) -> float:
            mixed = background.with_columns(
                pl.lit(x[r, at], dtype=x.dtypes[at]).alias(x.columns[at]) for at in sorted(known)
            )
            return float(np.mean(predictor.scorer.answer(mixed).values))

        assert found.values[row] == pytest.approx(by_definition(value, 5), abs=1e-8)


@pytest.mark.parametrize("of", ["<=50K", ">50K"])
def test_logistic_regression_is_explained_in_log_odds(
    of: str, fitted: Any, adult: tuple[pl.DataFrame, pl.DataFrame]
) -> None:
    columns = ["age", "education_num", "hours_per_week", "sex", "income"]
    encode = make_column_transformer((OneHotEncoder(), ["sex"]), remainder=StandardScaler())
    predictor = fitted(make_pipeline(encode, LogisticRegression()), adult[0].select(columns), "income")
    x = predictor.preparation.columns(adult[1].select(columns).drop("income"))
    about = asked(predictor, of=of)
    found = attributor(predictor, x, x.head(100)).explain(x, about)
    assert (found.unit, found.of) == ("log-odds", of)
    probability = about.numbers(predictor.scorer.answer(x))
    assert found.base + found.values.sum(axis=1) == pytest.approx(np.log(probability / (1 - probability)))


def test_other_linear_models_find_their_unit(fitted: Any) -> None:
    rng = np.random.default_rng(0)
    table = pl.DataFrame(rng.normal(size=(400, 3)), schema=["a", "b", "c"])
    counts = table.with_columns(y=pl.Series(rng.poisson(np.exp(0.5 * table["a"].to_numpy())).astype(float)))
    x = table.head(100)
    assert attributor(p := fitted(PoissonRegressor(), counts, "y"), x, x).explain(x, asked(p)).unit == "log"
    three = table.with_columns(y=pl.Series(np.array(["p", "q", "r"])[np.digitize(table["a"], [-0.5, 0.5])]))
    for model, unit in ((LogisticRegression(), "margin"), (LinearSVC(), "margin")):
        predictor = fitted(model, three, "y")
        assert attributor(predictor, x, x).explain(x, asked(predictor, of="p")).unit == unit


def _network(fitted: Any, wages_1985: pl.DataFrame) -> tuple[Any, pl.DataFrame]:
    table = wages_1985.select("wage", "education", "experience", "region", "union")
    encode = make_column_transformer((OneHotEncoder(), ["region", "union"]), remainder=StandardScaler())
    network = MLPRegressor(hidden_layer_sizes=(8,), solver="lbfgs", max_iter=5000, alpha=1.0, random_state=0)
    predictor = fitted(make_pipeline(encode, network), table, "wage")
    return predictor, predictor.preparation.columns(table.drop("wage"))


def test_sampled_values_are_the_definition_within_their_error(
    fitted: Any, wages_1985: pl.DataFrame, by_definition: Any
) -> None:
    predictor, x = _network(fitted, wages_1985)
    background = x.sample(40, seed=1)
    way = attributor(predictor, x, background)
    found = way.explain(x.head(12), asked(predictor))
    assert (found.method, found.unit) == ("sampled", "value")
    assert found.errors is not None
    wanted = []
    for row in range(12):

        def value(known: frozenset[int], r: int = row) -> float:
            mixed = background.with_columns(
                pl.lit(x[r, at], dtype=x.dtypes[at]).alias(x.columns[at]) for at in sorted(known)
            )
            return float(np.mean(predictor.scorer.answer(mixed).values))

        wanted.append(by_definition(value, 4))
    z = (found.values - np.array(wanted)) / found.errors
    assert float(np.mean(np.abs(z) < 2.5)) > 0.95
    assert np.abs(found.values - np.array(wanted)).max() < 0.5


def test_sampled_attributions_add_up_exactly(fitted: Any, wages_1985: pl.DataFrame) -> None:
    predictor, x = _network(fitted, wages_1985)
    found = attributor(predictor, x, x.sample(30, seed=2)).explain(x.head(40), asked(predictor))
    assert found.base + found.values.sum(axis=1) == pytest.approx(predictor.scorer.answer(x.head(40)).values, abs=1e-9)


def test_more_passes_have_a_smaller_error_and_equal_seeds_are_equal(fitted: Any, wages_1985: pl.DataFrame) -> None:
    predictor, x = _network(fitted, wages_1985)

    def answer(rows: pl.DataFrame) -> np.ndarray:
        return np.asarray(predictor.scorer.answer(rows).values, dtype=np.float64)

    few = sampled(answer, x.head(20), x.tail(20))
    many = sampled(answer, x.head(20), x.tail(20), passes=16)
    assert many.errors.mean() == pytest.approx(few.errors.mean() / 4, rel=0.25)
    assert np.array_equal(sampled(answer, x.head(20), x.tail(20)).values, few.values)
    # A row's explanation does not depend on which rows are explained beside it.
    assert sampled(answer, x[7:8], x.tail(20)).values[0] == pytest.approx(few.values[7])
    assert evaluations(4, 20, passes=16) == 2 * 16 * 20 * 3


def test_one_column_and_a_column_that_is_not_used() -> None:
    x = pl.DataFrame({"a": [1.0, 2.0, 4.0], "b": [5.0, 1.0, 0.0]})
    only = sampled(lambda rows: rows["a"].to_numpy() * 3.0, x.select("a"), x.select("a").head(2))
    assert only.values[:, 0] == pytest.approx([-1.5, 1.5, 7.5])
    both = sampled(lambda rows: rows["a"].to_numpy() * 3.0, x, x)
    assert both.values[:, 1] == pytest.approx(np.zeros(3))
    assert both.errors[:, 1] == pytest.approx(np.zeros(3))
