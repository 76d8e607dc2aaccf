"""`perennial label import FILE`: true values for past predictions, by prediction id or by the entities' own key."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perennial.cli.output import emit, progress
from perennial.cli.tables import read_table
from perennial.cli.verbs import Verbs
from perennial.errors import Invalid
from perennial.ids import RandomIds

if TYPE_CHECKING:
    import polars as pl

__all__ = ["arguments"]

BATCH = 10_000


def arguments(parser: argparse.ArgumentParser) -> None:
    importing = Verbs(parser).add("import", read_in, "labels from a CSV, Parquet or JSON-lines file")
    importing.add_argument("file", type=Path)
    importing.add_argument("--endpoint", required=True, help="whose predictions they are about")
    importing.add_argument(
        "--id", default="prediction_id", help="the column with prediction ids (default: %(default)s)"
    )
    importing.add_argument(
        "--entity",
        help="instead of ids: a column with values of the endpoint's key; the latest prediction of each counts",
    )
    importing.add_argument(
        "--at", help="beside --entity: a column with times; the latest prediction before them counts"
    )
    importing.add_argument("--label", default="label", help="the column with the true values (default: %(default)s)")


def read_in(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    file: Path = options.file
    by = options.entity or options.id
    if options.at and not options.entity:
        raise Invalid("--at is for labels of entities", remedy="name the column with --entity, too")
    frame = read_table(file, texts=[options.id])
    for column in (by, options.label, *([options.at] if options.at else [])):
        if column not in frame.columns:
            raise Invalid(
                f"there is no column {column!r}",
                where=str(file),
                remedy=f"choose of {', '.join(frame.columns)} with --id, --entity, --at, --label",
            )
    named = "entity" if options.entity else "prediction_id"
    rows = frame.select(**{named: by, "value": options.label})
    if missing := rows.filter(rows[named].is_null() | rows["value"].is_null()).height:
        raise Invalid(
            f"{missing} of {rows.height} rows have no {by} or no label", where=str(file), remedy="leave them out"
        )
    if options.at:
        rows = rows.with_columns(at=_moments(frame[options.at], file))
    if rows["value"].dtype.is_float() and (infinite := rows.filter(~rows["value"].is_finite()).height):
        what = f"{infinite} of {rows.height} labels are NaN or infinite"
        raise Invalid(what, where=str(file), remedy="leave them out, or write the true values")
    # For repeating a call that got no answer; the next import of the same file counts anew what is known by then.
    key = RandomIds().new()
    total = {"accepted": 0, "revised": 0, "repeated": 0}
    with calls(options.home) as owner, progress(f"storing {rows.height} labels"):
        for start in range(0, rows.height, BATCH):
            labels: list[dict[str, Any]] = rows[start : start + BATCH].to_dicts()
            report = owner.call("predictions.label", endpoint=options.endpoint, labels=labels, key=f"{key}-{start}")
            total = {name: total[name] + report[name] for name in total}
    emit(options, total, [f"{total['accepted']} accepted ({total['revised']} changed), {total['repeated']} were known"])
    return 0


def _moments(column: pl.Series, file: Path) -> pl.Series:
    """Times, dates or their text as microseconds; without a zone they are UTC."""
    import polars as pl

    try:
        times = column.str.to_datetime(time_unit="us", time_zone="UTC") if column.dtype == pl.String else column
        return times.cast(pl.Datetime("us")).cast(pl.Int64)
    except pl.exceptions.PolarsError as error:
        what = f"column {column.name!r} holds no times: {error}"
        raise Invalid(what, where=str(file), remedy="write them as 2026-05-01T12:00:00Z") from error
