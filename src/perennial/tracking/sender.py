"""The thread that sends what a run's spool holds while the run goes on, and waits while nobody takes it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from perennial.errors import PerennialError
from perennial.tracking.delivery import Delivery
from perennial.tracking.spool import Spool

__all__ = ["Sender"]

EVERY_S = 0.5  # points that wait so long go together
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 15.0


class Sender:
    """Sends one spool. Safe for concurrent use.

    `first` is done on the thread before anything is sent, and raises nothing. `problem` tells why
    the service does not take what is sent, empty while it does.
    """

    def __init__(self, spool: Spool, delivery: Delivery, first: Callable[[], None] = lambda: None) -> None:
        self.delivery = delivery
        self.problem = ""
        self._spool = spool
        self._first = first
        self._changed = threading.Condition()
        self._is_wanted = self._is_stopped = False
        self._asked = 0  # how often somebody waits: then there are no pauses
        self._moved = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="perennial-sender", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """Points that are neither stored nor refused."""
        return self._spool.written - self.delivery.stored - self.delivery.refused

    def flush(self, *, timeout_s: float, patience_s: float | None = None) -> bool:
        """Wait until everything written so far was delivered; False when it was not.

        Args:
            timeout_s: At most so long.
            patience_s: And no longer than this without any progress; by default as long as `timeout_s`.
        """
        ends, patience = time.monotonic() + timeout_s, timeout_s if patience_s is None else patience_s
        target = self._spool.written_bytes
        with self._changed:
            self._asked += 1
            self._moved = time.monotonic()
            self._wake()
            try:
                while self._spool.delivered_bytes < target:
                    left = min(ends, self._moved + patience) - time.monotonic()
                    if left <= 0 or not self._thread.is_alive():
                        return False
                    self._changed.wait(left)
            finally:
                self._asked -= 1
        return True

    def stop(self, *, timeout_s: float) -> bool:
        """End the thread; whether it has ended. What is not sent stays in the spool."""
        with self._changed:
            self._is_stopped = True
            self._wake()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _wake(self) -> None:
        self._is_wanted = True
        self._changed.notify_all()

    def _run(self) -> None:
        self._first()
        pause = 0.0
        while not self._is_stopped:
            self._wait(pause or EVERY_S)
            if self._is_stopped:
                return
            pause = self._attempt(pause)

    def _wait(self, seconds: float) -> None:
        with self._changed:
            if not self._is_wanted:
                self._changed.wait(FIRST_PAUSE_S if self._asked and self.problem else seconds)
            self._is_wanted = False

    def _attempt(self, pause: float) -> float:
        """Send what is there; how long to wait when that did not work."""
        try:
            self._pass()
            self.problem = ""
            return 0.0
        except PerennialError as error:
            self.problem = error.what
        except Exception as error:  # noqa: BLE001  # the boundary of the thread: told by whoever waits, tried again
            self.problem = f"{type(error).__name__}: {error}"
        return min(max(FIRST_PAUSE_S, pause * 2), LONGEST_PAUSE_S) * random.uniform(0.8, 1.2)

    def _pass(self) -> None:
        while self._spool.segments and not self._is_stopped:
            segment = self._spool.segments[0]
            is_last = len(self._spool.segments) == 1  # before its size, so that a full one is read to its end
            end = segment.size
            if segment.header().acked < end:
                self.delivery.deliver(segment, end, self._tell)
            if is_last:
                return
            self._spool.remove_first()

    def _tell(self, count_bytes: int) -> None:
        with self._changed:
            self._spool.delivered(count_bytes)
            self._moved = time.monotonic()
            self._changed.notify_all()
