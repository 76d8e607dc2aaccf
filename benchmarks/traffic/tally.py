"""What came back, counted: statuses, latencies of the accepted and of the refused, goodput for each second."""

from __future__ import annotations

import os
import time
from array import array
from collections import Counter
from typing import Any

import numpy as np

__all__ = ["Tally"]

GOOD, WRONG, REFUSED, FAILED = range(4)  # refused: 429 or 503; failed: everything else, and no answer at all
_EDGES_MS = [0.1 * 2**step for step in range(20)]  # of the histograms: 0.1 ms to 52 s


class Tally:
    """One entry for each request that is over. Times are those of `time.perf_counter`, in seconds."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.began_at = time.time()
        self._cpu = os.times()
        self._due = array("d")
        self._done = array("d")
        self._sent = array("d")
        self._kind = array("b")
        self.late = array("d")  # how much later than due the generator itself came to each request
        self.statuses: Counter[str] = Counter()
        self.versions: Counter[Any] = Counter()
        self.first_by_version: dict[Any, float] = {}
        self.last_by_version: dict[Any, float] = {}
        self.without_retry_after = 0
        self.retries = 0
        self.said: dict[str, str] = {}

    def add(self, due: float, sent: float, done: float, kind: int, status: str) -> None:
        self._due.append(due)
        self._sent.append(sent)
        self._done.append(done)
        self._kind.append(kind)
        self.statuses[status] += 1

    def version(self, version: Any, done: float) -> None:
        """Which version answered; JSON will make texts of the numbers."""
        if version not in self.versions:
            self.first_by_version[version] = done
        self.versions[version] += 1
        self.last_by_version[version] = done

    def told(self, *, deadline_s: float = float("inf")) -> dict[str, Any]:
        """Everything, for JSON. Answers that came after the deadline are no goodput."""
        ended = time.perf_counter()
        due, sent, done = (np.frombuffer(x, dtype=np.float64) for x in (self._due, self._sent, self._done))
        kind = np.frombuffer(self._kind, dtype=np.int8)
        taken = done - due
        right = kind == GOOD
        good = right & (taken <= deadline_s)
        seconds = ended - self.began
        spent = os.times()
        user, system = spent.user - self._cpu.user, spent.system - self._cpu.system
        return {
            "requests": len(taken),
            "answered": int(right.sum()),
            "wrong": int((kind == WRONG).sum()),
            "refused": int((kind == REFUSED).sum()),
            "failed": int((kind == FAILED).sum()),
            "late": int((right & ~good).sum()),
            "began_at": self.began_at,  # seconds since 1970; the other moments count from here
            "seconds": seconds,
            "per_s": float(right.sum()) / seconds,
            "goodput_per_s": float(good.sum()) / seconds,
            "accepted": _latency(taken[right]),
            "rejected": _latency(taken[kind == REFUSED]),
            "broken": _latency(taken[kind == FAILED]),
            "statuses": dict(self.statuses),
            "versions": {str(name): n for name, n in self.versions.items()},
            "version_s": {
                str(name): [first - self.began, self.last_by_version[name] - self.began]
                for name, first in self.first_by_version.items()
            },
            "without_retry_after": self.without_retry_after,
            "retries": self.retries,
            "each_second": self._series(done, kind, good),
            "waited_ms": _latency(sent - due),  # for a free connection, and for the generator
            "late_ms": _latency(np.frombuffer(self.late, dtype=np.float64)),
            "cost_us": {"user": 1e6 * user / max(1, len(taken)), "system": 1e6 * system / max(1, len(taken))},
            "cpu_share": (user + system) / seconds,
            "said": self.said,
        }

    def _series(self, done: Any, kind: Any, good: Any) -> list[dict[str, int]]:
        """By the second in which the answer came."""
        second = (done - self.began).astype(np.int64) if len(done) else np.zeros(0, dtype=np.int64)
        count = int(second.max()) + 1 if len(second) else 0
        columns = {
            "good": good,
            "refused": kind == REFUSED,
            "failed": (kind == FAILED) | (kind == WRONG),
        }
        made = {name: np.bincount(second[which], minlength=count) for name, which in columns.items()}
        return [{name: int(values[i]) for name, values in made.items()} for i in range(count)]


def _latency(taken: Any) -> dict[str, Any]:
    """Milliseconds: quantiles, the mean, the longest, and a histogram of (up to, how many)."""
    if not len(taken):
        return {"n": 0}
    taken_ms = taken * 1e3
    p50, p90, p99, p999 = np.quantile(taken_ms, [0.5, 0.9, 0.99, 0.999])
    counts, _ = np.histogram(taken_ms, [-1e9, *_EDGES_MS, 1e12])
    return {
        "n": len(taken),
        "p50": float(p50),
        "p90": float(p90),
        "p99": float(p99),
        "p999": float(p999),
        "mean": float(taken_ms.mean()),
        "max": float(taken_ms.max()),
        "histogram": [[edge, int(n)] for edge, n in zip([*_EDGES_MS, None], counts, strict=True) if n],
    }
