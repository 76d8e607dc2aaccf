"""`perennial data profile`: how a table looks, as a page to open in a browser."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perennial.cli.data.named import TABLE, TABLE_HELP, Named
from perennial.cli.output import emit, progress, write
from perennial.data.formats import FORMATS
from perennial.data.names import is_path

if TYPE_CHECKING:
    from perennial.data.scan import Scan

__all__ = ["arguments", "run"]

SHOWN = 10  # of what is worth a look, and of columns that have shifted


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", metavar=TABLE, help=TABLE_HELP)
    parser.add_argument("--against", metavar=TABLE, help="compare with this: another version, yesterday's file")
    parser.add_argument("--target", metavar="COLUMN", help="show what every column tells about this one")
    parser.add_argument("--out", metavar="FILE.html", help="where to write the page (default: NAME-VERSION.html here)")


def run(options: argparse.Namespace) -> int:
    from perennial.data.profile.association import associations
    from perennial.data.profile.drift import drift
    from perennial.data.profile.notable import notes
    from perennial.data.profile.page import page
    from perennial.data.profile.profiles import profile

    with Named(options.home) as named, progress("opening") as tell:
        source = named.table(options.table)
        name = _title(options.table, source)
        found = profile(source, target=options.target, name=name, tell=tell)
        against = shifts = None
        if options.against:
            reference = named.table(options.against)
            against = profile(reference, name=_title(options.against, reference), tell=tell)
            shifts = drift(reference, source, tell=tell)
        tell("drawing")
        path = Path(options.out or f"{name.replace('@', '-').replace('/', '.')}.html")
        write(path, page(found, against=against, drift=shifts))
    told = notes(found, associations(found))
    value: dict[str, Any] = {
        "page": str(path),
        "name": name,
        "rows": found.rows,
        "columns": len(found.columns),
        "notes": [{"column": note.column, "says": note.says} for note in told],
    }
    lines = [f"{path}: {found.rows:,} rows, {len(found.columns)} columns"]
    lines += [f"  {note.column} {note.says}" if note.column else f"  {note.says}" for note in told[:SHOWN]]
    if len(told) > SHOWN:
        lines.append(f"  and {len(told) - SHOWN} more on the page")
    if shifts is not None:
        value["drift"] = [
            {"column": one.column, "decision": one.decision, "psi": one.psi, "noise_floor": one.noise_floor}
            for one in shifts
        ]
        moved = [one for one in shifts if one.decision not in ("within tolerance", "undecided")]
        lines.append(f"{len(moved)} of {len(shifts)} columns differ from {against.name if against else ''}")
        lines += [f"  {one.column}: {one.decision}, {one.says}" for one in moved[:SHOWN]]
    emit(options, value, lines)
    return 0


def _title(text: str, source: Scan) -> str:
    """What the page calls it: the name of the file without its ending, or NAME@VERSION."""
    if not is_path(text):
        return source.says
    name = Path(text).resolve().name
    return name.removesuffix(max((ending for ending in FORMATS if name.lower().endswith(ending)), key=len, default=""))
