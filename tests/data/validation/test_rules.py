"""Each kind of demand: what breaks it is counted and told with its first rows, and nothing else is."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from perennial.data.schema import Check, Column, Dependency, Order, Schema, Violation
from perennial.data.validation import UserCheck, validate
from perennial.errors import DataError, Invalid, UserCodeError

UTC = dt.UTC


def found_in(values: dict[str, list[Any]], schema: Schema, **options: Any) -> list[Violation]:
    return validate(pa.table(values), schema, **options).violations


def only(values: list[Any], column: Column) -> list[Violation]:
    return found_in({column.name: values}, Schema(columns=[column]))


@pytest.mark.parametrize(
    "column, values, says",
    [
        (Column(name="x", type="int64"), [1, None, 3, None], "'x' has 2 missing values, had none: row 1, row 3"),
        (
            Column(name="x", type="float64", nullable=True, presence=0.75),
            [1.0, math.nan, None, 4.0],
            "'x' has 2 missing values, a share of 50.000%; at most 25.000% is expected: row 1, row 2",
        ),
        (Column(name="x", type="int64", nullable=True), [None, None], "'x' has no value at all in 2 rows"),
        (
            Column(name="x", type="string", categories=["a", "b"]),
            ["a", "c", "b", "c", "d"],
            "'x' has 2 values never seen in 3 rows: 'c' (row 1), 'd' (row 4)",
        ),
        (
            Column(name="x", type="string", categories=["a"], coverage=0.9),
            ["a", "b", "a", "a"],
            "'x' has 1 value never seen, a share of 25.000%; at most 10.000% is expected: 'b' (row 1)",
        ),
        (
            Column(name="x", type="string", patterns=[r"[A-Z]{2}-\d{6}", "none"]),
            ["AB-123456", "AB-12345", "none", "xAB-123456"],
            r"'x' has 2 values of another form than [A-Z]{2}-\d{6}|none: 'AB-12345' (row 1), 'xAB-123456' (row 3)",
        ),
        (
            Column(name="x", type="float64", minimum=0.0, maximum=100.0),
            [-0.5, 50.0, 109.0, 111.0],
            "'x' has 2 values outside 0 to 100: -0.5 (row 0), 111.0 (row 3)",
        ),
        (Column(name="x", type="int64", at_least=18.0), [18, 17], "'x' has 1 value below 18: 17 (row 1)"),
        (Column(name="x", type="int64", at_most=17.5), [17, 18], "'x' has 1 value above 17.5: 18 (row 1)"),
        (
            Column(name="x", type="date", at_least="2020-01-01"),
            [dt.date(2020, 1, 1), dt.date(2019, 12, 31)],
            "'x' has 1 value below 2020-01-01: 2019-12-31 (row 1)",
        ),
        (
            Column(name="x", type="datetime", minimum="2020-01-01T00:00:00", maximum="2020-03-01T00:00:00"),
            [dt.datetime(2020, 6, 1, tzinfo=UTC), dt.datetime(1970, 1, 1, tzinfo=UTC)],
            "'x' has 1 value outside 2020-01-01T00:00:00 to 2020-03-01T00:00:00: 1970-01-01 00:00:00.000000+00:00 (row 1)",  # noqa: E501
        ),
        (
            Column(name="x", type="string", unique=True),
            ["a", "b", "a", None, "a"],
            "'x' has 2 values that an earlier row has: a (row 2), a (row 4)",
        ),
        (Column(name="x", type="string", missing=["?"]), ["?", "a"], "'x' has 1 missing value, had none: row 0"),
        (
            Column(name="x", type="int64"),
            ["1", None, "a"],
            "'x' holds string, was int64, in 2 rows: 1 (row 0), a (row 2)",
        ),
    ],
)
def test_what_breaks_a_column_is_counted_and_told(column: Column, values: list[Any], says: str) -> None:
    told = [one.says.removeprefix("column ") for one in only(values, column)]
    assert says in told
    assert all(one == says or "had none" in one for one in told)  # a missing value may be told beside it


@pytest.mark.parametrize(
    "column, values",
    [
        (Column(name="x", type="float64", nullable=True), [1.0, math.nan]),
        (Column(name="x", type="float64", minimum=5.0, maximum=5.0), [5.0, 5.0]),
        (Column(name="x", type="int64", minimum=-(2.0**63), maximum=2.0**63), [2**63 - 1, -(2**63)]),
        (Column(name="x", type="string", nullable=True, unique=True), [None, None, "a"]),
        (Column(name="x", type="int64", nullable=True, presence=0.0), [None, None]),
        (Column(name="x", type="string", nullable=True, categories=["a"], missing=["?", "NA"]), ["?", "NA", "a"]),
        (Column(name="x", type="date", minimum="0001-01-01", maximum="9999-12-31"), [dt.date(1, 1, 1)]),
    ],
)
def test_what_keeps_the_demand_is_no_news(column: Column, values: list[Any]) -> None:
    assert only(values, column) == []


def test_all_that_differs_is_told_errors_first() -> None:
    schema = Schema(
        columns=[
            Column(name="a", type="string", categories=["x"]),
            Column(name="b", type="int64", at_least=0.0),
            Column(name="c", type="int64"),
        ]
    )
    found = found_in({"a": ["x", "y"], "b": [-1, None], "d": [1, 2]}, schema)
    assert [(one.column, one.kind, one.severity, one.count) for one in found] == [
        ("b", "limit", "error", 1),
        ("c", "lost", "error", 0),
        ("a", "category", "warning", 1),
        ("b", "missing", "warning", 1),
        ("d", "new", "warning", 0),
    ]
    assert found[0].share == 0.5


def test_counts_go_on_where_examples_end() -> None:
    (found,) = only(list(range(100)), Column(name="x", type="int64", at_least=90.0))
    assert (found.count, found.rows, found.values) == (90, [0, 1, 2, 3, 4], ["0", "1", "2", "3", "4"])


def test_a_column_may_be_absent_where_the_schema_says_so() -> None:
    schema = Schema(columns=[Column(name="x", type="int64"), Column(name="y", type="int64", absent_in=["serving"])])
    assert found_in({"x": [1]}, schema, environment="serving") == []
    (found,) = found_in({"x": [1]}, schema)
    assert (found.column, found.kind, found.severity) == ("y", "lost", "error")


def test_duplicate_and_null_keys_are_errors() -> None:
    schema = Schema(
        columns=[Column(name="p", type="int64", nullable=True), Column(name="q", type="string")], keys=[["p", "q"]]
    )
    found = found_in({"p": [1, 1, 1, None, None], "q": ["a", "b", "a", "c", "c"]}, schema)
    assert [(one.severity, one.says) for one in found] == [
        ("error", "column 'p' is part of a key and has 2 missing values: row 3, row 4"),
        ("error", "key 'p, q' has 1 value that an earlier row has: p=1, q=a (row 2)"),
    ]


def test_a_dependency_tells_the_rows_that_differ_from_the_usual() -> None:
    columns = [Column(name=name, type="string", nullable=True) for name in ("zip", "city")]
    schema = Schema(columns=columns, dependencies=[Dependency(determinants=["zip"], dependent="city")])
    table = {"zip": ["1", "1", "1", "2", None, "1"], "city": ["Bend", "Bent", "Bend", "Reno", "Gary", None]}
    (found,) = found_in(table, schema)
    assert (found.kind, found.count, found.rows) == ("dependency", 1, [1])
    assert found.values == ["Bent for 1, usually Bend"]
    loose = Schema(columns=columns, dependencies=[Dependency(determinants=["zip"], dependent="city", holds=0.75)])
    assert found_in(table, loose) == []


def test_an_order_holds_where_both_values_are_present() -> None:
    columns = [Column(name=name, type="int64", nullable=True) for name in ("start", "end")]
    schema = Schema(columns=columns, orders=[Order(lower="start", upper="end")])
    (found,) = found_in({"start": [1, 5, None, 3], "end": [2, 4, 1, 3]}, schema)
    assert found.says == "column 'start' is above 'end' in 1 row: 5 above 4 (row 1)"
    strict = Schema(columns=columns, orders=[Order(lower="start", upper="end", strict=True)])
    (found,) = found_in({"start": [1, 5, None, 3], "end": [2, 4, 1, 3]}, strict)
    assert found.rows == [1, 3]


def test_too_few_rows_are_an_error() -> None:
    (found,) = found_in({"x": [1]}, Schema(columns=[Column(name="x", type="int64")], min_rows=2))
    assert (found.kind, found.says) == ("rows", "the table has 1 rows, at least 2 are expected")


def test_an_empty_table_has_too_few_rows_and_breaks_nothing_else() -> None:
    schema = Schema(columns=[Column(name="x", type="int64", unique=True, minimum=0.0, maximum=1.0)], keys=[["x"]])
    found = validate(pa.table({"x": pa.array([], pa.int64())}), schema).violations
    assert [one.kind for one in found] == ["rows"]


TIPS = {"fare": [10.0, 5.0, 8.0], "tips": [1.0, 9.0, None], "how": ["card", "cash", "cash"]}
TIPS_SCHEMA = Schema(columns=[Column(name=n, type="float64", nullable=True) for n in ("fare", "tips")])
TIPS_SCHEMA.columns.append(Column(name="how", type="string"))


def with_check(where: str) -> Schema:
    return Schema(columns=TIPS_SCHEMA.columns, checks=[Check(name="tip", where=where, says="tips are small")])


def test_a_check_in_sql_tells_what_stands_in_its_columns() -> None:
    (found,) = found_in(TIPS, with_check("tips <= fare"))
    assert found.says == "check 'tip' (tips are small) fails in 1 row: tips=9.0, fare=5.0 (row 1)"
    assert (found.kind, found.severity, found.count) == ("check", "error", 1)


@pytest.mark.parametrize(
    "where, why",
    [
        ("tips <= (", "unable to parse"),
        ("tip <= fare", "there is no column 'tip'"),
        ("tips <= avg(fare)", "it is not about each row by itself"),
        ("sum(tips) over () > 1", "it is not about each row by itself"),
        ("1 = 1", "it is not about each row by itself"),
        ("tips + fare", "it is not true or false"),
    ],
)
def test_a_check_that_is_none_is_refused_with_a_remedy(where: str, why: str) -> None:
    with pytest.raises(Invalid, match=why) as caught:
        found_in(TIPS, with_check(where))
    assert caught.value.remedy


def test_a_check_on_an_absent_column_waits_until_it_is_there() -> None:
    columns = [Column(name="x", type="int64"), Column(name="y", type="int64", absent_in=["serving"])]
    schema = Schema(columns=columns, checks=[Check(name="c", where="y > x")])
    assert found_in({"x": [1]}, schema, environment="serving") == []


def test_user_checks_are_expressions_over_the_table_or_functions_of_rows() -> None:
    checks = [
        UserCheck(name="no row twice", holds=pl.struct(pl.all()).is_first_distinct()),
        UserCheck(name="mean", holds=pl.col("tips").mean() < 2),
        UserCheck(name="known", holds=lambda rows: rows["how"] == "card", columns=["how"], severity="warning"),
        UserCheck(name="all", holds=lambda rows: [True] * rows.height),
    ]
    twice = {name: [*values, values[0]] for name, values in TIPS.items()}
    found = found_in(twice, TIPS_SCHEMA, checks=checks)
    assert [(one.severity, one.count, one.rows, one.says) for one in found] == [
        ("error", 0, [], "check 'mean' does not hold for the table"),
        ("error", 1, [3], "check 'no row twice' fails in 1 row: row 3"),
        ("warning", 2, [1, 2], "check 'known' fails in 2 rows: how=cash (row 1), how=cash (row 2)"),
    ]


@pytest.mark.parametrize(
    "check, error",
    [
        (UserCheck(name="c", holds=lambda rows: rows["no"] > 1), UserCodeError),
        (UserCheck(name="c", holds=lambda rows: [True]), DataError),
        (UserCheck(name="c", holds=lambda rows: True, columns=["no"]), Invalid),
        (UserCheck(name="c", holds=pl.col("no") > 1), Invalid),
        (UserCheck(name="c", holds=pl.col("fare") + 1), Invalid),
    ],
)
def test_a_user_check_that_fails_itself_is_named(check: UserCheck, error: type[Exception]) -> None:
    with pytest.raises(error, match="'c'"):
        found_in(TIPS, TIPS_SCHEMA, checks=[check])


@pytest.mark.parametrize(
    "values, shown",
    [
        ([[1], [2, 3]], "[2, 3]"),
        ([{"a": 1}, {"a": 2}], "{'a': 2}"),
        ([b"\xff", b"\xfe"], "b'\\xfe'"),
        ([dt.timedelta(1), dt.timedelta(2)], "2 days, 0:00:00"),
        ([dt.time(1), dt.time(2)], "02:00:00"),
    ],
)
def test_values_of_any_type_are_shown(values: list[Any], shown: str) -> None:
    table = pa.table({"x": values + values})
    (twice,) = validate(
        table, Schema(columns=[Column(name="x", type=str(table.schema.types[0]), unique=True)])
    ).violations
    assert (twice.count, twice.values[1]) == (2, shown)
    (other,) = validate(table, Schema(columns=[Column(name="x", type="string")])).violations
    assert (other.kind, other.values[1]) == ("type", shown)
