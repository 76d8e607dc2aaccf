"""Prior (label) shift: how often each class occurs now, and a model's answers corrected for it without retraining.

It assumes that rows of a class look as they did, P(X|Y) unchanged, and only the classes' shares moved: w_y = q(y)/p(y).
Any change of scores can be fitted by some w, so an estimate alone proves nothing. The gate of `estimate_priors` applies
it only where the re-weighted reference can no longer be told from the present, and the shift cannot be chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Final, Literal, cast

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Floats, Ints, check_open_unit
from perennial.stats.calibrators import SoftmaxCalibration, bias_corrected_temperature, class_codes, prob_rows
from perennial.stats.class_weights import bbse_weights, em_of_rows, rlls_weights
from perennial.stats.errors import LengthMismatch, OutOfRange
from perennial.stats.results import Interval, Json, plain

__all__ = [
    "ASSUMPTION",
    "LabelShift",
    "corrected",
    "estimate_priors",
]

ASSUMPTION: Final = "label shift alone: rows of each class look as they did"
MIN_PER_CLASS: Final = 10  # reference rows of a class, without which its weight means nothing
MIN_ROWS: Final = 100  # of each side
MAX_ROWS: Final = 10_000  # of each side, drawn at random beyond: the interval is narrow enough there
RESAMPLES: Final = 200
TOLERANCE: Final = 0.05  # Kolmogorov distance that may remain after re-weighting

Decision = Literal["correct", "leave", "undecided"]


def corrected(probs: ArrayLike, weights: ArrayLike) -> Floats:
    """Probabilities under the new shares of the classes: p'(y|x) in proportion to p(y|x) w_y, shape (n, K).

    Choose thresholds again afterwards: the best one moves with the shares.

    Raises:
        OutOfRange: `probs` are no probabilities, or a weight is negative, or all are 0.
        LengthMismatch: There are not K weights.

    >>> corrected([[0.5, 0.5], [0.9, 0.1]], [1.0, 3.0]).round(2).tolist()
    [[0.25, 0.75], [0.75, 0.25]]
    """
    rows = prob_rows(probs)
    w: Floats = np.asarray(weights, dtype=np.float64)
    if w.shape != (rows.shape[1],):
        raise LengthMismatch("weights", rows.shape[1], w.size)
    if not bool((w >= 0.0).all()) or float(w.max()) <= 0.0:
        raise OutOfRange("weights", w.tolist(), "at least 0, and not all of them 0")
    raised: Floats = rows * w
    sums: Floats = raised.sum(axis=1, keepdims=True)
    # A row that is surely of a class of weight 0 has no other class to go to: it stays as it was.
    return np.where(sums > 0.0, raised / np.where(sums > 0.0, sums, 1.0), rows)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelShift:
    """How often each class occurs now, and whether to act on it.

    Attributes:
        method: Name of the estimator.
        decision: "correct" (both parts of the gate hold), "leave", or "undecided" (too few rows).
        reasons: Sentences behind it.
        assumption: What all of it rests on.
        priors: Shares of the classes on the reference, shape (K,).
        current_priors: Estimated shares now, shape (K,).
        weights: Their ratio w, shape (K,).
        weights_low: Lower ends of the weights' intervals, shape (K,).
        weights_high: Upper ends.
        shift: Sum over classes of |w - 1|, with a range whose lower end is above 0 only if no shift is ruled out.
        distance_before: Largest Kolmogorov distance of a class's score between reference and now.
        distance_after: The same once the reference is re-weighted.
        p_value: Of a distance at least that large, if the shares of the classes were all that moved.
        cross_check: Weights by estimators that do not need calibration, by name.
        condition: Condition number of the confusion matrix: above about 100 the cross-check is of little worth.
        calibration: What the probabilities were calibrated with before anything else.
        n: Reference rows used.
        m: Current rows used.
        params: Settings, enough to repeat it.
    """

    method: str
    decision: Decision
    reasons: tuple[str, ...]
    assumption: str
    priors: Floats
    current_priors: Floats
    weights: Floats
    weights_low: Floats
    weights_high: Floats
    shift: Interval
    distance_before: float
    distance_after: float
    p_value: float
    cross_check: Mapping[str, Floats]
    condition: float
    calibration: SoftmaxCalibration
    n: int
    m: int
    params: Mapping[str, Json]

    def corrected(self, probs: ArrayLike) -> Floats:
        """Calibrate other rows as the reference was, and correct them for the new shares, shape (n, K)."""
        return corrected(self.calibration(probs), self.weights)

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values."""
        told = {
            item.name: plain(cast(object, getattr(self, item.name)))
            for item in fields(self)
            if item.name != "calibration"
        }
        return told | {"scale": self.calibration.scale, "bias": plain(self.calibration.bias)}


