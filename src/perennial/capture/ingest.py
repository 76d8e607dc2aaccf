"""Take up what the service wrote, exactly once.

Segments are read from where the last ingest stopped. The objects come first; then the catalogue rows of a range and
the new end of its segment are one transaction, so that a crash in between repeats the range and never counts it twice.
"""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import sqlalchemy as sa

from perennial.capture.records import chunks, next_seq, segments
from perennial.capture.tables import predicted_table, shadowed_table, to_parquet
from perennial.errors import Conflict
from perennial.serve.frames import Predicted, Shadowed, decode
from perennial.serve.segments import next_frames, segments_in, tail_bytes
from perennial.store.objects import ObjectStore
from perennial.store.records import Records, Transaction

__all__ = ["Ingest", "IngestReport"]


class IngestReport(msgspec.Struct, frozen=True, kw_only=True):
    """Rows taken up now. `pending_bytes`: being written at this moment; `dropped_bytes`: cut off for ever."""

    predictions: int
    shadows: int
    pending_bytes: int
    dropped_bytes: int
    damaged: int


class _Taken(msgspec.Struct, frozen=True, kw_only=True):
    end: int
    predictions: int
    shadows: int
    damaged: int


class Ingest:
    """Reads one folder of segments. Safe for concurrent use."""

    def __init__(self, records: Records, objects: ObjectStore, folder: Path) -> None:
        self._records = records
        self._objects = objects
        self._folder = folder
        self._lock = threading.Lock()

    def run(self) -> IngestReport:
        """Take up all whole frames that are there now."""
        predictions = shadows = pending = dropped = damaged = 0
        with self._lock:
            ends = self._records.read(_ends)
            paths = segments_in(self._folder)
            for path in paths:
                start = ends.get(path.stem, 0)
                if path.stat().st_size == start:
                    continue
                taken = self._take(path, start)
                predictions += taken.predictions
                shadows += taken.shadows
                damaged += taken.damaged
                rest = tail_bytes(path, taken.end)
                # Only the newest segment is still written; what is cut in an older one stays cut.
                pending += rest if path is paths[-1] else 0
                dropped += rest if path is not paths[-1] else 0
        return IngestReport(
            predictions=predictions, shadows=shadows, pending_bytes=pending, dropped_bytes=dropped, damaged=damaged
        )

    def _take(self, path: Path, start: int) -> _Taken:
        made: dict[str, list[Predicted]] = {}
        shadows: dict[str, list[Shadowed]] = {}
        end, damaged = start, 0
        for framed in next_frames(path, start):
            end = framed.end
            if framed.payload is None:
                damaged += 1
                continue
            frame = decode(framed.payload)
            if isinstance(frame, Predicted):
                made.setdefault(frame.endpoint, []).append(frame)
            else:
                shadows.setdefault(frame.endpoint, []).append(frame)
        tables = [("prediction", name, predicted_table(frames)) for name, frames in sorted(made.items())]
        tables += [("shadow", name, shadowed_table(frames)) for name, frames in sorted(shadows.items())]
        digests = self._objects.put_many([to_parquet(table) for _, _, table in tables])
        rows = [
            {
                "endpoint": name,
                "kind": kind,
                "digest": digest,
                "segment": path.stem,
                "start": start,
                "end": end,
                "first_id": table["id"].min(),
                "last_id": table["id"].max(),
                "min_at": table["at"].min(),
                "max_at": table["at"].max(),
                "rows": table.height,
                "errors": table.height - table["error"].null_count(),
                "shadowed": table.height - table["shadow_version"].null_count() if kind == "prediction" else 0,
            }
            for (kind, name, table), digest in zip(tables, digests, strict=True)
        ]

        def change(tx: Transaction) -> None:
            told = sa.select(segments).where(segments.c.name == path.stem)
            known = tx.connection.execute(told).mappings().first()
            if (known["end"] if known else 0) != start:
                raise Conflict(f"segment {path.stem} was read by somebody else meanwhile", remedy="read it again")
            here = {"name": path.stem, "end": end, "damaged": damaged + (known["damaged"] if known else 0)}
            if known:
                tx.connection.execute(sa.update(segments).where(segments.c.name == path.stem).values(here))
            else:
                tx.connection.execute(sa.insert(segments).values(here))
            seq = next_seq(tx, chunks)
            if rows:
                tx.connection.execute(sa.insert(chunks), [{"seq": seq + i, **row} for i, row in enumerate(rows)])

        if end > start:
            self._records.write(change)
        return _Taken(
            end=end,
            predictions=sum(table.height for kind, _, table in tables if kind == "prediction"),
            shadows=sum(table.height for kind, _, table in tables if kind == "shadow"),
            damaged=damaged,
        )


def _ends(connection: sa.Connection) -> dict[str, int]:
    return {row.name: row.end for row in connection.execute(sa.select(segments.c.name, segments.c.end))}
