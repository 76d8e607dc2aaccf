"""`perennial data add`: make a version of files as they are, or of the table behind an address."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from perennial.cli.output import counted, emit, progress

if TYPE_CHECKING:
    from perennial.data.datasets import DatasetVersion

__all__ = ["arguments", "changed", "run", "size"]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="PATH|ADDRESS", help="a file, a folder, or the address of a table")
    parser.add_argument("name", metavar="NAME", help="of the dataset; made when it is new")
    parser.add_argument("--note", default="", help="your words about this version")
    parser.add_argument("--tag", help="a tag that shall point at it")
    parser.add_argument("--as-is", action="store_true", help="of files: infer no schema and check none")
    parser.add_argument(
        "--reread", action="store_true", help="of files: read also those that look unchanged; mends a damaged store"
    )
    parser.add_argument("--table", action="store_true", help="of files: store their rows instead of them")
    parser.add_argument("--query", help="of a database: the rows to take, in SQL")
    parser.add_argument("--cursor", metavar="COLUMN", help="of a table: take only rows above those taken before")
    parser.add_argument(
        "--bad-rows",
        choices=("warn", "quarantine", "stop"),
        help="of a table: what happens to rows that break its schema",
    )


def run(options: argparse.Namespace) -> int:
    import msgspec

    from perennial.api.connect import open as open_workspace
    from perennial.data.files.add import add

    given = {"note": options.note, "tag": options.tag}
    with progress(f"adding {options.source}"), open_workspace(options.home, origin="cli") as ws:
        if _is_table(options):
            from perennial.data.sources import collect_source

            table = {"query": options.query, "cursor": options.cursor, "bad_rows": options.bad_rows}
            version = collect_source(options.source, options.name, ws.data, **table, **given)
        else:
            version = add(options.source, options.name, ws.data, as_is=options.as_is, reread=options.reread, **given)
    emit(options, msgspec.to_builtins(version), _lines(version))
    return 1 if version.state == "draft" else 0


def _is_table(options: argparse.Namespace) -> bool:
    """Whether rows are asked for, and not files as they are."""
    if options.table or options.query or options.cursor or options.bad_rows:
        return True
    if ":" not in options.source:
        return False
    from perennial.data.sources import is_address

    return is_address(options.source)


def size(count: int) -> str:
    """Bytes as people read them.

    >>> size(0), size(81_920_000)
    ('0 B', '81.9 MB')
    """
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 1000 or unit == "TB":
            break
    return f"{value:.3g} {unit}"


def changed(changes: Mapping[str, int]) -> str:
    """What a version does differently from the one before it, in words.

    >>> changed({"added": 0, "modified": 1, "rows": 1600, "columns": -1})
    '1 modified, 1,600 more rows, 1 fewer column'
    """
    told: list[str] = []
    for word, count in changes.items():
        if count:
            sign = ("more " if count > 0 else "fewer ") if word in ("rows", "columns") else ""
            told.append(f"{abs(count):,} {sign}{word if abs(count) != 1 else word.removesuffix('s')}")
    return ", ".join(told)


def _lines(version: DatasetVersion) -> Iterable[str]:
    named = f"{version.name}@{version.version}"
    holds = counted(version.rows, "row") if version.rows else ""
    files = f"{counted(version.files, 'file')}, {size(version.size_bytes)}" if version.kind == "files" else ""
    yield f"{named}: {', '.join(filter(None, (files, holds)))}"
    if version.parent is not None and (told := changed(version.changes)):
        yield f"  since version {version.parent}: {told}"
    for violation in version.violations:
        yield f"  {violation.severity}: {violation.says}"
    if version.state == "draft":
        yield "  this is a draft: it breaks with the accepted schema, and nothing uses it until a person decides"
        yield f"  to go on: mend the data and add them again, or accept the change with: perennial data accept {named}"
