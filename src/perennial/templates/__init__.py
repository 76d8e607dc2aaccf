"""Complete little projects to start from, and how one is written into a folder."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from perennial.errors import Conflict, NotFound
from perennial.store.files import LocalFiles

__all__ = ["template_names", "write_template"]


def template_names() -> list[str]:
    """The templates there are."""
    folders = [item for item in files("perennial.templates").iterdir() if item.is_dir()]
    return sorted(item.name for item in folders if item.joinpath("loop.py").is_file())


def write_template(name: str, folder: Path) -> list[str]:
    """Write a template into a folder; gives the files written, relative to it.

    Raises:
        NotFound: There is no such template.
        Conflict: A file of it is there already; then nothing is written.
    """
    if name not in template_names():
        remedy = f"choose one of {', '.join(template_names())}"
        raise NotFound(f"there is no template {name!r}", remedy=remedy)
    found = dict(_content(files("perennial.templates").joinpath(name), Path()))
    if taken := sorted(str(path) for path in found if (folder / path).exists()):
        raise Conflict(
            f"here already: {', '.join(taken)}; nothing was written",
            where=str(folder),
            remedy="choose an empty folder",
        )
    disk = LocalFiles()
    for path, item in found.items():
        disk.mkdirs((folder / path).parent)
        disk.write_atomic(folder / path, item.read_bytes())
    ignored = folder / ".gitignore"
    if not ignored.exists():
        disk.write_atomic(ignored, b".perennial/\n")
    return sorted(map(str, found))


def _content(folder: Traversable, below: Path) -> list[tuple[Path, Traversable]]:
    found: list[tuple[Path, Traversable]] = []
    for item in folder.iterdir():
        if item.is_dir() and item.name != "__pycache__":
            found += _content(item, below / item.name)
        elif item.is_file():
            found.append((below / item.name, item))
    return found
