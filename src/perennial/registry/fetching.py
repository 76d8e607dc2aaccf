"""Copy the files of a model that lies in this workspace to a folder: of a run, a logged model or a registered version.

    runs:/RUN/model    models:/m-1f3a...    models:/NAME/3    models:/NAME@live

The addresses are MLflow's. Only what this workspace itself keeps is read: a version whose files lie elsewhere is named
with its address, and nothing is fetched from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from perennial.errors import Invalid, NotFound, TooLarge
from perennial.models.archive import Limits
from perennial.models.package import MANIFEST, read_manifest
from perennial.registry.version import ModelVersion
from perennial.store.files import LocalFiles
from perennial.store.objects import ObjectStore
from perennial.tracking.logged_models import LoggedModel, ModelPage
from perennial.tracking.run import Run
from perennial.tracking.tree import Entry, File, below, checked_folder
from perennial.types import Digest

__all__ = ["Rooms", "fetch", "is_address"]

Read = Callable[[File], Iterator[bytes]]


class _Runs(Protocol):
    def get(self, *, run_id: str) -> Run: ...


class _LoggedModels(Protocol):
    def get(self, *, model_id: str) -> LoggedModel: ...
    def search(self, *, experiments: list[int], filter: str = "") -> ModelPage: ...


class _Artifacts(Protocol):
    def list(self, *, path: str = "") -> list[Entry]: ...
    def get(self, *, path: str) -> File: ...


class _Models(Protocol):
    def get(self, *, name: str, version: int | None = None, alias: str | None = None) -> ModelVersion: ...


class Rooms(Protocol):
    """What of a workspace is asked."""

    @property
    def runs(self) -> _Runs: ...
    @property
    def logged_models(self) -> _LoggedModels: ...
    @property
    def artifacts(self) -> _Artifacts: ...
    @property
    def models(self) -> _Models: ...
    @property
    def objects(self) -> ObjectStore: ...


def is_address(source: str) -> bool:
    """Whether this names something in a workspace rather than a file."""
    return source.startswith(("runs:/", "models:/"))


def fetch(rooms: Rooms, source: str, folder: Path, *, read: Read, limits: Limits | None = None) -> Path:
    """Copy the files that an address names into a new folder.

    Args:
        rooms: The services of the workspace.
        source: The address.
        folder: A folder that does not exist yet.
        read: The bytes of a logged file.
        limits: Of count and size.

    Raises:
        Invalid: It is no such address, or the files lie elsewhere. NotFound: There are none. TooLarge: There are more
            than the limits allow.
    """
    limits = limits or Limits()
    scheme, _, rest = source.partition(":/")
    parts = [part for part in rest.split("/") if part]
    if scheme == "models" and (len(parts) == 2 or (len(parts) == 1 and "@" in parts[0])):
        version = _version(rooms, parts)
        if version.package is not None:
            return _package(rooms.objects, Digest(version.package), folder)
        roots = [_root(version.storage or version.source or "", source)]
    elif scheme == "models" and len(parts) == 1:
        roots = [_root(rooms.logged_models.get(model_id=parts[0]).artifact_uri, source)]
    elif scheme == "runs" and len(parts) > 1:
        roots = _of_run(rooms, parts[0], "/".join(parts[1:]), source)
    else:
        raise Invalid(f"{source!r} names no model", remedy="write runs:/RUN/PATH, models:/NAME/VERSION or models:/ID")
    for root in roots:
        files = list(_below(rooms.artifacts, root, limits))
        if files:
            return _copied(files, root, folder, read, limits)
    raise NotFound(f"there are no files at {source}", remedy="perennial runs show RUN lists what was logged")


def _version(rooms: Rooms, parts: list[str]) -> ModelVersion:
    name = parts[0]
    if len(parts) == 1:
        name, _, alias = name.rpartition("@")
        return rooms.models.get(name=name, alias=alias)
    if not parts[1].isdecimal() or len(parts[1]) > 9:
        raise Invalid(f"{parts[1]!r} is no version of {name}", remedy=f"write models:/{name}/NUMBER")
    return rooms.models.get(name=name, version=int(parts[1]))


def _of_run(rooms: Rooms, run_id: str, path: str, source: str) -> list[str]:
    """The folder of the run's artifacts, and of the models of this name that it logged: MLflow 3 keeps them apart."""
    run = rooms.runs.get(run_id=run_id)
    roots = [f"{_root(run.artifact_uri, source)}/{checked_folder(path)}"]
    page = rooms.logged_models.search(experiments=[run.experiment], filter=f"source_run_id = '{run.id}'")
    return roots + [_root(model.artifact_uri, source) for model in page.models if model.name == path]


def _root(uri: str, source: str) -> str:
    root = below(uri)
    if not root:
        raise Invalid(
            f"the files of {source} lie at {uri or 'no known place'}, not in this workspace",
            remedy="download them there, then name the folder",
        )
    return root


def _below(artifacts: _Artifacts, root: str, limits: Limits) -> Iterator[File]:
    waiting, count = [root], 0
    while waiting:
        folder = waiting.pop()
        for entry in artifacts.list(path=folder):
            count += 1
            if count > limits.count:
                raise TooLarge(f"there are more than {limits.count} files", where=root)
            if entry.is_dir:
                waiting.append(f"{folder}/{entry.path}")
            else:
                yield artifacts.get(path=f"{folder}/{entry.path}")


def _copied(found: list[File], root: str, folder: Path, read: Read, limits: Limits) -> Path:
    if sum(file.size for file in found) > limits.size:
        raise TooLarge(
            f"the files have more than {limits.size} bytes", where=root, remedy="raise the limit (max_model_bytes)"
        )
    files = LocalFiles()
    for file in found:
        path = folder / file.path[len(root) + 1 :]  # the tree lets no path through that leads elsewhere
        files.mkdirs(path.parent)
        with files.append(path, exclusive=True, mode=0o600) as target:
            for block in read(file):
                target.write(block)
    return folder


def _package(objects: ObjectStore, digest: Digest, folder: Path) -> Path:
    data = objects.get(digest)
    files = LocalFiles()
    for name, (content, _) in {**read_manifest(data).files, MANIFEST: (digest, len(data))}.items():
        files.mkdirs((folder / name).parent)
        with files.append(folder / name, exclusive=True, mode=0o600) as target:
            for block in objects.blocks(content):
                target.write(block)
    return folder
