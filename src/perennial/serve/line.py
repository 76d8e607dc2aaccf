"""A front's line to the worker of a model version: rows go over it in batches, one at a time.

It sends one message at a time and puts every request that waits meanwhile into the next one, so a batch forms under
load and costs nothing when idle. Requests in flight when the worker dies are sent once more, each alone, so that one
that kills its worker takes no neighbour with it. The parent starts the next worker at the same address, where the line
waits for it. All methods belong to the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from perennial.errors import Unavailable
from perennial.serve.orders import Channel, Told
from perennial.serve.pace import OUTLIER, Pace
from perennial.serve.parts import Part
from perennial.store.decoding import ready

if TYPE_CHECKING:
    from perennial.models.guards.fitted import Fitted

__all__ = ["Crashed", "Deadline", "Line"]

BATCH_ROWS = 1024  # rows of several requests put together; one request may be larger
QUEUE_ROWS = 20_000  # waiting rows beyond which a request is refused at once
DELAY_WEIGHT = 0.1  # of the latest wait for the worker to begin
MARGIN = 1.15  # times of its usual cost that a call is given before somebody's deadline
AGAIN_S = 0.05  # before the next try to reach a worker that is not there

log = logging.getLogger("perennial.serve")
_told = msgspec.msgpack.Decoder(ready(Told))


class Deadline(Unavailable):
    """The model did not answer in time."""


class Crashed(Unavailable):
    """The worker process died, and again when the request was repeated alone."""


class Line:
    """Asks one worker.

    Attributes:
        waiting: Rows that wait or are being answered.
        pace: What its calls take.
        fitted: What guards learned of the version's training rows; None in older packages.
    """

    def __init__(
        self,
        package: str,
        address: str,
        name: str,
        hangs: Callable[[int], None],
        *,
        hang_s: float,
        fitted: Fitted | None = None,
        examples: Sequence[dict[str, Any]] = (),
    ) -> None:
        self.package = package
        self.name = name
        self.waiting = 0
        self.pace = Pace()
        self.classes: list[Any] | None = None
        self.fitted = fitted
        self.examples = list(examples)
        self._address = address
        self._hangs = hangs
        self._parts: deque[Part] = deque()
        self._sent: list[Part] = []
        self._sent_at = 0.0  # or when the worker began with it
        self._delay_s = 0.0  # between the two: it may be at work for another front
        self._is_there = self._has_begun = False
        self._hang_s = hang_s
        self._watch: asyncio.TimerHandle | None = None
        self._pid = 0
        self._is_closing = False
        self._idle = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._channel: Channel | None = None
        self._connecting = self._loop.create_task(self._connect())

    def ask(self, part: Part, timeout_s: float) -> None:
        """Answer this part; settled with `Deadline`, `Crashed` or `Unavailable` when that fails."""
        if self._parts and self.waiting + part.asked.height > QUEUE_ROWS:
            part.settle(Unavailable(f"{self.name} has {self.waiting} rows waiting", remedy="try again in a moment"))
            return
        part.deadline = min(part.deadline, time.perf_counter() + timeout_s)
        part.timer = self._loop.call_later(timeout_s, self._expire, part, timeout_s)
        self._parts.append(part)
        self.waiting += part.asked.height
        if not self._sent:
            self._send()

    def close(self) -> None:
        """Ask no more; what waits is left without an answer."""
        self._is_closing = True
        self._connecting.cancel()
        if self._channel is not None:
            self._channel.close()

    async def stop(self) -> None:
        """Close it when what was asked is answered."""
        while self._parts or self._sent:
            self._idle.clear()
            await self._idle.wait()
        self.close()

    async def _connect(self) -> None:
        while not self._is_closing:
            try:
                channel = Channel(_told, self._received, self._lost)
                await self._loop.create_unix_connection(lambda made=channel: made, self._address)
            except OSError:
                await asyncio.sleep(AGAIN_S)
            else:
                self._channel = channel
                return

    def _received(self, told: Told) -> None:
        if not told.values and not self._is_there:
            self._is_there = True
            self._send()
            return
        if not told.values:  # it begins with what was sent last
            now = time.monotonic()
            # One long wait tells of the machine, or of a worker that was stopped.
            waited_s = min(now - self._sent_at, OUTLIER * self._delay_s + 0.001)
            self._delay_s += DELAY_WEIGHT * (waited_s - self._delay_s)
            self._pid, self._has_begun, self._sent_at = told.pid, True, now
            self._watch = self._loop.call_later(self._hang_s, self._on_hang)
            return
        self._unwatch()
        start = 0
        sent, self._sent = self._sent, []
        rows = sum(part.asked.height for part in sent)
        self.waiting -= rows
        if told.classes is not None:
            self.classes = told.classes
        if rows:
            self.pace.took(rows, time.monotonic() - self._sent_at)
        for part in sent:
            end = start + part.asked.height
            part.settle(
                Told(
                    told.values[start:end],
                    None if told.probabilities is None else told.probabilities[start:end],
                    None if told.errors is None else told.errors[start:end],
                )
            )
            start = end
        self._send()

    def _lost(self) -> None:
        self._unwatch()
        self._channel, self._is_there = None, False
        sent, self._sent = self._sent, []
        for part in reversed(sent):
            self.waiting -= part.asked.height
            if part.is_settled:
                continue
            # What the worker had not begun with did not kill it: another front's request did.
            if part.is_retried and self._has_begun:
                part.settle(
                    Crashed(f"the worker of {self.name} died twice over this request", remedy="try again in a moment")
                )
            else:
                if self._has_begun:
                    part.is_retried = part.alone = True
                self._parts.appendleft(part)
                self.waiting += part.asked.height
        if not self._is_closing:
            self._connecting = self._loop.create_task(self._connect())
        if not self._parts:
            self._idle.set()

    def _send(self) -> None:
        """Send the next message, if the worker is idle and somebody waits.

        Not before it has said that it is there: the next worker would read what nobody waits for any more.
        """
        if self._channel is None or not self._is_there or self._sent:
            return
        batch = self._batch()
        if not batch:
            self._idle.set()
            return
        self._sent = batch
        self._has_begun, self._sent_at = False, time.monotonic()
        self._channel.send(
            batch[0].asked.rows() if len(batch) == 1 else [r for part in batch for r in part.asked.rows()]
        )

    def _batch(self) -> list[Part]:
        """What the next message holds.

        Whoever cannot be answered in time any more is passed over, to expire without being computed, and whoever would
        make others too late waits. One is always taken: only calls tell what a call takes.
        """
        batch: list[Part] = []
        rows, first, now = 0, float("inf"), time.perf_counter() + self._delay_s
        while self._parts:
            part = self._parts[0]
            height = part.asked.height
            is_hopeless = part.deadline < now + MARGIN * self.pace.cost_s(height)
            if part.is_settled or (is_hopeless and (batch or len(self._parts) > 1)):
                self._parts.popleft()
                self.waiting -= height
                continue
            if batch and (part.alone or batch[0].alone or rows + height > BATCH_ROWS):
                break
            if batch and now + MARGIN * self.pace.cost_s(rows + height) > min(first, part.deadline):
                break
            self._parts.popleft()
            batch.append(part)
            rows, first = rows + height, min(first, part.deadline)
        return batch

    def _expire(self, part: Part, timeout_s: float) -> None:
        if part not in self._sent or not self._has_begun:
            part.settle(Unavailable(f"{self.name} is not ready", remedy="try again in a moment"))
            return
        part.settle(
            Deadline(
                f"{self.name} did not answer within {timeout_s:g} s", remedy="send fewer rows, or look into the model"
            )
        )

    def _on_hang(self) -> None:
        """The worker took longer over one message than any request may; a caller's own deadline proves nothing."""
        log.error("%s hangs: its worker is replaced", self.name)
        self._hangs(self._pid)

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
