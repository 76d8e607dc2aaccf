"""What a window says before any truth has come: bad data, rows that the model itself finds harder, inputs as a whole.

Shifts of single columns and of the predictions are `watch.find_shift`; what is usual on a weekday says `usual`. What is
estimated here assumes that the relation of truth and inputs has not changed; where it has, only labels can tell
(`labelled`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perennial.monitor.estimating.estimates import Estimated
from perennial.monitor.findings import NewFinding
from perennial.monitor.multivariate.domain import domain_scores
from perennial.monitor.quality.check import check_quality
from perennial.monitor.watching.fairness import look_at_groups
from perennial.monitor.watching.streams import Stream
from perennial.monitor.watching.watched import Look, Seen, Watched, excess, finding, loss_scale

__all__ = ["look_at_inputs"]

Floats = NDArray[np.float64]
CLASSIFIED_ROWS = 5_000  # of each side for the look at all columns together: a second of one core
MIN_CLASSIFIED = 500
FORMER = 14  # windows whose rows are looked for again in the present one
EVERY_US = 7 * 86_400_000_000  # between two such looks


def look_at_inputs(watched: Watched, state: Mapping[str, Any] | None, seen: Seen) -> Look:
    """Look at one window as soon as it has closed."""
    held = dict(state or {})
    found: list[NewFinding] = []
    for kind, look in (
        ("data_quality", _quality),
        ("estimated_drop", _estimated),
        ("multivariate_shift", _together),
        ("fairness", look_at_groups),
    ):
        if kind not in watched.off:
            one = look(watched, held, seen)
            held |= one.state
            found += one.found
    return Look(held, found)


def _quality(watched: Watched, held: Mapping[str, Any], seen: Seen) -> Look:
    """What is wrong with the data in kind: missing, out of range, in other units, swapped, sent twice."""
    current = seen.profile or watched.profiler.profile(seen.rows, window=seen.window)
    issues = check_quality(
        watched.profiler,
        watched.reference_profile,
        current,
        former=seen.former[-FORMER:],
        budget=watched.level("data_quality"),
    )
    found = [
        finding(
            watched,
            "data_quality",
            seen.window,
            issue.says,
            issue.as_dict() | {"rows": seen.rows.rows},
            severity=issue.severity,
            of=f"{issue.kind}/{issue.column or 'rows'}",
        )
        for issue in issues
        if issue.kind != "row_count"  # how many rows came is for the monitor of traffic to say, which knows weekdays
    ]
    return Look({}, found)


def _estimated(watched: Watched, held: Mapping[str, Any], seen: Seen) -> Look:
    """Whether the model's own certainty, calibrated on the reference, says that it errs more than there."""
    if watched.expected is None or not len(watched.expected_losses) or not seen.rows.rows:
        return Look({}, [])
    scale = loss_scale(watched)

    def make() -> Stream:
        expected = np.clip(watched.expected_losses, 0.0, scale)
        return Stream.of_reference(
            expected, tolerance=excess(expected, scale), evidence=watched.evidence("estimated_drop"), span=scale
        )

    stream = watched.once("estimated", make)
    expected = watched.expected(seen.rows)
    chosen = _chosen(seen)
    if chosen is not None and scale == 1.0:
        # The estimator that the record prefers says the level; which rows are how hard is the calibration's to say.
        expected = np.clip(expected + (1.0 - chosen.value - float(expected.mean())), 0.0, 1.0)
    told = stream.step(held.get("estimated"), expected)
    if not told.is_alarm:
        return Look({"estimated": told.state}, [])
    says = (
        f"the model is estimated to err more: mean loss {float(expected.mean()):.3g} on {told.rows} rows without the "
        f"truth, {stream.reference_mean:.3g} when tested"
    )
    evidence = {
        "e_value": told.evidence,
        "threshold": stream.design.threshold,
        "estimated_loss": float(expected.mean()),
        "reference_loss": stream.reference_mean,
        "rows": told.rows,
        "assumption": "covariate shift only: truth and inputs are still related as they were",
    }
    if chosen is not None:
        evidence |= {"method": chosen.method, "assumption": chosen.assumption, "rests_on": chosen.rests_on}
        says += f" (by {chosen.method}; {chosen.rests_on})"
    found = finding(watched, "estimated_drop", seen.window, says, evidence, severity="critical")
    return Look({"estimated": told.state}, [found])


def _chosen(seen: Seen) -> Estimated | None:
    """The estimate of the share of right answers that is to be believed, where several were made."""
    return next((one for one in seen.estimates if one.metric == "accuracy" and one.chosen), None)


def _together(watched: Watched, held: Mapping[str, Any], seen: Seen) -> Look:
    """Whether a classifier can tell the window from the reference, by all columns together; once a week."""
    last = held.get("together_at")
    rows = min(seen.rows.rows, watched.reference.rows)
    if rows < MIN_CLASSIFIED or (last is not None and seen.window.end - last < EVERY_US):
        return Look({}, [])
    scores = domain_scores(watched.reference.inputs, seen.rows.inputs, max_rows=CLASSIFIED_ROWS)
    weekly = watched.budget.per_window("multivariate_shift", max(EVERY_US, watched.window_us))
    test = scores.finding(alpha=weekly)
    state = {"together_at": seen.window.end}
    if test.decision != "shifted":
        return Look(state, [])
    evidence: dict[str, Any] = test.as_dict() | {"rows": rows, "columns": list(scores.responsible())}
    says = f"all columns together tell this window from the reference: {test.reasons[0]}"
    alike = seen.alike() if seen.alike is not None else None
    if alike is not None and alike.rows >= MIN_CLASSIFIED:
        again = domain_scores(alike.inputs, seen.rows.inputs, max_rows=CLASSIFIED_ROWS).finding(alpha=weekly)
        evidence["same_weekday"] = again.as_dict()
        if again.decision != "shifted":
            says += f"; usual at this time, as in a former window of the same weekday: {again.reasons[0]}"
            return Look(state, [finding(watched, "multivariate_shift", seen.window, says, evidence, severity="info")])
    return Look(state, [finding(watched, "multivariate_shift", seen.window, says, evidence)])
