"""Versions of the libraries that code imports, told from the installed files without importing anything.

A module that no installed distribution lists (an editable install, a folder on the path) has the digest of its source
as its version.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path

from blake3 import blake3

__all__ = ["versions_of"]


def versions_of(modules: Iterable[str]) -> dict[str, str]:
    """Version by top-level module, or by distribution where several share one; the standard library is left out."""
    found: dict[str, str] = {}
    for top in sorted({module.partition(".")[0] for module in modules}):
        if top not in sys.stdlib_module_names:
            found |= _versions(top, tuple(sys.path))
    return found


@cache
def _versions(top: str, path: tuple[str, ...]) -> dict[str, str]:
    if top == "perennial":
        from perennial import __version__

        return {top: __version__}
    spec = PathFinder.find_spec(top, list(path))
    if spec is None:
        return {top: "absent"}
    places = list(spec.submodule_search_locations or ()) or [spec.origin or ""]
    listed = {name: version for place in places for name, version in _distributions(top, Path(place).parent)}
    if not listed:
        return {top: f"source {_digest_of(places)}"}
    return {top: next(iter(listed.values()))} if len(listed) == 1 else listed


def _distributions(top: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Distributions in this folder that list a module of this name."""
    wanted = [f"{top}/".encode(), f"{top}.py,".encode(), f"{top}.".encode()]
    infos = sorted(folder.glob("*.dist-info"), key=lambda info: not info.name.lower().startswith(top.lower()))
    for info in infos:
        record = info / "RECORD"
        lines = b"\n" + record.read_bytes() if record.is_file() else b""
        if any(b"\n" + start in lines for start in wanted):
            name, _, version = info.name.removesuffix(".dist-info").rpartition("-")
            yield name, version
            if (folder / top / "__init__.py").is_file():
                return  # only a namespace is shared by several


def _digest_of(places: list[str]) -> str:
    state = blake3()
    for place in map(Path, places):
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            state.update(file.name.encode() + b"\0" + file.read_bytes())
    return state.hexdigest()
