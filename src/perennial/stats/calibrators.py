"""Make probabilities mean what they say: isotonic regression, temperature and bias-corrected temperature scaling.

Each is fitted on rows that the model was not trained on and gives a frozen value that is applied to other rows.
Isotonic regression assumes nothing but that a higher score is never less likely, and needs about a thousand rows;
temperature scaling has one number, its bias-corrected form one more for each class, and keep the order of rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perennial.stats.arrays import Floats, Ints, finite_vector, same_length, vector
from perennial.stats.errors import NothingToCount, OutOfRange
from perennial.stats.results import Json

__all__ = [
    "IsotonicMap",
    "SoftmaxCalibration",
    "bias_corrected_temperature",
    "class_codes",
    "isotonic",
    "prob_rows",
    "temperature",
]

SMALLEST_PROB: Final = 1e-7  # a probability of 0 has no logarithm; below this a model's certainty is taken for rounding
PRIOR_SD: Final = 30.0  # of scale and biases around "no change": keeps them finite where classes are separated
_NEWTON_STEPS: Final = 100
_CONVERGED: Final = 1e-12  # nats of log loss that a further step could gain
_SLOW: Final = 0.9  # a pass that leaves more than this share of the blocks is followed by the stack


@dataclass(frozen=True, slots=True, eq=False)
class IsotonicMap:
    """A rising map from scores to values: linear between `at`, constant beyond its ends.

    Attributes:
        at: Scores, shape (k,), rising.
        values: Fitted values at them, shape (k,), never falling.
    """

    at: Floats
    values: Floats

    def __call__(self, scores: ArrayLike) -> Floats:
        """Values at scores of any shape; NaN stays NaN."""
        return np.interp(np.asarray(scores, dtype=np.float64), self.at, self.values)

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values."""
        return {"at": cast(Json, self.at.tolist()), "values": cast(Json, self.values.tolist())}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Json]) -> IsotonicMap:
        """What `as_dict` gave."""
        return cls(vector(cast(ArrayLike, stored["at"]), "at"), vector(cast(ArrayLike, stored["values"]), "values"))


def isotonic(scores: ArrayLike, targets: ArrayLike, *, weights: ArrayLike | None = None) -> IsotonicMap:
    """The never-falling map of scores that is nearest to the targets in (weighted) squared error.

    Pool adjacent violators: neighbouring blocks whose means fall are joined until none do. Each pass over all blocks
    joins whole falling runs at once; the few inputs on which passes are slow are finished one block at a time, so the
    time is that of a sort.

    Args:
        scores: Shape (n,), finite. Equal scores are one point.
        targets: Shape (n,), finite; 0 or 1 to calibrate a probability.
        weights: Weight of each row, shape (n,), at least 0; 1 when left out. Rows of weight 0 count for nothing.

    Raises:
        LengthMismatch: The arrays differ in length.
        OutOfRange: A value is not finite, or a weight negative.
        NothingToCount: No row has a weight above 0.

    Source: Barlow, Bartholomew, Bremner & Brunk (1972), Statistical Inference under Order Restrictions.

    >>> isotonic([0.1, 0.2, 0.3, 0.4], [0.0, 1.0, 0.0, 1.0]).values.tolist()
    [0.0, 0.5, 0.5, 1.0]
    """
    x = finite_vector(scores, "scores")
    y = finite_vector(targets, "targets")
    same_length("targets", y, len(x))
    w: Floats = np.ones(len(x)) if weights is None else finite_vector(weights, "weights")
    same_length("weights", w, len(x))
    if len(w) and float(w.min()) < 0.0:
        raise OutOfRange("weights", float(w.min()), "at least 0")
    order: Ints = np.argsort(x, kind="stable")
    order = order[w[order] > 0.0]
    if len(order) == 0:
        raise NothingToCount("weights")
    x, y, w = x[order], y[order], w[order]
    starts: Ints = np.flatnonzero(np.concatenate(([True], x[1:] != x[:-1])))
    points = x[starts]
    weight, total = np.add.reduceat(w, starts), np.add.reduceat(w * y, starts)
    first = _pooled(weight, total)
    means: Floats = np.add.reduceat(total, first) / np.add.reduceat(weight, first)
    last: Ints = np.concatenate((first[1:], [len(points)])) - 1
    ends: Ints = np.column_stack([first, last]).ravel()
    kept = np.concatenate(([True], ends[1:] != ends[:-1]))
    return IsotonicMap(points[ends][kept], np.repeat(means, 2)[kept])


