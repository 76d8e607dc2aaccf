"""From evidence to one cause, by rules that can be read: which story fits, and which does not.

Thresholds are fixed here. Each rule asks for an effect that matters and for more than noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from perennial.monitor.diagnosing.evidence import Evidence, z_of
from perennial.stats.results import Interval

__all__ = ["CAUSES", "Cause", "Verdict", "decide", "has_moved", "is_unclear"]

Cause = Literal["none", "covariate", "prior", "concept", "data bug", "release", "undecided"]
CAUSES: Final[tuple[Cause, ...]] = get_args(Cause)

LOSS_TOLERANCE: Final = 0.1  # of the reference loss; a smaller change of it is no harm
LOSS_Z: Final = 2.576  # a change of the loss nearer to 0 than so many standard errors may be noise (1 in 100)
UNCLEAR: Final = 0.4  # of the reference loss; where a rise by so much is not ruled out, "unchanged" is not said
AUC_TOLERANCE: Final = 0.52  # below this the windows' inputs look alike
LABEL_PSI: Final = 0.01  # of the mix of labels, below which it is as it was
FIT_Z: Final = 3.29  # what a story must not contradict (1 in 1000): several things are asked of each
REST: Final = 0.4  # share of the change that a story may leave unexplained
ALL_SLICES: Final = 0.8  # share of the rows in slices that got worse, from which a release is blamed
CLEARLY: Final = 4.0  # where both stories fit: difference of squared standard errors, a likelihood ratio of 7


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A cause and why.

    Attributes:
        cause: What the change of the loss is put down to.
        because: Sentences, the deciding one first.
        shares: Parts of the change of the loss, by cause, in the unit of the loss.
    """

    cause: Cause
    because: tuple[str, ...]
    shares: dict[str, Interval]


def has_moved(loss: Interval, reference_loss: float) -> bool:
    """Beyond tolerance and beyond noise."""
    return abs(z_of(loss)) >= LOSS_Z and abs(loss.estimate) >= LOSS_TOLERANCE * reference_loss


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
                        f"with {loss.n} labelled rows a rise of the loss by {loss.high / evidence.reference_loss:.0%} "
                        "is not ruled out, nor is it shown"
                    ),
                ),
                shares=_shares(evidence),
            )
        return Verdict(cause="none", because=(_unmoved(evidence),), shares=_shares(evidence))
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
    if may_be["covariate"]:
        return Verdict(cause="covariate", because=covariate.words, shares=_shares(evidence))
    return _neither(evidence, covariate, prior, inputs_moved=inputs_moved)


def _neither(evidence: Evidence, covariate: _Fit, prior: _Fit, *, inputs_moved: bool) -> Verdict:
    split = evidence.split
    if split.concept is None or split.inputs is None:
        return Verdict(cause="undecided", because=split.reasons, shares=_shares(evidence))
    if not inputs_moved:
        return Verdict(
            cause="concept",
            because=(f"inputs look as before (AUC {evidence.auc:.3f}), and yet the loss moved", *covariate.words),
            shares=_shares(evidence),
        )
    concept, inputs = abs(split.concept.estimate), abs(split.inputs.estimate)
    words = (*covariate.words, *prior.words)
    if abs(z_of(split.concept)) >= LOSS_Z and concept >= inputs:
        return Verdict(cause="concept", because=words, shares=_shares(evidence))
    if abs(z_of(split.inputs)) >= LOSS_Z and inputs > concept:
        return Verdict(
            cause="covariate",
            because=(f"other inputs explain {_part(inputs, concept):.0%} of the change, not all of it", *words),
            shares=_shares(evidence),
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
    said = "as before" if labels < FIT_Z else f"off by {evidence.labels_at_inputs.estimate:+.3g}"
    return _Fit(
        fits=fits,
        worst=labels,
        words=(
            (
                f"at equal inputs labels are {said} ({labels:.1f} standard errors), and the loss moved by "
                f"{concept.estimate:+.3g} of {evidence.loss.estimate:+.3g}"
            ),
        ),
    )


def _against_prior(evidence: Evidence) -> _Fit:
    """If only the mix of labels has changed, inputs and losses at equal labels are as before."""
    rate = evidence.by_label.rate
    inputs, losses = abs(z_of(evidence.inputs_at_labels)), abs(z_of(rate))
    rest = abs(rate.estimate) / abs(evidence.loss.estimate)
    fits = inputs < FIT_Z and not (losses >= LOSS_Z and rest > REST)
    said = "as before" if inputs < FIT_Z else f"told apart with AUC {0.5 + evidence.inputs_at_labels.estimate:.3f}"
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


def _inputs_moved(evidence: Evidence) -> bool:
    return evidence.auc >= AUC_TOLERANCE and _is_sure(evidence.inputs.p_value)


def _labels_moved(evidence: Evidence) -> bool:
    return (evidence.label_mix.statistic or 0.0) >= LABEL_PSI and _is_sure(evidence.label_mix.p_value)


def _is_sure(p_value: float | None) -> bool:
    return p_value is not None and p_value < 0.01


def _unmoved(evidence: Evidence) -> str:
    moved = "inputs moved" if _inputs_moved(evidence) else "inputs look as before"
    return (
        f"the loss is {evidence.reference_loss + evidence.loss.estimate:.4g} where it was "
        f"{evidence.reference_loss:.4g}, within tolerance or noise; {moved} (AUC {evidence.auc:.3f})"
    )


def _shares(evidence: Evidence) -> dict[str, Interval]:
    split = evidence.split
    if split.inputs is None or split.concept is None:
        return {}
    return {"covariate": split.inputs, "concept": split.concept}


def _shares_of_prior(evidence: Evidence) -> dict[str, Interval]:
    return {"prior": evidence.by_label.composition, "rest": evidence.by_label.rate}


def _part(one: float, other: float) -> float:
    return one / (one + other)
