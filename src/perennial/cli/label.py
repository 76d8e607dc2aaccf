"""`perennial label import FILE`: true values for past predictions, by prediction id."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from perennial.cli.output import emit, progress
from perennial.cli.tables import read_table
from perennial.cli.verbs import Verbs
from perennial.errors import Invalid
from perennial.ids import RandomIds

__all__ = ["arguments"]

BATCH = 10_000


def arguments(parser: argparse.ArgumentParser) -> None:
    importing = Verbs(parser).add("import", read_in, "labels from a CSV, Parquet or JSON-lines file")
    importing.add_argument("file", type=Path)
    importing.add_argument("--endpoint", required=True, help="whose predictions they are about")
    importing.add_argument(
        "--id", default="prediction_id", help="the column with prediction ids (default: %(default)s)"
    )
    importing.add_argument("--label", default="label", help="the column with the true values (default: %(default)s)")


def read_in(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    file: Path = options.file
    frame = read_table(file, texts=[options.id])
    for column in (options.id, options.label):
        if column not in frame.columns:
            raise Invalid(
                f"there is no column {column!r}",
                where=str(file),
                remedy=f"choose of {', '.join(frame.columns)} with --id, --label",
            )
    rows = frame.select(prediction_id=options.id, value=options.label)
    if missing := rows.filter(rows["prediction_id"].is_null() | rows["value"].is_null()).height:
        raise Invalid(
            f"{missing} of {rows.height} rows have no id or no label", where=str(file), remedy="leave them out"
        )
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
