"""A challenger against the champion on the same rows, in the unit of the metric."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perennial import stats
from perennial.evaluate.answers import Answers, Floats, HeldOut
from perennial.evaluate.metrics import Metric, loss_of, rows_of
from perennial.evaluate.ranking import positive_scores
from perennial.models.facts.evaluation import Comparison
from perennial.stats.delong import paired_auc
from perennial.stats.mcnemar import mcnemar
from perennial.stats.paired import MEANING
from perennial.stats.resampling import Draws

__all__ = ["compare", "compare_slices", "compared_by", "comparison", "disagreement"]

MIN_SLICE_ROWS = 30  # a smaller slice is not compared: its interval says nothing


def compare(
    metric: Metric,
    truth: NDArray[Any],
    champion: Answers,
    challenger: Answers,
    *,
    margin: float,
    clusters: NDArray[Any] | None = None,
    confidence: float = 0.95,
) -> stats.Finding:
    """Paired verdict better | non-inferior | inferior | inconclusive; a positive effect favours the challenger.

    ROC AUC of two classes is compared by DeLong's test, every other metric on its own scale by the paired bootstrap;
    accuracies have McNemar's exact p-value besides. Two metrics are compared by another (`compared_by` names it): bias
    by the mean squared error, because a bias that is nearer to 0 may come of larger errors, and the median absolute
    error by the mean one.

    Args:
        metric: By which.
        truth: Numbers, or positions in the challenger's classes.
        champion: Answers of one model, in any coding.
        challenger: Answers of the other to the same rows.
        margin: Largest deterioration that is still acceptable, in the unit of the metric.
        clusters: Entity of each row, where rows of one resemble each other.
        confidence: Coverage of the two-sided interval.
    """
    champion = replace(champion.coded(challenger.classes), positive=challenger.positive)
    if metric.name == "roc_auc" and challenger.positive is not None:
        positive, ours = positive_scores(truth, challenger)
        theirs = positive_scores(truth, champion)[1]
        return paired_auc(positive, theirs, ours, margin=margin, clusters=clusters, confidence=confidence)
    if metric.name == "rmse":
        errors = (champion.prediction - truth, challenger.prediction - truth)
        return stats.paired_rmse(*errors, margin=margin, clusters=clusters, confidence=confidence)
    a, b = (_losses(metric, truth, answers) for answers in (champion, challenger))
    if a is None or b is None:
        return _by_means(metric, truth, (champion, challenger), margin=margin, clusters=clusters, confidence=confidence)
    found = stats.paired_losses(a, b, margin=margin, clusters=clusters, confidence=confidence)
    if metric.name == "accuracy":
        exact = mcnemar(int(((a == 0) & (b == 1)).sum()), int(((a == 1) & (b == 0)).sum()))
        # With entities of many rows the exact test, which takes each row for a witness of its own, would lie.
        if clusters is None:
            found = replace(found, p_value=exact.p_value, details={**found.details, **exact.details})
    return found


def compared_by(metric: Metric) -> str:
    """In words, what `compare` compares for this metric."""
    others = {"bias": "the mean squared error", "median_absolute_error": "the mean absolute error"}
    return others.get(metric.name, metric.name)


def disagreement(champion: Answers, challenger: Answers) -> float:
    """Share of rows on which two classifiers answer differently; needs no labels."""
    return float((champion.coded(challenger.classes).prediction != challenger.prediction).mean())


def compare_slices(
    metric: Metric,
    on: HeldOut,
    champion: Answers,
    slices: dict[str, NDArray[np.bool_]],
    *,
    margin: float,
    confidence: float = 0.95,
) -> dict[str, stats.Finding]:
    """Every protected slice must be non-inferior: each slice's comparison, at levels after Holm.

    A slice counts as inferior only where that is still shown at the level that Holm's method leaves to it, and as
    non-inferior where the interval at that level lies above minus the margin. Slices below 30 rows are left out.

    Source: Holm (1979), Scandinavian Journal of Statistics 6, 65-70.
    """
    judged = {name: rows for name, rows in slices.items() if int(rows.sum()) >= MIN_SLICE_ROWS}
    found: dict[str, stats.Finding] = {}
    remaining = dict(judged)
    # Holm by intervals: while the clearest slice decides at 1 - alpha / m, it is settled, and m falls by one.
    while remaining:
        level = 1 - (1 - confidence) / len(remaining)
        tried = {
            name: compare(
                metric,
                on.truth[rows],
                champion.take(rows),
                on.answers.take(rows),
                margin=margin,
                clusters=None if on.clusters is None else on.clusters[rows],
                confidence=level,
            )
            for name, rows in remaining.items()
        }
        settled = {name: finding for name, finding in tried.items() if finding.decision != "inconclusive"}
        if not settled:
            return {name: {**found, **tried}[name] for name in judged}
        found |= settled
        remaining = {name: rows for name, rows in remaining.items() if name not in settled}
    return {name: found[name] for name in judged}


def comparison(metric: Metric, finding: stats.Finding, against: str, margin: float) -> Comparison:
    """A finding as it is stored, with its sentence."""
    interval = finding.interval
    ends = [None, None] if interval is None else [e if np.isfinite(e) else None for e in (interval.low, interval.high)]
    effect = finding.effect or 0.0
    between = "" if ends[0] is None else f" (95% interval {ends[0]:.4g} to {ends[1]:.4g})"
    return Comparison(
        against=against,
        metric=metric.name,
        method=finding.method,
        decision=finding.decision,
        effect=effect,
        low=ends[0],
        high=ends[1],
        margin=margin,
        rows=finding.n or 0,
        says=f"{finding.decision} against {against}: {compared_by(metric)} improves by {effect:.4g}{between}",
    )


def _losses(metric: Metric, truth: NDArray[Any], answers: Answers) -> Floats | None:
    """Per-row values of which a lower mean is better; None where the metric is no mean of rows."""
    if metric.name == "bias":
        return loss_of(metric.task, truth, answers)
    if metric.name == "median_absolute_error":
        return np.abs(answers.prediction - truth)
    rows = rows_of(metric, truth, answers)
    return rows if rows is None or not metric.higher_is_better else _turned(metric, rows)


def _turned(metric: Metric, rows: Floats) -> Floats:
    return 1.0 - rows if metric.name == "accuracy" else -rows


def _by_means(
    metric: Metric,
    truth: NDArray[Any],
    pair: tuple[Answers, Answers],
    *,
    margin: float,
    clusters: NDArray[Any] | None,
    confidence: float,
) -> stats.Finding:
    """The difference of two metrics of means, in the same draws."""
    assert metric.sums is not None
    draws = Draws(len(truth), clusters=clusters)
    counts = np.bincount(draws.group, minlength=draws.groups)
    values: list[Floats] = []
    whole: list[float] = []
    for answers in pair:
        drawn = draws.means_of_sums(metric.sums(truth, answers, draws.group, draws.groups), counts)
        values.append(metric.of_means(drawn.resampled))
        whole.append(float(metric.of_means(drawn.means)))
    sign = 1.0 if metric.higher_is_better else -1.0
    interval = stats.percentile_interval(
        sign * (whole[1] - whole[0]), sign * (values[1] - values[0]), units=draws.units, confidence=confidence
    )
    decision = stats.paired_verdict(interval.low, interval.high, margin)
    reasons = (MEANING[decision],)
    if not np.isfinite(interval.low):
        reasons = (f"too few independent units: {draws.units}",)
    return stats.Finding(
        method=f"paired bootstrap of {metric.name}",
        decision=decision,
        reasons=reasons,
        statistic=interval.estimate,
        effect=interval.estimate,
        threshold=-margin,
        interval=interval,
        n=len(truth),
        params={"margin": margin, "confidence": confidence, "clustered": clusters is not None},
        details={"units": draws.units, f"champion_{metric.name}": whole[0], f"challenger_{metric.name}": whole[1]},
    )
