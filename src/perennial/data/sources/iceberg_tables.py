"""An Apache Iceberg table at one of its snapshots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perennial.data.sources.source import After, Overlap, Reading, filled, needs
from perennial.errors import DataError, NotFound

__all__ = ["IcebergSource"]


@dataclass(frozen=True)
class IcebergSource:
    """An Iceberg table, read at `snapshot`, else at its newest; which one it was is recorded.

    Args:
        table: Name with its namespace, such as "city.trips".
        catalog: Its name in `pyiceberg`'s configuration (~/.pyiceberg.yaml, PYICEBERG_CATALOG__...).
        snapshot: Number of the snapshot; None for the newest.
        cursor: Column by which new rows are told from known ones.
        overlap: How far before the last value to look again.
        properties: Of the catalog, instead of a configuration; values may hold ${NAME}.
    """

    table: str
    catalog: str = "default"
    snapshot: int | None = None
    cursor: str | None = None
    overlap: Overlap = None
    properties: Mapping[str, str] = field(default_factory=dict)

    def read(self, scratch: Path, after: After | None, before: Mapping[str, Any] | None) -> Reading:
        """The rows of that snapshot."""
        try:
            from pyiceberg.catalog import load_catalog
            from pyiceberg.exceptions import NoSuchTableError
        except ModuleNotFoundError:
            raise needs("pyiceberg", "iceberg") from None
        properties = {name: filled(value)[0] for name, value in self.properties.items()}
        where = f"{self.catalog}/{self.table}"
        try:
            table = load_catalog(self.catalog, **properties).load_table(self.table)
        except (NoSuchTableError, ValueError) as error:
            raise NotFound(
                f"there is no Iceberg table {self.table!r}: {str(error).splitlines()[0]}",
                where=where,
                remedy="mend the name, or the catalog in ~/.pyiceberg.yaml",
            ) from error
        newest = table.current_snapshot()
        snapshot = self.snapshot if self.snapshot is not None else newest.snapshot_id if newest else None
        if snapshot is None:
            raise DataError("the Iceberg table is empty", where=where, remedy="write to it first")
        if table.snapshot_by_id(snapshot) is None:
            known = ", ".join(str(one.snapshot_id) for one in table.snapshots()[-3:])
            raise NotFound(f"there is no snapshot {snapshot}", where=where, remedy=f"the newest are {known}")
        facts = {"kind": "iceberg", "table": self.table, "catalog": self.catalog, "snapshot": snapshot}
        return Reading(rows=_pieces(table, snapshot), facts=facts)


def _pieces(table: Any, snapshot: int) -> Iterator[Any]:
    import pyarrow as pa

    for batch in table.scan(snapshot_id=snapshot).to_arrow_batch_reader():
        if batch.num_rows:
            yield pa.Table.from_batches([batch]).replace_schema_metadata(None)
