"""`perennial data list`: dataset versions, newest first."""

from __future__ import annotations

import argparse
from typing import Any

from perennial.cli.output import emit, moment, table
from perennial.errors import NotFound

__all__ = ["arguments", "run"]

COLUMNS = {
    "dataset": "dataset",
    "kind": "kind",
    "state": "state",
    "rows": "rows",
    "files": "files",
    "size": "size",
    "at": "committed",
    "unusual": "unusual",
    "logical": "digest",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="of one dataset")


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    with calls(options.home) as owner:
        versions: list[dict[str, Any]] = owner.call("datasets.list", name=options.name)
    if options.name and not versions:
        raise NotFound(f"there is no dataset {options.name!r}", remedy="see them with: perennial data list")
    emit(
        options,
        versions,
        table([_row(version) for version in versions], COLUMNS)
        if versions
        else ["there are no datasets yet: perennial run, or perennial data add PATH NAME"],
    )
    return 0


def _row(version: dict[str, Any]) -> dict[str, Any]:
    from perennial.cli.data.add import size

    return version | {
        "dataset": f"{version['name']}@{version['version']}",
        "state": "removed" if version["manifest"] is None else version["state"],
        "rows": version["rows"] or None,
        "files": version["files"] or None,
        "size": size(version["size_bytes"]) if version["size_bytes"] else None,
        "at": moment(version["at"]),
        "unusual": len(version["violations"]),
        "logical": version["logical"][:12],
    }
