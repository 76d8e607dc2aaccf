"""`perennial data status`: what changed in versioned files and folders since they were added or checked out."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from perennial.cli.output import emit, here, progress, say

if TYPE_CHECKING:
    from pathlib import Path

    from perennial.data.files.places import Place
    from perennial.data.files.status import Status

__all__ = ["arguments", "run"]

LINES = 20  # differences shown of each place; --json tells all


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", nargs="?", help="one versioned file or folder; without it all of them")


def run(options: argparse.Namespace) -> int:
    from perennial.data.files.places import all_places
    from perennial.data.files.status import status
    from perennial.data.files.walk import shown

    root = _root(options.home)
    found, problems = all_places(root / "places")
    if options.path:
        found = [_named(found, options.path)]
    for problem in problems:
        say(f"{type(problem).__name__}: {problem}")
    with progress("looking at files"):
        told = [status(place, root / "places", leave_out=root) for place in found]
    value = [
        {
            "path": shown(each.place.path),
            "dataset": each.place.name,
            "version": each.place.version,
            "files": len(each.place.seen),
            **{word: _paths(each, word) for word in ("modified", "added", "deleted")},
        }
        for each in told
    ]
    emit(options, value, _lines(told))
    return 3 if problems else 0


def _root(home: str | None) -> Path:
    """The workspace's folder, found without what talking to its owner takes to import: most of this command's time."""
    import os
    from pathlib import Path

    from perennial.config import read_settings

    text = str(home or read_settings(Path.cwd(), os.environ).home or Path.cwd() / ".perennial")
    if "://" not in text and (Path(text) / "workspace.json").exists():
        return Path(os.path.realpath(text))
    from perennial.api.connect import find_folder

    return find_folder(text)[0].root  # or there is none, which this tells


def _named(found: list[Place], path: str) -> Place:
    import os

    from perennial.errors import NotFound

    wanted = os.fsencode(os.path.realpath(path))
    for place in found:
        if place.path == wanted:
            return place
    raise NotFound(
        "this is no versioned file or folder",
        where=path,
        remedy="see all with: perennial data status; version it with: perennial data add PATH NAME",
    )


def _paths(each: Status, word: str) -> list[str]:
    from perennial.data.files.walk import shown

    return [shown(difference.path) for difference in each.differences if difference.says == word]


def _lines(told: list[Status]) -> Iterable[str]:
    from perennial.data.files.walk import shown

    if not told:
        yield "no files are versioned yet: perennial data add PATH NAME"
    for each in told:
        counts = [f"{len(paths)} {word}" for word in ("modified", "added", "deleted") if (paths := _paths(each, word))]
        place = each.place
        yield f"{place.name}@{place.version}  {here(shown(place.path))}: {', '.join(counts) or 'unchanged'}"
        for difference in each.differences[:LINES]:
            yield f"  {difference.says:<8}  {shown(difference.path)}"
        if len(each.differences) > LINES:
            yield f"  and {len(each.differences) - LINES} more"
