"""A Delta Lake table at one of its versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perennial.data.sources.source import After, Overlap, Reading, filled, needs
from perennial.errors import DataError

__all__ = ["DeltaSource"]


@dataclass(frozen=True)
class DeltaSource:
    """A Delta table, read at `version`, else at its newest; which one it was is recorded.

    Args:
        path: Folder or address (s3://...) of the table.
        version: To read; None for the newest.
        cursor: Column by which new rows are told from known ones.
        overlap: How far before the last value to look again.
        options: For object storage, by `deltalake`'s names; values may hold ${NAME}.
    """

    path: str | Path
    version: int | None = None
    cursor: str | None = None
    overlap: Overlap = None
    options: Mapping[str, str] = field(default_factory=dict)

    def read(self, scratch: Path, after: After | None, before: Mapping[str, Any] | None) -> Reading:
        """The rows of that version."""
        try:
            from deltalake import DeltaTable
            from deltalake.exceptions import DeltaError
        except ModuleNotFoundError:
            raise needs("deltalake", "delta") from None
        options = {name: filled(value)[0] for name, value in self.options.items()}
        try:
            table = DeltaTable(str(self.path), version=self.version, storage_options=options or None)
            data = table.to_pyarrow_dataset()
        except (DeltaError, OSError, ValueError) as error:
            raise DataError(
                f"the Delta table cannot be read{_at(self.version)}: {str(error).splitlines()[0]}",
                where=str(self.path),
                remedy="mend the path, or name a version that is there",
            ) from error
        facts = {"kind": "delta", "path": str(self.path), "version": table.version()}
        return Reading(rows=_pieces(data, after), facts=facts, is_filtered=True)


def _pieces(data: Any, after: After | None) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = None
    if after is not None:
        column = pc.field(after.column)
        wanted = column >= after.value if after.inclusive else column > after.value
    for batch in data.to_batches(filter=wanted, batch_size=1 << 16, batch_readahead=1, fragment_readahead=1):
        yield pa.Table.from_batches([batch]).replace_schema_metadata(None)


def _at(version: int | None) -> str:
    return "" if version is None else f" at version {version}"
