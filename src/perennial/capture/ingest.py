"""Take up what the service wrote, exactly once.

Segments are read from where the last ingest stopped, any number of them while they are written. The objects come
first; then all that a range led to (chunks, feedback, questions to people) and the new end of its segment are one
transaction, so that a crash in between repeats the range and never counts it twice.
"""

from __future__ import annotations

import gc
import threading
from collections import defaultdict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import sqlalchemy as sa

from perennial.capture.accounting import SegmentRow, segment_rows
from perennial.capture.asking import Question, enqueue, questions
from perennial.capture.building import answered_table, old_predicted_table, old_shadowed_table, shadowed_table
from perennial.capture.feedback import Feedback, keep
from perennial.capture.records import chunks, next_seq, segments
from perennial.capture.tables import stack, to_parquet
from perennial.errors import Conflict
from perennial.serve.frames import (
    Answered,
    Closed,
    Fed,
    Issued,
    Layout,
    OldShadowed,
    Opened,
    Predicted,
    Shadowed,
    decode,
)
from perennial.serve.segments import is_being_written, next_frames, next_payloads, segments_in
from perennial.store.objects import ObjectStore
from perennial.store.records import Records, Transaction

__all__ = ["Ingest", "IngestReport", "chunk_row"]


class IngestReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken up now: rows of predictions and of shadow answers, labels that came to the service.

    `pending_bytes`: being written at this moment; `dropped_bytes`: found to be cut off for ever; `damaged`: frames.
    """

    predictions: int
    shadows: int
    feedback: int
    pending_bytes: int
    dropped_bytes: int
    damaged: int


class Ingest:
    """Reads one folder of segments. Safe for concurrent use."""

    def __init__(self, records: Records, objects: ObjectStore, folder: Path, feedback: Feedback) -> None:
        self._records = records
        self._objects = objects
        self._folder = folder
        self._feedback = feedback
        self._lock = threading.Lock()
        self._layouts: dict[str, dict[int, Layout]] = {}  # of the segments that are still written

    def run(self) -> IngestReport:
        """Take up all whole frames that are there now, then join the labels among them."""
        with self._lock:
            report = self._pass()
            if report.feedback:
                # A label by an entity's own key is about predictions that were answered before it came: they are
                # written by now, though perhaps into a segment that was read too early.
                report = _sum(report, self._pass())
        self._feedback.resolve()
        return report

    def _pass(self) -> IngestReport:
        known = {row.name: row for row in self._records.read(segment_rows)}
        total = IngestReport(predictions=0, shadows=0, feedback=0, pending_bytes=0, dropped_bytes=0, damaged=0)
        for path in segments_in(self._folder):
            row = known.get(path.stem)
            is_written = row is None or row.state == "open"
            # Asked for before reading: when nobody writes it, all there will ever be is read now.
            is_written = is_written and is_being_written(path)
            size = path.stat().st_size
            if row is not None and row.end + row.cut_bytes == size and (row.state == "open") == is_written:
                continue
            total = _sum(total, self._take(path, row, is_written=is_written))
        return total

    def _take(self, path: Path, row: SegmentRow | None, *, is_written: bool) -> IngestReport:
        opened = _opened(path)
        if row is not None and (path.stat().st_size < row.end or (opened and opened.at != row.opened)):
            row = None  # another segment of this number: the folder was brought back from a backup
            self._layouts.pop(path.stem, None)
        start = row.end if row is not None else 0
        taken = _Taken(self._layouts.setdefault(path.stem, _layouts(path, start)))
        end = start
        with _without_collector():
            while (batch := next_payloads(path, end))[0]:
                taken.add(batch[0])
                end = batch[1]
        rest = max(0, path.stat().st_size - end)
        is_over = taken.closed is not None or not is_written
        here = SegmentRow(
            name=path.stem,
            end=end,
            damaged=taken.damaged + (row.damaged if row else 0),
            first=f"{opened.first or int(path.stem, 16):06x}" if opened else "",
            opened=opened.at if opened else 0,
            worker=opened.worker if opened else 0,
            state="open" if not is_over else "closed" if taken.closed or not opened else "cut",
            cut_bytes=rest if is_over else 0,
            stored=taken.predictions + (row.stored if row else 0),
            reserved=max(taken.reserved, row.reserved if row else 0),
            issued=taken.closed.issued if taken.closed else None,
            closed_stored=taken.closed.stored if taken.closed else None,
            dropped=taken.closed.dropped if taken.closed else None,
        )
        self._commit(row, here, taken)
        if is_over:
            self._layouts.pop(path.stem, None)
        return IngestReport(
            predictions=taken.predictions,
            shadows=taken.shadows,
            feedback=len(taken.fed),
            pending_bytes=0 if is_over else rest,
            dropped_bytes=here.cut_bytes,
            damaged=taken.damaged,
        )

    def _commit(self, row: SegmentRow | None, here: SegmentRow, taken: _Taken) -> None:
        groups = [(key, stack(tables)) for key, tables in sorted(taken.tables.items())]
        digests = self._objects.put_many([to_parquet(table) for _, table in groups])
        start = row.end if row is not None else 0
        made = [
            chunk_row(endpoint, kind, layout, table)
            | {"digest": digest, "segment": here.name, "start": start, "end": here.end}
            for ((kind, endpoint, layout), table), digest in zip(groups, digests, strict=True)
        ]

        def change(tx: Transaction) -> None:
            told = sa.select(segments.c.end, segments.c.opened).where(segments.c.name == here.name)
            known = tx.connection.execute(told).first()
            values = msgspec.structs.asdict(here)
            if known is None:
                tx.connection.execute(sa.insert(segments).values(values))
            elif known.opened == here.opened and known.end != start:
                raise Conflict(f"segment {here.name} was read by somebody else meanwhile", remedy="read it again")
            else:
                tx.connection.execute(sa.update(segments).where(segments.c.name == here.name).values(values))
            seq = next_seq(tx, chunks)
            if made:
                tx.connection.execute(sa.insert(chunks), [{"seq": seq + i, **values} for i, values in enumerate(made)])
            keep(tx, taken.fed, here.name, start)
            enqueue(tx, taken.asked)

        self._records.write(change)


class _Taken:
    """What the frames of a range lead to."""

    def __init__(self, layouts: dict[int, Layout]) -> None:
        self.tables: defaultdict[tuple[str, str, str], list[pl.DataFrame]] = defaultdict(list)
        self.fed: list[Fed] = []
        self.asked: list[Question] = []
        self.closed: Closed | None = None
        self.predictions = self.shadows = self.damaged = self.reserved = 0
        self._layouts = layouts

    def add(self, payloads: list[bytes | None]) -> None:
        answered: defaultdict[int, list[Answered]] = defaultdict(list)
        shadowed: defaultdict[int, list[Shadowed]] = defaultdict(list)
        old: defaultdict[tuple[type, str], list[Any]] = defaultdict(list)
        for payload in payloads:
            if payload is None:
                self.damaged += 1
                continue
            frame: Any = decode(payload)
            kind = type(frame)
            if kind is Answered:
                answered[frame.layout].append(frame)
            elif kind is Shadowed:
                shadowed[frame.layout].append(frame)
            elif isinstance(frame, Layout):
                self._layouts[frame.number] = frame
            elif isinstance(frame, Issued):
                self.reserved = max(self.reserved, frame.count)
            elif isinstance(frame, Fed):
                self.fed.append(frame)
            elif isinstance(frame, Closed):
                self.closed = frame
            elif isinstance(frame, (Predicted, OldShadowed)):
                old[kind, frame.endpoint].append(frame)
        for number, frames in answered.items():
            if (layout := self._layout(number, frames)) is not None:
                self._put("prediction", layout.endpoint, _digest(layout), answered_table(layout, frames))
                self.asked += questions(layout, frames)
        for number, frames in shadowed.items():
            if (layout := self._layout(number, frames)) is not None:
                self._put("shadow", layout.endpoint, "", shadowed_table(layout, frames))
        for (kind, endpoint), frames in old.items():
            if kind is Predicted:
                self._put("prediction", endpoint, "", old_predicted_table(frames))
            else:
                self._put("shadow", endpoint, "", old_shadowed_table(frames))

    def _layout(self, number: int, frames: Sequence[object]) -> Layout | None:
        """Without it, because it was damaged, nobody knows what the values of these frames mean."""
        layout = self._layouts.get(number)
        self.damaged += len(frames) if layout is None else 0
        return layout

    def _put(self, kind: str, endpoint: str, layout: str, table: pl.DataFrame) -> None:
        self.tables[kind, endpoint, layout].append(table)
        self.predictions += table.height if kind == "prediction" else 0
        self.shadows += table.height if kind == "shadow" else 0


def chunk_row(endpoint: str, kind: str, layout: str, table: pl.DataFrame) -> dict[str, Any]:
    """What the catalogue says of a table, but for its digest and where it came from."""
    return {
        "endpoint": endpoint,
        "kind": kind,
        "layout": layout,
        "first_id": table["id"].min(),
        "last_id": table["id"].max(),
        "min_at": table["at"].min(),
        "max_at": table["at"].max(),
        "rows": table.height,
        "errors": table.height - table["error"].null_count(),
        "shadowed": table.height - table["shadow_version"].null_count() if kind == "prediction" else 0,
    }


@contextmanager
def _without_collector() -> Generator[None]:
    """Thousands of frames at once that hold no cycles: looking for some again and again takes a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _opened(path: Path) -> Opened | None:
    """The first frame; None in a segment of before there was one, and in one that was cut before it."""
    first = next(next_frames(path, at_most_bytes=4096), None)
    frame = decode(first.payload) if first is not None and first.payload is not None else None
    return frame if isinstance(frame, Opened) else None


def _layouts(path: Path, end: int) -> dict[int, Layout]:
    """The layouts that lie before `end`: read again where this process did not take them up itself."""
    found: dict[int, Layout] = {}
    for framed in next_frames(path, at_most_bytes=end) if end else ():
        if framed.payload is not None and framed.payload[1:3] == b"\xa1l":
            frame = decode(framed.payload)
            if isinstance(frame, Layout):
                found[frame.number] = frame
    return found


def _digest(layout: Layout) -> str:
    """What rows have in common that may lie in one table."""
    told = msgspec.json.encode([sorted(layout.names), sorted(layout.policy.items())])
    return blake2b(told, digest_size=8).hexdigest()


def _sum(one: IngestReport, other: IngestReport) -> IngestReport:
    names = IngestReport.__struct_fields__
    return IngestReport(**{name: getattr(one, name) + getattr(other, name) for name in names})
