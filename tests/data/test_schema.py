"""A schema accepts the table it was inferred from, and says precisely what another table does differently."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest

from perennial.data.inference import infer
from perennial.data.schema import Violation
from perennial.data.validation import validate

N = 100
TABLE = pa.table(
    {
        "person": list(range(N)),
        "date": [dt.date(1980, 1, 1)] * N,
        "job": ["clerk", "farmer"] * (N // 2),
        "hours": [2000.0 + i for i in range(N)],
        "note": [None if i == 3 else f"note {i}" for i in range(N)],
    }
)
SCHEMA = infer(TABLE)


def check(table: pa.Table) -> list[Violation]:
    return validate(table, SCHEMA).violations


def changed(name: str, values: list[Any]) -> list[Violation]:
    i = TABLE.column_names.index(name)
    return check(TABLE.set_column(i, name, pa.array(values, TABLE.schema.field(name).type)))


def test_a_table_fits_its_own_schema() -> None:
    assert check(TABLE) == []


def test_what_is_inferred() -> None:
    person, date, job, hours, note = SCHEMA.columns
    assert (person.type, person.unique, person.nullable) == ("int64", True, False)
    assert (date.type, date.minimum) == ("date", "1980-01-01")
    assert (job.type, job.categories) == ("string", ["clerk", "farmer"])
    assert (hours.minimum, hours.maximum, hours.unique) == (2000.0, 2099.0, False)
    assert (note.categories, note.nullable) == (None, True)


def test_a_renamed_column_is_an_error_that_guesses_the_new_name() -> None:
    found = check(TABLE.rename_columns(["person", "date", "jobs", "hours", "note"]))
    assert [(v.kind, v.severity) for v in found] == [("lost", "error"), ("new", "warning")]
    assert found[0].says == "column 'job' is gone; was it renamed to 'jobs'?"


def test_another_type_is_an_error() -> None:
    (found,) = check(TABLE.set_column(3, "hours", pa.array(["many"] * N)))
    assert (found.kind, found.severity) == ("type", "error")
    assert (
        found.says
        == "column 'hours' holds string, was float64, in 100 rows: many (row 0), many (row 1), many (row 2) and 97 more"
    )


@pytest.mark.parametrize(
    "name, row, value, kind",
    [
        ("hours", 7, None, "missing"),
        ("hours", 8, 1e6, "range"),
        ("hours", 9, -5.0, "range"),
        ("job", 4, "pilot", "category"),
        ("person", 5, 6, "duplicate"),
    ],
)
def test_an_unusual_value_is_a_warning_with_its_row(name: str, row: int, value: Any, kind: str) -> None:
    values = TABLE.column(name).to_pylist()
    values[row] = value
    (found,) = changed(name, values)
    assert (found.column, found.kind, found.severity) == (name, kind, "warning")
    assert found.rows == ([6] if kind == "duplicate" else [row])  # of equal values the later one is told


def test_a_value_a_little_outside_the_range_is_no_news() -> None:
    values = TABLE.column("hours").to_pylist()
    values[0] = 2099.0 + 9.0
    assert changed("hours", values) == []
