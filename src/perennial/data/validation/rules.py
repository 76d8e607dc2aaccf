"""What a schema demands of each row, as expressions over a piece of the table: true where a row breaks it."""

from __future__ import annotations

import datetime as dt
import functools
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from perennial.data.schema import Check, Column, Dependency, Order, Schema, Severity, Violation, ViolationKind
from perennial.data.validation.reading import RAW, Reading, literal
from perennial.errors import Invalid

__all__ = [
    "Broken",
    "Rule",
    "columns_of",
    "dependency_rule",
    "empty_rule",
    "fitting",
    "is_broken",
    "repeat_rule",
    "row_rules",
    "sql_rule",
    "violation",
    "written_rule",
]

SLACK = 0.1  # a number may leave what was seen by this share of its width, but not turn negative
TIME_SLACK = dt.timedelta(days=366)  # a time may leave it by its width, and by this at least: time goes on
DEVIATIONS = 3.0  # of what a share that was counted varies by when it is counted again
TOLD = 3  # values that a sentence names
_WINDOW = re.compile(r"\bover\b", re.IGNORECASE)
_TRUTH: tuple[Any, ...] = (pl.Boolean, pl.Null)
_VALUES, _ROWS = ("value", "values"), ("row", "rows")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One demand.

    Attributes:
        about: The column that a violation names, or several.
        needs: The columns to read.
        kind: Of the violation.
        severity: Of the violation.
        bad: True where a row breaks it; unknown is good.
        shown: What stands there, as text; None when there is nothing to show.
        says: What is told before and after the number of rows: ("column 'x' has", " outside 0 to 1").
        noun: What is counted.
        reason: Why a row is bad, in front of what stands there.
        allowed: Share of rows that may break it.
        among: True for the rows of which that is a share; None: all.
        different: Whether different values are told, and not the first rows.
        of_rows: Whether single rows are to blame, and not the column.
    """

    about: str
    needs: tuple[str, ...]
    kind: ViolationKind
    severity: Severity
    bad: pl.Expr
    shown: pl.Expr | None
    says: tuple[str, str]
    noun: tuple[str, str] = _VALUES
    reason: str
    allowed: float = 0.0
    among: pl.Expr | None = None
    different: bool = False
    of_rows: bool = True


@dataclass
class Broken:
    """How a rule is broken: in how many rows, among how many; the first of them, what stands there, which kinds."""

    count: int = 0
    among: int = 0
    rows: list[int] = field(default_factory=list[int])
    values: list[str] = field(default_factory=list[str])
    kinds: set[str] = field(default_factory=set[str])


def row_rules(schema: Schema, read: Mapping[str, Reading]) -> Iterator[Rule]:
    """The demands on the columns that are there."""
    for column in schema.columns:
        reading = read.get(column.name)
        if reading is None:
            continue
        if reading.type != column.type or reading.raw:
            yield _type(column, reading)
        yield from _column(column, fits=reading.type == column.type)
    for name in dict.fromkeys(name for key in schema.keys for name in key):
        if name in read:
            yield Rule(
                about=name,
                needs=(name,),
                kind="key",
                severity="error",
                bad=pl.col(name).is_null(),
                shown=None,
                says=(f"column {name!r} is part of a key and has", ""),
                noun=("missing value", "missing values"),
                reason=f"{name}, part of a key, is missing",
            )
    whole = fitting(schema, read)
    yield from (_order(order) for order in schema.orders if {order.lower, order.upper} <= whole)


def fitting(schema: Schema, read: Mapping[str, Reading]) -> set[str]:
    """The columns that are there in their type; what is said of the others makes no sense just now."""
    return {one.name for one in schema.columns if one.name in read and read[one.name].type == one.type}


def sql_rule(check: Check, empty: pl.DataFrame) -> Rule:
    """A check that the schema holds, for a table of the columns and types of `empty`.

    Raises:
        Invalid: Not an SQL expression that is true or false for each row by itself, or columns are not there.
    """
    needs = columns_of(check)
    try:
        holds = pl.sql_expr(check.where)
        lost = [name for name in needs if name not in empty.columns]
        if lost:
            raise _unfit(check, f"there is no column {', '.join(map(repr, lost))}")
        if not needs or _WINDOW.search(check.where) or any(_is_summary(part, empty) for part in _parts(holds)):
            raise _unfit(check, "it is not about each row by itself")
        if empty.select(holds.alias("\1")).dtypes[0] not in _TRUTH:
            raise _unfit(check, "it is not true or false")
    except pl.exceptions.PolarsError as error:
        raise _unfit(check, next(iter(str(error).splitlines()), "it is no SQL")) from error
    return written_rule(check.name, check.says, check.severity, needs, holds)


def columns_of(check: Check) -> tuple[str, ...]:
    """The columns that a check in SQL is about.

    Raises:
        Invalid: Not an SQL expression.
    """
    try:
        return tuple(dict.fromkeys(pl.sql_expr(check.where).meta.root_names()))
    except pl.exceptions.PolarsError as error:
        raise _unfit(check, next(iter(str(error).splitlines()), "it is no SQL")) from error


def written_rule(name: str, says: str, severity: Severity, needs: Sequence[str], holds: pl.Expr) -> Rule:
    """A check that somebody wrote; `holds` is true for good rows."""
    shown = pl.concat_str((pl.lit(f"{one}=") + _text(one) for one in needs), separator=", ") if needs else None
    return Rule(
        about=", ".join(needs),
        needs=tuple(needs),
        kind="check",
        severity=severity,
        bad=~holds,
        shown=shown,
        says=(f"check {name!r}{f' ({says})' if says else ''} fails in", ""),
        noun=_ROWS,
        reason=f"check {name!r} fails",
    )


def empty_rule(column: Column) -> Rule:
    """Nothing but missing values, where they may be missing."""
    return Rule(
        about=column.name,
        needs=(column.name,),
        kind="missing",
        severity=column.severity,
        bad=pl.col(column.name).is_null(),
        shown=None,
        says=(f"column {column.name!r} has no value at all in", ""),
        noun=_ROWS,
        reason=f"{column.name} has no value at all",
        of_rows=False,
    )


def repeat_rule(names: Sequence[str], severity: Severity, mask: str, *, is_key: bool) -> Rule:
    """Values, or combinations of them, that an earlier row has; `mask` names the column that tells which."""
    about = ", ".join(names)
    shown = [_text(name) if len(names) == 1 else pl.format("{}={}", pl.lit(name), _text(name)) for name in names]
    return Rule(
        about=about,
        needs=tuple(names),
        kind="key" if is_key else "duplicate",
        severity=severity,
        bad=pl.col(mask),
        shown=pl.concat_str(shown, separator=", "),
        says=(f"{'key' if is_key else 'column'} {about!r} has", " that an earlier row has"),
        reason=f"{about} of an earlier row",
    )


def dependency_rule(dependency: Dependency) -> Rule:
    """A value that is not the usual one of the rows that agree with it; which rows, is counted elsewhere."""
    about = ", ".join(dependency.determinants)
    return Rule(
        about=f"{about}, {dependency.dependent}",
        needs=(*dependency.determinants, dependency.dependent),
        kind="dependency",
        severity=dependency.severity,
        bad=pl.lit(value=False),
        shown=None,
        says=(f"{about} does not determine {dependency.dependent} in", ""),
        noun=_ROWS,
        reason=f"{dependency.dependent} is not as {about} says",
        allowed=1 - dependency.holds,
        of_rows=False,
    )


def is_broken(rule: Rule, found: Broken) -> bool:
    """Whether more rows break it than may."""
    if rule.kind in ("order", "dependency"):  # the share was counted in other rows
        return found.count > found.among * tolerated(rule.allowed, found.among)
    return found.count > found.among * rule.allowed + 1e-9 * found.among


def tolerated(allowed: float, rows: int) -> float:
    """The share of rows that may break what the share `allowed` of other rows broke."""
    return allowed + DEVIATIONS * math.sqrt(allowed * (1 - allowed) / max(1, rows)) + 1e-9


def violation(rule: Rule, found: Broken, rows: int) -> Violation:
    """What is told about a rule that is broken in a table of so many rows."""
    count = len(found.kinds) if rule.different else found.count
    before, after = rule.says
    if count != found.count:
        after += f" in {_counted(found.count, _ROWS)}"
    if rule.allowed:
        after += f", a share of {found.count / found.among:.3%}; at most {rule.allowed:.3%} is expected"
    told = _listed(found.rows, found.values, count, quote=rule.different or rule.kind == "pattern")
    return Violation(
        column=rule.about,
        kind=rule.kind,
        severity=rule.severity,
        says=f"{before} {_counted(count, rule.noun)}{after}{told}",
        count=found.count,
        share=found.count / rows,
        rows=found.rows,
        values=found.values,
    )


def _listed(rows: Sequence[int], values: Sequence[str], count: int, *, quote: bool = False) -> str:
    """The first of so many rows: ": 'Prcard' (row 3134), 'Cach' (row 4000) and 3 more"."""
    told = [f"row {row}" for row in rows[:TOLD]]
    if values:
        texts = (value if len(value) <= 60 else f"{value[:57]}..." for value in values)
        shown = (repr(text) if quote or not text.isprintable() else text for text in texts)
        told = [f"{text} ({row})" for text, row in zip(shown, told, strict=False)]
    more = f" and {count - len(told):,} more" if count > len(told) else ""
    return f": {', '.join(told)}{more}" if told else ""


def _column(column: Column, *, fits: bool) -> Iterator[Rule]:
    name, here = column.name, pl.col(column.name)

    def rule(kind: ViolationKind, bad: pl.Expr, says: str, reason: str, **more: Any) -> Rule:
        given: dict[str, Any] = {
            "severity": column.severity,
            "shown": _text(name),
            "says": (f"column {name!r} has", says),
            "reason": f"{name} {reason}",
        }
        return functools.partial(Rule, about=name, needs=(name,), kind=kind, bad=bad)(**given | more)

    if not column.nullable or column.presence:
        allowed = 0.0 if column.presence is None else 1 - column.presence
        yield rule(
            "missing",
            here.is_null(),
            "" if allowed else ", had none",
            "is missing",
            shown=None,
            noun=("missing value", "missing values"),
            allowed=allowed,
            of_rows=not allowed,
        )
    if not fits:
        return
    if column.type == "string" and column.categories is not None:
        allowed = 1 - column.coverage
        more = {"different": True, "allowed": allowed, "among": here.is_not_null(), "of_rows": not allowed}
        yield rule("category", ~here.is_in(column.categories), " never seen", "was never seen", **more)
    if column.type == "string" and column.patterns:
        forms = "|".join(column.patterns)
        bad = ~here.str.contains(rf"^(?:{forms})$")
        yield rule("pattern", bad, f" of another form than {forms}", "is of another form")
    seen = "outside " + " to ".join("any" if end is None else _figure(end) for end in (column.minimum, column.maximum))
    for bad in _outside(column, *_with_slack(column)):
        yield rule("range", bad, f" {seen}", f"is {seen}")
    for end, bounds in (("below", (column.at_least, None)), ("above", (None, column.at_most))):
        for bad in _outside(column, *bounds):
            says = f"{end} {_figure(bounds[end == 'above'])}"
            yield rule("limit", bad, f" {says}", f"is {says}", severity="error")


def _type(column: Column, reading: Reading) -> Rule:
    """Another type is told by values that have it: a column without any value fits every type."""
    here, raw = pl.col(column.name), pl.col(RAW + column.name)
    marked = raw.is_in(column.missing) if column.missing else pl.lit(value=False)
    return Rule(
        about=column.name,
        needs=(column.name,),
        kind="type",
        severity="error",
        bad=here.is_null() & raw.is_not_null() & ~marked if reading.raw else here.is_not_null(),
        shown=raw if reading.raw else _text(column.name),
        says=(f"column {column.name!r} holds {reading.seen}, was {column.type}:", f" that {column.type} cannot hold")
        if reading.raw
        else (f"column {column.name!r} holds {reading.seen}, was {column.type}, in", ""),
        noun=_VALUES if reading.raw else _ROWS,
        reason=f"{column.name} is not {column.type}",
        of_rows=reading.raw,
    )


def _order(order: Order) -> Rule:
    lower, upper = pl.col(order.lower), pl.col(order.upper)
    word = "not below" if order.strict else "above"
    return Rule(
        about=f"{order.lower}, {order.upper}",
        needs=(order.lower, order.upper),
        kind="order",
        severity=order.severity,
        bad=lower >= upper if order.strict else lower > upper,
        shown=pl.concat_str(_text(order.lower), pl.lit(f" {word} "), _text(order.upper)),
        says=(f"column {order.lower!r} is {word} {order.upper!r} in", ""),
        noun=_ROWS,
        reason=f"{order.lower} {word} {order.upper}",
        allowed=1 - order.holds,
        among=lower.is_not_null() & upper.is_not_null(),
        of_rows=order.holds == 1.0,
    )


def _outside(column: Column, low: float | str | None, high: float | str | None) -> list[pl.Expr]:
    """One expression, or none when nothing is outside."""
    here = pl.col(column.name)
    sides = [here < _end(column, low, math.ceil)] if low is not None else []
    sides += [here > _end(column, high, math.floor)] if high is not None else []
    return [functools.reduce(operator.or_, sides)] if sides else []


def _end(column: Column, value: float | str, to: Callable[[float], int]) -> pl.Expr:
    if column.type == "int64" and not isinstance(value, str) and math.isfinite(value):
        value = max(-(2**63), min(2**63 - 1, to(value)))  # whole numbers are compared as such
    return literal(value, column.type)


def _with_slack(column: Column) -> tuple[float | str | None, float | str | None]:
    low, high = column.minimum, column.maximum
    if isinstance(low, str) and isinstance(high, str):
        first, last = dt.datetime.fromisoformat(low), dt.datetime.fromisoformat(high)
        slack = max(TIME_SLACK, last - first)
        try:
            return (first - slack).isoformat(), (last + slack).isoformat()
        except OverflowError:
            return None, None  # what reaches to the ends of time excludes nothing
    if isinstance(low, str) or isinstance(high, str) or low is None or high is None:
        return low, high
    slack = SLACK * (high - low)
    return max(0.0, low - slack) if low >= 0 else low - slack, high + slack


def _counted(count: int, noun: tuple[str, str]) -> str:
    return f"{count:,} {noun[count != 1]}"


def _text(name: str) -> pl.Expr:
    return pl.col(name).map_batches(_as_text, return_dtype=pl.String, is_elementwise=True).fill_null("missing")


def _as_text(values: pl.Series) -> pl.Series:
    if values.dtype.is_nested() or values.dtype == pl.Binary or values.dtype == pl.Duration:
        return pl.Series(
            values.name, [None if value is None else str(value) for value in values.to_list()], dtype=pl.String
        )
    return values.cast(pl.String)


def _figure(value: float | str | None) -> str:
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _parts(expression: pl.Expr) -> Iterator[pl.Expr]:
    yield expression
    for part in expression.meta.pop():
        yield from _parts(part)


def _is_summary(part: pl.Expr, empty: pl.DataFrame) -> bool:
    """Whether it makes one value of many: it has one even where there are no rows."""
    return bool(part.meta.root_names()) and empty.select(part.alias("\1")).height == 1


def _unfit(check: Check, why: str) -> Invalid:
    return Invalid(
        f"check {check.name!r} cannot be made: {why}",
        where=check.where,
        remedy="write an SQL expression that is true for good rows, such as: tips <= fare",
    )
