"""`perennial models learned`: which model versions learned from a dataset version, also through data made of it."""

from __future__ import annotations

import argparse
from typing import Any

from perennial.cli.names import dataset_at
from perennial.cli.output import emit, moment, table

__all__ = ["arguments", "run"]

COLUMNS = {"model": "model", "state": "state", "at": "registered", "run_id": "run", "way": "through"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="NAME[@VERSION]", help="without a version: the newest that is accepted")


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    name, version = dataset_at(options.dataset)
    with calls(options.home) as owner:
        data = owner.call("datasets.get", name=name, version=version)
        found: list[dict[str, Any]] = owner.call("models.learned_from", dataset=name, version=data["version"])
    rows = [
        row | {"model": f"{row['name']}@{row['version']}", "at": moment(row["at"]), "way": " -> ".join(row["through"])}
        for row in found
    ]
    emit(options, found, table(rows, COLUMNS) if rows else [f"no model learned from {name}@{data['version']}"])
    return 0
