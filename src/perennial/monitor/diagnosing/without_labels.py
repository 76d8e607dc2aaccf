"""What can be concluded before labels arrive, and what cannot.

Inputs are compared, the loss is estimated. If inputs moved and the estimate with them, either other inputs or another
mix of labels may be behind it; the second is believed only if the reference, weighted for it, cannot be told from the
current rows any more. A changed relation of labels and inputs leaves no trace here, and where the reference holds next
to no rows no estimate speaks of the model. The few labels that may be there are held against what was expected: they
can say that something is wrong, not what.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.monitor.diagnosing.costs import HIGHER_IS_BETTER
from perennial.monitor.diagnosing.verdict import (
    AUC_TOLERANCE,
    BEYOND,
    FIT_Z,
    LOSS_TOLERANCE,
    OUTSIDE,
    Verdict,
    beyond_words,
)
from perennial.monitor.estimating.estimator import MIN_REFERENCE, Estimated, Estimator, fit_estimator
from perennial.monitor.sample import Sample
from perennial.stats.disde import overlap
from perennial.stats.label_shift import LabelShift, estimate_priors
from perennial.stats.means import clopper_pearson
from perennial.stats.tails import normal_quantile

if TYPE_CHECKING:
    from perennial.monitor.multivariate.domain import DomainScores

__all__ = ["Foreseen", "foresee"]

Floats = NDArray[np.float64]

MAX_MIX_ROWS: Final = 2_000  # a side, for the estimate of the mix of labels: its intervals resample them
FEW: Final = 20  # labels, from which on they are held against what was expected
FEW_ALPHA: Final = 0.01
LOSS_QUANTILE: Final = 0.995  # squared errors are cut here (of the reference)
SEEMS_FINE: Final = "Nothing that can be seen without labels says that the model got worse."
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
    said = f"inputs {'moved' if moved else 'look as before' if auc < AUC_TOLERANCE else 'are not shown to have moved'}"
    said += f" (AUC {auc:.3f})"
    outside = overlap(scores.reference, scores.current).outside
    able = estimator is not None or int(reference.is_labelled.sum()) >= MIN_REFERENCE
    found = mix = None
    if current.predictions is not None and able:
        made = estimator or fit_estimator(reference, seed=seed)
        estimates = [one for one in made.estimate(current, scores=scores) if one.metric == metric]
        found = next((one for one in estimates if one.chosen), None)
        mix = _mix(reference, current, seed)
    told = (
        f"{metric} cannot be estimated"
        if found is None
        else f"{metric} is estimated at {found.value:.4g} where it was {found.reference_value:.4g}"
    )
    few = _few_labels(reference, current)
    if few is not None and few.is_worse:
        verdict = Verdict(cause="undecided", because=(few.says, f"{said}; {told}"), shares={}, head=_FEW_SAY_WORSE)
    elif moved and found is not None and _has_changed(found) and _is_prior(reference, scores, mix):
        assert mix is not None
        verdict = Verdict(
            cause="prior",
            because=(f"{said}; {told}", *mix.reasons, BLIND),
            shares={},
            head=_LOOKS_LIKE_PRIOR,
            is_better=_is_better(found),
        )
    elif moved and outside >= BEYOND:
        verdict = Verdict(
            cause="covariate",
            because=(
                *beyond_words(outside, auc),
                f"{told}, which says nothing about rows that are unlike the reference",
            ),
            shares={},
            head="These rows lie outside of what the model was trained on; how good it is there cannot be told.",
            is_beyond=True,
        )
    elif found is None:
        verdict = Verdict(
            cause="undecided" if moved else "none", because=(f"{said}; {told}", BLIND), shares={}, head=SEEMS_FINE
        )
        if moved:
            verdict = replace(verdict, head="Other inputs arrive than before; what that does to the loss is not known.")
    elif not moved or not _has_changed(found):
        beside = (f"{outside:.1%} of the rows lie outside of what the reference holds: the estimate is not of them",)
        verdict = Verdict(
            cause="none",
            because=(
                f"{said}; {told}, within its usual range or tolerance",
                *(beside if outside >= OUTSIDE else ()),
                *(mix.reasons if moved and mix is not None and _is_prior(reference, scores, mix) else ()),
                BLIND,
            ),
            shares={},
            head=SEEMS_FINE,
        )
    else:
        verdict = Verdict(
            cause="covariate",
            because=(f"{said}; {told}", found.assumption, BLIND),
            shares={},
            head="Other inputs arrive than before, and the model is estimated to be "
            f"{'better' if _is_better(found) else 'worse'} on them.",
            is_better=_is_better(found),
        )
    if few is not None and not few.is_worse:
        verdict = replace(verdict, because=(*verdict.because, few.says))
    return Foreseen(verdict=verdict, estimated=found, label_shift=mix)


_FEW_SAY_WORSE: Final = "The few labels that are there show a higher loss than expected; they are too few to say why."
_LOOKS_LIKE_PRIOR: Final = "The answers look as if the mix of labels has changed and the rows of each label have not."


@dataclass(frozen=True, kw_only=True)
class _Few:
    is_worse: bool
    says: str


def _few_labels(reference: Sample, current: Sample) -> _Few | None:
    """What the labels that are there say of the loss; None where there are none to speak of."""
    before, after = reference.losses(), current.losses()
    before, after = before[np.isfinite(before)], after[np.isfinite(after)]
    if len(after) < FEW or len(before) < FEW:
        return None
    if reference.task == "classification":
        usual = clopper_pearson(round(float(before.sum())), len(before), alpha=FEW_ALPHA).high
        least = clopper_pearson(round(float(after.sum())), len(after), alpha=FEW_ALPHA).low
    else:
        most = float(np.quantile(before, LOSS_QUANTILE))
        before, after = np.minimum(before, most), np.minimum(after, most)
        usual = float(before.mean())
        spread = math.hypot(float(after.std(ddof=1)) / math.sqrt(len(after)), float(before.std()) / len(before) ** 0.5)
        least = float(after.mean()) - normal_quantile(1.0 - FEW_ALPHA / 2.0) * spread
    worse = least > usual and float(after.mean()) >= (1.0 + LOSS_TOLERANCE) * float(before.mean())
    losses = f"a mean loss of {after.mean():.3g} where it was {before.mean():.3g}"
    told = "more than chance" if worse else "no more than chance or tolerance"
    return _Few(is_worse=worse, says=f"the {len(after)} labels that are there show {losses}: {told}")


def _is_prior(reference: Sample, scores: DomainScores, mix: LabelShift | None) -> bool:
    return mix is not None and mix.decision == "correct" and _explains(reference, scores, mix)


def _is_better(found: Estimated) -> bool:
    return (found.value > found.reference_value) == (found.metric in HIGHER_IS_BETTER)


def _has_changed(found: Estimated) -> bool:
    usual = found.usual_low <= found.value <= found.usual_high
    before = found.reference_value
    loss = 1.0 - before if found.metric in HIGHER_IS_BETTER else before
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
