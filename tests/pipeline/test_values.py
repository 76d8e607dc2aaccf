"""Results come back as what they were, and are the same exactly when what a step could see is the same."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import polars.testing
import pyarrow as pa
import pytest

from perennial.errors import DataError
from perennial.pipeline.values import Value, load_value, store_value
from perennial.store.objects import ObjectStore

AT = datetime(2020, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def objects(tmp_path: Path) -> Iterator[ObjectStore]:
    with ObjectStore(tmp_path) as objects:
        yield objects


def store(value: object, objects: ObjectStore, code: str = "") -> Value:
    return store_value(value, objects, projects={__name__}, code_of=lambda names: f"{sorted(names)}{code}")


def polars_frame() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "enum": pl.Series(["b", None], dtype=pl.Enum(["a", "b"])),
            "category": pl.Series(["x", "y"], dtype=pl.Categorical),
            "when": pl.Series([AT, None], dtype=pl.Datetime("us", "UTC")),
            "day": [date(2020, 1, 1), None],
            "took": [timedelta(seconds=1), None],
            "price": pl.Series([Decimal("1.10"), None], dtype=pl.Decimal(10, 2)),
            "small": pl.Series([1, 2], dtype=pl.UInt8),
            "list": [[1, 2], None],
            "struct": [{"a": 1}, {"a": None}],
            "bytes": [b"\0", None],
            "number": [float("nan"), None],
            "nothing": pl.Series([None, None], dtype=pl.Null),
        }
    )


def test_polars_types_come_back(objects: ObjectStore) -> None:
    frame = polars_frame()
    value = store(frame, objects)
    back = load_value(value, objects)
    assert value.kind == "polars"
    assert back.schema == frame.schema
    polars.testing.assert_frame_equal(back, frame)
    assert load_value(store(frame.lazy(), objects), objects).collect().schema == frame.schema


def test_pandas_types_and_index_come_back(objects: ObjectStore) -> None:
    frame = pd.DataFrame(
        {
            "category": pd.Categorical(["b", None], categories=["c", "b"], ordered=True),
            "text": ["a", None],
            "when": [pd.Timestamp(AT), pd.NaT],
            "whole": pd.array([1, None], dtype="Int64"),
            "number": [1.5, np.nan],
            "flag": [True, False],
        },
        index=pd.Index([7, 3], name="row"),
    )
    value = store(frame, objects)
    assert value.kind == "pandas"
    pd.testing.assert_frame_equal(load_value(value, objects), frame)


def test_arrow_tables_come_back(objects: ObjectStore) -> None:
    table = pa.table({"a": pa.array(["x", "y"]).dictionary_encode(), "b": pa.array([1, None], pa.int16())})
    back = load_value(store(table, objects), objects)
    assert back.equals(table)
    assert back.schema == table.schema


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, (2, 3)]},
        np.arange(6).reshape(2, 3),
        pl.Series("y", [1.0, None]),
        pd.Series([1.0, 2.0], name="y"),
        pd.DataFrame({"mixed": [1, "a", object]}),
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
    ],
)
def test_anything_else_is_pickled(objects: ObjectStore, value: Any) -> None:
    stored = store(value, objects)
    assert stored.kind == "pickle"
    assert repr(load_value(stored, objects)) == repr(value)


@pytest.mark.parametrize(
    "other",
    [
        lambda f: f.reverse(),
        lambda f: f.with_columns(pl.col("enum").cast(pl.String)),
        lambda f: f.with_columns(pl.col("enum").cast(pl.Enum(["b", "a"]))),
        lambda f: f.with_columns(pl.col("small").cast(pl.UInt16)),
        lambda f: f.rename({"day": "date"}),
        lambda f: f.select(reversed(f.columns)),
        lambda f: f.lazy(),
        lambda f: f.to_arrow(),
    ],
)
def test_whatever_a_step_could_see_makes_another_identity(objects: ObjectStore, other: Any) -> None:
    frame = polars_frame()
    first = store(frame, objects).logical_digest
    assert store(frame.clone(), objects).logical_digest == first
    assert store(other(frame), objects).logical_digest != first


def test_how_a_frame_lies_in_memory_makes_none(objects: ObjectStore) -> None:
    one = pl.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]})
    parts = pl.concat([one[:1], one[1:]], rechunk=False)
    assert store(parts, objects).logical_digest == store(one, objects).logical_digest


def test_pandas_categories_and_index_are_part_of_the_identity(objects: ObjectStore) -> None:
    def identity(categories: list[str], index: list[int]) -> str:
        frame = pd.DataFrame({"c": pd.Categorical(["a"], categories=categories)}, index=index)
        return store(frame, objects).logical_digest

    assert identity(["a", "b"], [0]) == identity(["a", "b"], [0])
    assert len({identity(["a", "b"], [0]), identity(["b", "a"], [0]), identity(["a", "b"], [1])}) == 3


class Mine:
    """A class of the project."""

    class Inner: ...


def test_the_code_of_project_classes_is_part_of_a_pickles_identity(objects: ObjectStore) -> None:
    for value in (Mine(), [Mine], {"a": (Mine.Inner(),)}, store):
        assert store(value, objects, "one").logical_digest != store(value, objects, "two").logical_digest
    assert store([1], objects, "one").logical_digest == store([1], objects, "two").logical_digest


def test_what_cannot_be_pickled_is_told(objects: ObjectStore) -> None:
    for value in (lambda: 1, (n for n in "a"), pl.DataFrame({"o": [object()]}, schema={"o": pl.Object})):
        with pytest.raises(DataError, match="cannot be stored"):
            store(value, objects)
