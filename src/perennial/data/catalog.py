"""The datasets of a workspace as a person works with them: versions by name, with their files beside.

    ws.data["wages"].profile()
    ws.data.add("images/", "images")

Whoever owns the records, files are read and written by this process. Composition only: each verb is one function of
the room, which does the work.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from perennial.data.datasets import Datasets, DatasetVersion
from perennial.data.remotes import Remotes
from perennial.data.schemas import Schemas

if TYPE_CHECKING:
    from perennial.clock import Clock
    from perennial.data.scan import Scan
    from perennial.store.objects import ObjectStore
    from perennial.store.workspace_folder import WorkspaceFolder

__all__ = ["Catalog", "Dataset"]


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
        base, _, version = name.partition("@")
        which = int(version) if version.isdecimal() else version or "latest"
        return Dataset(self, self.datasets.get(name=base, version=which))

    def table(self, what: str) -> Scan:
        """The rows of NAME[@VERSION], or of a file or folder at this path (when there is one, or it has a slash).

        Raises:
            NotFound: There is neither such a dataset nor such a path.
            DataError: It holds no table.
        """
        from perennial.data.scan import scan, scan_version

        if "/" in what or Path(what).exists():
            return scan(what)
        return scan_version(self[what].version, self.objects, self.scratch)

    def is_table(self, what: str) -> bool:
        """Whether NAME[@VERSION] holds a table; a path is taken for one, so that reading it says what is wrong."""
        return "/" in what or Path(what).exists() or bool(self[what].version.schema.columns)

    def batches(self, what: str) -> list[Scan]:
        """The accepted versions of a dataset, oldest first; or what lies at this path, as one batch."""
        if "/" in what or Path(what).exists():
            return [self.table(what)]
        from perennial.data.scan import scan_version

        versions = [
            version for version in self.datasets.list(name=what) if version.manifest and version.state == "accepted"
        ]
        if not versions:
            self.datasets.get(name=what)  # says that there is none
        return [scan_version(version, self.objects, self.scratch) for version in reversed(versions)]

    def __iter__(self) -> Any:
        return iter(dict.fromkeys(version.name for version in self.datasets.list()))

    def __repr__(self) -> str:
        return f"<datasets: {', '.join(self)}>"


class Dataset:
    """One version of a dataset, with what can be done with it."""

    def __init__(self, catalog: Catalog, version: DatasetVersion) -> None:
        self.catalog = catalog
        self.version = version

    def __repr__(self) -> str:
        return f"<dataset {self.version.name}@{self.version.version}: {self.version.rows} rows>"
