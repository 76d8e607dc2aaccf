"""Keep what was captured in shape: many small chunks become few large ones, and what is old or taken up goes.

Chunks are merged exactly once: the new one takes the place of the old ones in one transaction, so a reader sees either.
Objects that nothing names any more are freed by the garbage collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import sqlalchemy as sa

from perennial.capture.accounting import segment_rows
from perennial.capture.ingest import chunk_row
from perennial.capture.records import chunks, labels, next_seq, queue, segments
from perennial.capture.tables import PREDICTED, SHADOWED, read_table, stack, to_parquet
from perennial.serve.frames import first_id
from perennial.serve.segments import newest, segments_in
from perennial.store.failpoints import failpoint, register
from perennial.store.files import Files
from perennial.store.objects import ObjectStore
from perennial.store.records import Records, Transaction
from perennial.types import JSON, Digest

__all__ = ["TendReport", "Tending"]

FAN_IN = 8  # chunks of about one size are merged when there are so many: each row is written anew about 7 times at most
MAX_ROWS = 1_000_000  # of a merged chunk; one with half of it stays as it is
MAX_BYTES = 64 * 1024 * 1024  # likewise; in memory it is a few times as much
MAX_CELLS = 32_000_000  # likewise: what compresses well takes this much all the same, 8 bytes each and a few times that
DAY_US = 86_400_000_000
_MERGING = register("capture.merging", "the merged table is an object, the catalogue still names the old ones")
_SCHEMAS = {"prediction": PREDICTED, "shadow": SHADOWED}


class TendReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was done: chunks that were merged into fewer, rows whose time was over, segments that were deleted."""

    merged: int
    into: int
    expired_rows: int
    deleted_segments: int


