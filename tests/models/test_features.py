"""Features that do not work row by row are refused, with the column and the remedy."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from perennial.errors import DataError, UserCodeError
from perennial.loop.place import relative
from perennial.models.preparation import Preparation, learn


def learned(wages: pl.DataFrame, function: Callable[[Any], Any] | None, kind: Any = "polars") -> Preparation:
    return learn(wages.to_arrow(), target="log_wage", function=function, kind=kind, key="person", time="date")


def test_row_by_row_features_pass_and_text_becomes_a_category(
    first_years: pl.DataFrame, later_years: pl.DataFrame
) -> None:
    made = learned(first_years, lambda survey: survey.with_columns(senior=pl.col("experience") > 5))
    assert [field.name for field in made.signature.columns][-1] == "senior"
    x = made.x(made.raw(later_years.to_arrow()))
    assert x.height == later_years.height
    assert isinstance(x.schema["occupation"], pl.Enum)
    assert x.schema["senior"] == pl.Boolean
    assert not {"person", "date", "log_wage"} & set(x.columns)


def test_key_and_time_are_required_only_if_the_features_use_them(first_years: pl.DataFrame) -> None:
    without = learned(first_years, lambda survey: survey.with_columns(senior=pl.col("experience") > 5))
    assert [field.name for field in without.signature.inputs if not field.required] == ["person", "date"]
    using = learned(first_years, lambda survey: survey.with_columns(year=pl.col("date").dt.year()))
    assert [field.name for field in using.signature.inputs if not field.required] == ["person"]
    assert "year" in [field.name for field in using.signature.columns]


@pytest.mark.parametrize(
    "function, says",
    [
        (lambda s: s.with_columns(m=pl.col("hours").mean()), "column 'm' depends on other rows"),
        (lambda s: s.with_columns(r=pl.col("hours").rank()), "column 'r' depends on other rows"),
        (lambda s: s.with_columns(lag=pl.col("hours").shift(1)), "column 'lag' depends on other rows"),
        (lambda s: s.with_columns(n=pl.lit(s.height)), "column 'n' depends on other rows"),
        (lambda s: s.with_columns(q=pl.col("hours") > 2000 if s.height > 500 else False), "'q' depends on other rows"),
        (lambda s: s.filter(pl.col("hours") > 2000), "features returned 672 rows for 1090"),
        (lambda s: s.sort("hours"), "features change the order of the rows"),
        (lambda s: s.to_dummies("occupation"), "is there or not depending on other rows"),
        (lambda s: s.with_columns(r=random.random()), "column 'r' differs from call to call"),
        (lambda s: s.with_columns(w=pl.col("log_wage") * 2), "features read the target 'log_wage'"),
        (lambda s: s.with_columns(log_wage=pl.lit(1.0)), "features make a column named like the target"),
        (lambda s: s.with_columns(l=pl.struct("hours", "education")), "column 'l' holds"),
        (lambda s: s.select("person", "date"), "no column is left for the model"),
        (lambda s: None, "expected a data frame, got NoneType"),
    ],
)
def test_what_breaks_the_contract_is_refused(first_years: pl.DataFrame, function: Any, says: str) -> None:
    with pytest.raises(DataError) as caught:
        learned(first_years, function)
    assert says in caught.value.what
    assert caught.value.remedy


def test_an_error_in_the_features_names_the_users_line(first_years: pl.DataFrame) -> None:
    def features(survey: pl.DataFrame) -> pl.DataFrame:
        doubled = survey.with_columns(pl.col("hours") * 2)
        return doubled.with_columns(pl.col("nothing"))

    with pytest.raises(UserCodeError) as caught:
        learned(first_years, features)
    assert caught.value.where == f"{relative(__file__)}:{features.__code__.co_firstlineno + 2}"


def test_pandas_features_get_and_give_pandas(first_years: pl.DataFrame, later_years: pl.DataFrame) -> None:
    def features(survey: pd.DataFrame) -> pd.DataFrame:
        survey["senior"] = survey["experience"] > 5  # in place, as people do
        return survey

    made = learned(first_years, features, "pandas")
    x = made.x(made.raw(later_years.to_arrow()))
    assert isinstance(x, pd.DataFrame)
    assert str(x["occupation"].dtype) == "category"
    assert x["senior"].tolist() == (later_years["experience"] > 5).to_list()
    with pytest.raises(DataError, match="'m' depends on other rows"):
        learned(first_years, lambda s: s.assign(m=s["hours"].mean()), "pandas")


def test_a_text_that_training_did_not_see_is_missing(first_years: pl.DataFrame) -> None:
    made = learned(first_years, None)
    raw = made.raw(first_years.to_arrow()).head(1).with_columns(occupation=pl.lit("astronaut"))
    assert made.x(raw)["occupation"].to_list() == [None]


@pytest.mark.parametrize("missing", ["log_wage", "person", "date"])
def test_a_missing_column_is_named(first_years: pl.DataFrame, missing: str) -> None:
    with pytest.raises(DataError, match=f"there is no column '{missing}'"):
        learned(first_years.drop(missing), None)


def test_the_task_is_guessed_from_the_target() -> None:
    table = pa.table({"x": [1.0, 2.0, 3.0, 4.0], "y": ["no", "yes", "no", "yes"]})
    signature = learn(table, target="y").signature
    assert (signature.task, signature.classes, signature.positive) == ("classification", ["no", "yes"], "yes")
    assert learn(table, target="x").signature.task == "regression"
    with pytest.raises(DataError, match="one class only"):
        learn(table.slice(0, 1), target="y")
    with pytest.raises(DataError, match="the positive class 'maybe' does not occur"):
        learn(table, target="y", positive="maybe")
