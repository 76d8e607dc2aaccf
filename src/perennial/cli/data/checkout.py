"""`perennial data checkout`: write a version's files out again."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from perennial.cli.names import dataset_at
from perennial.cli.output import emit, here, progress

if TYPE_CHECKING:
    from pathlib import Path

    from perennial.data.catalog import Catalog
    from perennial.data.datasets import DatasetVersion

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="NAME[@VERSION]", help="without a version: the newest that is accepted")
    parser.add_argument("path", nargs="?", help="where to (default: where it was added or checked out, else ./NAME)")
    parser.add_argument("--link", action="store_true", help="read-only, and without a copy of large files")
    parser.add_argument("--force", action="store_true", help="overwrite what was changed there by hand")


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import open as open_workspace
    from perennial.data.files.checkout import checkout
    from perennial.data.files.walk import shown_path

    name, which = dataset_at(options.dataset)
    with progress(f"checking out {options.dataset}"), open_workspace(options.home, origin="cli") as ws:
        version = ws.data.datasets.get(name=name, version=which)
        target = options.path or _target(version, ws.data)
        done = checkout(version, target, ws.data, link=options.link, force=options.force)
    value = {
        "name": version.name,
        "version": version.version,
        "path": shown_path(done.path),
        "written": done.written,
        "removed": done.removed,
        "kept": done.kept,
    }
    line = f"{version.name}@{version.version} is at {here(shown_path(done.path))}: {done.written} written"
    emit(options, value, [f"{line}, {done.removed} removed, {done.kept} unchanged"])
    return 0


def _target(version: DatasetVersion, catalog: Catalog) -> Path:
    """Where this dataset is already, or a new folder or file here."""
    from pathlib import Path

    from perennial.data.files.checkout import file_name
    from perennial.data.files.places import all_places
    from perennial.errors import Invalid

    here = [place.folder for place in all_places(catalog.places)[0] if place.name == version.name]
    if len(here) > 1:
        raise Invalid(f"{version.name!r} is at {len(here)} places", remedy="say which one as PATH")
    return here[0] if here else Path.cwd() / (file_name(version, catalog.objects) or version.name.replace("/", "."))
