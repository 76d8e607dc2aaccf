"""How long what waits will take, learnt from how long the latest calls took: whether to take one more request.

A call of n rows takes a + b n. Both are fitted to the calls that were seen, older ones counting ever less; before calls
of different sizes were seen b is 0, since a batch usually costs little more than a row.
"""

from __future__ import annotations

__all__ = ["OUTLIER", "Pace"]

MEMORY = 0.05  # weight of the newest call
LEAST_WAIT_S = 0.05  # that a queue may always take
MOST_WAIT_S = 1.0  # RELIABILITY 9: wait in a queue
OUTLIER = 5.0  # times of what was expected that one call counts at most
PATIENCE = 10.0  # single calls that a request may wait for


class Pace:
    """The cost of calls of one model."""

    __slots__ = ("_n", "_nn", "_nt", "_seen", "_t")

    def __init__(self) -> None:
        self._n = self._t = self._nn = self._nt = 0.0
        self._seen = False

    def took(self, rows: int, seconds: float) -> None:
        """Learn from one call."""
        if not self._seen:
            self._seen = True
            self._n, self._t, self._nn, self._nt = rows, seconds, rows * rows, rows * seconds
            return
        # One call that was held up tells of the machine, not of the model.
        seconds = min(seconds, OUTLIER * self.cost_s(rows) + 0.001)
        self._n += MEMORY * (rows - self._n)
        self._t += MEMORY * (seconds - self._t)
        self._nn += MEMORY * (rows * rows - self._nn)
        self._nt += MEMORY * (rows * seconds - self._nt)

    def cost_s(self, rows: int) -> float:
        """What a call of so many rows takes."""
        spread = self._nn - self._n * self._n
        slope = max(0.0, (self._nt - self._n * self._t) / spread) if spread > 0.1 else 0.0
        return max(0.0, self._t + slope * (rows - self._n))

    def allows(self, waiting: int, rows: int = 1) -> bool:
        """Whether so many rows more behind those that wait would be answered in a decent time."""
        if waiting == 0:
            return True
        wait_s = self.cost_s(waiting + rows)
        return wait_s <= LEAST_WAIT_S or wait_s <= min(MOST_WAIT_S, PATIENCE * self.cost_s(rows))
