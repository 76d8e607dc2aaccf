"""`perennial data diff`: what two versions, or two files, have different."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from perennial.cli.names import dataset_at
from perennial.cli.output import emit, progress
from perennial.errors import Invalid

if TYPE_CHECKING:
    from perennial.data.catalog import Catalog

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("before", metavar="A", help="NAME[@VERSION] or PATH; alone: with the version before it")
    parser.add_argument("after", metavar="B", nargs="?", help="NAME[@VERSION] or PATH")
    parser.add_argument("--key", metavar="COLUMN,...", help="columns that tell rows apart (default: found by itself)")
    parser.add_argument("--rename", metavar="OLD=NEW", action="append", default=[], help="a column that was renamed")
    parser.add_argument("--no-distributions", action="store_true", help="leave out how values are distributed")
    parser.add_argument("--html", metavar="FILE", help="write a page with charts")
    parser.add_argument("--exit-code", action="store_true", help="exit with 1 when they differ")


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import open as open_workspace

    with open_workspace(options.home) as ws, progress("comparing") as tell:
        before, after = _pair(options, ws.data)
        if not _are_tables(before, after, ws.data):
            return _files(options, before, after, ws.data)
        return _tables(options, before, after, ws.data, tell)


def _tables(options: argparse.Namespace, before: str, after: str, data: Catalog, tell: object) -> int:
    import msgspec

    from perennial.data.diff.tables import diff_tables
    from perennial.data.diff.words import table_lines
    from perennial.data.profile.drift import drift

    renames: dict[str, str] = {}
    for text in options.rename:
        old, equals, new = text.partition("=")
        if not equals or not old or not new:
            raise Invalid(f"--rename {text} names no two columns", remedy="write --rename OLD=NEW")
        renames[old] = new
    old, new = data.table(before), data.table(after)
    key = [name for name in (options.key or "").split(",") if name]
    found = diff_tables(old, new, scratch=data.scratch, key=key, renames=renames)
    shifts = [] if options.no_distributions else drift(old, new)
    if options.html:
        from pathlib import Path

        from perennial.data.diff.page import page
        from perennial.store.files import LocalFiles

        LocalFiles().write_atomic(Path(options.html), page(found, shifts).encode())
    value = msgspec.to_builtins(found) | {"distributions": msgspec.to_builtins(shifts), "page": options.html}
    emit(options, value, table_lines(found, shifts))
    return 1 if options.exit_code and not found.is_equal else 0


def _files(options: argparse.Namespace, before: str, after: str, data: Catalog) -> int:
    from perennial.data.diff.words import file_lines
    from perennial.data.files.tree import changes, read_tree

    trees = [read_tree(data.objects.get(data[name].version.stored)) for name in (before, after)]
    found = list(changes(trees[0], trees[1], data.objects.get))
    value = [
        {
            "path": change.path.decode(errors="surrogateescape"),
            "before": change.before and change.before.content.hex(),
            "after": change.after and change.after.content.hex(),
        }
        for change in found
    ]
    emit(options, {"files": value}, file_lines(before, after, found))
    return 1 if options.exit_code and found else 0


def _pair(options: argparse.Namespace, data: Catalog) -> tuple[str, str]:
    if options.after is not None:
        return options.before, options.after
    name, version = dataset_at(options.before)
    newest = data.datasets.get(name=name, version=version)
    older = [
        found.version
        for found in data.datasets.list(name=name)
        if found.version < newest.version and found.manifest is not None and found.state == "accepted"
    ]
    if not older:
        raise Invalid(
            f"{name}@{newest.version} has no version before it",
            remedy="name two: perennial data diff A B; or see what changed in its files: perennial data status",
        )
    return f"{name}@{max(older)}", f"{name}@{newest.version}"


def _are_tables(before: str, after: str, data: Catalog) -> bool:
    """Whether both can be read as tables; a path always shall be."""
    return all(data.is_table(what) for what in (before, after))
