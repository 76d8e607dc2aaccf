"""`perennial data suspects`: the cells of a table that look wrong."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perennial.cli.data.named import TABLE, TABLE_HELP, Named
from perennial.cli.output import emit, progress, table, write
from perennial.errors import Invalid

if TYPE_CHECKING:
    from perennial.data.suspects import Measured, Suspects

__all__ = ["arguments", "run"]

COLUMNS = {"row": "row", "column": "column", "value": "value", "score": "score", "repair": "repair", "reason": "reason"}
FIGURES = {
    "column": "column",
    "wrong": "wrong",
    "suspects": "suspects",
    "hits": "both",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", metavar=TABLE, help=TABLE_HELP)
    parser.add_argument("--clean", metavar=TABLE, help="the table as it should be: tells precision, recall and F1")
    parser.add_argument("--min-score", metavar="X", type=float, help="from which score on to tell (default: 0.51)")
    parser.add_argument(
        "--limit", metavar="N", type=int, default=50, help="tell no more cells, the surest (default: 50)"
    )
    parser.add_argument("--out", metavar="FILE.csv", help="write all of them to this file")


def run(options: argparse.Namespace) -> int:
    from perennial.data.suspects import THRESHOLD, measure, suspects

    least = THRESHOLD if options.min_score is None else options.min_score
    if not 0 <= least <= 1:
        raise Invalid(f"{least} is no score", remedy="give --min-score a number from 0 to 1")
    with Named(options.home) as named, progress(f"looking at {options.table}"):
        source = named.table(options.table)
        told = named.table(options.clean) if options.clean else None
        found = suspects(source, min_score=least)
        measured = measure(found, source, told) if told is not None else []
    if options.out:
        _write(found, Path(options.out))
    surest = found.frame.sort("score", "row", descending=[True, False], maintain_order=True).head(max(options.limit, 0))
    cells = surest.to_dicts()
    value = {
        "rows": found.rows,
        "columns": found.columns,
        "suspects": len(found),
        "left_out": found.left_out,
        "cells": cells,
        "measured": [_figures(one) for one in measured],
    }
    emit(options, value, _lines(found, cells, measured))
    return 0


def _figures(one: Measured) -> dict[str, Any]:
    return asdict(one) | {"precision": one.precision, "recall": one.recall, "f1": one.f1}


def _lines(found: Suspects, cells: list[dict[str, Any]], measured: list[Measured]) -> list[str]:
    share = f"{100 * len(found) / max(1, found.rows * len(found.columns)):.2g} %"
    lines = [f"{len(found):,} of {found.rows * len(found.columns):,} cells look wrong ({share})"]
    if found.left_out:
        lines.append(f"{found.left_out} more were left out")
    if cells:
        told = [cell | {"reason": cell["reasons"][0], "score": f"{cell['score']:.2f}"} for cell in cells]
        lines += ["", *table(told, COLUMNS)]
    if len(cells) < len(found):
        lines.append(f"... and {len(found) - len(cells)} more: --limit, or all in a file with --out")
    if measured:
        rows = [_figures(one) | {"column": one.column or "all"} for one in measured]
        rows = [row | {name: f"{row[name]:.3f}" for name in ("precision", "recall", "f1")} for row in rows]
        lines += ["", *table(rows, FIGURES)]
    return lines


def _write(found: Suspects, path: Path) -> None:
    import polars as pl

    flat = found.frame.with_columns(pl.col("reasons").list.join("; "))
    write(path, flat.write_csv())
