"""Requirements that compare: with the live version, with the trivial baseline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from perennial import stats
from perennial.evaluate.answers import constant_answers
from perennial.evaluate.compare import compare, compared_by
from perennial.evaluate.metrics import loss_of, metric_named
from perennial.evaluate.requirements.case import Case, Result, ends

__all__ = ["better_than_baseline", "better_than_live", "not_worse_than_live"]

MIN_ROWS = 30  # fewer rows that are new to both compare nothing
SCALE_QUANTILE, SCALE_FACTOR = 0.95, 1.5  # of the absolute loss differences: beyond it the shadow's betting clips


def better_than_live(case: Case, options: dict[str, Any]) -> Result:
    """The interval of the improvement lies above the margin."""
    margin = float(options["margin"])
    return _against_live(case, options, 0.0, lambda found: found.interval is not None and found.interval.low > margin)


def not_worse_than_live(case: Case, options: dict[str, Any]) -> Result:
    """The interval of the improvement lies above minus the margin."""
    enough = {"better", "non-inferior"}
    return _against_live(case, options, float(options["margin"]), lambda found: found.decision in enough)


def better_than_baseline(case: Case, options: dict[str, Any]) -> Result:
    """Clearly better than always the same answer."""
    metric = metric_named(options["metric"], case.task)
    on = case.held_out
    trivial = constant_answers(case.train.truth, len(on.truth), case.task, case.train.answers.classes)
    found = compare(metric, on.truth, trivial, on.answers, margin=0.0, clusters=on.clusters)
    name = "the mean" if case.task == "regression" else "the most frequent label"
    says = f"{found.decision} against always answering {name}: {compared_by(metric)} improves by {found.effect:.4g}"
    if found.decision != "better" and found.reasons:
        says += f" ({found.reasons[0]})"
    return found.decision == "better", says, dict(found.as_dict())


def _against_live(
    case: Case, options: dict[str, Any], margin: float, passes: Callable[[stats.Finding], bool]
) -> Result:
    if case.live_version is None:
        return None, "there is no live version to compare with", {}
    if case.live is None or case.fresh is None:
        says = f"live version {case.live_version} can answer no held-out row that is new to it: nothing to compare"
        return None, says, {"fresh_rows": 0}
    rows = int(case.fresh.sum())
    if rows < MIN_ROWS:
        says = f"only {rows} of the held-out rows are new to live version {case.live_version}: the shadow will decide"
        return None, says, {"fresh_rows": rows}
    metric = metric_named(options["metric"], case.task)
    # The live version may know labels that the candidate does not: both, and the truth, in one coding.
    on = case.held_out.take(case.fresh).coded(case.held_out.answers.coded(case.live.classes).classes)
    live = case.live.coded(on.answers.classes)
    found = compare(metric, on.truth, live, on.answers, margin=margin, clusters=on.clusters)
    # What the shadow's betting clips at: a large difference of loss, known before the shadow begins. A wrong label
    # costs 1 and no more; most labels agree, so that a quantile of the differences would be 0.
    saved = loss_of(case.task, on.truth, live) - loss_of(case.task, on.truth, on.answers)
    quantile = float(np.quantile(np.abs(saved), SCALE_QUANTILE))
    scale = SCALE_FACTOR * quantile if case.task == "regression" else 1.0
    gain = f"{compared_by(metric)} improves by {found.effect:.4g} ({ends(found.interval)})"
    says = f"{found.decision} against live version {case.live_version} on {rows} rows new to both: {gain}"
    return passes(found), says, {**found.as_dict(), "difference_scale": scale}
