"""What a schema cannot mean: contradictions, and names of columns that it does not have."""

from __future__ import annotations

import datetime as dt
import difflib
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from perennial.data.schema import Column, Schema
from perennial.errors import Invalid

__all__ = ["TYPES", "Fault", "check_sound", "did_you_mean", "faults"]

TYPES = ("float64", "int64", "bool", "string", "binary", "datetime", "date")
_OTHER_WORDS = {
    "float": "float64",
    "double": "float64",
    "number": "float64",
    "int": "int64",
    "integer": "int64",
    "boolean": "bool",
    "str": "string",
    "text": "string",
    "object": "string",
    "category": "string",
    "bytes": "binary",
    "timestamp": "datetime",
    "time": "datetime",
}


class Fault(NamedTuple):
    """What is wrong, at which place: ("columns", "fare", "presence") or ("relations", "orders", 0, "lower")."""

    path: tuple[str | int, ...]
    says: str
    remedy: str


def check_sound(schema: Schema) -> None:
    """Refuse a schema that contradicts itself.

    Raises:
        Invalid: Names all that is wrong.
    """
    found = list(faults(schema))
    if found:
        told = "; ".join(fault.says for fault in found)
        where = ", ".join(dict.fromkeys(".".join(map(str, fault.path)) for fault in found))
        raise Invalid(told, where=where, remedy="; ".join(dict.fromkeys(fault.remedy for fault in found)))


