"""`perennial data verify`: read the bytes of dataset versions, and name what is not as it was stored."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from perennial.cli.names import dataset_at
from perennial.cli.output import counted, emit, progress

if TYPE_CHECKING:
    from perennial.data.files.check import Damage

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", nargs="?", metavar="NAME[@VERSION]", help="without it: every version of all")


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls, find_folder
    from perennial.data.files.check import check
    from perennial.store.objects import ObjectStore

    folder, _ = find_folder(options.home)
    with calls(options.home) as owner:
        if options.dataset and "@" in options.dataset:
            name, which = dataset_at(options.dataset)
            versions = [owner.call("datasets.get", name=name, version=which)]
        else:
            versions = owner.call("datasets.list", name=options.dataset)
            if options.dataset and not versions:
                owner.call("datasets.get", name=options.dataset)  # tells that there is none
    naming: dict[str, list[str]] = {}  # versions of several datasets may be the same
    for version in versions:
        if version["manifest"]:
            naming.setdefault(version["manifest"], []).append(f"{version['name']}@{version['version']}")
    with progress("reading"), ObjectStore(folder.objects) as objects:
        checked, found = check({manifest: manifest for manifest in naming}, objects)
    damages = [replace(damage, dataset=name) for damage in found for name in naming[damage.dataset]]
    value = {"sound": not damages, "objects": checked, "problems": [asdict(damage) for damage in damages]}
    emit(options, value, _lines(checked, damages))
    return 1 if damages else 0


def _lines(checked: int, damages: list[Damage]) -> Iterable[str]:
    for damage in damages:
        yield f"{damage.dataset}: {damage.path or 'manifest'}: {damage.says}"
    yield f"{counted(checked, 'object')}: {counted(len(damages), 'problem') if damages else 'all is as it was stored'}"
    if damages:
        yield "  to go on: perennial data add PATH NAME --reread, pull them from a remote, or restore a backup"
