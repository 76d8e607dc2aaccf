"""Hand what lies in a spool to the service, in order, until all of it is there or set aside.

Whatever is sent may be sent again: the service counts it once. What the service refuses goes to a `.refused` file with
the reason and never holds up the rest; while the service is away nothing moves and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from perennial.errors import Forbidden, Mistake, NotFound, PerennialError, StoreError, Unavailable
from perennial.store.files import Files
from perennial.store.objects import ObjectStore
from perennial.tracking.frames import Ended, File, Message, Params, Points, Started, Tags, decode
from perennial.tracking.run import MetricPoint, spelled
from perennial.tracking.runs import Runs
from perennial.tracking.segment import Frame, Segment, frames_in
from perennial.tracking.spool import complain

__all__ = ["AWAY", "Delivery", "refused_path"]

BATCH_POINTS = 1_000  # what one call of the service takes
TRIES = 5  # of what fails for a reason that should not be
AWAY = (Unavailable, StoreError, OSError)
"""What the service raises while it cannot: wait and try again, for ever."""


class Delivery:
    """Delivers one spool. For one thread at a time. Counts points: `stored` by the service, `refused` and set aside."""

    def __init__(self, service: Runs, objects: ObjectStore, files: Files, run_id: str, aside: Path) -> None:
        self.run_id = run_id
        self.stored = self.refused = 0
        self.has_ended = False
        self._service = service
        self._objects = objects
        self._files = files
        self._aside = aside
        self._gone = ""
        self._failures = 0

    def deliver(self, segment: Segment, end: int, moved: Callable[[int], None] = lambda _: None) -> None:
        """Send what the file holds up to `end`; `moved` is told of each piece how many bytes it had.

        Raises:
            PerennialError, OSError: The service cannot just now; what was not told of has to be sent again.
        """
        header = segment.header()
        self.stored, self.refused = max(self.stored, header.stored), max(self.refused, header.refused)
        at = header.acked
        batch: list[MetricPoint] = []

        def done(to: int) -> None:
            nonlocal at
            if to > at:
                segment.mark_sent(to, self.stored, self.refused)
                moved(to - at)
                at = to

        def flush(to: int) -> None:
            before = self.stored, self.refused
            try:
                if batch:
                    self._send_points(batch)
            except BaseException:
                self.stored, self.refused = before  # all of the batch is sent again
                raise
            batch.clear()
            done(to)

        reached = at
        for frame in frames_in(segment, at, end):
            message = _message(frame)
            if isinstance(message, Points):
                if len(batch) + len(message.values) > BATCH_POINTS:
                    flush(reached)
                batch += _points(message)
            else:
                flush(reached)
                if isinstance(message, str):
                    where = f"{frame.end - reached} bytes at {reached} of {segment.path.name}"
                    self._set_aside(f"{message}: {where}", frame.payload, frame.points)
                else:
                    self._try(lambda message=message: self._send(message), message)
                done(frame.end)
            reached = frame.end
        flush(reached)

    def _send_points(self, points: Sequence[MetricPoint]) -> None:
        if self._gone:
            self._set_aside(self._gone, list(points), len(points))
            return
        try:
            self._service.log_metrics(run_id=self.run_id, metrics=list(points))
        except Exception as error:  # noqa: BLE001  # the boundary to the service: counted, or passed on
            reason = self._reason(error)
            if self._is_gone(error):
                self._gone = reason
            if len(points) > 1 and not self._gone:  # one of them is to blame
                self._send_points(points[: len(points) // 2])
                self._send_points(points[len(points) // 2 :])
                return
            self._set_aside(reason, list(points), len(points))
            return
        self._failures = 0
        self.stored += len(points)

    def _try(self, send: Callable[[], None], message: Message) -> None:
        if self._gone:
            self._set_aside(self._gone, message, 0)
            return
        try:
            send()
        except Exception as error:  # noqa: BLE001  # as above
            reason = self._reason(error)
            if self._is_gone(error):
                self._gone = reason
            self._set_aside(reason, message, 0)
            return
        self._failures = 0

    def _send(self, message: Message) -> None:
        service, run_id = self._service, self.run_id
        match message:
            case Params(params):
                service.log_params(run_id=run_id, params=params)
            case Tags(tags):
                service.set_tags(run_id=run_id, tags=tags)
            case File(path, digest, size, data):
                with self._objects.until_committed():
                    if data is not None:
                        self._objects.put(data)
                    elif self._objects.pin([digest]):  # pyright: ignore[reportArgumentType]  a digest, from `put_file`
                        raise NotFound(f"the bytes of {path} are gone", remedy="log the file again")
                    service.add_artifact(run_id=run_id, path=path, digest=digest, size=size)
            case Started(arguments):
                service.start(run_id=run_id, **arguments)
            case Ended(status, error, at):
                service.finish(run_id=run_id, status=status, error=error, ended=at)
                self.has_ended = True
            case Points():
                raise AssertionError("points go in batches")

    def _reason(self, error: Exception) -> str:
        """Why this is refused for good.

        Raises:
            Exception: The error, when it is to be tried again.
        """
        if isinstance(error, AWAY):
            raise error
        if not isinstance(error, Mistake) or isinstance(error, Forbidden):  # a new owner may know us again
            self._failures += 1
            if self._failures < TRIES:
                raise error
        self._failures = 0
        return error.what if isinstance(error, PerennialError) else f"{type(error).__name__}: {error}"

    def _is_gone(self, error: Exception) -> bool:
        """Whether the run itself is the reason, so that nothing more of it can be stored."""
        if not isinstance(error, Mistake):
            return False
        try:
            return self._service.get(run_id=self.run_id).lifecycle != "active"
        except NotFound:
            return True

    def _set_aside(self, reason: str, content: Any, points: int) -> None:
        if not self._aside.exists():
            complain(f"some of what was logged to run {self.run_id} was refused: {reason}; it is in {self._aside}")
        line = msgspec.json.encode({"reason": reason, "points": points, "content": content})
        with self._files.append(self._aside, mode=0o600) as file:
            file.write(line + b"\n")
            file.fsync()
        self.refused += points


def refused_path(segment: Path) -> Path:
    """Beside the files of a spool, for what was refused of it."""
    run, token, *_ = segment.name.split(".")
    return segment.with_name(f"{run}.{token}.refused")


def _message(frame: Frame) -> Message | str:
    """What the frame says, or why that cannot be told."""
    if frame.payload is None:
        return "damaged"
    try:
        return decode(frame.payload)
    except msgspec.MsgspecError as error:
        return f"not understood ({error})"


def _points(message: Points) -> list[MetricPoint]:
    at, step = message.at, message.step
    return [MetricPoint(key=key, value=spelled(value), step=step, at=at) for key, value in message.values.items()]