def faults(schema: Schema) -> Iterator[Fault]:
    """Everything that is wrong with a schema, in the order in which it is written."""
    names = [column.name for column in schema.columns]
    if not names:
        yield Fault(("columns",), "a schema needs at least one column", "say what columns there are")
    if schema.min_rows < 0:
        yield Fault(("min_rows",), f"min_rows is {schema.min_rows}", "say 0 or more")
    for column in schema.columns:
        if names.count(column.name) > 1:
            yield Fault(("columns", column.name), f"column {column.name!r} is there twice", "keep one of them")
        yield from _column(column)
    yield from _relations(schema, names)
    checks = [check.name for check in schema.checks]
    for index, check in enumerate(schema.checks):
        if not check.name or checks.index(check.name) < index:
            says = f"two checks are named {check.name!r}" if check.name else "a check has no name"
            yield Fault(("checks", index, "name"), says, "give each check a name of its own")
        if not check.where.strip():
            says = f"check {check.name!r} does not say what holds"
            yield Fault(("checks", index, "where"), says, 'write an SQL expression, such as where = "tips <= fare"')
        else:
            yield from _sql(("checks", index, "where"), check.where, names)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A remedy that names the nearest known word, or all of them."""
    words = list(known)
    near = difflib.get_close_matches(word, words, n=1)
    return f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(words)}"


def _column(column: Column) -> Iterator[Fault]:
    def fault(field: str, says: str, remedy: str) -> Fault:
        return Fault(("columns", column.name, field), f"column {column.name!r}: {says}", remedy)

    if not column.name or "\0" in column.name:
        yield Fault(("columns", column.name), f"{column.name!r} is not a name for a column", "give the column a name")
    # What is not of the seven is a word of Arrow's with parameters, such as list<item: string> or decimal128(9, 2).
    if column.type not in TYPES and not any(mark in column.type for mark in "<(["):
        meant = _OTHER_WORDS.get(column.type.lower())
        yield fault(
            "type",
            f"{column.type!r} is not a type",
            f"did you mean {meant!r}?" if meant else did_you_mean(column.type, TYPES),
        )
    for field in ("presence", "coverage"):
        share = getattr(column, field)
        if share is not None and not 0 <= share <= 1:
            yield fault(field, f"{field} is {share:g}", "say a share between 0 and 1")
    for field in ("drift_limit", "skew_limit"):
        limit = getattr(column, field)
        if limit is not None and not 0 <= limit <= 1:
            yield fault(field, f"{field} is {limit:g}", "say a distance between 0 and 1")
    bounds = {field: getattr(column, field) for field in ("minimum", "maximum", "at_least", "at_most")}
    wrong = {field: wanted for field, bound in bounds.items() if (wanted := _unfit(column.type, bound))}
    for field, wanted in wrong.items():
        yield fault(field, f"{field} is {bounds[field]!r}", f"say {wanted}")
    for low, high in (("minimum", "maximum"), ("at_least", "at_most")):
        if not {low, high} & wrong.keys() and _is_above(bounds[low], bounds[high]):
            yield fault(low, f"{low} {bounds[low]!r} is above {high} {bounds[high]!r}", "exchange them")
    for pattern in column.patterns or ():
        if (reason := _regex_fault(pattern)) is not None:
            remedy = "write a regular expression as Rust does: no look-around, no back-references"
            yield fault("patterns", f"{pattern!r} is not a regular expression: {reason}", remedy)


def _relations(schema: Schema, names: Sequence[str]) -> Iterator[Fault]:
    def unknown(path: tuple[str | int, ...], columns: Iterable[str]) -> Iterator[Fault]:
        for name in columns:
            if name not in names:
                yield Fault(path, f"there is no column {name!r}", did_you_mean(name, names))

    for index, key in enumerate(schema.keys):
        if not key:
            yield Fault(("relations", "keys", index), "a key has no column", "name its columns or remove it")
        yield from unknown(("relations", "keys", index), key)
    for index, found in enumerate(schema.dependencies):
        path = ("relations", "dependencies", index)
        yield from unknown((*path, "determinants"), found.determinants)
        yield from unknown((*path, "dependent"), [found.dependent])
        if found.dependent in found.determinants:
            yield Fault(path, f"{found.dependent!r} determines itself", "take it out of the determinants")
    for index, order in enumerate(schema.orders):
        path = ("relations", "orders", index)
        yield from unknown((*path, "lower"), [order.lower])
        yield from unknown((*path, "upper"), [order.upper])
        if order.lower == order.upper:
            yield Fault(path, f"{order.lower!r} is compared with itself", "name two columns")
    for kind in ("dependencies", "orders"):
        for index, relation in enumerate(getattr(schema, kind)):
            if not 0 <= relation.holds <= 1:
                says = f"holds is {relation.holds:g}"
                yield Fault(("relations", kind, index, "holds"), says, "say the share of rows, between 0 and 1")


def _unfit(kind: str, bound: object) -> str:
    """What a bound of this type of column should be, empty when it is."""
    if bound is None:
        return ""
    if kind in ("float64", "int64"):
        return "" if isinstance(bound, float) and math.isfinite(bound) else "a finite number"
    if kind in ("datetime", "date"):
        example = "2024-05-01" if kind == "date" else "2024-05-01T12:30:00"
        try:
            dt.datetime.fromisoformat(bound if isinstance(bound, str) else "")
        except ValueError:
            return f'a time in quotes, such as "{example}"'
    return ""


def _is_above(low: float | str | None, high: float | str | None) -> bool:
    if isinstance(low, float) and isinstance(high, float):
        return low > high
    if isinstance(low, str) and isinstance(high, str):
        times = [dt.datetime.fromisoformat(text) for text in (low, high)] if "-" in low else []
        aware = [time if time.tzinfo else time.replace(tzinfo=dt.UTC) for time in times]
        return bool(aware) and aware[0] > aware[1]
    return False


def _sql(path: tuple[str | int, ...], where: str, names: Sequence[str]) -> Iterator[Fault]:
    import polars as pl

    try:
        used = pl.sql_expr(where).meta.root_names()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        yield Fault(path, f"{where!r} is not SQL: {str(error).splitlines()[0]}", "write it as after WHERE in SQL")
        return
    for name in dict.fromkeys(used):
        if name not in names:
            yield Fault(path, f"there is no column {name!r}", did_you_mean(name, names))


def _regex_fault(pattern: str) -> str | None:
    import polars as pl

    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.ComputeError as error:
        lines = str(error).splitlines()
        return next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), lines[0])
    return None
