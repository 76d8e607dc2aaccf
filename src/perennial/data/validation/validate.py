"""Check a table against its schema: everything that differs, with counts, shares and the first rows.

One pass counts all demands on rows (`sweep`). What must see rows together has passes of its own over its columns only:
uniqueness and keys (`repeats`), dependencies, drift against a reference.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
import polars as pl
import pyarrow as pa

from perennial.data.scan import Scan, scan
from perennial.data.schema import Schema, Severity, Violation
from perennial.data.validation.dependencies import breaking
from perennial.data.validation.drift import distances
from perennial.data.validation.pieces import readable
from perennial.data.validation.reading import readings
from perennial.data.validation.repeats import Repeats
from perennial.data.validation.report import Validation
from perennial.data.validation.rules import (
    Broken,
    Rule,
    columns_of,
    dependency_rule,
    empty_rule,
    fitting,
    is_broken,
    repeat_rule,
    row_rules,
    sql_rule,
    violation,
    written_rule,
)
from perennial.data.validation.sweep import Function, Table, sweep
from perennial.errors import Invalid

__all__ = ["REPEATS", "UserCheck", "breaking_rows", "repetitions", "rules_of", "validate"]

PEEK_ROWS = 10_000
REPEATS = "\1repeats"  # the column in which a plan finds which rows repeat earlier ones


@dataclass(frozen=True, kw_only=True)
class UserCheck:
    """A check in Python.

    Attributes:
        name: What it is called in a violation.
        holds: A polars expression, true for good rows or, when it gives one value, for a good table; it sees the whole
            table. Or a function that is given a frame with some of the rows and gives True or False for each; so it
            must judge each row by itself. Unknown (null) is good.
        columns: That the function needs; None: all.
        says: What it is about, for people.
        severity: Of the violation.
    """

    name: str
    holds: pl.Expr | Callable[[pl.DataFrame], Any]
    columns: Sequence[str] | None = None
    says: str = ""
    severity: Severity = "error"


def validate(
    what: pa.Table | Scan,
    schema: Schema,
    *,
    environment: str = "training",
    checks: Sequence[UserCheck] = (),
    reference: Scan | None = None,
    examples: int = 5,
) -> Validation:
    """Everything in which a table differs from a schema.

    Args:
        what: The table; it may be larger than memory.
        schema: What it must look like.
        environment: Columns that are `absent_in` it need not be there. In "serving" drift is measured against
            `skew_limit`, else against `drift_limit`.
        checks: Further checks beside those that the schema holds.
        reference: Another version, or the training data, for the columns that have a limit of drift.
        examples: How many rows a violation tells.

    Raises:
        DataError: The table cannot be read.
        Invalid: A check is not one.
        UserCodeError: A check's function raised.
    """
    source = what if isinstance(what, Scan) else scan(what)
    with readable(source.says):
        table, rules = rules_of(source, schema, checks)
        rows, broken = sweep(table, rules, examples=examples)
        found = _columns(schema, table, environment)
        found += [
            violation(rule, seen, rows) for rule, seen in zip(rules, broken, strict=True) if is_broken(rule, seen)
        ]
        found += _empty(table, schema, rows)
        if rows < schema.min_rows:
            says = f"the table has {rows:,} rows, at least {schema.min_rows:,} are expected"
            found.append(Violation(column="", kind="rows", severity="error", says=says))
        for rule, repeats in repetitions(table, schema, rows):
            found.append(violation(rule, _first_repeats(table, rule, repeats, examples), rows))
        for dependency in schema.dependencies:
            if {*dependency.determinants, dependency.dependent} <= table.read.keys():
                rule, seen = dependency_rule(dependency), breaking(table, dependency, examples=examples)
                found += [violation(rule, seen, rows)] if is_broken(rule, seen) else []
        for check in checks:
            if isinstance(check.holds, pl.Expr):
                found += _of_whole(table, check, check.holds, rows, examples)
        if reference is not None:
            found += _drift(table, schema, reference, environment)
    return Validation(rows=rows, columns=len(table.read), environment=environment, violations=_in_order(found, schema))


def rules_of(source: Scan, schema: Schema, checks: Sequence[UserCheck] = ()) -> tuple[Table, list[Rule]]:
    """The table as it is read for this schema, and the demands on its rows.

    Raises:
        Invalid: A check is not one, or is about columns that nobody knows.
    """
    read = readings(source, schema.columns)
    rules = list(row_rules(schema, read))
    functions: list[Function] = []
    for index, check in enumerate(checks):
        if not isinstance(check.holds, pl.Expr):
            columns = tuple(read if check.columns is None else check.columns)
            if unknown := [name for name in columns if name not in read]:
                raise Invalid(
                    f"check {check.name!r} needs column {unknown[0]!r}, which is not there",
                    remedy=f"name columns of the table: {', '.join(read)}",
                )
            call = Function(name=check.name, mask=f"\1check {index}", columns=columns, holds=check.holds)
            shown = columns if check.columns else ()
            rule = written_rule(check.name, check.says, check.severity, shown, pl.col(call.mask))
            rules.append(replace(rule, needs=(*columns, call.mask)))
            functions.append(call)
    table = Table(source, read, functions)
    amiss = {column.name for column in schema.columns} - fitting(schema, read)  # told as such
    rules += [sql_rule(check, table.empty()) for check in schema.checks if amiss.isdisjoint(columns_of(check))]
    return table, rules


def repetitions(table: Table, schema: Schema, rows: int) -> Iterator[tuple[Rule, Repeats]]:
    """The columns and keys in which rows repeat earlier ones."""
    keys = [(list(key), "error", True) for key in schema.keys]
    single = [key[0] for key in schema.keys if len(key) == 1]
    keys += [([one.name], one.severity, False) for one in schema.columns if one.unique and one.name not in single]
    for names, severity, is_key in keys:
        if table.read.keys() >= set(names):
            repeats = Repeats(names, partial(table.pieces, names), rows)
            if repeats.count:
                yield repeat_rule(names, cast(Severity, severity), REPEATS, is_key=is_key), repeats


def _first_repeats(table: Table, rule: Rule, repeats: Repeats, examples: int) -> Broken:
    found = Broken(count=repeats.count)
    assert rule.shown is not None
    for first, plan in table.pieces(rule.needs):
        frame = plan.collect().with_row_index("\1row", first)
        bad = frame.filter(repeats.mask(frame)).head(examples - len(found.rows))
        found.rows += bad["\1row"].to_list()
        found.values += bad.select(rule.shown.alias("\1shown")).to_series().to_list()
        if len(found.rows) == examples:
            break
    return found


def _columns(schema: Schema, table: Table, environment: str) -> list[Violation]:
    known = {column.name for column in schema.columns}
    new = [name for name in table.read if name not in known]
    found: list[Violation] = []
    for column in schema.columns:
        if column.name not in table.read and environment not in column.absent_in:
            similar = difflib.get_close_matches(column.name, new, n=1)
            renamed = f"; was it renamed to {similar[0]!r}?" if similar else ""
            says = f"column {column.name!r} is gone{renamed}"
            found.append(Violation(column=column.name, kind="lost", severity="error", says=says))
    return found + [
        Violation(column=name, kind="new", severity="warning", says=f"column {name!r} is new") for name in new
    ]


def _empty(table: Table, schema: Schema, rows: int) -> list[Violation]:
    """Columns that may be missing and always are. They are noticed by their first rows, so that others cost nothing."""
    optional = [one for one in schema.columns if one.nullable and one.presence is None and one.name in table.read]
    first = next(table.pieces([column.name for column in optional]), None) if optional else None
    if first is None or not rows:
        return []
    present = first.plan.head(PEEK_ROWS).select(pl.col(one.name).is_not_null().any() for one in optional).collect()
    rules = [empty_rule(one) for one in optional if not present[one.name][0]]
    counts = sweep(table, rules, examples=0)[1] if rules else []
    return [violation(rule, seen, rows) for rule, seen in zip(rules, counts, strict=True) if seen.count == rows]


def breaking_rows(table: Table, check: UserCheck, holds: pl.Expr) -> list[tuple[Rule, np.ndarray]]:
    """The rows that break a check that looks at all rows; none when it is about the whole table."""
    rule, bad = _of_all_rows(table, check, holds)
    return [] if bad is None else [(rule, bad.select("\1row").collect(engine="streaming").to_series().to_numpy())]


def _of_all_rows(table: Table, check: UserCheck, holds: pl.Expr) -> tuple[Rule, pl.LazyFrame | None]:
    """The rule, and the rows that break it; None when the expression has one value for the table."""
    empty = table.empty().select(holds.alias("\1"))
    if empty.dtypes[0] != pl.Boolean and empty.dtypes[0] != pl.Null:
        raise Invalid(f"check {check.name!r} is not true or false", remedy="compare something in it")
    names = [name for name in holds.meta.root_names() if name in table.read]
    rule = written_rule(check.name, check.says, check.severity, list(dict.fromkeys(names)), holds)
    if empty.height:
        return rule, None
    plan = table.read_plan(table.scan.lazy(), list(table.read), 0)
    return rule, plan.with_columns(rule.bad.alias("\1")).with_row_index("\1row").filter(pl.col("\1"))


def _of_whole(table: Table, check: UserCheck, holds: pl.Expr, rows: int, examples: int) -> list[Violation]:
    """A check by an expression that may look at all rows."""
    try:
        rule, bad = _of_all_rows(table, check, holds)
        if bad is None:
            plan = table.read_plan(table.scan.lazy(), list(table.read), 0).select(holds.alias("\1"))
            if plan.collect(engine="streaming").item() is not False:
                return []
            says = f"check {check.name!r}{f' ({check.says})' if check.says else ''} does not hold for the table"
            return [Violation(column=rule.about, kind="check", severity=check.severity, says=says)]
        seen = Broken(count=int(bad.select(pl.len()).collect(engine="streaming").item()))
        if not seen.count:
            return []
        first = bad.head(examples).select("\1row", *([] if rule.shown is None else [rule.shown.alias("\1shown")]))
        seen.rows, *shown = (column.to_list() for column in first.collect(engine="streaming").get_columns())
        seen.values = shown[0] if shown else []
        return [violation(rule, seen, rows)]
    except pl.exceptions.PolarsError as error:
        raise Invalid(
            f"check {check.name!r} cannot be made: {next(iter(str(error).splitlines()), '')}",
            remedy="write a polars expression over the columns of the table that is true for good rows",
        ) from error


def _drift(table: Table, schema: Schema, reference: Scan, environment: str) -> list[Violation]:
    is_serving = environment == "serving"
    limits = {one.name: one.skew_limit if is_serving else one.drift_limit for one in schema.columns}
    limited = {name: limit for name, limit in limits.items() if limit is not None}
    severity: dict[str, Severity] = {one.name: one.severity for one in schema.columns}
    other = Table(reference, readings(reference, schema.columns))
    return [
        Violation(
            column=apart.column,
            kind="drift",
            severity=severity[apart.column],
            says=f"column {apart.column!r} is {apart.value:.4g} from {reference.says} ({apart.measure}"
            f"{f', most at {apart.at!r}' if apart.at else ''}), at most {limited[apart.column]:g} is expected",
            values=[apart.at] if apart.at else [],
        )
        for apart in distances(table, other, limited)
        if apart.value > limited[apart.column]
    ]


def _in_order(found: list[Violation], schema: Schema) -> list[Violation]:
    """Errors first, then by column as the schema has them; what is about several columns comes after."""
    place = {column.name: index for index, column in enumerate(schema.columns)}
    return sorted(found, key=lambda one: (one.severity != "error", place.get(one.column, len(place))))
