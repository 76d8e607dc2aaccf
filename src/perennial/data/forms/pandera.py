"""A schema as pandera's `DataFrameSchema` for polars, and pandera's schemas as ours.

    to_pandera(schema).validate(frame)

What is a warning here warns there (`raise_warning`). What pandera cannot say travels in its `metadata`, so that a
schema that nobody touched comes back as it was; where somebody touched it, pandera's words win.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, cast

import msgspec
import polars as pl
from msgspec.structs import replace

from perennial.data.forms import Imported
from perennial.data.forms.patterns import whole
from perennial.data.forms.sound import check_sound
from perennial.data.schema import Column, Schema, Severity
from perennial.errors import ConfigError, Invalid
from perennial.store.decoding import ready

__all__ = ["from_pandera", "from_yaml", "to_pandera", "to_yaml"]

Note: TypeAlias = Callable[[str], None]

OURS = "perennial"
_TYPES: Mapping[str, Any] = {
    "float64": pl.Float64,
    "int64": pl.Int64,
    "bool": pl.Boolean,
    "string": pl.String,
    "binary": pl.Binary,
    "datetime": pl.Datetime("us", "UTC"),
    "date": pl.Date,
}
_WORDS = (  # how the names of other types begin, in pandas' and in polars' words
    (r"u?int", "int64"),
    (r"float|decimal", "float64"),
    (r"bool", "bool"),
    (r"str|utf8|object|categor|enum", "string"),
    (r"binary|bytes", "binary"),
    (r"datetime|timestamp", "datetime"),
    (r"date", "date"),
)


def to_pandera(schema: Schema, *, environment: str = "training", plain: bool = False) -> Any:
    """What this schema demands of a table in canonical types, as a `pandera.polars.DataFrameSchema`.

    What was merely seen (`minimum`, `maximum`) is no demand there. Limits of drift and skew, which compare two tables,
    are kept in the metadata.

    Args:
        schema: The schema.
        environment: Columns that need not be there in it are not required.
        plain: Leave out what pandera cannot write as YAML: shares, relations and checks in SQL.

    Raises:
        ConfigError: pandera is not installed.
    """
    pandera = _pandera()
    rest = msgspec.to_builtins(schema)
    del rest["columns"]
    key = schema.keys[0] if schema.keys else None
    return pandera.DataFrameSchema(
        {column.name: _to_column(pandera, column, environment, plain) for column in schema.columns},
        checks=[] if plain else list(_whole(pandera, schema)),
        unique=key,
        metadata={OURS: rest} if rest else None,
    )


def from_pandera(schema: Any) -> Imported:
    """The schema that a pandera `DataFrameSchema` or `DataFrameModel`, for polars or pandas, describes.

    Raises:
        Invalid: Not a schema of pandera's, or none of its columns has a type.
    """
    made: Any = schema.to_schema() if isinstance(schema, type) and hasattr(schema, "to_schema") else schema
    if not isinstance(getattr(made, "columns", None), Mapping) or not hasattr(made, "checks"):
        raise Invalid(
            f"{type(schema).__name__} is no schema of pandera's",
            remedy="give a DataFrameSchema or a DataFrameModel",
        )
    lost: list[str] = []
    columns = [column for found in made.columns.values() if (column := _from_column(found, lost)) is not None]
    ours: dict[str, Any] = (made.metadata or {}).get(OURS, {})
    result = msgspec.convert({**ours, "columns": []}, ready(Schema))
    unique = [made.unique] if isinstance(made.unique, str) else list(cast("Sequence[str]", made.unique or []))
    result = replace(result, columns=columns, keys=[unique, *result.keys[1:]] if unique else result.keys[1:])
    if made.drop_invalid_rows:
        result = replace(result, bad_rows="quarantine")
    lost += [f"check {_named(check)!r} of the table" for check in made.checks if not _is_ours(check)]
    lost += [f"{field}={value!r}" for field in ("strict", "ordered", "coerce") if (value := getattr(made, field))]
    lost += ["the index"] if getattr(made, "index", None) is not None else []
    check_sound(result)
    return Imported(result, lost)


def to_yaml(schema: Schema, *, environment: str = "training") -> str:
    """pandera's own file: without what it cannot write, shares, relations, checks in SQL and what only we say."""
    return str(to_pandera(schema, environment=environment, plain=True).to_yaml())


