"""What a front remembers on disk: each answer by its key, and the shadow answers that it still owes.

Everything is in the segments, of all fronts; after a restart the memory is read from the newest of them, and each front
takes its share: the keys and requests whose hash is its number. So a client that repeats a key gets the answer that it
may have missed, and no shadow answer is lost to a crash.
"""

from __future__ import annotations

import logging
import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from perennial.clock import Clock
from perennial.errors import Conflict
from perennial.serve.answer import Answer
from perennial.serve.frames import (
    RETRYABLE,
    Answered,
    Layout,
    Predicted,
    Shadowed,
    decode,
    decode_head,
    encode,
)
from perennial.serve.segments import Place, SegmentWriter, newest, next_frames, read_frame, segments_in
from perennial.store.files import Files

__all__ = ["Debt", "Journal", "answer_of", "share_of"]

KEYS = 200_000  # of clients that are remembered, about 50 MB

log = logging.getLogger("perennial.serve")


class Debt(NamedTuple):
    """A request that the shadow version has not yet answered. `rows`: its inputs, where they are still at hand."""

    place: Place
    id: str
    endpoint: str
    version: int
    at: int
    rows: list[Any] | None = None


def share_of(text: str, fronts: int) -> int:
    """The front, of so many, that is in charge of this key or id.

    >>> share_of("abc", 1)
    0
    """
    return zlib.crc32(text.encode()) % fronts