class Tending:
    """One at a time; `Predictions` sees to that. May be killed anywhere and repeated."""

    def __init__(self, records: Records, objects: ObjectStore, files: Files, folder: Path, *, keep_us: int) -> None:
        """`folder` holds the segments; predictions older than `keep_us` are deleted, 0 keeps them for ever."""
        self._records = records
        self._objects = objects
        self._files = files
        self._folder = folder
        self._keep_us = keep_us
        self._sizes: dict[str, int] = {}
        self._widths: dict[tuple[str, str, str], int] = {}

    def run(self) -> TendReport:
        deleted = self._delete_segments()
        expired = self._expire()
        merged = into = 0
        while group := self._next_group():
            self._merge(group)
            merged, into = merged + len(group), into + 1
        return TendReport(merged=merged, into=into, expired_rows=expired, deleted_segments=deleted)

    def _next_group(self) -> list[Mapping[Any, Any]]:
        """Chunks to merge next: neighbours in time of one endpoint, kind and layout, of about one size."""
        query = sa.select(chunks).where(chunks.c.rows <= MAX_ROWS // 2).order_by(chunks.c.min_at, chunks.c.seq)
        tiers: defaultdict[tuple[str, str, str, int], list[Mapping[Any, Any]]] = defaultdict(list)
        for row in self._records.read(lambda c: c.execute(query).mappings().all()):
            if row["rows"] <= self._most_rows(row) // 2 and self._size(row["digest"]) <= MAX_BYTES // 2:
                tier = (row["rows"].bit_length() - 1) // 3  # one for each power of eight
                tiers[row["endpoint"], row["kind"], row["layout"], tier].append(row)
        for tier in tiers.values():
            group: list[Mapping[Any, Any]] = []
            rows = size = 0
            for row in tier[:FAN_IN]:
                rows, size = rows + row["rows"], size + self._size(row["digest"])
                if rows > self._most_rows(row) or size > MAX_BYTES:
                    return group  # at least two, since none has more than half
                group.append(row)
            if len(group) == FAN_IN:
                return group
        return []

    def _most_rows(self, row: Mapping[Any, Any]) -> int:
        """How many rows a chunk of this kind and layout may have."""
        slot = (row["endpoint"], row["kind"], row["layout"])
        if slot not in self._widths:  # rows of one layout have the same columns, or nearly
            self._widths[slot] = len(pl.read_parquet_schema(self._objects.get(Digest(row["digest"]))))
        return min(MAX_ROWS, MAX_CELLS // self._widths[slot])

    def _size(self, digest: str) -> int:
        if digest not in self._sizes:
            if len(self._sizes) > 100_000:
                self._sizes.clear()
            self._sizes[digest] = self._objects.size(Digest(digest))
        return self._sizes[digest]

    def _merge(self, group: Sequence[Mapping[Any, Any]]) -> None:
        table = stack(self._read(row) for row in group).sort("id")
        self._replace(group, table)

    def _read(self, row: Mapping[Any, Any]) -> pl.DataFrame:
        return read_table(self._objects.get(Digest(row["digest"])), _SCHEMAS[row["kind"]])

    def _replace(self, group: Sequence[Mapping[Any, Any]], table: pl.DataFrame) -> None:
        """Put one chunk with this table in the place of these; nothing happens if they are not there any more."""
        digest = self._objects.put(to_parquet(table))
        failpoint(_MERGING)
        old = [row["seq"] for row in group]
        made = chunk_row(group[0]["endpoint"], group[0]["kind"], group[0]["layout"], table)
        made |= {"digest": digest, "segment": "", "start": min(old), "end": max(old) + 1}

        def change(tx: Transaction) -> None:
            there = sa.select(sa.func.count()).where(chunks.c.seq.in_(old))
            if tx.connection.execute(there).scalar() == len(old):
                seq = next_seq(tx, chunks)  # of all that there are and were, so before any is deleted
                tx.connection.execute(sa.delete(chunks).where(chunks.c.seq.in_(old)))
                tx.connection.execute(sa.insert(chunks).values(seq=seq, **made))

        self._records.write(change)

    def _expire(self) -> int:
        """Delete predictions that are older than is kept, with their labels and questions; to the day."""
        if not self._keep_us:
            return 0
        before = self._records.clock.now() - self._keep_us
        partly = sa.select(chunks).where(chunks.c.min_at < before - DAY_US, chunks.c.max_at >= before)
        for row in self._records.read(lambda c: c.execute(partly).mappings().all()):
            self._replace([row], self._read(row).filter(pl.col("at") >= before))
        old = chunks.c.max_at < before
        if self._records.read(lambda c: c.execute(sa.select(chunks.c.seq).where(old).limit(1)).first()) is None:
            return 0
        return self._records.write(lambda tx: self._delete_before(tx, before))

    def _delete_before(self, tx: Transaction, before: int) -> int:
        old = chunks.c.max_at < before
        query = sa.select(chunks.c.endpoint, sa.func.sum(chunks.c.rows)).where(old, chunks.c.kind == "prediction")
        found = tx.connection.execute(query.group_by(chunks.c.endpoint)).all()
        tx.connection.execute(sa.delete(chunks).where(old))
        for endpoint, rows in found:
            oldest = sa.select(sa.func.min(chunks.c.min_at)).where(chunks.c.endpoint == endpoint)
            last = first_id(min(tx.connection.execute(oldest).scalar() or before, before))
            for table, column in ((labels, labels.c.prediction_id), (queue, queue.c.id)):
                tx.connection.execute(sa.delete(table).where(table.c.endpoint == endpoint, column < last))
            told: dict[str, JSON] = {"rows": int(rows), "before": before, "kept_days": self._keep_us // DAY_US}
            tx.event("predictions.expired", f"endpoint/{endpoint}", told)
        return sum(int(rows) for _, rows in found)

    def _delete_segments(self) -> int:
        """Delete segments that are taken up to their end and that the service does not read at its next start."""
        paths = segments_in(self._folder)
        kept = set(newest(paths))
        rows = {row.name: row for row in self._records.read(segment_rows)}
        gone: list[Path] = []
        for path in paths:
            row = rows.get(path.stem)
            if path in kept or row is None or row.state == "open" or row.end + row.cut_bytes != path.stat().st_size:
                continue
            gone.append(path)
        if gone:
            names = [path.stem for path in gone]
            self._records.write(
                lambda tx: tx.connection.execute(
                    sa.update(segments).where(segments.c.name.in_(names)).values(deleted=tx.now)
                )
            )
        for path in gone:
            self._files.remove(path)
        return len(gone)
