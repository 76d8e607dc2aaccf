"""`perennial data remote`: where datasets are pushed to and pulled from, and what lies there."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from perennial.cli.output import emit, moment, progress, say, table
from perennial.cli.verbs import Verbs

__all__ = ["arguments", "run"]

COLUMNS = {
    "dataset": "dataset",
    "kind": "kind",
    "rows": "rows",
    "files": "files",
    "size_bytes": "bytes",
    "at": "committed",
    "tags": "tags",
    "logical": "digest",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    verbs = Verbs(parser)
    verbs.add("list", run, "the remotes of this workspace")
    setting = verbs.add("set", set_remote, "name the address of a remote")
    setting.add_argument("name", metavar="NAME", help="the one called origin is used when no remote is named")
    setting.add_argument(
        "url", metavar="URL", help="file:///folder, s3://bucket/prefix, gs:// or az://, without secrets"
    )
    removing = verbs.add("remove", remove, "forget a remote; what lies there stays")
    removing.add_argument("name", metavar="NAME")
    showing = verbs.add("show", show, "the dataset versions that lie on a remote")
    showing.add_argument("remote", metavar="NAME|URL", nargs="?", help="default: the only one, or origin")


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    with calls(options.home) as owner:
        remotes: list[dict[str, Any]] = owner.call("remotes.list")
    lines = list(table(remotes, {"name": "remote", "url": "address"}))
    emit(options, remotes, lines if remotes else ["there is no remote: perennial data remote set origin URL"])
    return 0


def set_remote(options: argparse.Namespace) -> int:
    import msgspec

    from perennial.api.connect import open as open_workspace

    with open_workspace(options.home, origin="cli") as ws:  # made when there is none: the first thing to pull into it
        made = ws.remotes.set(name=options.name, url=options.url)
    emit(options, msgspec.to_builtins(made), [f"{made.name} is {made.url}"])
    return 0


def remove(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    with calls(options.home) as owner:
        owner.call("remotes.remove", name=options.name)
    emit(options, {"removed": options.name}, [f"{options.name} is forgotten; what lies there stays"])
    return 0


def show(options: argparse.Namespace) -> int:
    import msgspec

    from perennial.api.connect import open as open_workspace
    from perennial.data.remote.pull import listed
    from perennial.data.remotes import address_of

    with open_workspace(options.home, origin="cli") as ws:
        url = address_of(ws.remotes, options.remote)
    with progress(f"looking at {url}"):
        found = msgspec.to_builtins(listed(url, tell=say))
    emit(options, found, _lines(found))
    return 0


def _lines(found: list[dict[str, Any]]) -> Iterable[str]:
    rows = [
        row
        | {"dataset": f"{row['name']}@{row['version']}", "at": moment(row["at"])}
        | {"rows": row["rows"] or None, "tags": " ".join(row["tags"]), "logical": row["logical"][:12]}
        for row in found
    ]
    return table(rows, COLUMNS) if rows else ["nothing was pushed here yet"]