class Journal:
    """One front writes one journal. Not safe for concurrent use, but for `sync`, which may run in another thread."""

    def __init__(
        self,
        folder: Path,
        files: Files,
        clock: Clock,
        *,
        front: int = 0,
        fronts: int = 1,
        worker: int | None = None,
        owes: bool = True,
        restores: bool = True,
    ) -> None:
        """Read what there is, and begin a segment.

        Args:
            front: Which share of the keys and debts of before is this one's, of so many `fronts`.
            worker: The number under which it writes; that of the front by default.
            owes: Whether it takes its share of the shadow answers that are owed.
            restores: Whether it looks for keys and debts now; else `inherit` or `restore` brings them later.
        """
        self._answered: OrderedDict[tuple[str, str], tuple[str, Place]] = OrderedDict()
        self._layouts: dict[tuple[Path, int], Layout] = {}
        self._front = front
        self._fronts = fronts
        self._folder = folder
        self._owes = owes
        self.debts: list[Debt] = []
        if restores:
            self.debts = self.restore()
        self.writer = SegmentWriter(folder, files, worker=front if worker is None else worker, clock=clock)

    @property
    def keys(self) -> dict[tuple[str, str], tuple[str, Place]]:
        """Of each endpoint and key, what the key was used for, and where the answer lies."""
        return dict(self._answered)

    def inherit(self, keys: Mapping[tuple[str, str], tuple[str, Place]]) -> None:
        """Take over the keys of the journal before this one."""
        for (endpoint, key), (request, place) in keys.items():
            self._remember(endpoint, key, request, place)

    def restore(self) -> list[Debt]:
        """Read keys and debts from the newest segments of all fronts: this one's share, the debts are returned."""
        debts = self._restore(self._folder)
        return debts if self._owes else []

    def write(self, frames: Sequence[Answered], endpoints: Sequence[str], rows: int) -> list[Place]:
        """Keep requests and their answers, all of them or none; `endpoints` are those of the frames.

        Raises:
            StoreError: The disk did not take them.
        """
        places = self.writer.append_many([encode(frame) for frame in frames], rows=rows)
        for frame, endpoint, place in zip(frames, endpoints, places, strict=True):
            if frame.request and frame.status not in RETRYABLE:
                self._remember(endpoint, frame.key, frame.request, place)
        return places

    def pay(self, frame: Shadowed) -> None:
        self.writer.append(encode(frame))

    def rows_of(self, place: Place) -> tuple[list[str], list[Any]]:
        """The columns and rows of a request, as they were written.

        Raises:
            Corrupt: The frame is damaged.
        """
        frame = decode(read_frame(place))
        if isinstance(frame, Predicted):
            names = list(frame.inputs[0]) if frame.inputs else []
            return names, [[row.get(name) for name in names] for row in frame.inputs]
        assert isinstance(frame, Answered)
        return self._layout(place.path, frame.layout).names, frame.rows

    def earlier(self, endpoint: str, key: str, request: str) -> Answer | None:
        """What was answered under this key of a client.

        Raises:
            Conflict: To another request.
        """
        known = self._answered.get((endpoint, key))
        if known is None:
            return None
        if known[0] != request:
            raise Conflict(f"the key {key!r} was used for another request", remedy="use a new Idempotency-Key")
        place = known[1]
        frame = decode(read_frame(place))
        if isinstance(frame, Predicted):
            return _old_answer(frame)
        assert isinstance(frame, Answered)
        return answer_of(frame, endpoint, self._layout(place.path, frame.layout).classes)

    def _layout(self, path: Path, number: int) -> Layout:
        if (path, number) not in self._layouts:
            self._read_layouts(path)
        return self._layouts[path, number]

    def _read_layouts(self, path: Path) -> None:
        for framed in next_frames(path):
            if framed.payload is not None and isinstance(frame := decode(framed.payload), Layout):
                self._layouts[path, frame.number] = frame

    def _remember(self, endpoint: str, key: str, request: str, place: Place) -> None:
        self._answered[endpoint, key] = (request, place)
        if len(self._answered) > KEYS:
            self._answered.popitem(last=False)

    def _restore(self, folder: Path) -> list[Debt]:
        debts: dict[tuple[str, int], Debt] = {}
        for path in newest(segments_in(folder)):
            for framed in next_frames(path):
                if framed.payload is None:
                    log.error("a damaged frame at byte %d of %s is left out", framed.start, path.name)
                    continue
                head: Any = decode_head(framed.payload)
                if head is None:
                    continue
                if isinstance(head, Layout):
                    self._layouts[path, head.number] = head
                elif hasattr(head, "version"):
                    debts.pop((head.id, head.version), None)
                elif head.request or head.shadow_version is not None:
                    self._restore_one(head, Place(path, framed.start), debts)
        return list(debts.values())

    def _restore_one(self, frame: Any, place: Place, debts: dict[tuple[str, int], Debt]) -> None:
        endpoint = frame.endpoint if isinstance(frame, Predicted) else self._layouts[place.path, frame.layout].endpoint
        if frame.request and frame.status not in RETRYABLE and share_of(frame.key, self._fronts) == self._front:
            self._remember(endpoint, frame.key, frame.request, place)
        if frame.shadow_version is not None and share_of(frame.id, self._fronts) == self._front:
            debts[frame.id, frame.shadow_version] = Debt(place, frame.id, endpoint, frame.shadow_version, frame.at)


def answer_of(frame: Answered, endpoint: str, classes: list[Any] | None) -> Answer:
    """The answer that a frame holds."""
    rows = len(frame.values)
    return Answer(
        id=frame.id, endpoint=endpoint, at=frame.at, status=frame.status, message=frame.message,
        versions=[frame.versions] * rows if isinstance(frame.versions, int) else frame.versions,
        arms=[frame.arms] * rows if isinstance(frame.arms, str) else frame.arms,
        values=frame.values, classes=classes, probabilities=frame.probabilities, errors=frame.errors,
        flags=frame.flags, intervals=frame.intervals, sets=frame.sets,
    )  # fmt: skip


def _old_answer(frame: Predicted) -> Answer:
    tables = [output.get("probabilities") for output in frame.outputs]
    first = next((table for table in tables if table), None)
    errors = [output.get("error") for output in frame.outputs]
    return Answer(
        id=frame.id, endpoint=frame.endpoint, at=frame.at, status=frame.status, versions=frame.versions,
        arms=frame.arms, values=[output.get("prediction") for output in frame.outputs],
        classes=list(first) if first else None,
        probabilities=[list(table.values()) if table else None for table in tables] if first else None,
        errors=errors if any(errors) else None,
        message=str(errors[0] or "") if frame.status != 200 else "",
    )  # fmt: skip
