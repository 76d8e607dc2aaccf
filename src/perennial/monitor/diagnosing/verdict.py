"""From evidence to one cause, by rules that can be read: which story fits, and which does not.

Thresholds are fixed here. Each rule asks for an effect that matters and for more than noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, get_args

from perennial.monitor.diagnosing.evidence import Evidence, z_of
from perennial.stats.results import Interval

__all__ = ["BEYOND", "CAUSES", "OUTSIDE", "Cause", "Verdict", "beyond_words", "decide", "has_moved", "is_unclear"]

Cause = Literal["none", "covariate", "prior", "concept", "data bug", "release", "undecided"]
CAUSES: Final[tuple[Cause, ...]] = get_args(Cause)

LOSS_TOLERANCE: Final = 0.1  # of the reference loss; a smaller change of it is no harm
LOSS_Z: Final = 2.576  # a change of the loss nearer to 0 than so many standard errors may be noise (1 in 100)
UNCLEAR: Final = 0.4  # of the reference loss; where a rise by so much is not ruled out, "unchanged" is not said
AUC_TOLERANCE: Final = 0.52  # below this the windows' inputs look alike
LABEL_PSI: Final = 0.01  # of the mix of labels, below which it is as it was
FIT_Z: Final = 3.29  # what a story must not contradict (1 in 1000): several things are asked of each
HINT_Z: Final = 1.96  # of the labels at equal inputs; below it, a change of the loss alone has to be beyond FIT_Z
REST: Final = 0.4  # share of the change that a story may leave unexplained
ALL_SLICES: Final = 0.8  # share of the rows in slices that got worse, from which a release is blamed
OUTSIDE: Final = (
    0.3  # share of current rows that the reference hardly holds, from which it is told and weighs on advice
)
BEYOND: Final = 0.5  # the same, from which a comparison at equal inputs speaks of the lesser part of the rows
CLEARLY: Final = 4.0  # where both stories fit: difference of squared standard errors, a likelihood ratio of 7


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A cause and why.

    Attributes:
        cause: What the change of the loss is put down to.
        because: Sentences, the deciding one first.
        shares: Parts of the change of the loss, by cause, in the unit of the loss.
        head: The verdict as a sentence, where the usual one of the cause says too much or too little.
        is_beyond: Most rows lie where the reference holds next to none: nothing can be said about the relation there.
        unknown: What these rows cannot tell.
        is_better: Without labels: the metric is estimated to be better than before.
        is_offset: The loss did not move because a changed relation and other inputs pull it apart.
        is_other_mix: The loss did not move, but the mix of labels did, and the rows of each label are as they were.
    """

    cause: Cause
    because: tuple[str, ...]
    shares: dict[str, Interval]
    head: str = ""
    is_beyond: bool = False
    unknown: tuple[str, ...] = ()
    is_better: bool = False
    is_offset: bool = False
    is_other_mix: bool = False


def has_moved(loss: Interval, reference_loss: float) -> bool:
    """Beyond tolerance and beyond noise; a fall, which harms nobody, has to be surer than a rise."""
    sure = LOSS_Z if loss.estimate > 0.0 else FIT_Z
    return abs(z_of(loss)) >= sure and abs(loss.estimate) >= LOSS_TOLERANCE * reference_loss


def is_unclear(loss: Interval, reference_loss: float) -> bool:
    """Not shown to have moved, and a rise that would matter is not ruled out either."""
    return not has_moved(loss, reference_loss) and loss.high > UNCLEAR * reference_loss


def decide(evidence: Evidence, *, released: bool = False, worse_share: float = 0.0) -> Verdict:
    """The cause of a change of the loss.

    Args:
        evidence: Of labelled rows.
        released: A version, a pipeline or a service was released between the two windows.
        worse_share: Share of the current rows in segments whose loss rose.
    """
    loss = evidence.loss
    if not has_moved(loss, evidence.reference_loss):
        if is_unclear(loss, evidence.reference_loss):
            return Verdict(
                cause="undecided",
                because=(
                    (
                        f"with {loss.n} labelled rows a rise of the loss by "
                        f"{_rise(loss.high, evidence.reference_loss)} is not ruled out, nor is it shown"
                    ),
                ),
                shares=_shares(evidence),
            )
        offset = _offset(evidence)
        return Verdict(
            cause="none",
            because=(*offset, _unmoved(evidence), *_beside(evidence)),
            shares=_shares(evidence),
            head="The loss did not move: two changes offset each other." if offset else "",
            is_offset=bool(offset),
            is_other_mix=_labels_moved(evidence) and _against_prior(evidence).fits,
        )
    covariate, prior = _against_covariate(evidence), _against_prior(evidence)
    inputs_moved, labels_moved = _inputs_moved(evidence), _labels_moved(evidence)
    may_be = {"covariate": inputs_moved and covariate.fits, "prior": labels_moved and prior.fits}
    if released and loss.estimate > 0 and not any(may_be.values()) and worse_share >= ALL_SLICES:
        return Verdict(
            cause="release",
            because=(
                (
                    f"since the release the loss is higher in segments that hold {worse_share:.0%} of the rows, and "
                    "neither other inputs nor another mix of labels explain it"
                ),
            ),
            shares=_shares(evidence),
        )
    if all(may_be.values()):
        gap = covariate.worst**2 - prior.worst**2
        if abs(gap) < CLEARLY:
            return Verdict(
                cause="undecided",
                because=(
                    "other inputs and another mix of labels explain the change equally well",
                    *covariate.words,
                    *prior.words,
                ),
                shares=_shares(evidence),
            )
        may_be = {"covariate": gap < 0, "prior": gap > 0}
    if may_be["prior"]:
        return Verdict(cause="prior", because=prior.words, shares=_shares_of_prior(evidence))
    outside = evidence.split.overlap.outside
    if outside >= BEYOND and _is_changed_within(evidence):
        return Verdict(
            cause="concept",
            because=(*covariate.words, *beyond_words(outside, evidence.auc)[:1]),
            shares={},
            head=_WITHIN_HEAD,
            unknown=_BEYOND_UNKNOWN,
        )
    if outside >= BEYOND:
        return Verdict(
            cause="covariate",
            because=beyond_words(outside, evidence.auc),
            shares={},
            head=_BEYOND_HEAD,
            is_beyond=True,
            unknown=_BEYOND_UNKNOWN,
        )
    if may_be["covariate"]:
        return Verdict(
            cause="covariate",
            because=(*covariate.words, *_beside(evidence)),
            shares=_shares(evidence),
            unknown=_BEYOND_UNKNOWN if outside >= OUTSIDE else (),
        )
    return _neither(evidence, covariate, prior, inputs_moved=inputs_moved)


