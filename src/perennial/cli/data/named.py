"""NAME[@VERSION]|PATH, as tables are named on the command line, and what opening the workspace behind a name takes.

A path is where something lies; everything else names a dataset. The workspace is opened when something in it is
named, and never made: looking leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.data.names import is_path, missing
from perennial.errors import NotFound

if TYPE_CHECKING:
    from perennial.data.catalog import Catalog
    from perennial.data.datasets import DatasetVersion
    from perennial.data.scan import Scan
    from perennial.workspace import Workspace

__all__ = ["TABLE", "TABLE_HELP", "Named"]

TABLE = "NAME[@VERSION]|PATH"
TABLE_HELP = "a file or folder with a table; what is not there as a path names a dataset (NAME@latest always does)"


class Named:
    """What a person names; close it, or use it as a context manager."""

    def __init__(self, home: str | None) -> None:
        self._home = home
        self._opened = ExitStack()

    def __enter__(self) -> Named:
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    @cached_property
    def workspace(self) -> Workspace:
        """The workspace, opened when it is first asked for.

        Raises:
            NotFound: There is none.
        """
        from perennial.api.connect import find_folder, open

        find_folder(self._home)  # opening would make one
        return self._opened.enter_context(open(self._home, origin="cli"))

    @property
    def data(self) -> Catalog:
        return self.workspace.data

    def version(self, what: str) -> DatasetVersion:
        """The dataset version that this names.

        Raises:
            NotFound: There is neither such a dataset nor such a path.
        """
        try:
            return self.data[what].version
        except NotFound as error:
            raise missing(what, error) from None

    def table(self, what: str) -> Scan:
        """The rows of what this names.

        Raises:
            NotFound: There is neither such a path nor such a dataset.
            DataError: It holds no table.
        """
        from perennial.data.scan import scan, scan_version

        if is_path(what):
            return scan(what)
        return scan_version(self.version(what), self.data.objects, self.data.scratch)

    def batches(self, what: str) -> list[Scan]:
        """The accepted versions of a dataset, oldest first; a path is one batch."""
        if is_path(what):
            return [self.table(what)]
        self.version(what)  # says what there is not
        return self.data.batches(what)

    def is_table(self, what: str) -> bool:
        """Whether this holds a table; a path is taken for one, so that reading it says what is wrong."""
        return is_path(what) or bool(self.version(what).schema.columns)

    @contextmanager
    def scratch(self) -> Generator[Path]:
        """A folder for what an engine spills: of the workspace when something in it was named, else one of our own."""
        if "workspace" in self.__dict__:
            yield self.data.scratch
            return
        from perennial.store.scratch import scratch_folder, scratch_of_user

        with scratch_folder(scratch_of_user()) as folder:
            yield folder
