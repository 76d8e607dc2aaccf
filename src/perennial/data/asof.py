"""Join features to rows as they were known at each row's time, so that nothing of the future leaks into training.

    asof_join(labels, visits, time="labelled_at", feature_time="visited_at", by="patient", delay="1d")

A feature is known from its time plus `delay` on: when the nightly job has loaded it, not when it happened. A row gets,
of the features of the same entity that were known before the row's time, the newest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import polars as pl

from perennial.clock import parse_duration
from perennial.data.frames import kind_of, native, to_arrow
from perennial.data.scan import Scan, scan
from perennial.data.spilling import quoted, spilling, view
from perennial.errors import DataError
from perennial.store.scratch import scratch_folder

__all__ = ["asof_join", "asof_join_files"]

Span = str | float | int  # "90m", or a number in the unit of a numeric time
_ROW, _AT, _KNOWN = "\1row", "\1at", "\1known"  # no column of a user is named so


def asof_join(
    rows: Any,
    features: Any,
    *,
    time: str,
    feature_time: str | None = None,
    by: str | Sequence[str] = (),
    delay: Span = 0,
    tolerance: Span | None = None,
    include_equal: bool = False,
) -> Any:
    """Add to each row the newest features that were known before it.

    Args:
        rows: A frame of pandas, polars or pyarrow, such as the labels; each row comes back once, in the same order.
        features: Another, with a time and the features.
        time: Column of `rows`: the moment for which a prediction is to be made.
        feature_time: Column of `features`; default: the same name.
        by: Columns, in both, that name the entity.
        delay: How long after its time a feature is known: a duration, or a number where times are numbers.
        tolerance: Features older than this at the row's time are left out, as if there were none.
        include_equal: Whether a feature known at the very moment of the row counts. Off, because a value stamped with
            a day or an hour usually holds what happened until its end.

    Returns:
        A frame of the library of `rows`, with all its columns, then those of `features`; null where nothing was known.

    Raises:
        DataError: A column is missing, a time is missing or of another kind, two features of one entity have the same
            time, or a feature has the name of a column of `rows`.

    >>> labels = pl.DataFrame({"who": ["a", "a"], "at": [5, 9]})
    >>> visits = pl.DataFrame({"who": ["a", "a"], "at": [5, 7], "visits": [1, 2]})
    >>> asof_join(labels, visits, time="at", by="who")["visits"].to_list()
    [None, 2]
    """
    kind = kind_of(rows)
    left, right = _polars(rows), _polars(features)
    plan = _plan(left.schema, right.schema, time, feature_time or time, by, delay, tolerance)
    for frame, column, what in ((left, plan.time, "rows"), (right, plan.feature_time, "features")):
        if missing := frame.get_column(column).null_count():
            raise _missing(column, missing, what)
    ties = right.select(*plan.by, plan.feature_time).is_duplicated()
    if ties.any():
        raise _tie(plan, right.select(*plan.by, plan.feature_time).row(int(ties.arg_max() or 0)))
    known = right.select(
        *plan.by, *plan.taken, (_moment(plan.feature_time, plan) + _span(plan.delay, plan)).alias(_KNOWN)
    ).sort(_KNOWN)
    joined = (
        left.with_row_index(_ROW)
        .with_columns(_moment(plan.time, plan).alias(_AT))
        .sort(_AT)
        .join_asof(
            known,
            left_on=_AT,
            right_on=_KNOWN,
            by=list(plan.by) or None,
            allow_exact_matches=include_equal,
            coalesce=False,
            check_sortedness=False,  # both were just sorted
        )
        .sort(_ROW)
    )
    if plan.tolerance is not None:
        fresh = pl.col(_AT) - pl.col(_KNOWN) + _span(plan.delay, plan) <= _span(plan.tolerance, plan)
        joined = joined.with_columns(pl.when(fresh).then(pl.col(name)).alias(name) for name in plan.taken)
    joined = joined.drop(_ROW, _AT, _KNOWN)
    return joined if kind == "polars" else native(joined.to_arrow(), kind)


def asof_join_files(
    rows: Scan | str | Path,
    features: Scan | str | Path,
    out: Path,
    *,
    scratch: Path,
    time: str,
    feature_time: str | None = None,
    by: str | Sequence[str] = (),
    delay: Span = 0,
    tolerance: Span | None = None,
    include_equal: bool = False,
) -> Scan:
    """`asof_join` of tables larger than memory, into the Parquet file `out`; what does not fit spills to `scratch`."""
    left = rows if isinstance(rows, Scan) else scan(rows)
    right = features if isinstance(features, Scan) else scan(features)
    schemas = left.lazy().collect_schema(), right.lazy().collect_schema()
    plan = _plan(*schemas, time, feature_time or time, by, delay, tolerance)
    entity = ", ".join(quoted(name) for name in (*plan.by, plan.feature_time))
    with spilling(scratch) as connection, scratch_folder(scratch) as folder:
        view(connection, "r", left, folder)
        view(connection, "f", right, folder)
        for table, column, what in (("r", plan.time, "rows"), ("f", plan.feature_time, "features")):
            query = f"select count(*) from {table} where {quoted(column)} is null"  # noqa: S608
            if missing := connection.execute(query).fetchall()[0][0]:
                raise _missing(column, missing, what)
        tie = f"select {entity} from f group by {entity} having count(*) > 1 limit 1"  # noqa: S608
        for row in connection.execute(tie).fetchall():
            raise _tie(plan, row)
        connection.execute("set preserve_insertion_order = true")
        connection.execute(_statement(plan, out, include_equal=include_equal))
    return scan(out)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    time: str
    feature_time: str
    by: tuple[str, ...]
    taken: tuple[str, ...]
    delay: float  # microseconds, or the unit of a numeric time
    tolerance: float | None
    is_numeric: bool


def _plan(
    rows: pl.Schema,
    features: pl.Schema,
    time: str,
    feature_time: str,
    by: str | Sequence[str],
    delay: Span,
    tolerance: Span | None,
) -> _Plan:
    entity = (by,) if isinstance(by, str) else tuple(by)
    for schema, names, what in ((rows, (time, *entity), "rows"), (features, (feature_time, *entity), "features")):
        for name in names:
            if name not in schema:
                raise DataError(
                    f"the {what} have no column {name!r}", remedy=f"their columns are {', '.join(schema.names())}"
                )
    kinds = {_time_kind(rows[time], time), _time_kind(features[feature_time], feature_time)}
    if len(kinds) > 1:
        raise DataError(
            f"{time!r} is {rows[time]} and {feature_time!r} is {features[feature_time]}: they cannot be compared",
            remedy="make both dates and times, or both numbers",
        )
    taken = tuple(name for name in features.names() if name not in entity and name not in (time, feature_time))
    if feature_time != time:
        taken = (feature_time, *taken)
    if doubled := [name for name in taken if name in rows]:
        raise DataError(
            f"both the rows and the features have a column {doubled[0]!r}", remedy="rename it in one of them"
        )
    is_numeric = kinds == {"number"}
    return _Plan(
        time=time,
        feature_time=feature_time,
        by=entity,
        taken=taken,
        delay=_amount(delay, "delay", is_numeric=is_numeric),
        tolerance=None if tolerance is None else _amount(tolerance, "tolerance", is_numeric=is_numeric),
        is_numeric=is_numeric,
    )


def _statement(plan: _Plan, out: Path, *, include_equal: bool) -> str:
    def moment(table: str, name: str) -> str:
        column = f"{table}.{quoted(name)}"
        return column if plan.is_numeric else f"cast({column} as timestamptz)"

    def span(amount: float) -> str:
        return f"{amount:.17g}" if plan.is_numeric else f"to_microseconds({amount:.0f})"

    at, known = quoted(_AT), quoted(_KNOWN)
    taken = [f"f.{quoted(name)}" for name in plan.taken]
    if plan.tolerance is not None:
        fresh = f"r.{at} - f.{known} + {span(plan.delay)} <= {span(plan.tolerance)}"
        taken = [f"case when {fresh} then f.{quoted(name)} end as {quoted(name)}" for name in plan.taken]
    same = "".join(f"r.{quoted(name)} = f.{quoted(name)} and " for name in plan.by)
    target = str(out).replace("'", "''")
    return f"""
        copy (
            select {", ".join([f"r.* exclude ({quoted(_ROW)}, {at})", *taken])}
            from (select *, row_number() over () as {quoted(_ROW)}, {moment("r", plan.time)} as {at} from r) as r
            asof left join (select *, {moment("f", plan.feature_time)} + {span(plan.delay)} as {known} from f) as f
            on {same} r.{at} {">=" if include_equal else ">"} f.{known}
            order by r.{quoted(_ROW)}
        ) to '{target}' (format parquet, compression zstd)
    """  # noqa: S608  names are quoted


def _polars(frame: Any) -> pl.DataFrame:
    if isinstance(frame, pl.DataFrame):
        return frame
    return cast(pl.DataFrame, pl.from_arrow(to_arrow(frame)))


def _time_kind(kind: pl.DataType, name: str) -> str:
    if kind.is_numeric():
        return "number"
    if kind.base_type() in (pl.Date, pl.Datetime):
        return "moment"
    raise DataError(f"{name!r} is {kind}, which is no time", remedy="make it a date, a time or a number first")


def _amount(span: Span, what: str, *, is_numeric: bool) -> float:
    if isinstance(span, str):
        if is_numeric:
            raise DataError(f"{what} is {span!r} and the times are numbers", remedy=f"give {what} as a number too")
        try:
            return parse_duration(span) * 1e6
        except ValueError as error:
            raise DataError(f"{what}: {error}") from error
    if span and not is_numeric:
        raise DataError(f"{what} is {span}, of no unit", remedy=f'write a duration, such as {what}="{span:g}d"')
    return float(span)


def _moment(name: str, plan: _Plan) -> pl.Expr:
    return pl.col(name) if plan.is_numeric else pl.col(name).cast(pl.Datetime("us")).dt.replace_time_zone(None)


def _span(amount: float, plan: _Plan) -> pl.Expr:
    return pl.lit(amount if amount % 1 else int(amount)) if plan.is_numeric else pl.duration(microseconds=int(amount))


def _missing(column: str, count: int, what: str) -> DataError:
    return DataError(
        f"the time {column!r} is missing in {count} of the {what}",
        remedy="drop these, or find out when they were: without a time nothing can be said to be known before",
    )


def _tie(plan: _Plan, row: Sequence[Any]) -> DataError:
    whose = ", ".join(f"{name} {value!r}" for name, value in zip(plan.by, row, strict=False))
    return DataError(
        f"several features {f'of {whose} ' if whose else ''}have the time {row[-1]}",
        where=f"column {plan.feature_time!r}",
        remedy="keep one of them, for example the last: features.unique([...], keep='last')",
    )
