"""`perennial data verify`: read the bytes of dataset versions, and name what is not as it was stored."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from perennial.cli.names import dataset_at
from perennial.cli.output import emit, progress

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
    manifests = {version["manifest"]: _named(version) for version in versions if version["manifest"]}
    with progress("reading"), ObjectStore(folder.objects) as objects:
        checked, damages = check(manifests, objects)
    value = {"sound": not damages, "objects": checked, "problems": [_told(damage) for damage in damages]}
    emit(options, value, _lines(checked, damages))
    return 1 if damages else 0


def _named(version: dict[str, Any]) -> str:
    return f"{version['name']}@{version['version']}"


def _told(damage: Damage) -> dict[str, str]:
    return {"dataset": damage.dataset, "path": damage.path, "digest": damage.digest, "says": damage.says}


def _lines(checked: int, damages: list[Damage]) -> Iterable[str]:
    for damage in damages:
        yield f"{damage.dataset}: {damage.path or 'manifest'}: {damage.says}"
    problems = f"{len(damages)} problems; add the same files again, pull them from a remote, or restore a backup"
    yield f"{checked} objects: {problems if damages else 'all is as it was stored'}"
