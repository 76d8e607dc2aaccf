"""Why a loss moved: because other inputs arrive, or because the same inputs now come out differently.

The two windows are compared on the inputs that both of them hold (the shared density), so that neither is asked about
rows it never saw. What is shared is said with its effective sample size; where there is next to nothing, no answer is
given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Floats, check_open_unit, finite_vector, same_length, vector
from perennial.stats.errors import NothingToCount, OutOfRange
from perennial.stats.intervals import percentile_interval
from perennial.stats.resampling import Draws
from perennial.stats.results import Interval, Json, plain
from perennial.stats.tails import normal_quantile

__all__ = ["LossShift", "Overlap", "at_equal_inputs", "disde", "overlap"]

MIN_ESS: Final = 100.0  # rows' worth of weight on either side, below which no split is given
MIN_COMMON: Final = (
    30.0  # rows on common ground on either side: weights that are all next to 0 have a large ESS as well
)
RESAMPLES: Final = 500
EDGE: Final = 1e-6  # scores are kept this far from 0 and 1
RARE_RATIO: Final = 0.05  # reference density over current density below which a current row is outside the support


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """How much of two windows lies on common ground.

    Attributes:
        ess_reference: (sum w)^2 / sum w^2 of the weights that turn reference rows into the shared density.
        ess_current: The same of the current rows.
        outside: Share of the current rows where the reference is hardly found (density ratio below 0.05).
        mean_ratio: Mean density ratio current/reference over the reference; about 1 where the scores can be believed.
        common: Mass of the shared density, the integral of 2pq/(p + q), by the side that gives less: 1 for equal
            windows, 0 for windows with nothing in common.
    """

    ess_reference: float
    ess_current: float
    outside: float
    mean_ratio: float
    common: float

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values."""
        return {
            "ess_reference": self.ess_reference,
            "ess_current": self.ess_current,
            "outside": self.outside,
            "mean_ratio": self.mean_ratio,
            "common": self.common,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LossShift:
    """A change of mean loss in three steps: reference inputs, shared inputs, shared inputs now, current inputs.

    Attributes:
        decision: "decomposed" or "undecided" (too little overlap; then only `total` is given).
        reasons: Sentences behind the decision.
        total: Mean current loss minus mean reference loss.
        to_shared: From the reference inputs to the shared ones, with the losses of the reference.
        concept: On the shared inputs, from the losses of the reference to those of now.
        from_shared: From the shared inputs to the current ones, with the losses of now.
        inputs: `to_shared` and `from_shared` together: all that other inputs did.
        overlap: What the split rests on.
    """

    decision: str
    reasons: tuple[str, ...]
    total: Interval
    to_shared: Interval | None
    concept: Interval | None
    from_shared: Interval | None
    inputs: Interval | None
    overlap: Overlap

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values."""
        parts = {name: getattr(self, name) for name in ("total", "to_shared", "concept", "from_shared", "inputs")}
        return {
            "decision": self.decision,
            "reasons": plain(self.reasons),
            **{name: None if part is None else part.as_dict() for name, part in parts.items()},
            "overlap": self.overlap.as_dict(),
        }


def overlap(reference_scores: ArrayLike, current_scores: ArrayLike, *, current_share: float | None = None) -> Overlap:
    """What two windows have in common, by the scores of a classifier that tells them apart.

    Args:
        reference_scores: pi(x) = P(current | x) of the reference rows, made out of fold, shape (n,), in [0, 1].
        current_scores: The same of the current rows, shape (m,).
        current_share: a, the share of current rows among those the classifier was trained on; m/(n+m) if None.

    Raises:
        NothingToCount: A side has no row.
        OutOfRange: A score is outside [0, 1].

    >>> whole = overlap([0.5] * 200, [0.5] * 100, current_share=0.5)
    >>> whole.ess_reference, whole.ess_current, whole.outside, whole.mean_ratio
    (200.0, 100.0, 0.0, 1.0)
    """
    before, after, share = _scores(reference_scores, current_scores, current_share)
    weights_before, weights_after = _weights(before, after, share)
    ratio = before / (1.0 - before) * (1.0 - share) / share
    rare = (1.0 - after) / after * share / (1.0 - share)
    return Overlap(
        ess_reference=_ess(weights_before),
        ess_current=_ess(weights_after),
        outside=float(np.mean(rare < RARE_RATIO)),
        mean_ratio=float(ratio.mean()),
        # 2q/(p + q) over the reference, 2p/(p + q) over the current rows: both are the same integral.
        common=min(1.0, 2.0 * (1.0 - share) * float(weights_before.mean()), 2.0 * share * float(weights_after.mean())),
    )


def disde(
    reference_losses: ArrayLike,
    current_losses: ArrayLike,
    reference_scores: ArrayLike,
    current_scores: ArrayLike,
    *,
    current_share: float | None = None,
    expected: tuple[ArrayLike, ArrayLike] | None = None,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    min_ess: float = MIN_ESS,
    seed: int = 0,
) -> LossShift:
    """Split a change of mean loss into what other inputs did and what a changed relation of labels to inputs did.

    With pi(x) = P(current | x) and a = m/(n + m), the shared density s is proportional to pq/(p + q): reference rows
    get weight pi/(a(1 - pi) + (1 - a)pi), current rows (1 - pi)/(the same). The steps are E_s[L_ref] - E_p[L],
    E_s[L_cur] - E_s[L_ref] and E_q[L] - E_s[L_cur]; they add up to the whole change. Intervals resample the rows of
    both sides and keep the scores.

    The losses may be any other value of a row, such as label minus predicted probability: then the middle step is how
    far labels moved at equal inputs.

    Args:
        reference_losses: Loss of each reference row, shape (n,).
        current_losses: shape (m,).
        reference_scores: pi of the same reference rows, made out of fold, in [0, 1].
        current_scores: pi of the same current rows.
        current_share: a; give it where losses are known of only some of the rows that the scores were made with.
        expected: Expected loss of the same rows (reference, current) by one model made on the reference, out of fold
            there. It takes out what the weights leave unbalanced, so that the middle step rests on either the scores or
            this model being right, and is less noisy.
        confidence: Coverage of each interval.
        resamples: Bootstrap resamples of each side.
        min_ess: Least effective sample size of either side.
        seed: Equal seeds give equal intervals.

    Raises:
        LengthMismatch: Arrays of one side differ in length.
        NothingToCount: A side has no row.
        OutOfRange: A loss is not finite, a score outside [0, 1], or a setting out of range.

    Source: Cai, Namkoong & Yadlowsky, Diagnosing Model Performance Under Distribution Shift, arXiv 2303.02011. The
    correction by an expected loss is the usual one of augmented weighting (Robins, Rotnitzky & Zhao 1994).

    >>> split = disde([0.0, 1.0] * 300, [0.0, 1.0, 1.0] * 200, [0.5] * 600, [0.5] * 600)
    >>> round(split.concept.estimate, 4), round(split.inputs.estimate, 4)
    (0.1667, 0.0)
    """
    check_open_unit("confidence", confidence)
    before, after = finite_vector(reference_losses, "reference_losses"), finite_vector(current_losses, "current_losses")
    score_before, score_after, share = _scores(reference_scores, current_scores, current_share)
    same_length("reference_scores", score_before, len(before))
    same_length("current_scores", score_after, len(after))
    known_before, known_after = (np.zeros(len(before)), np.zeros(len(after)))
    if expected is not None:
        known_before, known_after = finite_vector(expected[0], "expected[0]"), finite_vector(expected[1], "expected[1]")
        same_length("expected[0]", known_before, len(before))
        same_length("expected[1]", known_after, len(after))
    weights_before, weights_after = _weights(score_before, score_after, share)
    common = overlap(score_before, score_after, current_share=share)
    first = Draws(len(before), resamples=resamples, seed=seed).means(_table(before, known_before, weights_before))
    second = Draws(len(after), resamples=resamples, seed=seed + 1).means(_table(after, known_after, weights_after))
    whole = _steps(first.means[np.newaxis], second.means[np.newaxis])
    drawn = _steps(first.resampled, second.resampled)
    units = min(len(before), len(after))

    def interval(name: str) -> Interval:
        return percentile_interval(float(whole[name][0]), drawn[name], units=units, confidence=confidence)

    least = min(common.ess_reference, common.ess_current)
    shared = common.common * min(len(before), len(after))
    if least < min_ess or shared < MIN_COMMON:
        return LossShift(
            decision="undecided",
            reasons=(
                (
                    f"the two windows have too little in common: {min(least, shared):.0f} rows' worth, "
                    f"{min_ess if least < min_ess else MIN_COMMON:g} needed"
                ),
                f"{common.outside:.1%} of the current rows lie where the reference has next to none",
            ),
            total=interval("total"),
            to_shared=None,
            concept=None,
            from_shared=None,
            inputs=None,
            overlap=common,
        )
    return LossShift(
        decision="decomposed",
        reasons=(
            "compared on inputs that both windows hold",
            f"effective rows: {common.ess_reference:.0f} of the reference, {common.ess_current:.0f} current ones",
        ),
        total=interval("total"),
        to_shared=interval("to_shared"),
        concept=interval("concept"),
        from_shared=interval("from_shared"),
        inputs=interval("inputs"),
        overlap=common,
    )


def at_equal_inputs(
    reference_values: ArrayLike,
    current_values: ArrayLike,
    reference_scores: ArrayLike,
    current_scores: ArrayLike,
    *,
    current_share: float | None = None,
    confidence: float = 0.95,
) -> Interval:
    """How far the mean of a value moved on the inputs that both windows hold.

    The middle step of `disde` alone, with a normal interval from the weighted variances instead of resampling. With
    label minus predicted probability as the value it says whether labels changed at equal inputs.

    Args:
        reference_values: One of each reference row, shape (n,).
        current_values: shape (m,).
        reference_scores: pi of the same reference rows, as in `disde`.
        current_scores: pi of the same current rows.
        current_share: a, as in `disde`.
        confidence: Coverage.

    Raises:
        LengthMismatch: Arrays of one side differ in length.
        NothingToCount: A side has no row.
        OutOfRange: A value is not finite, or a score outside [0, 1].

    >>> round(at_equal_inputs([0.0, 1.0] * 300, [0.0, 1.0, 1.0] * 200, [0.5] * 600, [0.5] * 600).estimate, 4)
    0.1667
    """
    check_open_unit("confidence", confidence)
    before, after = finite_vector(reference_values, "reference_values"), finite_vector(current_values, "current_values")
    score_before, score_after, share = _scores(reference_scores, current_scores, current_share)
    same_length("reference_scores", score_before, len(before))
    same_length("current_scores", score_after, len(after))
    weights_before, weights_after = _weights(score_before, score_after, share)
    means: list[float] = []
    variance = 0.0
    for values, weights in ((before, weights_before), (after, weights_after)):
        shares = weights / weights.sum()
        means.append(float(shares @ values))
        variance += float(shares**2 @ (values - means[-1]) ** 2)
    half = normal_quantile(0.5 + confidence / 2.0) * float(np.sqrt(variance))
    moved = means[1] - means[0]
    return Interval(
        low=moved - half,
        high=moved + half,
        estimate=moved,
        level=confidence,
        n=min(len(before), len(after)),
        method="weighted difference",
    )


def _table(losses: Floats, known: Floats, weights: Floats) -> Floats:
    return np.column_stack([losses, weights, weights * (losses - known), weights * known])


def _steps(before: Floats, after: Floats) -> dict[str, Floats]:
    """The steps from means of loss, weight, weight * (loss - expected) and weight * expected; shape (resamples, 4)."""
    total = after[:, 0] - before[:, 0]
    rest_before, rest_after = before[:, 2] / before[:, 1], after[:, 2] / after[:, 1]
    # Both sides' weighted rows are draws from one density: what is expected there is their mean.
    known = (before[:, 3] / before[:, 1] + after[:, 3] / after[:, 1]) / 2.0
    concept = rest_after - rest_before
    to_shared = rest_before + known - before[:, 0]
    from_shared = after[:, 0] - rest_after - known
    return {
        "total": total,
        "to_shared": to_shared,
        "concept": concept,
        "from_shared": from_shared,
        "inputs": to_shared + from_shared,
    }


def _scores(reference: ArrayLike, current: ArrayLike, share: float | None) -> tuple[Floats, Floats, float]:
    arrays: list[Floats] = []
    for name, values in (("reference_scores", reference), ("current_scores", current)):
        array = vector(values, name)
        if len(array) == 0:
            raise NothingToCount(name)
        if not bool(((array >= 0.0) & (array <= 1.0)).all()):
            raise OutOfRange(name, "outside [0, 1] or missing", "probabilities")
        arrays.append(np.clip(array, EDGE, 1.0 - EDGE))
    found = len(arrays[1]) / (len(arrays[0]) + len(arrays[1])) if share is None else share
    check_open_unit("current_share", found)
    return arrays[0], arrays[1], found


def _weights(before: Floats, after: Floats, share: float) -> tuple[Floats, Floats]:
    def mixed(score: Floats) -> Floats:
        return share * (1.0 - score) + (1.0 - share) * score

    return before / mixed(before), (1.0 - after) / mixed(after)


def _ess(weights: Floats) -> float:
    return float(weights.sum() ** 2 / (weights**2).sum())