def _is_changed_within(evidence: Evidence) -> bool:
    """Labels and losses moved for sure among the lesser part of the rows, which the reference holds as well."""
    concept = evidence.split.concept
    return (
        concept is not None
        and concept.estimate * evidence.loss.estimate > 0.0
        and abs(concept.estimate) >= LOSS_TOLERANCE * evidence.reference_loss
        and min(abs(z_of(concept)), abs(z_of(evidence.labels_at_inputs))) >= FIT_Z
    )


def beyond_words(outside: float, auc: float) -> tuple[str, ...]:
    """Why nothing can be told about the relation where the reference holds no rows."""
    return (
        (
            f"{_share(outside)} of these rows lie outside of what the reference holds, and so of what the model was "
            f"trained on and judged by (told apart with AUC {auc:.3f})"
        ),
        "whether the relation changed cannot be told: there are no earlier rows to hold these against",
    )


def _beside(evidence: Evidence) -> tuple[str, ...]:
    outside = evidence.split.overlap.outside
    if outside < OUTSIDE:
        return ()
    return (f"{_share(outside)} of the rows lie outside of what the reference holds",)


def _share(value: float) -> str:
    """A share that is not everything does not round to it."""
    return "all" if value == 1.0 else f"{min(value, 0.999):.1%}"


def _neither(evidence: Evidence, covariate: _Fit, prior: _Fit, *, inputs_moved: bool) -> Verdict:
    split = evidence.split
    if split.concept is None or split.inputs is None:
        return Verdict(cause="undecided", because=split.reasons, shares=_shares(evidence))
    if not inputs_moved:
        if abs(z_of(evidence.loss)) < FIT_Z and abs(z_of(evidence.labels_at_inputs)) < HINT_Z:
            return Verdict(
                cause="undecided",
                because=(
                    (
                        f"the loss moved by {evidence.loss.estimate:+.3g}, {abs(z_of(evidence.loss)):.1f} standard "
                        "errors: nothing else moved with it, so it may still be chance"
                    ),
                    *covariate.words,
                ),
                shares=_shares(evidence),
            )
        return Verdict(
            cause="concept",
            because=(f"{_of_inputs(evidence)}, and yet the loss moved", *covariate.words),
            shares=_shares(evidence),
        )
    # Parts that pull the other way than the whole explain nothing of it.
    direction = math.copysign(1.0, evidence.loss.estimate)
    concept, inputs = (max(0.0, direction * part.estimate) for part in (split.concept, split.inputs))
    words = (*covariate.words, *prior.words)
    # Losses are weighed by scores that are estimates themselves: alone they have to be surer than with labels beside.
    hinted = abs(z_of(evidence.labels_at_inputs)) >= HINT_Z
    if abs(z_of(split.concept)) >= (LOSS_Z if hinted else FIT_Z) and concept >= inputs:
        return Verdict(cause="concept", because=words, shares=_shares(evidence))
    if abs(z_of(split.inputs)) >= LOSS_Z and (inputs > concept or (not hinted and inputs > 0.0)):
        return Verdict(
            cause="covariate",
            because=words,
            shares=_shares(evidence),
            head=f"Other inputs arrive than before: they {_explain(split.inputs, evidence.loss)}.",
        )
    return Verdict(cause="undecided", because=words, shares=_shares(evidence))


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """How a story stands: whether nothing contradicts it, the worst contradiction in standard errors, and words."""

    fits: bool
    worst: float
    words: tuple[str, ...]


