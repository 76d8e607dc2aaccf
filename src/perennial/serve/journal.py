"""What the service remembers on disk: each answer by its key, and the shadow answers that it still owes.

Everything is in the segments; after a restart the memory is read from the newest of them. So a client that repeats a
key gets the answer that it may have missed, and no shadow answer is lost to a crash.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import msgspec

from perennial.errors import Conflict
from perennial.serve.frames import RETRYABLE, Predicted, Shadowed, decode, encode
from perennial.serve.segments import Place, SegmentWriter, next_frames, read_frame, segments_in
from perennial.store.files import Files
from perennial.types import Micros

__all__ = ["Debt", "Journal"]

RECENT_BYTES = 256 * 1024 * 1024  # of segments that are read at start: keys and debts behind that are forgotten
KEYS = 200_000  # of clients that are remembered, about 50 MB

log = logging.getLogger("perennial.serve")


class Debt(NamedTuple):
    """A request that the shadow version has not yet answered."""

    place: Place
    id: str
    endpoint: str
    version: int


class _PredictedHead(msgspec.Struct, frozen=True, tag_field="t", tag="p"):
    id: str
    key: str
    endpoint: str
    request: str = ""
    status: int = 200
    shadow_version: int | None = None


class _ShadowedHead(msgspec.Struct, frozen=True, tag_field="t", tag="s"):
    id: str
    version: int


_heads = msgspec.msgpack.Decoder(_PredictedHead | _ShadowedHead)


class Journal:
    """One process writes one journal. Not safe for concurrent use, but for `sync`, which may run in another thread."""

    def __init__(self, folder: Path, files: Files) -> None:
        self._answered: OrderedDict[tuple[str, str], tuple[str, Place]] = OrderedDict()
        self.debts: list[Debt] = self._restore(folder)
        self._writer = SegmentWriter(folder, files)

    def issue(self, rows: int, now: Micros) -> str:
        return self._writer.issue(rows, now)

    def write(self, frame: Predicted) -> Place:
        """Keep a request and its answer.

        Raises:
            StoreError: The disk did not take it.
        """
        place = self._writer.append(encode(frame))
        self._remember(frame.endpoint, frame.key, frame.request, frame.status, place)
        return place

    def pay(self, frame: Shadowed) -> None:
        self._writer.append(encode(frame))

    def read(self, place: Place) -> Predicted:
        frame = decode(read_frame(place))
        assert isinstance(frame, Predicted)
        return frame

    def earlier(self, endpoint: str, key: str, request: str) -> Predicted | None:
        """The request that was answered under this key of a client.

        Raises:
            Conflict: It was another request.
        """
        request_and_place = self._answered.get((endpoint, key))
        if request_and_place is None:
            return None
        if request_and_place[0] != request:
            raise Conflict(f"the key {key!r} was used for another request", remedy="use a new Idempotency-Key")
        return self.read(request_and_place[1])

    def sync(self) -> None:
        self._writer.sync()

    def close(self) -> None:
        self._writer.close()

    def _remember(self, endpoint: str, key: str, request: str, status: int, place: Place) -> None:
        if request and status not in RETRYABLE:
            self._answered[endpoint, key] = (request, place)
            if len(self._answered) > KEYS:
                self._answered.popitem(last=False)

    def _restore(self, folder: Path) -> list[Debt]:
        debts: dict[tuple[str, int], Debt] = {}
        for path in _newest(segments_in(folder)):
            for framed in next_frames(path):
                if framed.payload is None:
                    log.error("a damaged frame at byte %d of %s is left out", framed.start, path.name)
                    continue
                head = _heads.decode(framed.payload)
                place = Place(path, framed.start)
                if isinstance(head, _ShadowedHead):
                    debts.pop((head.id, head.version), None)
                    continue
                self._remember(head.endpoint, head.key, head.request, head.status, place)
                if head.shadow_version is not None:
                    debts[head.id, head.shadow_version] = Debt(place, head.id, head.endpoint, head.shadow_version)
        return list(debts.values())


def _newest(segments: list[Path]) -> list[Path]:
    """As many of the last segments as RECENT_BYTES hold, at least one; oldest first."""
    total = 0
    for taken, path in enumerate(reversed(segments)):
        total += path.stat().st_size
        if total > RECENT_BYTES and taken:
            return segments[-taken:]
    return segments
