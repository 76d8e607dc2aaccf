"""`perennial init`: a new project from a template."""

from __future__ import annotations

import argparse
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from perennial.cli.output import common, emit
from perennial.errors import Conflict, NotFound
from perennial.store.files import LocalFiles

DEFAULT = "salary"


def arguments(parser: argparse.ArgumentParser) -> None:
    common(parser)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(), help="where (default: here)")
    parser.add_argument("--template", default=DEFAULT, help=f"which one (default: {DEFAULT}); --list shows all")
    parser.add_argument("--list", action="store_true", help="show the templates, change nothing")


def run(options: argparse.Namespace) -> int:
    templates = {item.name: item for item in files("perennial").joinpath("templates").iterdir() if item.is_dir()}
    templates = {name: templates[name] for name in sorted(templates) if templates[name].joinpath("loop.py").is_file()}
    if options.list:
        emit(options, {"templates": list(templates)}, templates)
        return 0
    if options.template not in templates:
        raise NotFound(f"there is no template {options.template!r}", remedy=f"choose one of {', '.join(templates)}")
    found = dict(_content(templates[options.template], Path()))
    folder: Path = options.folder.absolute()
    if taken := sorted(str(path) for path in found if (folder / path).exists()):
        what = f"{', '.join(taken)} is here already; nothing was written"
        raise Conflict(what, where=str(folder), remedy="choose an empty folder")
    disk = LocalFiles()
    for path, item in found.items():
        disk.mkdirs((folder / path).parent)
        disk.write_atomic(folder / path, item.read_bytes())
    if not (folder / ".gitignore").exists():
        disk.write_atomic(folder / ".gitignore", b".perennial/\n")
    told = {"folder": str(folder), "template": options.template, "files": sorted(map(str, found))}
    lines = [*(f"wrote {folder / path}" for path in told["files"]), "next: perennial run, then perennial up"]
    emit(options, told, lines)
    return 0


def _content(folder: Traversable, below: Path) -> list[tuple[Path, Traversable]]:
    found: list[tuple[Path, Traversable]] = []
    for item in folder.iterdir():
        if item.is_dir() and item.name != "__pycache__":
            found += _content(item, below / item.name)
        elif item.is_file():
            found.append((below / item.name, item))
    return found
