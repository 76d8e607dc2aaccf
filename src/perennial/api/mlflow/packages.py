"""Packages of registered versions as folders: `packages/{name}/{version}/...`, below the top of all artifacts.

So MLflow's `load_model("models:/name@live")` reads a version that was made here like any other. Nothing lies there: the
files are those that the package's manifest names, and the manifest itself.
"""

from __future__ import annotations

from perennial.errors import Invalid, NotFound
from perennial.models.package import MANIFEST, read_manifest
from perennial.tracking.artifacts import PACKAGES
from perennial.tracking.tree import Entry, File
from perennial.types import Digest
from perennial.workspace import Services

__all__ = ["entries", "file_at", "is_package"]


def is_package(path: str) -> bool:
    """Whether this path lies in the shown folder."""
    return path == PACKAGES or path.startswith(f"{PACKAGES}/")


def entries(ws: Services, path: str) -> list[Entry]:
    """What a folder below `packages` holds, by name; nothing where there is none."""
    _, *parts = path.split("/")
    if len(parts) < 2:
        known = [one for one in ws.models.list() if one.package and parts in ([], [one.name])]
        names = {str(one.version) if parts else one.name for one in known}
        return [Entry(path=name, is_dir=True) for name in sorted(names)]
    try:
        files = _files(ws, parts[0], parts[1])
    except NotFound:
        return []
    start = "".join(f"{part}/" for part in parts[2:])
    found: dict[str, Entry] = {}
    for name, (_, size) in files.items():
        if name.startswith(start):
            child, slash, _ = name[len(start) :].partition("/")
            found[child] = Entry(path=child, is_dir=bool(slash), size=None if slash else size)
    return [found[child] for child in sorted(found)]


def file_at(ws: Services, path: str) -> File:
    """The file at a path below `packages`.

    Raises:
        NotFound: There is nothing. Invalid: It is a folder.
    """
    _, *parts = path.split("/")
    if len(parts) > 2:
        found = _files(ws, parts[0], parts[1]).get("/".join(parts[2:]))
        if found is not None:
            return File(path=path, digest=found[0], size=found[1])
    if entries(ws, path):
        raise Invalid(f"{path} is a folder", remedy="list it, or name a file in it")
    raise NotFound(f"there is no artifact {path}", remedy="list the folder above it")


def _files(ws: Services, name: str, version: str) -> dict[str, tuple[Digest, int]]:
    """Path -> digest and size, of one version's package."""
    missing = NotFound(f"version {version} of {name} has no package here", remedy="perennial models list")
    if not version.isdecimal() or not version.isascii() or len(version) > 9:
        raise missing
    package = ws.models.get(name=name, version=int(version)).package
    if not package:
        raise missing
    manifest = ws.artifacts.objects.get(Digest(package))
    return {**read_manifest(manifest).files, MANIFEST: (Digest(package), len(manifest))}
