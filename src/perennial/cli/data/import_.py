"""`perennial data import`: take over what DVC tracks, read once from its cache."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from perennial.cli.output import emit, progress, say

if TYPE_CHECKING:
    from perennial.data.files.dvc import Imported

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", nargs="?", default=".", help="a project that DVC tracks (default: this folder)")
    parser.add_argument("--prefix", default="", help="what the names of the datasets begin with")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be imported")


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import open as open_workspace
    from perennial.data.files.dvc import import_dvc

    with progress(f"importing {options.path}"), open_workspace(options.home, origin="cli") as ws:
        done = import_dvc(options.path, ws.data, prefix=options.prefix, dry_run=options.dry_run)
    for each in done:
        if each.problem:
            say(f"{each.path}: {each.problem}")
    value = [
        {"path": each.path, "name": each.name, "version": each.version, "files": each.files, "problem": each.problem}
        for each in done
    ]
    emit(options, value, _lines(done, is_dry=options.dry_run))
    return 1 if any(each.problem for each in done) else 0


def _lines(done: list[Imported], *, is_dry: bool) -> Iterable[str]:
    for each in done:
        if not each.problem:
            at = "" if each.version is None else f"@{each.version}"
            yield f"{each.path} {'would be' if is_dry else 'is'} {each.name}{at}: {each.files} files"
    failed = sum(bool(each.problem) for each in done)
    yield f"{len(done) - failed} of {len(done)} outputs of DVC {'can be' if is_dry else 'are'} imported"
