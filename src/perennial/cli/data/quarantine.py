"""`perennial data quarantine`: the rows that were kept out of a version, and why."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from perennial.cli.names import dataset_at
from perennial.cli.output import emit, progress, table

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="NAME[@VERSION]", help="without a version: the newest that is accepted")
    parser.add_argument("--out", metavar="FILE", help="write all of them: .parquet, .csv, .jsonl or .arrow")
    parser.add_argument("--rows", metavar="N", type=int, default=20, help="how many to show (default: 20)")


def run(options: argparse.Namespace) -> int:
    import polars as pl

    from perennial.api.connect import find_folder, open
    from perennial.data.scan import scan_manifest
    from perennial.data.written import write_rows
    from perennial.types import Digest

    name, version = dataset_at(options.dataset)
    find_folder(options.home)  # looking makes no workspace
    with open(options.home, origin="cli") as ws, progress(f"reading what {options.dataset} was kept from"):
        found = ws.datasets.get(name=name, version=version)
        dataset = f"{found.name}@{found.version}"
        if found.quarantine is None:
            emit(options, {"dataset": dataset, "rows": 0, "shown": []}, [f"no rows were kept out of {dataset}"])
            return 0
        rows = scan_manifest(Digest(found.quarantine), ws.objects, f"the quarantine of {dataset}")
        count = rows.count()
        head = rows.lazy().head(max(0, options.rows)).collect()
        shown: list[dict[str, Any]] = head.select("reasons", pl.exclude("reasons")).to_dicts()
        if options.out:
            write_rows(rows, Path(options.out), ws.data.scratch)
    value = {"dataset": dataset, "rows": count, "shown": [_plain(row) for row in shown], "out": options.out}
    lines = [
        f"{count:,} row{'s' if count != 1 else ''} kept out of {dataset}",
        *table(shown, {key: key for row in shown[:1] for key in row}),
    ]
    lines += [f"and {count - len(shown):,} more"] if count > len(shown) else []
    emit(options, value, [*lines, f"written to {options.out}"] if options.out else lines)
    return 0


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value if isinstance(value, str | int | float | None) else str(value) for key, value in row.items()}
