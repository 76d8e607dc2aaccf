"""Beside the model itself: does the service answer as the training pipeline would, and is it still the same that drives
the answers? Once a week, since the model must be asked anew for it.

Training-serving skew has three sides: answers that the package's own model does not give for the rows that were written
down; golden answers that are not repeated any more; values that differ from the training data's for the same key.
Attributions move when inputs move, whether or not the model got worse: a secondary monitor, told as a warning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perennial import stats
from perennial.monitor.findings import NewFinding
from perennial.monitor.watching.watched import Look, Seen, Watched, finding
from perennial.stats.tails import binomial_above

__all__ = ["EVERY_US", "Beside", "SameKey", "is_due", "look_at_model"]

EVERY_US = 7 * 86_400_000_000  # between two looks
DIFFERENT = 0.01  # share of answers or values that may differ: of rows that changed while they were asked for
SHARES_MOVED = 0.2  # sum of |change| of the features' shares that is left alone, of at most 2
RESAMPLES = 999
MIN_EXPLAINED = 50
EXAMPLES = 3

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SameKey:
    """One column of requests whose keys are in the training data.

    Attributes:
        column: Its name.
        rows: Requests with a known key.
        different: Of them with another value than in training.
        tolerated: Share that may differ.
        first: Some, in words.
    """

    column: str
    rows: int
    different: int
    tolerated: float
    first: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What the package's own model says of rows that the service answered.

    Attributes:
        asked: Rows that it was asked for once more.
        different: Of them with another answer.
        first: Some of these, in words.
        golden: Golden answers that it does not repeat, a sentence each.
        same_key: Columns compared by key.
        columns: That attributions are of.
        reference: Attributions at registration, shape (n, columns).
        current: Of rows in the window, shape (m, columns).
        unasked: Why it could not be asked; empty where it could.
    """

    asked: int = 0
    different: int = 0
    first: tuple[str, ...] = ()
    golden: tuple[str, ...] = ()
    same_key: Sequence[SameKey] = ()
    columns: tuple[str, ...] = ()
    reference: Floats | None = None
    current: Floats | None = None
    unasked: str = ""


def is_due(state: Mapping[str, Any] | None, end: int) -> bool:
    """Whether a week has passed at the end of a window."""
    last = (state or {}).get("at")
    return last is None or end - last >= EVERY_US


def look_at_model(watched: Watched, state: Mapping[str, Any] | None, seen: Seen) -> Look:
    """Look at one window, if it is time and there is something to ask."""
    if seen.beside is None or not is_due(state, seen.window.end):
        return Look(dict(state or {}), [])
    beside = seen.beside()
    if beside is None:
        return Look(dict(state or {}), [])
    found: list[NewFinding] = []
    if beside.unasked:
        says = f"the model could not be asked outside the service: {beside.unasked}"
        told = finding(watched, "training_serving_skew", seen.window, says, {}, severity="info", of="unasked")
        return Look({"at": seen.window.end}, [told])
    if "training_serving_skew" not in watched.off:
        found += _skew(watched, seen, beside)
    if "attribution_drift" not in watched.off:
        found += _attributions(watched, seen, beside)
    return Look({"at": seen.window.end}, found)


def _skew(watched: Watched, seen: Seen, beside: Beside) -> list[NewFinding]:
    level = watched.budget.per_window("training_serving_skew", max(EVERY_US, watched.window_us))
    level /= 1 + len(beside.same_key)
    found: list[NewFinding] = []
    if beside.golden:
        says = f"the package does not repeat {len(beside.golden)} of its golden answers: {beside.golden[0]}"
        evidence: dict[str, Any] = {"golden": list(beside.golden[:EXAMPLES])}
        found.append(_finding(watched, seen, says, evidence, of="golden"))
    p_value = _p_value(beside.different, beside.asked, DIFFERENT)
    if p_value is not None and p_value <= level:
        says = (
            f"the service answered {beside.different} of {beside.asked} rows otherwise than the trained model does: "
            f"{'; '.join(beside.first)}"
        )
        evidence = {"rows": beside.asked, "different": beside.different, "p_value": p_value, "tolerance": DIFFERENT}
        found.append(_finding(watched, seen, says, evidence, of="answers"))
    for one in beside.same_key:
        p_value = _p_value(one.different, one.rows, one.tolerated)
        if p_value is not None and p_value <= level:
            says = (
                f"{one.column} has another value than in training in {one.different} of {one.rows} requests of known "
                f"keys: {'; '.join(one.first)}"
            )
            evidence = {"column": one.column, "rows": one.rows, "different": one.different, "p_value": p_value}
            found.append(_finding(watched, seen, says, evidence | {"tolerance": one.tolerated}, of=one.column))
    return found


def _attributions(watched: Watched, seen: Seen, beside: Beside) -> list[NewFinding]:
    """The sum of |change of share| beside rows exchanged at random between the two sides."""
    before, now = beside.reference, beside.current
    if before is None or now is None or min(len(before), len(now)) < MIN_EXPLAINED:
        return []
    if not np.abs(before).sum() or not np.abs(now).sum():
        return []  # nothing drives the answers on one of the sides
    drift = stats.attribution_drift(before, now)
    excess = drift.l1 - SHARES_MOVED
    if excess <= 0.0:
        return []
    both, rng = np.abs(np.concatenate([before, now])), np.random.default_rng(0)
    beyond = 0
    for _ in range(RESAMPLES):
        order = rng.permutation(len(both))
        one, other = both[order[: len(before)]].mean(axis=0), both[order[len(before) :]].mean(axis=0)
        beyond += float(np.abs(one / one.sum() - other / other.sum()).sum()) >= excess
    p_value = (1.0 + beyond) / (1.0 + RESAMPLES)
    if p_value > watched.budget.per_window("attribution_drift", max(EVERY_US, watched.window_us)):
        return []
    moved = sorted(
        zip(beside.columns, drift.reference, drift.current, strict=True), key=lambda one: -abs(one[2] - one[1])
    )
    told = ", ".join(f"{name} {was:.0%} -> {is_now:.0%}" for name, was, is_now in moved[:EXAMPLES])
    evidence = drift.as_dict() | {
        "columns": list(beside.columns),
        "p_value": p_value,
        "tolerance": SHARES_MOVED,
        "rows": len(now),
        "assumption": "none; attributions move with inputs, also where the model is as good as before",
    }
    says = f"other features drive the answers than when the model was tested: {told}"
    return [finding(watched, "attribution_drift", seen.window, says, evidence)]


def _finding(watched: Watched, seen: Seen, says: str, evidence: dict[str, Any], *, of: str) -> NewFinding:
    return finding(watched, "training_serving_skew", seen.window, says, evidence, severity="critical", of=of)


def _p_value(different: int, rows: int, tolerated: float) -> float | None:
    """Of so many differences, if the true share is what is tolerated; None without rows."""
    return binomial_above(different, rows, tolerated) if rows else None
