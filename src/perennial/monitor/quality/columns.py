"""Issues of one column at a time: its form, what is missing, what stopped varying, what the reference does not know."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np

from perennial import stats
from perennial.monitor.profiling.counting import ColumnPlan
from perennial.monitor.profiling.profiles import Profiler, WindowProfile
from perennial.monitor.profiling.tallies import ColumnTally
from perennial.monitor.quality.issue import QualityIssue, QualityKind
from perennial.stats.bins import CategoryBins
from perennial.stats.shares import excess_share_test

__all__ = ["column_issues", "form_issues"]

MISSING_TOLERANCE = 0.01  # of the rows
MISSING_RELATIVE = 0.25  # of what is missing anyway
UNKNOWN_TOLERANCE = 0.005  # of the values
CRITICAL_SHARE = 0.01
MOSTLY = 0.99  # share of one value from which on a column is constant as it is


def form_issues(
    profiler: Profiler, reference: WindowProfile, current: WindowProfile, *, level: float
) -> Iterator[QualityIssue]:
    """Columns that are not there, are new, or hold another kind of values."""
    for name in profiler.columns:
        before, after = reference.columns[name], current.columns[name]
        lost = after.kinds.get("absent", 0)
        if lost and not before.kinds.get("absent", 0):
            yield _certain("absent_column", name, before.rows, after.rows - lost, f"{name} is not there", _UPSTREAM)
            continue
        others = {kind: rows for kind, rows in after.kinds.items() if rows and not before.kinds.get(kind)}
        known = ", ".join(kind for kind, rows in before.kinds.items() if rows)
        if others and known:
            now = ", ".join(others)
            rows = sum(others.values())
            says = f"{name} comes as {now} in {rows} rows; it was {known}"
            if after.unreadable:
                says += f"; {after.unreadable} values cannot be read as that"
            yield _certain("type_changed", name, 0.0, rows / max(after.rows, 1.0), says, _UPSTREAM)
        elif after.unreadable:
            yield from _more(
                "type_changed", name, after.unreadable, int(after.rows), before.unreadable, int(before.rows), level,
                f"{name}: {{now:.2%}} of its values are no {profiler.columns[name].kind}s ({{before:.2%}} before)",
            )  # fmt: skip
    for name in current.new_columns:
        if name not in reference.new_columns:
            yield _certain("new_column", name, None, None, f"{name} is new; nothing reads it", _DECLARE, "warn")


def column_issues(
    profiler: Profiler, reference: WindowProfile, current: WindowProfile, *, level: float
) -> Iterator[QualityIssue]:
    """Values that are missing, stopped varying, or that the reference does not know."""
    for name, plan in profiler.columns.items():
        before, after = reference.columns[name], current.columns[name]
        if after.kinds.get("absent"):
            continue
        yield from _more(
            "missing", name, int(after.missing), int(after.rows), int(before.missing), int(before.rows), level,
            f"{name} is missing in {{now:.2%}} of the rows ({{before:.2%}} before)",
            tolerance=MISSING_TOLERANCE, relative=MISSING_RELATIVE,
        )  # fmt: skip
        yield from _constant(name, plan, before, after, level)
        if isinstance(plan.bins, CategoryBins):
            yield from _unseen(name, plan.bins, before, after, level)
        elif plan.bins.low is not None:
            yield from _more(
                "out_of_range", name, _outside(after), int(after.present), _outside(before), int(before.present), level,
                f"{name} lies outside {plan.bins.low:.6g} to {plan.bins.uppers[-1]:.6g} in {{now:.2%}} of its values"
                f" ({{before:.2%}} before): {_extremes(after)}",
                tolerance=UNKNOWN_TOLERANCE,
            )  # fmt: skip


def _unseen(
    name: str, bins: CategoryBins, before: ColumnTally, after: ColumnTally, level: float
) -> Iterator[QualityIssue]:
    says = (
        f"{name} has a category that the reference does not name in {{now:.2%}} of its values ({{before:.2%}} before)"
    )
    yield from _more(
        "unseen_category", name, int(after.counts[-2]), int(after.present), int(before.counts[-2]), int(before.present),
        level, says, tolerance=UNKNOWN_TOLERANCE,
    )  # fmt: skip


def _constant(
    name: str, plan: ColumnPlan, before: ColumnTally, after: ColumnTally, level: float
) -> Iterator[QualityIssue]:
    values, present = after.values, int(after.present)
    if plan.is_slow:
        return  # a month is the same all week
    if not values.is_complete or len(values.hashes) != 1 or plan.kind not in ("number", "text") or present < 2:
        return
    # No value of the reference is more frequent than its bin.
    most = int(before.counts[:-1].max()) if before.present else 0
    if before.values.is_complete and len(before.values.counts):
        most = min(most, int(before.values.counts.max()))
    if not before.present or most / before.present >= MOSTLY:
        return
    bound = stats.clopper_pearson(most, int(before.present), alpha=level).high
    chance = math.exp(present * math.log(min(1.0, bound + MISSING_TOLERANCE))) * max(
        1.0, min(before.values.distinct, present)
    )
    if chance > level / 2.0:
        return
    yield QualityIssue(
        kind="constant",
        column=name,
        reference_value=before.values.distinct,
        current_value=1.0,
        p_or_e=min(1.0, chance + level / 2.0),
        evidence="p",
        tolerance=MISSING_TOLERANCE,
        severity="critical",
        says=f"{name} has one value in all {present} rows, about {before.values.distinct:.0f} before",
        remedy=_UPSTREAM,
    )


def _more(
    kind: QualityKind,
    name: str,
    successes: int,
    trials: int,
    reference_successes: int,
    reference_trials: int,
    level: float,
    says: str,
    *,
    tolerance: float = UNKNOWN_TOLERANCE,
    relative: float = 0.0,
) -> Iterator[QualityIssue]:
    if successes == 0:
        return
    test = excess_share_test(
        successes,
        trials,
        reference_successes=reference_successes,
        reference_trials=reference_trials,
        tolerance=tolerance,
        relative_tolerance=relative,
        alpha=level,
    )
    if test.decision != "above" or test.statistic is None:
        return
    before = reference_successes / reference_trials
    yield QualityIssue(
        kind=kind,
        column=name,
        reference_value=before,
        current_value=test.statistic,
        p_or_e=test.p_value,
        evidence="p",
        tolerance=tolerance,
        severity="critical" if test.statistic - before > CRITICAL_SHARE else "warn",
        says=says.format(now=test.statistic, before=before),
        remedy=_UPSTREAM if kind != "unseen_category" else _CATEGORY,
    )


def _certain(
    kind: QualityKind,
    name: str,
    before: float | None,
    after: float | None,
    says: str,
    remedy: str,
    severity: Literal["warn", "critical"] = "critical",
) -> QualityIssue:
    return QualityIssue(
        kind=kind,
        column=name,
        reference_value=before,
        current_value=after,
        p_or_e=None,
        evidence="certain",
        severity=severity,
        says=says,
        remedy=remedy,
        assumption="none: it is so",
    )


def _outside(tally: ColumnTally) -> int:
    return int(np.rint(tally.counts[0] + tally.counts[-2]))


def _extremes(tally: ColumnTally) -> str:
    return "" if tally.low is None else f"{tally.low:.6g} to {tally.high:.6g} now"


_UPSTREAM = "look at the step that delivers this column, before anything is retrained on it"
_CATEGORY = "map it to a known category, or retrain when there are labels for it"
_DECLARE = "declare it, or leave it out where the rows come from"
