"""`perennial data rm`: give up a version's bytes, or stop watching a folder."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from perennial.cli.names import dataset_at
from perennial.cli.output import emit

if TYPE_CHECKING:
    from perennial.data.files.places import Place

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="NAME@VERSION|NAME|PATH", help="a version, a dataset, or a versioned path")
    parser.add_argument("--all", action="store_true", help="every version of the dataset")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be given up")


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls, find_folder
    from perennial.data.files.places import forget_place
    from perennial.errors import Invalid

    places = find_folder(options.home)[0].root / "places"
    place = None if "@" in options.what or options.all else _place(places, options.what)
    if place is not None:
        if not options.dry_run:
            forget_place(places, place)
        word = "would be" if options.dry_run else "is"
        value = {"path": options.what, "dataset": place.name, "dry_run": options.dry_run}
        emit(options, value, [f"{options.what} {word} no longer watched; its files and its versions stay"])
        return 0
    name, which = dataset_at(options.what)
    if which == "latest" and not options.all:
        raise Invalid("say which version to give up", remedy=f"write {name}@VERSION, or --all for every version")
    with calls(options.home) as owner:
        gone = _versions(owner, name, which, all_of_them=options.all)
        for version in [] if options.dry_run else gone:
            owner.call("datasets.remove", name=name, version=version)
    word = "would be given up" if options.dry_run else "given up"
    told = ", ".join(f"{name}@{version}" for version in gone) or "nothing"
    lines = [f"{told}: {word}", "the bytes are freed by: perennial data gc"]
    emit(options, {"name": name, "versions": gone, "dry_run": options.dry_run}, lines)
    return 0


def _versions(owner: Any, name: str, which: int | str, *, all_of_them: bool) -> list[int]:
    if not all_of_them:
        return [owner.call("datasets.get", name=name, version=which)["version"]]
    found = owner.call("datasets.list", name=name)
    if not found:
        owner.call("datasets.get", name=name)  # tells that there is none
    return sorted(version["version"] for version in found if version["manifest"] is not None)


def _place(places: Any, path: str) -> Place | None:
    import os
    from pathlib import Path

    from perennial.data.files.places import read_place

    return read_place(places, Path(os.path.realpath(path)))
