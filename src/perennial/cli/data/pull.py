"""`perennial data pull`: get dataset versions from a remote."""

from __future__ import annotations

import argparse

from perennial.cli.names import dataset_at
from perennial.cli.output import emit, moment, progress, table

__all__ = ["arguments", "run"]

COLUMNS = {"dataset": "dataset", "kind": "kind", "rows": "rows", "files": "files", "at": "committed"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "datasets",
        metavar="NAME[@VERSION]",
        nargs="*",
        help="VERSION: its number where it was pushed from, a tag or the beginning of its digest; default: the newest; "
        "without names: all versions of all datasets",
    )
    parser.add_argument("--remote", metavar="NAME|URL", help="default: the only one, or origin")
    parser.add_argument("--all-versions", action="store_true", help="of the datasets that are named")


def run(options: argparse.Namespace) -> int:
    import msgspec

    from perennial.api.connect import open as open_workspace
    from perennial.data.remote.pull import pull
    from perennial.data.remotes import address_of

    asked = [dataset_at(text) for text in options.datasets]
    with open_workspace(options.home, origin="cli") as ws, progress("pulling") as tell:
        url = address_of(ws.remotes, options.remote)
        found = [] if asked else pull(ws.data, url, None, None, tell=tell)
        for name, version in asked:
            found += pull(ws.data, url, name, None if options.all_versions else version, tell=tell)
    rows = [
        {"dataset": f"{one.name}@{one.version}", "kind": one.kind, "rows": one.rows or None, "files": one.files or None}
        | {"at": moment(one.at)}
        for one in found
    ]
    emit(options, msgspec.to_builtins(found), table(rows, COLUMNS) if rows else [f"there is nothing at {url} yet"])
    return 0
