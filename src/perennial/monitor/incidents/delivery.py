"""Send what waits in the outbox, in a process that is not the owner: nothing waits for a slow receiver but notices.

One attempt after the other, each through the guard of `outgoing`, each failed one followed by a longer pause, counted
by the machine's own clock. A sender that dies leaves everything in the outbox; its successor goes on, also with what
was sent and not yet written down: the receiver sees the same key again.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping

from perennial.errors import ConfigError, PerennialError
from perennial.monitor.incidents.notices import Target
from perennial.monitor.incidents.outbox import Notice, Notices
from perennial.store.failpoints import failpoint, register

__all__ = ["Courier", "Send", "pause_s"]

FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 3600.0
JITTER = 0.2  # of a pause, so that many do not knock at once
BATCH = 100

SENT = register("notices.sent", "the receiver has the notice, nobody wrote that down")
_log = logging.getLogger("perennial.notices")

Send = Callable[[Notice], None]
"""Delivers a notice to one kind of target. Raises PerennialError where it did not arrive, as far as is known."""


def pause_s(attempts: int) -> float:
    """How long to wait after so many failed attempts, without the jitter.

    >>> [pause_s(attempts) for attempts in (1, 2, 3, 12)]
    [5.0, 10.0, 20.0, 3600.0]
    """
    return min(FIRST_PAUSE_S * 2.0 ** (attempts - 1), LONGEST_PAUSE_S)


class Courier:
    """Carries notices out. Not safe for concurrent use: one thread of one process."""

    def __init__(
        self,
        outbox: Notices,
        senders: Mapping[Target, Send],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """
        Args:
            outbox: What waits; the service, here or of the owner.
            senders: How each target is reached; what has none is told to be turned off.
            monotonic: Seconds of a clock that nobody sets.
            draw: Numbers in [0, 1).
        """
        self._outbox = outbox
        self._senders = senders
        self._monotonic = monotonic
        self._draw = draw
        self._due: dict[tuple[str, int], float] = {}  # by notice and its failed attempts

    def go(self) -> int:
        """Try once each notice that is due; how many arrived."""
        waiting = self._outbox.list(state="waiting", limit=BATCH)
        present = {(notice.key, notice.attempts) for notice in waiting}
        self._due = {key: due for key, due in self._due.items() if key in present}
        return sum(self._try(notice) for notice in waiting if self._is_due(notice))

    def _is_due(self, notice: Notice) -> bool:
        """After a restart the pause begins anew: a sender that keeps dying does not hammer at a receiver."""
        if notice.attempts == 0:
            return True
        key, now = (notice.key, notice.attempts), self._monotonic()
        if key not in self._due:
            self._due[key] = now + pause_s(notice.attempts) * (1.0 + JITTER * (2.0 * self._draw() - 1.0))
        return now >= self._due[key]

    def _try(self, notice: Notice) -> bool:
        send = self._senders.get(notice.target)
        try:
            if send is None:
                raise _turned_off(notice.target)
            send(notice)
        except PerennialError as error:
            told = self._outbox.failed(key=notice.key, attempt=notice.attempts + 1, error=error.what)
            _log.warning(
                "notice %s of incident %d to %s, attempt %d, %s: %s",
                notice.key, notice.incident, notice.target, told.attempts, told.state, error.what,
            )  # fmt: skip
            return False
        failpoint(SENT)
        self._outbox.delivered(key=notice.key)
        return True


def _turned_off(target: Target) -> PerennialError:
    return ConfigError(f"nothing says where to send {target} notices any more")
