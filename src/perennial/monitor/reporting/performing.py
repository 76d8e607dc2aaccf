"""How good the answers are: what was realised where the truth is known, what is estimated where it is not.

Both stand side by side wherever both are there, since that is what an estimate may be believed by: windows whose truth
is known are judged in their order, and the record of that chooses between the estimators.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from perennial.data.profile.words import figure
from perennial.errors import Invalid
from perennial.monitor.estimating.estimator import Estimated, Estimator, fit_estimator
from perennial.monitor.estimating.track_record import TrackRecord
from perennial.monitor.reporting.realised import METRICS, RESTS_ON, higher_is_better, is_worse, realised, tolerated
from perennial.monitor.reporting.report import Measured, Performance, Series
from perennial.monitor.reporting.spans import Span
from perennial.monitor.sample import Sample

if TYPE_CHECKING:
    from perennial.monitor.multivariate.domain import DomainScores

__all__ = ["Performing", "performance"]

REALISED = "realised"
WEIGHED = 24  # spans up to which each gets density ratios of its own: a second each
PART_LABELLED = 30  # labels from which a mean is estimated with their help
WHOLLY_LABELLED = 0.8  # share of labels from which the realised value speaks for all rows


@dataclass(frozen=True, kw_only=True)
class Performing:
    """All metrics, why something is not estimated (empty where it is), and what estimates, with its record."""

    metrics: list[Performance] = field(default_factory=list[Performance])
    estimator: Estimator | None = None
    not_estimated: str = ""


def performance(
    reference: Sample,
    current: Sample,
    found: Sequence[Span],
    *,
    estimate: bool = True,
    scores: DomainScores | None = None,
    record: TrackRecord | None = None,
    seed: int = 0,
) -> Performing:
    """Each metric on the reference, on all current rows and span by span.

    Args:
        reference: With answers and their truth; without them there is nothing to measure.
        current: Rows to look at.
        found: How they are cut; fewer than two spans are none.
        estimate: Also what needs no labels.
        scores: Out-of-fold scores that tell the two sides apart, where somebody has them already.
        record: How estimates of this model have done before, said while there were no labels.
        seed: Of everything that is drawn at random.
    """
    if reference.predictions is None or current.predictions is None:
        return Performing()
    before, now = realised(reference), realised(current)
    cut = found if len(found) > 1 else ()
    parts = [current.take(span.rows) for span in cut]
    real = [realised(part) if now else {} for part in parts]
    told: dict[str, list[Estimated]] = {}
    over_time: list[dict[tuple[str, str], Estimated]] = []
    estimator: Estimator | None = None
    why = ""
    if estimate:
        try:
            estimator = fit_estimator(reference, record=record, seed=seed)
            estimator, over_time = _over_time(estimator, parts)
            told = _believed(
                estimator, [*_with_labels(estimator, current), *estimator.estimate(current, scores=scores)]
            )
        except Invalid as error:  # it says what is missing, which is what the report has to say
            why = error.what
    made = [
        _metric(name, before, now, told.get(name, []), [span.label for span in cut], real, over_time)
        for name in METRICS[reference.task]
        if name in before and (name in now or name in told)
    ]
    return Performing(metrics=made, estimator=estimator, not_estimated=why)


def _over_time(
    estimator: Estimator, parts: Sequence[Sample]
) -> tuple[Estimator, list[dict[tuple[str, str], Estimated]]]:
    """Each span estimated as if it had no labels, and judged where it has them: the estimator with its record."""
    over_time: list[dict[tuple[str, str], Estimated]] = []
    record = estimator.record
    for part in parts:
        estimates = estimator.estimate(part, weighted=len(parts) <= WEIGHED)
        over_time.append({(one.metric, one.method): one for one in estimates})
        record = record.add(estimator.judged(part, estimates))
    return estimator.with_record(record), over_time


def _with_labels(estimator: Estimator, current: Sample) -> list[Estimated]:
    """With the help of the labels, where there are some but not enough to speak for all rows."""
    labelled = int(current.is_labelled.sum())
    if not PART_LABELLED <= labelled < WHOLLY_LABELLED * current.rows:
        return []
    return estimator.with_labels(current)


def _believed(estimator: Estimator, estimates: Sequence[Estimated]) -> dict[str, list[Estimated]]:
    """By metric those that may be chosen, the chosen one first; baselines are left to the record."""
    found: dict[str, list[Estimated]] = {}
    for one in estimates:
        if one.method in ("ppi", *estimator.basis.candidates):
            found.setdefault(one.metric, []).append(one)
    return {metric: sorted(of, key=lambda one: (one.method != "ppi", not one.chosen)) for metric, of in found.items()}


def _metric(
    name: str,
    before: Mapping[str, Measured],
    now: Mapping[str, Measured],
    told: Sequence[Estimated],
    labels: list[str],
    real: Sequence[Mapping[str, Measured]],
    over_time: Sequence[Mapping[tuple[str, str], Estimated]],
) -> Performance:
    was = before[name]
    tolerance = tolerated(name, was, before["rmse"].value if "rmse" in before else None)
    best = told[0] if told else None
    overall: dict[str, Measured] = {REALISED: now[name]} if name in now else {}
    overall |= {one.method: _measured(one) for one in told}
    rests_on = {REALISED: RESTS_ON} | {one.method: f"{one.assumption}; {one.rests_on}" for one in told}
    series = [_series(REALISED, [one.get(name) for one in real], RESTS_ON)] if any(name in one for one in real) else []
    series += [
        _series(
            one.method,
            [_measured(at[name, one.method]) if (name, one.method) in at else None for at in over_time],
            one.assumption,
            is_chosen=one is best,
        )
        for one in told
        if any((name, one.method) in at for at in over_time)
    ]
    if name in now:
        bad, value, how = is_worse(name, was, now[name], tolerance), now[name], "realised"
    else:
        assert best is not None
        bad, value, how = _is_below(name, best, tolerance), _measured(best), "estimated"
    return Performance(
        metric=name,
        higher_is_better=higher_is_better(name),
        reference=was,
        overall=overall,
        rests_on={method: rests_on[method] for method in overall},
        chosen=None if best is None else best.method,
        is_worse=bad,
        says=f"{figure(value.value)} {how}, {figure(was.value)} on the reference; a change by {figure(tolerance)} is "
        "left alone",
        labels=labels,
        series=series,
    )


def _is_below(name: str, found: Estimated, tolerance: float) -> bool:
    """Whether an estimate lies where no window of its size lay before, on the bad side, by more than tolerated."""
    if higher_is_better(name):
        return found.value < found.usual_low and found.reference_value - found.value > tolerance
    return found.value > found.usual_high and found.value - found.reference_value > tolerance


def _series(method: str, points: Sequence[Measured | None], rests_on: str, *, is_chosen: bool = False) -> Series:
    known = [point if point is not None else Measured(value=None) for point in points]
    return Series(method=method, points=known, rests_on=rests_on, is_chosen=is_chosen)


def _measured(found: Estimated) -> Measured:
    ends = [end if math.isfinite(end) else None for end in (found.low, found.high)]
    return Measured(value=found.value, low=ends[0], high=ends[1], rows=found.rows)
