"""How often each class occurs among unlabelled rows: by maximum likelihood, and by matching moments.

All assume that rows of a class look as they did. Whether that is so, and how sure the numbers are, is the matter of
`label_shift`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Floats
from perennial.stats.calibrators import class_codes, prob_rows
from perennial.stats.errors import LengthMismatch, OutOfRange

__all__ = ["bbse_weights", "em_of_rows", "em_priors", "rlls_weights"]

_STEPS: Final = 10_000


def em_priors(probs: ArrayLike, priors: ArrayLike, *, tolerance: float = 1e-8) -> Floats:
    """Shares of the classes among unlabelled rows, by maximum likelihood.

    q <- p; repeat r_ik in proportion to P_ik q_k / p_k (summing to 1 over k), q_k = mean_i r_ik, until sum |dq| is
    below the tolerance. The likelihood is concave, so it is the maximum.

    Args:
        probs: Calibrated probabilities of the rows, shape (m, K).
        priors: Shares p for which they are calibrated, shape (K,): their mean on the validation rows.
        tolerance: Of the sum of changes.

    Raises:
        OutOfRange: `probs` are no probabilities, or a prior is not above 0.
        LengthMismatch: There are not K priors.

    Source: Saerens, Latinne & Decaestecker (2002), Neural Computation 14, 21-41.

    >>> em_priors([[0.9, 0.1]] * 9 + [[0.1, 0.9]], [0.5, 0.5]).round(3).tolist()
    [1.0, 0.0]
    """
    return em_of_rows(prob_rows(probs), _priors(probs, priors), tolerance)


def bbse_weights(probs: ArrayLike, labels: ArrayLike, current: ArrayLike, *, soft: bool = True) -> tuple[Floats, float]:
    """Weights of the classes by moment matching: w = C^-1 mu, cut at 0.

    C_ij = share of validation rows answered i and of class j, mu_i = share of current rows answered i. Needs no
    calibration, but an invertible C.

    Args:
        probs: Probabilities of the validation rows, shape (n, K).
        labels: Their classes as column numbers, shape (n,).
        current: Probabilities of the current rows, shape (m, K).
        soft: Count a row by its probabilities, not as its likeliest class.

    Returns:
        Weights, shape (K,), with mean 1 over the validation rows, and the condition number of C.

    Source: Lipton, Wang & Smola, ICML 2018.

    >>> probs = [[0.9, 0.1]] * 10 + [[0.1, 0.9]] * 10
    >>> bbse_weights(probs, [0] * 10 + [1] * 10, probs[8:])[0].round(2).tolist()
    [0.33, 1.67]
    """
    matrix, moments, priors = _moments(probs, labels, current, soft=soft)
    found = np.linalg.lstsq(matrix, moments, rcond=None)[0].astype(np.float64)
    return _scaled(found, priors), float(np.linalg.cond(matrix))


def rlls_weights(probs: ArrayLike, labels: ArrayLike, current: ArrayLike, *, soft: bool = True) -> Floats:
    """`bbse_weights` with a ridge on w - 1: for many classes or few rows, where C is hard to invert.

    The ridge is the square of 0.03 (2 L/(3 n) + sqrt(2 L/n)), L = ln(2 K / 0.05), the bound on the error of C with the
    factor its authors use.

    Args, Raises: As `bbse_weights`.

    Source: Azizzadenesheli, Liu, Yang & Anandkumar, ICLR 2019.

    >>> probs = [[0.9, 0.1]] * 10 + [[0.1, 0.9]] * 10
    >>> rlls_weights(probs, [0] * 10 + [1] * 10, probs[8:]).round(2).tolist()
    [0.34, 1.66]
    """
    matrix, moments, priors = _moments(probs, labels, current, soft=soft)
    k, n = len(priors), len(prob_rows(probs))
    spent = float(np.log(2.0 * k / 0.05))
    ridge = (0.03 * (2.0 * spent / (3.0 * n) + np.sqrt(2.0 * spent / n))) ** 2
    away: Floats = np.linalg.solve(matrix.T @ matrix + ridge * np.eye(k), matrix.T @ (moments - matrix.sum(axis=1)))
    return _scaled(1.0 + away, priors)


def em_of_rows(rows: Floats, priors: Floats, tolerance: float) -> Floats:
    """`em_priors` of arrays that are known to be right.

    Two steps say where the next ones lead; the jump there is kept unless the likelihood falls by it. Where classes
    overlap that takes a hundredth of the plain steps. Source of the jump: Varadhan & Roland (2008), Simple and globally
    convergent methods for accelerating the convergence of any EM algorithm, Scandinavian Journal of Statistics 35.
    """
    ratio: Floats = np.ascontiguousarray((rows / priors).T)

    def step(q: Floats) -> tuple[Floats, Floats]:
        mixture: Floats = np.maximum(q @ ratio, 1e-300)
        after: Floats = q * (ratio @ (1.0 / mixture))
        return after / after.sum(), mixture

    q = priors.copy()
    for _ in range(_STEPS):
        one, _ = step(q)
        first: Floats = one - q
        if float(np.abs(first).sum()) < tolerance:
            return one
        two, mixture = step(one)
        bend: Floats = two - one - first
        q = two
        size = float(np.linalg.norm(bend))
        stride = float(np.linalg.norm(first)) / size if size > 0.0 else 0.0
        if stride <= 1.0:
            continue
        jump: Floats = one - first + 2.0 * stride * first + stride**2 * bend
        if float(jump.min()) <= 0.0:
            continue
        after, reached = step(jump / jump.sum())
        if float(np.log(reached).sum()) >= float(np.log(mixture).sum()):
            q = after
    return q


def _priors(probs: ArrayLike, priors: ArrayLike) -> Floats:
    found: Floats = np.asarray(priors, dtype=np.float64)
    classes = prob_rows(probs).shape[1]
    if found.shape != (classes,):
        raise LengthMismatch("priors", classes, found.size)
    if not bool((found > 0.0).all()):
        raise OutOfRange("priors", found.tolist(), "above 0", remedy="leave out classes that the reference never saw")
    return found / found.sum()


def _moments(probs: ArrayLike, labels: ArrayLike, current: ArrayLike, *, soft: bool) -> tuple[Floats, Floats, Floats]:
    rows, now = prob_rows(probs), prob_rows(current, "current")
    n, k = rows.shape
    truth = class_codes(labels, k, n)
    if not soft:
        rows, now = np.eye(k)[rows.argmax(axis=1)], np.eye(k)[now.argmax(axis=1)]
    matrix = np.stack([np.bincount(truth, rows[:, i], k) for i in range(k)]) / n
    return matrix, now.mean(axis=0), np.bincount(truth, minlength=k) / n


def _scaled(weights: Floats, priors: Floats) -> Floats:
    cut: Floats = np.maximum(weights, 0.0)
    mass = float(cut @ priors)
    return cut / mass if mass > 0.0 else np.ones(len(cut))