def _against_covariate(evidence: Evidence) -> _Fit:
    """If only who comes has changed, labels and losses at equal inputs are as before."""
    concept = evidence.split.concept
    if concept is None:
        return _Fit(fits=False, worst=float("inf"), words=evidence.split.reasons)
    labels, losses = abs(z_of(evidence.labels_at_inputs)), abs(z_of(concept))
    rest = abs(concept.estimate) / abs(evidence.loss.estimate)
    fits = labels < FIT_Z and not (losses >= LOSS_Z and rest > REST)
    said = _how_surely(labels) or f"off by {evidence.labels_at_inputs.estimate:+.3g}"
    return _Fit(
        fits=fits,
        worst=labels,
        words=(
            (
                f"at equal inputs the mean of labels is {said} ({labels:.1f} standard errors), and the loss moved by "
                f"{concept.estimate:+.3g} of {evidence.loss.estimate:+.3g}"
            ),
        ),
    )


def _against_prior(evidence: Evidence) -> _Fit:
    """If only the mix of labels has changed, inputs and losses at equal labels are as before."""
    rate = evidence.by_label.rate
    inputs, losses = abs(z_of(evidence.inputs_at_labels)), abs(z_of(rate))
    rest = abs(rate.estimate) / abs(evidence.loss.estimate) if evidence.loss.estimate else math.inf
    fits = inputs < FIT_Z and not (losses >= LOSS_Z and rest > REST)
    said = _how_surely(inputs) or f"told apart with AUC {0.5 + evidence.inputs_at_labels.estimate:.3f}"
    return _Fit(
        fits=fits,
        worst=inputs,
        words=(
            (
                f"at equal labels inputs are {said} ({inputs:.1f} standard errors), and the loss moved by "
                f"{rate.estimate:+.3g} of {evidence.loss.estimate:+.3g}"
            ),
        ),
    )


def _how_surely(errors: float) -> str:
    """Words for what is so many standard errors away from where it was; "" where it has moved."""
    if errors >= FIT_Z:
        return ""
    return "as before" if errors < HINT_Z else "not shown to differ from before"


def _inputs_moved(evidence: Evidence) -> bool:
    return evidence.auc >= AUC_TOLERANCE and _is_sure(evidence.inputs.p_value)


def _labels_moved(evidence: Evidence) -> bool:
    return (evidence.label_mix.statistic or 0.0) >= LABEL_PSI and _is_sure(evidence.label_mix.p_value)


def _is_sure(p_value: float | None) -> bool:
    return p_value is not None and p_value < 0.01


def _unmoved(evidence: Evidence) -> str:
    return (
        f"the loss is {evidence.reference_loss + evidence.loss.estimate:.4g} where it was "
        f"{evidence.reference_loss:.4g}, within tolerance or noise; {_of_inputs(evidence)}"
    )


def _offset(evidence: Evidence) -> tuple[str, ...]:
    """Two parts of the loss that are sure, matter, and cancel out: a worse relation and easier inputs."""
    concept, inputs = evidence.split.concept, evidence.split.inputs
    if concept is None or inputs is None or not z_of(concept) >= FIT_Z or not z_of(inputs) <= -FIT_Z:
        return ()
    if min(concept.estimate, -inputs.estimate) < LOSS_TOLERANCE * evidence.reference_loss:
        return ()
    return (
        (
            f"at equal inputs the loss moved by {concept.estimate:+.3g}, and easier inputs moved it by "
            f"{inputs.estimate:+.3g}: when those go, it rises"
        ),
    )


def _of_inputs(evidence: Evidence) -> str:
    auc = f"AUC {evidence.auc:.3f}"
    if _inputs_moved(evidence):
        return f"inputs moved ({auc})"
    if evidence.auc >= AUC_TOLERANCE:
        return f"that inputs moved is not shown ({auc}, which chance gives as well)"
    return f"inputs look as before ({auc})"


def _shares(evidence: Evidence) -> dict[str, Interval]:
    split = evidence.split
    if split.inputs is None or split.concept is None:
        return {}
    return {"covariate": split.inputs, "concept": split.concept}


def _shares_of_prior(evidence: Evidence) -> dict[str, Interval]:
    return {"prior": evidence.by_label.composition, "rest": evidence.by_label.rate}


def _rise(by: float, of: float) -> str:
    return f"{by / of:.0%}" if of > 0.0 else f"{by:.3g}, from 0,"


def _explain(part: Interval, whole: Interval) -> str:
    """What of a change a part of it accounts for; parts that others offset are larger than the whole."""
    if part.estimate / whole.estimate <= 0.995:
        return f"explain {part.estimate / whole.estimate:.0%} of the change of the loss, not all of it"
    return (
        f"alone would have moved the loss by {part.estimate:+.3g}; it moved by {whole.estimate:+.3g}, so the rest "
        "pulled the other way"
    )


_BEYOND_HEAD: Final = (
    "These rows lie outside of what the model was trained on; whether the relation changed cannot be told."
)
_WITHIN_HEAD: Final = (
    "Equal inputs now lead to other labels than before, wherever that can be compared; most rows lie outside of it."
)
_BEYOND_UNKNOWN: Final = ("whether equal inputs still lead to the same labels where the reference holds no rows",)
