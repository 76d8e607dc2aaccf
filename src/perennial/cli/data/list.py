"""`perennial data list`: dataset versions, newest first."""

from __future__ import annotations

import argparse
from typing import Any

from perennial.cli.output import emit, moment, table

__all__ = ["arguments", "run"]

COLUMNS = {
    "dataset": "dataset",
    "state": "state",
    "rows": "rows",
    "at": "committed",
    "unusual": "unusual",
    "logical": "digest",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="of one dataset")


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    with calls(options.home) as owner:
        versions: list[dict[str, Any]] = owner.call("datasets.list", name=options.name)
    rows = [
        row
        | {"dataset": f"{row['name']}@{row['version']}", "at": moment(row["at"])}
        | {"unusual": len(row["violations"]), "logical": row["logical"][:12]}
        for row in versions
    ]
    emit(options, versions, table(rows, COLUMNS) if rows else ["there are no datasets yet: perennial run"])
    return 0
