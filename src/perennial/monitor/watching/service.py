"""What the service itself says of a window: failures, slow answers, rows that guards did not trust, how many came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from perennial.monitor.findings import Kind, NewFinding, Severity
from perennial.monitor.watching.streams import Stream
from perennial.monitor.watching.watched import Look, Seen, Watched, finding
from perennial.monitor.windows import DAY
from perennial.stats.batches import MIN_BATCHES, learn_law

__all__ = ["look_at_service"]

HISTORY = 56  # windows of traffic that are remembered: eight weeks of days


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
        stream = Stream.of_rate(rate.allowed, evidence=watched.evidence(rate.kind))
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


def _traffic(watched: Watched, before: Sequence[float], seen: Seen) -> Look:
    """Rows a day beside what the windows before lead to expect, of either side."""
    per_day = seen.asked * DAY / max(seen.window.end - seen.window.start, 1)
    found: list[NewFinding] = []
    if len(before) >= MIN_BATCHES:
        law = learn_law(before)
        low, high = law.band(watched.level("traffic")) if law is not None else (per_day, per_day)
        if not low <= per_day <= high:
            says = f"{per_day:,.0f} rows a day; {max(low, 0.0):,.0f} to {high:,.0f} were to be expected"
            evidence = {"rows_per_day": per_day, "low": low, "high": high, "windows": len(before)}
            found.append(finding(watched, "traffic", seen.window, says, evidence))
    return Look({"traffic": [*before, per_day][-HISTORY:]}, found)
