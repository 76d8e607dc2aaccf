"""`perennial backup FOLDER`: copy the workspace in one consistent state, also while it is in use."""

from __future__ import annotations

import argparse
from pathlib import Path

from perennial.cli.output import common, emit, progress

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    common(parser)
    parser.add_argument("target", type=Path, metavar="FOLDER", help="a new folder for the copy")


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import find_folder
    from perennial.store.backup import backup

    folder, _ = find_folder(options.home)
    with progress("copying"):
        target = backup(folder, options.target)
    told = {"workspace": str(folder.root), "backup": str(target)}
    emit(options, told, [f"{folder.root} is copied to {target}", f"check it with: perennial verify --home {target}"])
    return 0
