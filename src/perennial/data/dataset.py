"""One version of a dataset, with what can be done with it. Composition: each method is one function of the room.

wages = ws.data["wages"]
wages.frame()
wages.profile()          # shows itself in a notebook
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.data.datasets import DatasetVersion

if TYPE_CHECKING:
    import polars as pl

    from perennial.data.catalog import Catalog
    from perennial.data.diff.tables import TableDiff
    from perennial.data.files.checkout import Checkout
    from perennial.data.profile.drift import ColumnDrift
    from perennial.data.profile.profiles import Profile
    from perennial.data.scan import Scan
    from perennial.data.schema import Schema
    from perennial.data.suspects import Suspects
    from perennial.data.validation import UserCheck, Validation

__all__ = ["Dataset"]


class Dataset:
    """One version of a dataset. What needs rows raises DataError when it holds no table."""

    def __init__(self, catalog: Catalog, version: DatasetVersion) -> None:
        self.version = version
        self._catalog = catalog

    @property
    def name(self) -> str:
        """NAME@VERSION."""
        return f"{self.version.name}@{self.version.version}"

    @property
    def schema(self) -> Schema:
        """The accepted schema of the dataset; as long as there is none, what this version shows."""
        accepted = self._catalog.schemas.get(name=self.version.name)
        return self.version.schema if accepted is None else accepted.schema

    def versions(self) -> list[DatasetVersion]:
        """All versions of the dataset, newest first."""
        return self._catalog.datasets.list(name=self.version.name)

    def scan(self) -> Scan:
        """The rows, read piece by piece or as one lazy plan, whatever their size."""
        return self._catalog.table(self.name)

    def frame(self) -> pl.DataFrame:
        """All rows in memory; `.to_pandas()` makes them a pandas frame."""
        return self.scan().lazy().collect()

    def lazy(self) -> pl.LazyFrame:
        """A lazy plan over the rows, read where they are stored."""
        return self.scan().lazy()

    def checkout(self, target: str | Path, *, link: bool = False, force: bool = False) -> Checkout:
        """Write the files to `target` (`files.checkout`)."""
        from perennial.data.files.checkout import checkout

        return checkout(self.version, target, self._catalog, link=link, force=force)

    def profile(self, *, target: str | None = None) -> Profile:
        """Distributions, missing values, what goes together; a notebook shows it as charts."""
        from perennial.data.profile.profiles import profile

        return profile(self.scan(), target=target, name=self.name)

    def drift(self, reference: int | str) -> list[ColumnDrift]:
        """How far the columns are from another version (a number or tag), a dataset NAME@VERSION or a file."""
        from perennial.data.profile.drift import drift

        return drift(self._catalog.table(self._other(reference)), self.scan())

    def diff(
        self, before: int | str, *, key: Sequence[str] = (), renames: Mapping[str, str] | None = None
    ) -> TableDiff:
        """Which rows and columns are other than in an earlier version, a dataset NAME@VERSION or a file."""
        from perennial.data.diff.tables import diff_tables

        return diff_tables(
            self._catalog.table(self._other(before)),
            self.scan(),
            scratch=self._catalog.scratch,
            key=key,
            renames=renames,
        )

    def validate(
        self, schema: Schema | None = None, *, environment: str = "training", checks: Sequence[UserCheck] = ()
    ) -> Validation:
        """Everything in which the rows differ from the accepted schema, or from this one."""
        from perennial.data.validation import validate

        return validate(self.scan(), schema or self.schema, environment=environment, checks=checks)

    def suspects(self) -> Suspects:
        """Cells that look wrong, found in the table alone."""
        from perennial.data.suspects import suspects

        return suspects(self.scan())

    def _other(self, which: int | str) -> str:
        is_ours = isinstance(which, int) or not any(mark in which for mark in "@/.")
        return f"{self.version.name}@{which}" if is_ours else str(which)

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """The rows in pieces of bounded size."""
        return self.scan().batches()

    def __repr__(self) -> str:
        holds = f"{self.version.rows:,} rows" if self.version.rows else f"{self.version.files:,} files"
        return f"<dataset {self.name}: {holds}, {self.version.state}>"
