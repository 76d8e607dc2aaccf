"""What the service itself says of a window: failures, slow answers, rows that guards did not trust, how many came."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np

from perennial.monitor.findings import Kind, NewFinding, Severity
from perennial.monitor.watching.streams import Stream
from perennial.monitor.watching.watched import Look, Seen, Watched, finding
from perennial.monitor.windows import DAY, WEEK
from perennial.stats.batches import MIN_BATCHES, learn_law

__all__ = ["look_at_service"]

HISTORY = 56  # windows of traffic that are remembered: eight weeks of days
LIKE = 4  # of these of one weekday, with which a window is compared
LEFT_ALONE = math.log(1.25)  # a quarter more or less is no news, however even the traffic was


class _Rate(NamedTuple):
    """A share of rows that is left alone, and how it is told where there is more."""

    kind: Kind
    allowed: float
    severity: Severity
    says: str


_RATES: Final = (
    _Rate("errors", 0.01, "critical", "{share:.2%} of {rows} rows got no answer; {allowed:.2%} are left alone"),
    _Rate("latency", 0.015, "warn", "{share:.2%} of {rows} rows were answered slowly; {allowed:.2%} are left alone"),
    _Rate("unforeseen", 0.02, "warn", "guards fired on {share:.2%} of {rows} rows; {allowed:.2%} are left alone"),
)


def look_at_service(watched: Watched, state: Mapping[str, Any] | None, seen: Seen) -> Look:
    """Look at the counts of one window."""
    held = dict(state or {})
    found: list[NewFinding] = []
    happened = {"errors": seen.failed, "latency": seen.slow, "unforeseen": seen.flagged}
    for rate in _RATES:
        if rate.kind in watched.off:
            continue
        stream = watched.once(
            rate.kind, lambda rate=rate: Stream.of_rate(rate.allowed, evidence=watched.evidence(rate.kind))
        )
        told = stream.step_counts(held.get(rate.kind), happened[rate.kind], seen.asked)
        held[rate.kind] = told.state
        if told.is_alarm:
            evidence = {
                "e_value": told.evidence,
                "threshold": stream.design.threshold,
                "share": told.mean,
                "rows": told.rows,
                "allowed": rate.allowed,
            }
            says = rate.says.format(share=told.mean, rows=told.rows, allowed=rate.allowed)
            found.append(finding(watched, rate.kind, seen.window, says, evidence, severity=rate.severity))
    if "traffic" not in watched.off:
        one = _traffic(watched, held.get("traffic", ()), seen)
        held |= one.state
        found += one.found
    return Look(held, found)


def _traffic(watched: Watched, before: Sequence[Any], seen: Seen) -> Look:
    """Rows a day beside what the windows before lead to expect, of either side.

    A window is compared with its like: with the last one of the same time of the week, and with the median of the last
    four. It must be far from both, so that neither one odd day nor a new level is told twice. How far sound windows are
    from their like is the law of the next one; until there are seven of these, weekdays are not known and nothing is
    said.
    """
    start, length = seen.window.start, max(seen.window.end - seen.window.start, 1)
    now = _Day(start, length, seen.asked * DAY / length)
    known = [_Day(*one) for one in before if isinstance(one, list | tuple)]  # former states have no times
    days = [*known, now]
    logs, alike = [math.log1p(one.per_day) for one in days], _alike(days)
    found: list[NewFinding] = []
    for newest in (1, LIKE):
        band = _band(now, logs, alike, watched.level("traffic"), newest=newest)
        if band is None or band[0] <= now.per_day <= band[1]:
            break
    else:
        low, high = band
        says = f"{now.per_day:,.0f} rows a day; {low:,.0f} to {high:,.0f} were to be expected at this time of the week"
        evidence = {"rows_per_day": now.per_day, "low": low, "high": high, "windows": len(known)}
        found.append(finding(watched, "traffic", seen.window, says, evidence))
    return Look({"traffic": [list(one) for one in days[-HISTORY:]]}, found)


class _Day(NamedTuple):
    """A window: when it began, how long it was (microseconds), and rows a day in it."""

    start: int
    length: int
    per_day: float


def _alike(days: Sequence[_Day]) -> list[list[int]]:
    """For each window the last ones before it that are its like, by their places, oldest first."""
    starts, lengths = (np.array(side, dtype=np.int64)[:, np.newaxis] for side in list(zip(*days, strict=True))[:2])
    is_alike = np.tril((lengths > DAY) | ((starts - starts.T) % WEEK < lengths), -1)
    rows, places = np.nonzero(is_alike)
    ends, before = np.searchsorted(rows, np.arange(len(days)), side="right").tolist(), places.tolist()
    return [before[start:end][-LIKE:] for start, end in pairwise([0, *ends])]


def _band(
    now: _Day, logs: Sequence[float], alike: Sequence[Sequence[int]], level: float, *, newest: int
) -> tuple[float, float] | None:
    """Rows a day that are to be expected from the newest windows like this one; None while too few are known."""
    usual = [statistics.median([logs[at] for at in like[-newest:]]) if like else None for like in alike]
    expected = usual.pop()  # of this window
    gaps = [log - was for log, was in zip(logs, usual, strict=False) if was is not None]
    if expected is None or len(gaps) < MIN_BATCHES:
        return None
    law = learn_law(gaps, noise=math.sqrt(2.0 * DAY / (max(now.per_day, 1.0) * now.length)))
    low, high = law.band(level) if law is not None else (0.0, 0.0)
    low, high = min(low, -LEFT_ALONE), max(high, LEFT_ALONE)
    return max(math.expm1(expected + low), 0.0), math.expm1(min(expected + high, 700.0))
