"""`perennial restore BACKUP`: make a workspace from a backup."""

from __future__ import annotations

import argparse
from pathlib import Path

from perennial.cli.output import common, emit, progress

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    common(parser)
    parser.add_argument("backup", type=Path, help="the folder that `perennial backup` made")


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import find_root
    from perennial.store.backup import restore

    target = find_root(options.home)
    with progress("copying"):
        folder = restore(options.backup, target)
    emit(
        options,
        {"workspace": str(folder.root)},
        [f"{folder.root} is made from {options.backup}; check: perennial verify"],
    )
    return 0
