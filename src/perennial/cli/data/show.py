"""`perennial data show`: one version, its columns and what is unusual about it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from perennial.cli.names import dataset_at
from perennial.cli.output import emit, moment, table

__all__ = ["arguments", "run"]

COLUMNS = {"name": "column", "type": "type", "nullable": "nullable", "minimum": "minimum", "maximum": "maximum"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="NAME[@VERSION]", help="without a version: the newest that is accepted")


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    name, version = dataset_at(options.dataset)
    with calls(options.home) as owner:
        found = owner.call("datasets.get", name=name, version=version)
    emit(options, found, _lines(found))
    return 0


def _lines(found: dict[str, Any]) -> Iterable[str]:
    yield f"{found['name']} version {found['version']}: {found['state']}, {found['rows']} rows, {moment(found['at'])}"
    yield f"  digest {found['logical']}"
    for violation in found["violations"]:
        yield f"  {violation['severity']}: {violation['column']}: {violation['says']}"
    yield from (f"  {line}" for line in table(found["schema"]["columns"], COLUMNS))
