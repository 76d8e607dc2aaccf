"""What a collect step may return, and the remedy for what it may not."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from perennial.data.collect import draft
from perennial.data.inference import infer
from perennial.errors import DataError

GOOD: dict[str, list[Any]] = {"person": [1, 2], "wage": [1.0, 2.0]}


def refusal(frame: object, **options: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        draft(frame, name="survey", **({"target": "wage"} | options))
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize("make, kind", [(pl.DataFrame, "polars"), (pd.DataFrame, "pandas"), (pa.table, "pyarrow")])
def test_frames_of_three_libraries_become_one_table(make: Any, kind: str) -> None:
    made = draft(make(GOOD), name="survey", target="wage", required=("person",))
    assert (made.table.to_pydict(), made.kind, made.violations) == (GOOD, kind, [])


@pytest.mark.parametrize(
    "frame, says",
    [
        (None, "'survey' collected nothing"),
        ([1, 2], "expected a data frame, got list"),
        (pl.DataFrame(GOOD).clear(), "collected 0 rows and 2 columns"),
        (pl.DataFrame(), "collected 0 rows"),
        (pd.DataFrame([[1, 2.0]]), "the column name 0 is not text"),
        (pd.DataFrame([[1, 2.0]], columns=["wage", "wage"]), "two columns are named 'wage'"),
        (pd.DataFrame({"wage": [1, "many"]}), "holds values of different types"),
        (pl.DataFrame({"person": [1, 2]}), "the target 'wage' is not among the collected columns"),
        (pl.DataFrame({"wage": [1.0, None]}), "the target 'wage' is missing in 1 of 2 rows"),
        (pl.DataFrame({"wage": [float("nan"), 1.0]}), "the target 'wage' is missing in 1 of 2 rows"),
        (pl.DataFrame({"wage": [1.0, 2.0], "x": [1.0, float("-inf")]}), r"column 'x' is infinite \(-inf\)"),
        (pl.DataFrame({"wage": [1], "x": [2**63]}, schema_overrides={"x": pl.UInt64}), "'x' does not fit int64"),
    ],
)
def test_what_cannot_be_a_dataset_is_refused_with_a_remedy(frame: object, says: str) -> None:
    assert re.search(says, refusal(frame).what)


def test_a_lost_target_is_named_with_its_new_name() -> None:
    error = refusal(pl.DataFrame(GOOD).rename({"wage": "wages"}), previous=infer(pa.table(GOOD)))
    assert error.what == "column 'wage' is gone; was it renamed to 'wages'?"


def test_missing_values_and_categories_are_one_thing_in_all_libraries() -> None:
    frame = pl.DataFrame({"x": [1.0, float("nan")], "s": ["a", None]}, schema_overrides={"s": pl.Categorical})
    other = pd.DataFrame({"x": [1.0, None], "s": pd.Categorical(["a", None])})
    tables = [draft(made, name="survey").table for made in (frame, other)]
    assert tables[0] == tables[1]
    assert tables[0].to_pydict() == {"x": [1.0, None], "s": ["a", None]}