def from_yaml(text: str) -> Imported:
    """The schema that pandera's own file describes.

    Raises:
        Invalid: Not such a file.
    """
    pandera = _pandera()
    try:
        found = pandera.DataFrameSchema.from_yaml(f"\n{text}")  # else a text that names a file would be read from it
    except Exception as error:  # whatever pandera and its YAML parser raise: it is about this text
        raise Invalid(
            f"this is not pandera's YAML: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            remedy="write it with DataFrameSchema.to_yaml()",
        ) from error
    return from_pandera(found)


def _pandera() -> Any:
    try:
        import pandera.polars
    except ImportError as error:
        raise ConfigError("pandera is not installed", remedy="pip install 'perennial[pandera]'") from error
    return pandera.polars


def _to_column(pandera: Any, column: Column, environment: str, plain: bool) -> Any:
    said = msgspec.to_builtins(column)
    del said["name"]
    return pandera.Column(
        _TYPES.get(column.type),
        list(_checks(pandera.Check, column, plain)),
        nullable=column.nullable,
        unique=column.unique,
        required=environment not in column.absent_in,
        name=column.name,
        metadata={OURS: said},
    )


def _checks(check: Any, column: Column, plain: bool) -> Iterator[Any]:
    warns = {"raise_warning": True} if column.severity == "warning" else {}
    missing = (column.missing or []) if column.nullable else []
    if column.type == "string":
        if column.categories is not None and column.coverage == 1.0:
            yield check.isin([*column.categories, *missing], **warns)
        elif column.categories is not None and not plain:
            known = pl.col(column.name).is_in(column.categories)
            yield _share(check, known.mean() >= column.coverage, "coverage", warns)
        if column.patterns:
            pattern = f"^(?:{'|'.join([*column.patterns, *map(re.escape, missing)])})$"
            if _is_pythons(pattern):
                yield check.str_matches(pattern, **warns)
            elif not plain:
                yield check(_Matches(pattern), name=f"{OURS} pattern", **warns)
    if column.missing and not column.nullable:
        yield check.notin(column.missing, **warns)
    if column.presence and column.nullable and not plain:
        yield _share(check, pl.col(column.name).is_not_null().mean() >= column.presence, "presence", warns)
    for bound, demand in ((column.at_least, check.ge), (column.at_most, check.le)):
        if bound is not None:
            yield demand(_value(bound, column.type))


class _Matches(NamedTuple):
    """A check by a regular expression that Rust knows and Python, which pandera asks, does not."""

    pattern: str

    def __call__(self, data: Any) -> Any:
        return data.lazyframe.select(pl.col(data.key).str.contains(self.pattern))