def estimate_priors(
    probs: ArrayLike,
    labels: ArrayLike,
    current: ArrayLike,
    *,
    method: Literal["em", "bbse", "rlls"] = "em",
    confidence: float = 0.95,
    alpha: float = 0.05,
    tolerance: float = TOLERANCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> LabelShift:
    """Estimate the classes' shares among current rows and decide whether to correct for them.

    Probabilities are calibrated on the reference first (bias-corrected temperature). The interval comes from drawing
    reference and current rows anew together, calibration included. The gate asks two things:

    (i) After re-weighting the reference by w, no class's score is distributed otherwise than now: the largest
    Kolmogorov distance is below the tolerance, or not larger than it is (p > alpha) among resamples in which the shares
    of the classes are all that moved, w estimated anew in each.

    (ii) The range of sum |w - 1| excludes 0. That sum is never negative, so its own percentiles never reach 0. The
    lower end is the sum less what resamples without any shift stay below (both sides drawn from the reference, and
    calibrated anew); the upper end adds how far resampled weights lie from the estimated ones. The spread of the
    weights themselves would not do for the lower end: it grows with them, so that weights which came out small by
    chance look surer than they are, and the gate would open in 9 % of the cases without shift where 5 % are meant.

    Args:
        probs: Probabilities on labelled rows the model was not trained on, shape (n, K).
        labels: Their classes as column numbers, shape (n,).
        current: Probabilities of unlabelled rows, shape (m, K).
        method: Maximum likelihood, or moment matching without or with a ridge.
        confidence: Coverage of the intervals.
        alpha: Level of the test of (i).
        tolerance: Distance that may remain.
        resamples: Number of resamples for each of interval and test.
        seed: Equal seeds give equal results.

    Raises:
        OutOfRange: `probs` or `current` are no probabilities, or a setting is out of range.
        LengthMismatch: `labels` has another length than `probs`.

    Source: Alexandari, Kundaje & Shrikumar, ICML 2020 (maximum likelihood after calibration).

    >>> rng = np.random.default_rng(0)
    >>> y, now = rng.random(2000) < 0.5, rng.random(2000) < 0.2
    >>> def answers(truth):
    ...     odds = np.exp(2.0 * (rng.normal(size=len(truth)) + np.where(truth, 1.0, -1.0)))
    ...     return np.column_stack([1 / (1 + odds), odds / (1 + odds)])
    >>> found = estimate_priors(answers(y), y, answers(now))
    >>> found.decision, [round(float(share), 1) for share in found.current_priors]
    ('correct', [0.8, 0.2])
    """
    check_open_unit("confidence", confidence)
    check_open_unit("alpha", alpha)
    rng = np.random.default_rng(seed)
    reference, now = prob_rows(probs), prob_rows(current, "current")
    k = reference.shape[1]
    if now.shape[1] != k:
        raise OutOfRange("current", f"of {now.shape[1]} classes", f"of {k} classes")
    truth = class_codes(labels, k, len(reference))
    kept = _some(rng, len(reference))
    reference, truth, now = reference[kept], truth[kept], now[_some(rng, len(now))]
    n, m = len(reference), len(now)
    params: dict[str, Json] = {
        "confidence": confidence,
        "alpha": alpha,
        "tolerance": tolerance,
        "resamples": resamples,
        "seed": seed,
    }
    counts = np.bincount(truth, minlength=k)
    few = _too_few(n, m, counts)
    calibration = bias_corrected_temperature(reference, truth) if n else SoftmaxCalibration(1.0, np.zeros(k), "none")
    if few:
        return _undecided(method, few, k, calibration, n=n, m=m, params=params, shares=counts / max(n, 1))
    estimator = _ESTIMATORS[method]
    scores, scores_now = calibration(reference), calibration(now)
    weights, priors = estimator(scores, truth, scores_now, 1e-8)

    drawn, unmoved = np.empty((resamples, k)), np.empty(resamples)
    for number in range(resamples):
        rows = _all_classes(rng.integers(0, n, n), truth)
        again = bias_corrected_temperature(reference[rows], truth[rows], start=calibration)
        fitted = again(reference[rows])
        drawn[number] = estimator(fitted, truth[rows], again(now[rng.integers(0, m, m)]), 1e-6)[0]
        still = estimator(fitted, truth[rows], again(reference[rng.integers(0, n, m)]), 1e-6)[0]
        unmoved[number] = np.abs(still - 1.0).sum()
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(drawn, [tail, 1.0 - tail], axis=0)
    size = float(np.abs(weights - 1.0).sum())
    shift = Interval(
        low=max(0.0, size - float(np.quantile(unmoved, confidence, method="higher"))),
        high=size + float(np.quantile(np.abs(drawn - weights).sum(axis=1), confidence)),
        estimate=size,
        level=confidence,
        n=min(n, m),
        method="bootstrap of both sides",
    )

    before, after = _distance(scores, np.ones(n), scores_now), _distance(scores, weights[truth], scores_now)
    chances = weights[truth] / weights[truth].sum()
    beyond = 0
    for _ in range(resamples):
        rows, other = _all_classes(rng.integers(0, n, n), truth), rng.choice(n, m, p=chances)
        w = estimator(scores[rows], truth[rows], scores[other], 1e-6)[0]
        beyond += _distance(scores[rows], w[truth[rows]], scores[other]) >= after
    p_value = (1.0 + beyond) / (1.0 + resamples)

    explains = after <= tolerance or p_value > alpha
    moved = shift.low > 0.0
    bbse, condition = bbse_weights(reference, truth, now)
    return LabelShift(
        method={"em": "maximum likelihood (EM)", "bbse": "BBSE, soft", "rlls": "RLLS, soft"}[method],
        decision="correct" if explains and moved else "leave",
        reasons=(
            _words_of_fit(before, after, p_value, explains=explains),
            f"sum of |w - 1| is {size:.3g}, at least {shift.low:.3g} at {confidence:.0%}: "
            + ("the shares have moved" if moved else "that may be chance"),
        ),
        assumption=ASSUMPTION,
        priors=priors,
        current_priors=weights * priors,
        weights=weights,
        weights_low=low,
        weights_high=high,
        shift=shift,
        distance_before=before,
        distance_after=after,
        p_value=p_value,
        cross_check={
            "bbse hard": bbse_weights(reference, truth, now, soft=False)[0],
            "bbse soft": bbse,
            "rlls soft": rlls_weights(reference, truth, now),
        },
        condition=condition,
        calibration=calibration,
        n=n,
        m=m,
        params=params,
    )


_Estimator = Callable[[Floats, Ints, Floats, float], tuple[Floats, Floats]]
"""(calibrated reference, its labels, calibrated current rows, tolerance) -> weights and reference shares."""


def _by_em(scores: Floats, truth: Ints, now: Floats, tolerance: float) -> tuple[Floats, Floats]:
    del truth
    priors: Floats = scores.mean(axis=0)
    return em_of_rows(now, priors, tolerance) / priors, priors


def _by_bbse(scores: Floats, truth: Ints, now: Floats, tolerance: float) -> tuple[Floats, Floats]:
    del tolerance
    return bbse_weights(scores, truth, now)[0], np.bincount(truth, minlength=scores.shape[1]) / len(truth)


def _by_rlls(scores: Floats, truth: Ints, now: Floats, tolerance: float) -> tuple[Floats, Floats]:
    del tolerance
    return rlls_weights(scores, truth, now), np.bincount(truth, minlength=scores.shape[1]) / len(truth)


_ESTIMATORS: Final[dict[str, _Estimator]] = {"em": _by_em, "bbse": _by_bbse, "rlls": _by_rlls}


def _distance(scores: Floats, weights: Floats, now: Floats) -> float:
    """Largest Kolmogorov distance over the classes' scores, the reference weighted."""
    largest = 0.0
    mass = np.concatenate([weights / weights.sum(), np.full(len(now), -1.0 / len(now))])
    # Of two classes one score is the other's mirror image.
    for column in range(1 if scores.shape[1] == 2 else 0, scores.shape[1]):
        both: Floats = np.concatenate([scores[:, column], now[:, column]])
        order: Ints = np.argsort(both, kind="stable")
        apart = np.abs(np.cumsum(mass[order]))
        last = np.concatenate((both[order][1:] != both[order][:-1], [True]))
        largest = max(largest, float(apart[last].max()))
    return largest


def _all_classes(rows: Ints, truth: Ints) -> Ints:
    """Drawn rows, and one of each class where some class was not drawn."""
    classes, first = np.unique(truth, return_index=True)
    return rows if len(np.unique(truth[rows])) == len(classes) else np.concatenate([rows, first])


def _some(rng: np.random.Generator, rows: int) -> Ints:
    if rows <= MAX_ROWS:
        return np.arange(rows, dtype=np.int64)
    return np.sort(rng.choice(rows, MAX_ROWS, replace=False)).astype(np.int64)


def _too_few(n: int, m: int, counts: Ints) -> str:
    if min(n, m) < MIN_ROWS:
        return f"too few rows: {n} and {m}, at least {MIN_ROWS} needed on each side"
    if int(counts.min()) < MIN_PER_CLASS:
        return (
            f"class {int(counts.argmin())} has {int(counts.min())} reference rows, at least {MIN_PER_CLASS} are needed"
        )
    return ""


def _words_of_fit(before: float, after: float, p_value: float, *, explains: bool) -> str:
    what = f"re-weighted, the reference is {after:.3g} from the present (before: {before:.3g}, p {p_value:.2g})"
    return f"{what}: new shares of the classes {'explain it' if explains else 'do not explain it'}"


def _undecided(
    method: str,
    reason: str,
    k: int,
    calibration: SoftmaxCalibration,
    *,
    n: int,
    m: int,
    params: Mapping[str, Json],
    shares: Floats,
) -> LabelShift:
    unknown = np.full(k, np.nan)
    return LabelShift(
        method=method,
        decision="undecided",
        reasons=(reason,),
        assumption=ASSUMPTION,
        priors=shares,
        current_priors=unknown,
        weights=np.ones(k),
        weights_low=np.zeros(k),
        weights_high=np.full(k, np.inf),
        shift=Interval(low=0.0, high=np.inf, estimate=np.nan, level=0.95, n=min(n, m), method="none"),
        distance_before=np.nan,
        distance_after=np.nan,
        p_value=np.nan,
        cross_check={},
        condition=np.nan,
        calibration=calibration,
        n=n,
        m=m,
        params=params,
    )
