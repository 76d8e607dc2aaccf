"""When a version fails too often, others answer for a while, and then a few calls find out whether it is well again."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

__all__ = ["Breaker"]


class Breaker:
    """The state of one version: closed (it is asked), open (others are), half-open (a few calls are tried).

    Opens when at least `share` of the latest `calls` failed; after `open_s` so many `probes` are tried, and it closes
    when all of them are well; `tried` were so far. Times are monotonic.
    """

    def __init__(self, *, share: float = 0.5, calls: int = 20, open_s: float = 30.0, probes: int = 5) -> None:
        self.state = "closed"
        self.probes = probes
        self._share = share
        self._open_s = open_s
        self._went: deque[bool] = deque(maxlen=calls)
        self._until = 0.0
        self.tried = 0

    @property
    def left(self) -> int:
        """Calls that are still to be tried while it is half-open."""
        return max(0, self.probes - self.tried)

    def heard(self, went: Sequence[bool], now: float) -> bool:
        """Take in how calls went, oldest first; whether the state changed."""
        before = self.state
        for is_well in went:
            if self.state == "half-open":
                if not is_well:
                    self._open(now)
                else:
                    self.tried += 1
                    if self.tried >= self.probes:
                        self.state = "closed"
                        self._went.clear()
            elif self.state == "closed":
                self._went.append(is_well)
                failed = len(self._went) - sum(self._went)
                if len(self._went) == self._went.maxlen and failed >= self._share * len(self._went):
                    self._open(now)
        return self.state != before

    def _open(self, now: float) -> None:
        self.state = "open"
        self._until = now + self._open_s
        self._went.clear()

    def look(self, now: float) -> bool:
        """Whether it is time to try again: then it is half-open."""
        if self.state != "open" or now < self._until:
            return False
        self.state = "half-open"
        self.tried = 0
        return True