def _pooled(weight: Floats, total: Floats) -> Ints:
    """Number of the first point of each block, once no neighbouring means fall."""
    first: Ints = np.arange(len(weight), dtype=np.int64)
    while True:
        means = total / weight
        begins = np.concatenate(([True], means[1:] > means[:-1]))
        kept: Ints = np.flatnonzero(begins)
        if len(kept) == len(first):
            return first
        is_slow = len(kept) > _SLOW * len(first)
        first, weight, total = first[kept], np.add.reduceat(weight, kept), np.add.reduceat(total, kept)
        if is_slow:
            return first[_pooled_one_by_one(weight, total)]


def _pooled_one_by_one(weight: Floats, total: Floats) -> Ints:
    first: list[int] = []
    weights: list[float] = []
    totals: list[float] = []
    for number, (w, t) in enumerate(zip(weight.tolist(), total.tolist(), strict=True)):
        begin, w_block, t_block = number, float(w), float(t)
        while first and t_block * weights[-1] <= totals[-1] * w_block:
            begin = first.pop()
            w_block += weights.pop()
            t_block += totals.pop()
        first.append(begin)
        weights.append(w_block)
        totals.append(t_block)
    return np.array(first, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class SoftmaxCalibration:
    """Probabilities p become softmax(scale * ln p + bias).

    Attributes:
        scale: Below 1 where the model is too sure of itself, above 1 where it is too modest; above 0.
        bias: One number per class, shape (K,), with mean 0; all 0 for plain temperature scaling.
        method: "temperature" or "bias-corrected temperature".
    """

    scale: float
    bias: Floats
    method: str

    def __call__(self, probs: ArrayLike) -> Floats:
        """Calibrated probabilities of other rows, shape (n, K).

        Raises:
            OutOfRange: `probs` has not one column per class, or no probabilities in it.
        """
        rows = prob_rows(probs)
        if rows.shape[1] != len(self.bias):
            raise OutOfRange("probs", f"of {rows.shape[1]} classes", f"of {len(self.bias)} classes")
        return np.ascontiguousarray(_softmax(self.scale * _logits(rows) + self.bias[:, np.newaxis]).T)


def temperature(probs: ArrayLike, labels: ArrayLike, *, weights: ArrayLike | None = None) -> SoftmaxCalibration:
    """One number that makes a model as sure as it is right: softmax(scale * ln p), fitted by log loss.

    Args:
        probs: Probabilities on rows that the model was not trained on, shape (n, K), each row summing to 1.
        labels: Class of each row as a column number, shape (n,).
        weights: Weight of each row, at least 0; 1 when left out.

    Raises:
        OutOfRange: `probs` are no probabilities, or a label is no column of them.
        LengthMismatch: The arrays differ in length.
        NothingToCount: No row has a weight above 0.

    Source: Guo, Pleiss, Sun & Weinberger, ICML 2017.

    >>> sure = np.array([[0.99, 0.01]] * 10)
    >>> temperature(sure, [0] * 8 + [1] * 2)(sure)[0].round(2).tolist()
    [0.8, 0.2]
    """
    scale, bias = _fitted(probs, labels, weights, with_bias=False)
    return SoftmaxCalibration(scale, bias, "temperature")


def bias_corrected_temperature(
    probs: ArrayLike,
    labels: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    start: SoftmaxCalibration | None = None,
) -> SoftmaxCalibration:
    """Temperature scaling with one bias per class: mean probabilities then equal the shares of the classes.

    What estimates of label shift need: a calibration that is wrong for one class biases all weights.

    Args, Raises: As `temperature`; `start` is a calibration to begin from, such as that of the rows which these were
        drawn from: fewer steps, the same result.

    Source: Alexandari, Kundaje & Shrikumar, ICML 2020.

    >>> probs = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.2, 0.8]] * 50)
    >>> labels = [0, 0, 0, 1] * 50
    >>> bias_corrected_temperature(probs, labels)(probs).mean(axis=0).round(2).tolist()
    [0.75, 0.25]
    """
    scale, bias = _fitted(probs, labels, weights, with_bias=True, start=start)
    return SoftmaxCalibration(scale, bias, "bias-corrected temperature")


def prob_rows(probs: ArrayLike, name: str = "probs") -> Floats:
    """Probabilities of classes, shape (n, K) with K >= 2; each row is divided by its sum.

    Raises:
        OutOfRange: Not of that shape, outside [0, 1], or a row sums to something else than 1 (by more than 1 %).
    """
    rows: Floats = np.asarray(probs, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] < 2:
        raise OutOfRange(name, f"of shape {rows.shape}", "of shape (n, classes), at least two classes")
    if len(rows) == 0:
        return rows
    sums: Floats = rows @ np.ones(rows.shape[1])
    off = float(np.abs(sums - 1.0).max())
    if not (float(rows.min()) >= 0.0 and float(rows.max()) <= 1.0 + 1e-6 and off <= 0.01):  # NaN is none of these
        raise OutOfRange(name, "not in [0, 1] or not summing to 1 in some row", "probabilities of all classes")
    return rows if off <= 1e-12 else rows / sums[:, np.newaxis]


def class_codes(labels: ArrayLike, classes: int, rows: int, name: str = "labels") -> Ints:
    """Labels as column numbers, shape (n,).

    Raises:
        OutOfRange: A label is not one of 0..classes-1.
        LengthMismatch: There are not `rows` of them.
    """
    found: NDArray[np.generic] = np.asarray(labels)
    same_length(name, found, rows)
    codes: Ints = found.astype(np.int64)
    if not bool((codes == found).all()) or (rows and not 0 <= int(codes.min()) <= int(codes.max()) < classes):
        raise OutOfRange(name, "not a column of the probabilities in some row", f"whole numbers 0 to {classes - 1}")
    return codes


def _logits(rows: Floats) -> Floats:
    """Logarithms, transposed to (K, n): numpy adds up a few long rows much faster than many short ones."""
    return np.log(np.maximum(np.ascontiguousarray(rows.T), SMALLEST_PROB))


def _softmax(logits: Floats) -> Floats:
    """Over the first axis."""
    raised: Floats = np.exp(logits - logits.max(axis=0))
    return raised / raised.sum(axis=0)


def _fitted(
    probs: ArrayLike,
    labels: ArrayLike,
    weights: ArrayLike | None,
    *,
    with_bias: bool,
    start: SoftmaxCalibration | None = None,
) -> tuple[float, Floats]:
    """Newton's method on the log loss, which is convex in scale and biases, with a weak normal prior around (1, 0)."""
    rows = prob_rows(probs)
    n, k = rows.shape
    truth = class_codes(labels, k, n)
    w: Floats = np.ones(n) if weights is None else finite_vector(weights, "weights")
    same_length("weights", w, n)
    if n and float(w.min()) < 0.0:
        raise OutOfRange("weights", float(w.min()), "at least 0")
    mass = float(w.sum())
    if mass <= 0.0:
        raise NothingToCount("probs")
    w = w / mass
    x = _logits(rows)
    size = k + 1 if with_bias else 1
    ridge = 1.0 / (PRIOR_SD**2 * mass)
    neutral: Floats = np.zeros(k + 1)
    neutral[0] = 1.0
    at_row: Ints = np.arange(n, dtype=np.int64)

    def loss_of(theta: Floats) -> tuple[float, Floats]:
        p = _softmax(theta[0] * x + theta[1:, np.newaxis])
        nll = -float(w @ np.log(np.maximum(p[truth, at_row], 1e-300)))
        return nll + 0.5 * ridge * float(((theta - neutral) ** 2).sum()), p

    theta = neutral.copy() if start is None else np.concatenate([[start.scale], start.bias])
    loss, p = loss_of(theta)
    for _ in range(_NEWTON_STEPS):
        off = p.copy()
        off[truth, at_row] -= 1.0
        px = p * x
        mean_x: Floats = px.sum(axis=0)
        gradient = np.concatenate(([float(w @ (off * x).sum(axis=0))], off @ w)) + ridge * (theta - neutral)
        hessian = np.zeros((k + 1, k + 1))
        weighted = p * w
        hessian[0, 0] = float(w @ ((px * x).sum(axis=0) - mean_x**2))
        hessian[0, 1:] = hessian[1:, 0] = px @ w - weighted @ mean_x
        hessian[1:, 1:] = np.diag(p @ w) - weighted @ p.T
        hessian += ridge * np.eye(k + 1)
        step = np.zeros(k + 1)
        step[:size] = np.linalg.solve(hessian[:size, :size], gradient[:size])
        expected = float(gradient @ step)
        if expected <= _CONVERGED:
            break
        stride = 1.0
        tried, p_tried = loss_of(theta - step)
        while tried > loss - 1e-4 * stride * expected and stride > 1e-6:
            stride /= 2.0
            tried, p_tried = loss_of(theta - stride * step)
        if tried >= loss:
            break
        theta, loss, p = theta - stride * step, tried, p_tried
    # A negative scale would say that the likelier class is the rarer one: then probabilities carry nothing, and only
    # the shares of the classes remain.
    if theta[0] <= 0.0:
        shares: Floats = np.bincount(truth, w, k).astype(np.float64)
        return 1e-6, _centred(np.log(np.maximum(shares, SMALLEST_PROB))) if with_bias else np.zeros(k)
    return float(theta[0]), _centred(theta[1:])


def _centred(bias: Floats) -> Floats:
    return bias - bias.mean()
