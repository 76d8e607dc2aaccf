"""`perennial data profile`: how a table looks, as a page to open in a browser."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perennial.cli.output import emit, progress

if TYPE_CHECKING:
    from perennial.data.scan import Scan
    from perennial.workspace import Workspace

__all__ = ["arguments", "run"]

SHOWN = 10  # of what is worth a look, and of columns that have shifted


def arguments(parser: argparse.ArgumentParser) -> None:
    table = "NAME[@VERSION]|PATH"
    parser.add_argument("table", metavar=table, help="a dataset, or a file or folder of tables")
    parser.add_argument("--against", metavar=table, help="compare with this: another version, yesterday's file")
    parser.add_argument("--target", metavar="COLUMN", help="show what every column tells about this one")
    parser.add_argument("--out", metavar="FILE.html", help="where to write the page (default: NAME-VERSION.html here)")


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import find_folder, open
    from perennial.data.profile.association import associations
    from perennial.data.profile.drift import drift
    from perennial.data.profile.notable import notes
    from perennial.data.profile.page import page
    from perennial.data.profile.profiles import profile
    from perennial.store.files import LocalFiles

    with ExitStack() as opened, progress("opening") as tell:

        @cache  # two datasets are of one workspace, which is opened once
        def workspace() -> Workspace:
            find_folder(options.home)  # looking makes no workspace
            return opened.enter_context(open(options.home, origin="cli"))

        name, source = _table(options.table, workspace)
        found = profile(source, target=options.target, name=name, tell=tell)
        against = shifts = None
        if options.against:
            before, reference = _table(options.against, workspace)
            against = profile(reference, name=before, tell=tell)
            shifts = drift(reference, source, tell=tell)
        tell("drawing")
        path = Path(options.out or f"{name.replace('@', '-')}.html")
        LocalFiles().write_atomic(path, page(found, against=against, drift=shifts).encode())
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


def _table(text: str, workspace: Callable[[], Workspace]) -> tuple[str, Scan]:
    """What a person means by this: a path if there is something, else a dataset."""
    from perennial.data.scan import FORMATS, scan, scan_version

    path = Path(text)
    if path.exists() or path.name != text or any(text.lower().endswith(ending) for ending in FORMATS):
        ending = max((ending for ending in FORMATS if path.name.lower().endswith(ending)), key=len, default="")
        return path.resolve().name.removesuffix(ending), scan(path)
    data = workspace().data
    version = data[text].version
    return f"{version.name}@{version.version}", scan_version(version, data.objects, data.scratch)
