"""The datasets of a workspace as a person works with them: versions by name, with their files beside.

    ws.data["wages"].profile()
    ws.data.add("images/", "images")

Whoever owns the records, files are read and written by this process. Composition only: each verb is one function of
the room, which does the work.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perennial.data.dataset import Dataset
from perennial.data.datasets import Datasets
from perennial.data.names import dataset_at, is_path, missing
from perennial.data.remotes import Remotes
from perennial.data.schemas import Schemas
from perennial.errors import NotFound

if TYPE_CHECKING:
    from perennial.clock import Clock
    from perennial.data.remote.push import Pushed
    from perennial.data.scan import Scan
    from perennial.store.objects import ObjectStore
    from perennial.store.workspace_folder import WorkspaceFolder

__all__ = ["Catalog"]


class Catalog:
    """`ws.data`. Safe for concurrent use."""

    def __init__(
        self,
        datasets: Datasets,
        schemas: Schemas,
        remotes: Remotes,
        objects: ObjectStore,
        folder: WorkspaceFolder,
        clock: Clock,
    ) -> None:
        self.datasets = datasets
        self.schemas = schemas
        self.remotes = remotes
        self.objects = objects
        self.folder = folder
        self.clock = clock

    @property
    def scratch(self) -> Path:
        """Folder for files that are made from the store to be read, and can be made again."""
        return self.folder.root / "scratch"

    @property
    def places(self) -> Path:
        """Folder of what is known about versioned files and folders outside the store."""
        return self.folder.root / "places"

    def __getitem__(self, name: str) -> Dataset:
        """A dataset by its name, or one version as NAME@VERSION.

        Raises:
            NotFound: There is none.
        """
        base, version = dataset_at(name)
        return Dataset(self, self.datasets.get(name=base, version=version))

    def table(self, what: str) -> Scan:
        """The rows of the file or folder at this path, when there is one, else of NAME[@VERSION].

        Raises:
            NotFound: There is neither such a dataset nor such a path.
            DataError: It holds no table.
        """
        from perennial.data.scan import scan, scan_version

        if is_path(what):
            return scan(what)
        try:
            version = self[what].version
        except NotFound as error:
            raise missing(what, error) from None
        return scan_version(version, self.objects, self.scratch)

    def batches(self, what: str) -> list[Scan]:
        """The accepted versions of a dataset up to NAME[@VERSION], oldest first, with that one whatever its state; or
        what lies at this path, as one batch.
        """
        if is_path(what):
            return [self.table(what)]
        from perennial.data.scan import scan_version

        newest = self[what].version
        versions = [
            version
            for version in self.datasets.list(name=newest.name)
            if version.version == newest.version
            or (version.version < newest.version and version.manifest and version.state == "accepted")
        ]
        return [scan_version(version, self.objects, self.scratch) for version in reversed(versions)]

    def add(self, what: Any, name: str, *, note: str = "", tag: str | None = None) -> Dataset:
        """Make a version of a file or folder as it is, or of the rows of a frame, a lazy plan or a source.

        Raises:
            NotFound, DataError, Refused: It cannot be read, or is no version that this dataset may have.
        """
        if isinstance(what, str | Path):
            from perennial.data.files.add import add

            return Dataset(self, add(what, name, self, note=note, tag=tag))
        from perennial.data.collect import collect

        version = collect(what, name=name, rooms=self, note=note)
        if tag is not None:
            self.datasets.tag(name=name, tag=tag, version=version.version)
        return Dataset(self, version)

    def push(self, *names: str, to: str) -> Pushed:
        """Send versions (NAME or NAME@VERSION) to a remote, by its name or address."""
        from perennial.data.remote.push import push

        return push(self, [self[name].version for name in names or tuple(self)], self._address(to))

    def pull(self, name: str | None = None, *, version: int | str | None = "latest", source: str) -> list[Dataset]:
        """Get a dataset's version, or the newest of all datasets, from a remote, by its name or address."""
        from perennial.data.remote.pull import pull

        return [Dataset(self, found) for found in pull(self, self._address(source), name, version)]

    def _address(self, remote: str) -> str:
        if "://" in remote:
            return remote
        known = {found.name: found.url for found in self.remotes.list()}
        if remote not in known:
            raise NotFound(f"there is no remote {remote!r}", remedy=f"there are: {', '.join(known) or 'none'}")
        return known[remote]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(version.name for version in self.datasets.list()))

    def __repr__(self) -> str:
        return f"<datasets: {', '.join(self) or 'none yet'}>"
