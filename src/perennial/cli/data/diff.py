"""`perennial data diff`: what two versions, or two files, have different."""

from __future__ import annotations

import argparse

from perennial.cli.data.named import TABLE, Named
from perennial.cli.output import emit, progress, write
from perennial.data.names import is_path
from perennial.errors import Invalid

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("before", metavar="A", help=f"{TABLE}; alone: a dataset, compared with the version before it")
    parser.add_argument("after", metavar="B", nargs="?", help=f"{TABLE}: the newer one")
    parser.add_argument("--key", metavar="COLUMN,...", help="columns that tell rows apart (default: found by itself)")
    parser.add_argument("--rename", metavar="OLD=NEW", action="append", default=[], help="a column that was renamed")
    parser.add_argument("--no-distributions", action="store_true", help="leave out how values are distributed")
    parser.add_argument("--out", metavar="FILE.html", help="write a page with charts")
    parser.add_argument("--exit-code", action="store_true", help="exit with 1 when they differ")


def run(options: argparse.Namespace) -> int:
    with Named(options.home) as named, progress("comparing"):
        before, after = _pair(options, named)
        if not (named.is_table(before) and named.is_table(after)):
            return _files(options, before, after, named)
        return _tables(options, before, after, named)


def _tables(options: argparse.Namespace, before: str, after: str, named: Named) -> int:
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
    old, new = named.table(before), named.table(after)
    key = [name for name in (options.key or "").split(",") if name]
    with named.scratch() as scratch:
        found = diff_tables(old, new, scratch=scratch, key=key, renames=renames)
    shifts = [] if options.no_distributions else drift(old, new)
    if options.out:
        from pathlib import Path

        from perennial.data.diff.page import page

        write(Path(options.out), page(found, shifts))
    value = msgspec.to_builtins(found) | {"distributions": msgspec.to_builtins(shifts), "page": options.out}
    emit(options, value, table_lines(found, shifts))
    return 1 if options.exit_code and not found.is_equal else 0


def _files(options: argparse.Namespace, before: str, after: str, named: Named) -> int:
    from perennial.data.diff.words import file_lines
    from perennial.data.files.tree import changes, read_tree
    from perennial.data.files.walk import shown

    for path in filter(is_path, (before, after)):
        raise Invalid(
            "files beside a dataset are not compared",
            where=path,
            remedy="see what changed in versioned files: perennial data status; or add them: perennial data add",
        )
    objects = named.data.objects
    trees = [read_tree(objects.get(named.version(name).stored)) for name in (before, after)]
    found = list(changes(trees[0], trees[1], objects.get))
    value = [
        {
            "path": shown(change.path),
            "before": change.before and change.before.content.hex(),
            "after": change.after and change.after.content.hex(),
        }
        for change in found
    ]
    emit(options, {"files": value}, file_lines(before, after, found))
    return 1 if options.exit_code and found else 0


def _pair(options: argparse.Namespace, named: Named) -> tuple[str, str]:
    if options.after is not None:
        return options.before, options.after
    newest = named.version(options.before)
    name = newest.name
    older = [
        found.version
        for found in named.data.datasets.list(name=name)
        if found.version < newest.version and found.manifest is not None and found.state == "accepted"
    ]
    if not older:
        raise Invalid(
            f"{name}@{newest.version} has no version before it",
            remedy="name two: perennial data diff A B; or see what changed in its files: perennial data status",
        )
    return f"{name}@{max(older)}", f"{name}@{newest.version}"
