"""`perennial data`: dataset versions, and accepting a changed schema."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from perennial.cli.names import model_at
from perennial.cli.output import emit, moment, table
from perennial.cli.verbs import Verbs
from perennial.errors import Invalid

__all__ = ["arguments"]

COLUMNS = {
    "dataset": "dataset",
    "state": "state",
    "rows": "rows",
    "at": "committed",
    "unusual": "unusual",
    "logical": "digest",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    verbs = Verbs(parser)
    listing = verbs.add("list", show_list, "dataset versions, newest first")
    listing.add_argument("name", nargs="?", help="of one dataset")
    showing = verbs.add("show", show, "one version with its schema and what is unusual about it")
    showing.add_argument("dataset", metavar="NAME[@VERSION]", help="without a version: the newest that is accepted")
    accepting = verbs.add("accept", accept, "let the schema of a draft be the dataset's from now on")
    accepting.add_argument("dataset", metavar="NAME@VERSION")


def show_list(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    with calls(options.home) as owner:
        versions: list[dict[str, Any]] = owner.call("data.list", name=options.name)
    rows = [
        row
        | {"dataset": f"{row['name']}@{row['version']}", "at": moment(row["at"])}
        | {"unusual": len(row["violations"]), "logical": row["logical"][:12]}
        for row in versions
    ]
    emit(options, versions, table(rows, COLUMNS) if rows else ["there are no datasets yet: perennial run"])
    return 0


def show(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    name, version = model_at(options.dataset)
    with calls(options.home) as owner:
        found = owner.call("data.get", name=name, version=version or "latest")
    emit(options, found, _lines(found))
    return 0


def accept(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    name, version = model_at(options.dataset)
    if version is None:
        raise Invalid("name the version to accept", remedy=f"perennial data list {name} shows them")
    with calls(options.home) as owner:
        accepted = owner.call("data.accept", name=name, version=version)
    emit(options, accepted, [f"{name} version {version} is accepted, by {accepted['accepted_by']}"])
    return 0


def _lines(found: dict[str, Any]) -> Iterable[str]:
    yield f"{found['name']} version {found['version']}: {found['state']}, {found['rows']} rows, {moment(found['at'])}"
    yield f"  digest {found['logical']}"
    for violation in found["violations"]:
        yield f"  {violation['severity']}: {violation['column']}: {violation['says']}"
    columns = {"name": "column", "type": "type", "nullable": "nullable", "minimum": "minimum", "maximum": "maximum"}
    yield from (f"  {line}" for line in table(found["schema"]["columns"], columns))
