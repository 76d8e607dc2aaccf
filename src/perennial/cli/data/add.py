"""`perennial data add`: make a version of files as they are, or of the table behind an address."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from perennial.cli.output import emit, progress

if TYPE_CHECKING:
    from perennial.data.datasets import DatasetVersion

__all__ = ["arguments", "run", "size"]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="PATH|ADDRESS", help="a file, a folder, or the address of a table")
    parser.add_argument("name", metavar="NAME", help="of the dataset; made when it is new")
    parser.add_argument("--note", default="", help="your words about this version")
    parser.add_argument("--tag", help="a tag that shall point at it")
    parser.add_argument("--table", action="store_true", help="store the rows instead of the files as they are")
    parser.add_argument("--cursor", metavar="COLUMN", help="of a table: take only rows above those taken before")
    parser.add_argument("--as-is", action="store_true", help="look at no table in the files: no schema, no checks")


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import open as open_workspace
    from perennial.data.files.add import add

    with progress(f"adding {options.source}"), open_workspace(options.home, origin="cli") as ws:
        if "://" in options.source or options.table or options.cursor:
            from perennial.data.sources import collect_source

            version = collect_source(options.source, options.name, ws.data, cursor=options.cursor)
            if options.tag:
                ws.data.datasets.tag(name=version.name, tag=options.tag, version=version.version)
        else:
            version = add(
                options.source, options.name, ws.data, note=options.note, tag=options.tag, as_is=options.as_is
            )
    import msgspec

    emit(options, msgspec.to_builtins(version), _lines(version))
    return 1 if version.state == "draft" else 0


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


def _lines(version: DatasetVersion) -> Iterable[str]:
    named = f"{version.name}@{version.version}"
    holds = f"{version.rows} rows" if version.rows else ""
    files = f"{version.files} files, {size(version.size_bytes)}" if version.kind == "files" else ""
    yield f"{named}: {', '.join(filter(None, (files, holds)))}"
    told = [f"{count} {word}" for word, count in version.changes.items() if count]
    if told and version.parent is not None:
        yield f"  since version {version.parent}: {', '.join(told)}"
    for violation in version.violations:
        yield f"  {violation.severity}: {violation.says}"
    if version.state == "draft":
        yield "  this is a draft: it breaks with the accepted schema, and nothing uses it until a person decides"
        yield f"  to go on: mend the data and add them again, or accept the change with: perennial data accept {named}"
