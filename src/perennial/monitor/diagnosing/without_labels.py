"""What can be concluded before labels arrive, and what cannot.

Inputs are compared, the loss is estimated. If inputs moved and the estimate with them, either other inputs or another
mix of labels may be behind it; the second is believed only if the reference, weighted for it, cannot be told from the
current rows any more. A changed relation of labels and inputs leaves no trace here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.monitor.diagnosing.verdict import AUC_TOLERANCE, FIT_Z, LOSS_TOLERANCE, Verdict
from perennial.monitor.estimating.estimator import MIN_REFERENCE, Estimated, Estimator, fit_estimator
from perennial.monitor.sample import Sample
from perennial.stats.label_shift import LabelShift, estimate_priors

if TYPE_CHECKING:
    from perennial.monitor.multivariate.domain import DomainScores

__all__ = ["Foreseen", "foresee"]

Floats = NDArray[np.float64]

MAX_MIX_ROWS: Final = 2_000  # a side, for the estimate of the mix of labels: its intervals resample them
BLIND: Final = "a changed relation of labels to inputs cannot be seen without labels"


@dataclass(frozen=True, kw_only=True, eq=False)
class Foreseen:
    """What is known without labels.

    Attributes:
        verdict: The cause, as far as it goes.
        estimated: Of the metric asked for; None where nothing can be estimated.
        label_shift: Of a classification with probabilities.
    """

    verdict: Verdict
    estimated: Estimated | None
    label_shift: LabelShift | None


def foresee(
    reference: Sample,
    current: Sample,
    scores: DomainScores,
    *,
    metric: str,
    estimator: Estimator | None = None,
    seed: int = 0,
) -> Foreseen:
    """Conclude from inputs and answers alone.

    Args:
        reference: With labels, which estimates are learned from.
        current: With answers.
        scores: Of both.
        metric: Which estimate decides, such as "accuracy".
        estimator: One that was fitted on the reference, with its track record; fitted here where left out.
        seed: Of every random step.
    """
    finding = scores.finding(tolerance_auc=0.5)
    auc = finding.statistic or 0.5
    moved = auc >= AUC_TOLERANCE and finding.p_value is not None and finding.p_value < 0.01
    able = estimator is not None or int(reference.is_labelled.sum()) >= MIN_REFERENCE
    if current.predictions is None or not able:
        words = ("inputs moved" if moved else "inputs look as before") + f" (AUC {auc:.3f})"
        cause = "undecided" if moved else "none"
        return Foreseen(
            verdict=Verdict(cause=cause, because=(f"{words}; the loss cannot be estimated", BLIND), shares={}),
            estimated=None,
            label_shift=None,
        )
    made = estimator or fit_estimator(reference, seed=seed)
    estimates = [one for one in made.estimate(current, scores=scores) if one.metric == metric]
    found = next((one for one in estimates if one.chosen), None)
    mix = _mix(reference, current, seed)
    said = f"inputs {'moved' if moved else 'look as before'} (AUC {auc:.3f})"
    if found is None:
        cause = "undecided" if moved else "none"
        return Foreseen(
            verdict=Verdict(cause=cause, because=(f"{said}; {metric} cannot be estimated", BLIND), shares={}),
            estimated=None,
            label_shift=mix,
        )
    told = f"{metric} is estimated at {found.value:.4g} where it was {found.reference_value:.4g}"
    if not moved or not _has_changed(found):
        verdict = Verdict(
            cause="none", because=(f"{said}; {told}, within its usual range or tolerance", BLIND), shares={}
        )
    elif mix is not None and mix.decision == "correct" and _explains(reference, scores, mix):
        verdict = Verdict(cause="prior", because=(f"{said}; {told}", *mix.reasons, BLIND), shares={})
    else:
        verdict = Verdict(cause="covariate", because=(f"{said}; {told}", found.assumption, BLIND), shares={})
    return Foreseen(verdict=verdict, estimated=found, label_shift=mix)


def _has_changed(found: Estimated) -> bool:
    usual = found.usual_low <= found.value <= found.usual_high
    before = found.reference_value
    loss = 1.0 - before if found.metric in {"accuracy", "roc_auc", "f1"} else before
    return not usual and abs(found.value - before) >= LOSS_TOLERANCE * abs(loss)


def _mix(reference: Sample, current: Sample, seed: int) -> LabelShift | None:
    if reference.probs is None or current.probs is None or reference.labels is None:
        return None
    known = np.flatnonzero(reference.is_labelled & np.isin(reference.labels.to_numpy(), reference.classes))
    random = np.random.default_rng(seed)
    before = reference.take(_some(random, known))
    after = current.take(_some(random, np.flatnonzero(np.isfinite(current.probs).all(axis=1))))
    if before.probs is None or after.probs is None or min(before.rows, after.rows) == 0:
        return None
    codes = [before.classes.index(label) for label in _texts(before)]
    return estimate_priors(before.probs, codes, after.probs, seed=seed)


def _explains(reference: Sample, scores: DomainScores, mix: LabelShift) -> bool:
    """Whether the domain classifier finds no difference once the reference is weighted for the new mix of labels."""
    part = reference.take(scores.rows_reference)
    known = part.is_labelled
    weight_of = dict(zip(part.classes, mix.weights.tolist(), strict=True))
    weights = np.array([weight_of.get(label, 1.0) for label in _texts(part.take(known))])
    before, after = scores.reference[known], scores.current
    order = np.argsort(before, kind="stable")
    total = np.concatenate([[0.0], np.cumsum(weights[order])]) / weights.sum()
    below = total[np.searchsorted(before[order], after, side="left")]
    upto = total[np.searchsorted(before[order], after, side="right")]
    auc = float((below + upto).mean()) / 2.0
    n = float(weights.sum() ** 2 / (weights**2).sum())
    sd = math.sqrt((n + len(after) + 1.0) / (12.0 * n * len(after)))
    return auc - 0.5 < max(AUC_TOLERANCE - 0.5, FIT_Z * sd)


def _some(random: np.random.Generator, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows if len(rows) <= MAX_MIX_ROWS else np.sort(random.choice(rows, MAX_MIX_ROWS, replace=False))


def _texts(sample: Sample) -> list[str]:
    assert sample.labels is not None
    texts: list[str] = sample.labels.cast(pl.String()).to_list()
    return texts