def _is_pythons(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


def _share(check: Any, holds: pl.Expr, name: str, warns: Mapping[str, bool]) -> Any:
    """A check of the column as a whole; no row is to blame."""

    def fits(data: Any) -> bool:
        return bool(data.lazyframe.select(holds.fill_null(value=True)).collect().item())

    return check(fits, name=f"{OURS} {name}", **warns)


def _whole(pandera: Any, schema: Schema) -> Iterator[Any]:
    """What holds between the columns of a row, or of all rows."""

    def rows(holds: pl.Expr, name: str, share: float, severity: Severity) -> Any:
        def fits(data: Any) -> Any:
            plan = data.lazyframe.select(holds.fill_null(value=True))
            return plan if share == 1.0 else bool(plan.select(pl.all().mean() >= share).collect().item())

        return pandera.Check(fits, name=f"{OURS} {name}", raise_warning=severity == "warning")

    for key in schema.keys[1:]:
        yield rows(pl.struct(key).is_unique(), f"key {', '.join(key)}", 1.0, "error")
    for found in schema.dependencies:
        usual = pl.col(found.dependent).drop_nulls().mode(maintain_order=True).first().over(found.determinants)
        holds = pl.col(found.dependent) == usual
        name = f"dependency of {found.dependent} on {', '.join(found.determinants)}"
        yield rows(holds, name, found.holds, found.severity)
    for order in schema.orders:
        lower, upper = pl.col(order.lower), pl.col(order.upper)
        holds = lower < upper if order.strict else lower <= upper
        yield rows(holds, f"order of {order.lower} and {order.upper}", order.holds, order.severity)
    for own in schema.checks:
        yield rows(pl.sql_expr(own.where), f"check {own.name}", 1.0, own.severity)
    if schema.min_rows > 0:

        def enough(data: Any) -> bool:
            return int(data.lazyframe.select(pl.len()).collect().item()) >= schema.min_rows

        yield pandera.Check(enough, name=f"{OURS} min_rows")


def _value(bound: float | str, kind: str) -> Any:
    if kind == "date":
        return dt.date.fromisoformat(str(bound)[:10])
    if kind == "datetime":
        time = dt.datetime.fromisoformat(str(bound))
        return time if time.tzinfo else time.replace(tzinfo=dt.UTC)
    return int(bound) if kind == "int64" and isinstance(bound, float) and bound.is_integer() else bound


def _from_column(found: Any, lost: list[str]) -> Column | None:
    name = str(found.name)

    def note(says: str) -> None:
        lost.append(f"column {name!r}: {says}")

    ours = (found.metadata or {}).get(OURS)
    known = msgspec.convert({**ours, "name": name}, ready(Column)) if ours else None
    if known is not None and _is_untouched(found, known):
        return known
    word = "" if found.dtype is None else str(found.dtype).lower()
    type_ = next((ours for theirs, ours in _WORDS if re.match(theirs, word)), None)
    type_ = known.type if known and type_ is None else type_
    if type_ is None or getattr(found, "regex", False):
        note("left out, as it is a pattern for names" if type_ else f"left out, as its type is {word or 'not said'}")
        return None
    checks = [check for check in found.checks if not _is_ours(check)]
    severity: Severity = "warning" if checks and all(check.raise_warning for check in checks) else "error"
    column = Column(name=name, type=type_, nullable=found.nullable, unique=found.unique, severity=severity)
    for check in checks:
        column = _demanded(column, check, note)
    if not found.required:
        column = replace(column, absent_in=known.absent_in if known and known.absent_in else ["serving", "training"])
    for field in ("coerce", "default"):
        if getattr(found, field, None) not in (None, False):
            note(f"{field}={getattr(found, field)!r}")
    if known is None:
        return column
    theirs = ("type", "nullable", "unique", "severity", "categories", "patterns", "at_least", "at_most", "absent_in")
    return replace(known, **{field: getattr(column, field) for field in theirs})


def _is_untouched(found: Any, known: Column) -> bool:
    """Whether the column still says what ours is written as there, in some environment."""
    environment = known.absent_in[0] if known.absent_in and not found.required else "\0"
    for plain in (False, True):
        made = _to_column(_pandera(), known, environment, plain)
        if _demands(made) == _demands(found):
            return True
    return False


def _demands(column: Any) -> tuple[Any, ...]:
    checks = [(check.name, check.statistics, check.raise_warning) for check in column.checks]
    return column.dtype, column.nullable, column.unique, column.required, column.coerce, column.default, checks


def _demanded(column: Column, check: Any, note: Note) -> Column:
    said: dict[str, Any] = check.statistics or {}
    match check.name, column.type:
        case (("isin" | "unique_values_eq"), "string"):
            return replace(column, categories=[str(value) for value in next(iter(said.values()))])
        case "str_matches", "string":
            pattern = getattr(said["pattern"], "pattern", said["pattern"])
            return replace(column, patterns=[whole(pattern, at_start=True)])
        case "notin", "string":
            return replace(column, missing=[str(value) for value in said["forbidden_values"]])
        case (("in_range" | "between"), _):
            for side in ("min", "max"):
                inclusive = said.get(f"include_{side}", True)
                column = _bounded(column, side, said[f"{side}_value"], inclusive, note)
            return column
        case (("greater_than_or_equal_to" | "greater_than"), _):
            return _bounded(column, "min", said["min_value"], check.name != "greater_than", note)
        case (("less_than_or_equal_to" | "less_than"), _):
            return _bounded(column, "max", said["max_value"], check.name != "less_than", note)
        case _:
            note(f"check {_named(check)!r}")
            return column


def _bounded(column: Column, side: str, bound: Any, inclusive: bool, note: Note) -> Column:
    field, step = ("at_least", 1) if side == "min" else ("at_most", -1)
    if isinstance(bound, dt.date):
        bound = bound.isoformat()
    elif column.type in ("datetime", "date") or not isinstance(bound, int | float):
        note(f"limit {bound!r}")
        return column
    elif not inclusive and column.type == "int64":
        bound, inclusive = bound + step, True
    if not inclusive:
        note(f"that {bound} itself is excluded")
    return replace(column, **{field: bound if isinstance(bound, str) else float(bound)})


def _named(check: Any) -> str:
    return str(check.name or check.error or "a function")


def _is_ours(check: Any) -> bool:
    return str(check.name or "").startswith(f"{OURS} ")
