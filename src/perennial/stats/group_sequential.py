"""Bounds for a comparison that is looked at a few times, planned in advance.

At look k the standardised difference Z_k is compared with a bound; beyond it, on either side, the comparison ends. The
bounds are such that, without a difference, the probability of ever being beyond one is alpha. Where the largest size is
known this has more power than a sequence that may be looked at any time (`means.asymptotic_interval`); who looks more
often than planned loses the promise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Floats, check_open_unit, finite_vector, same_length
from perennial.stats.errors import NothingToCount, OutOfRange
from perennial.stats.tails import normal_above, normal_quantile

__all__ = ["Shape", "alpha_spent", "constant_bounds", "crossing_probs", "spending_bounds"]

Shape = Literal["obrien-fleming", "pocock"]
"""How strict early looks are: hardly ever ending early, or as readily at each look."""

_FAR: Final = 38.0  # beyond it a normal tail is no float64 any more: a look that may spend nothing
_STEPS: Final = 60  # halvings of an interval; leaves no digit open
_NODES: Final = 8  # of the quadrature, for each deviation of a step; the bounds keep ten digits


def alpha_spent(fractions: ArrayLike, *, alpha: float = 0.05, shape: Shape = "obrien-fleming") -> Floats:
    """How much of alpha may be used up by each look, on both sides together.

    "obrien-fleming": 4 (1 - Phi(z / sqrt(t))) with z the 1 - alpha/4 quantile; "pocock": alpha ln(1 + (e - 1) t).

    Args:
        fractions: Share t of the planned rows at each look, shape (K,), increasing, in (0, 1].
        alpha: Probability of a false difference over all looks, in (0, 1).
        shape: See `Shape`.

    Returns:
        Cumulative probability at each look, shape (K,).

    Raises:
        OutOfRange: Fractions do not increase within (0, 1], or `alpha` or `shape` is none.

    Source: Lan & DeMets (1983), Biometrika 70, 659-663.

    >>> alpha_spent([0.5, 1.0]).round(5).tolist()
    [0.00305, 0.05]
    """
    t = _fractions(fractions)
    check_open_unit("alpha", alpha)
    if shape == "pocock":
        return alpha * np.log1p((math.e - 1.0) * t)
    _check(shape)
    return 4.0 * normal_above(normal_quantile(1.0 - alpha / 4.0) / np.sqrt(t))


def spending_bounds(fractions: ArrayLike, *, alpha: float = 0.05, shape: Shape = "obrien-fleming") -> Floats:
    """Bounds on |Z| at each look that use up `alpha_spent` and no more.

    The looks need not be evenly spaced, nor known in advance: a bound depends on those before it alone.

    Args, Raises: As `alpha_spent`.

    Returns:
        Shape (K,).

    >>> spending_bounds([0.5, 1.0]).round(4).tolist()
    [2.9626, 1.9686]
    """
    t = _fractions(fractions)
    uses = np.diff(alpha_spent(t, alpha=alpha, shape=shape), prepend=0.0)
    walk = _Walk()
    found = np.empty(len(t))
    for look, (at, use) in enumerate(zip(t.tolist(), uses.tolist(), strict=True)):
        walk.go_to(at)
        found[look] = _root(lambda bound, now=at: walk.beyond(bound * math.sqrt(now)), use, high=_FAR)
        walk.stay_within(float(found[look]) * math.sqrt(at))
    return found


def constant_bounds(looks: int, *, alpha: float = 0.05, shape: Shape = "obrien-fleming") -> Floats:
    """The classical bounds of evenly spaced looks: C for all ("pocock"), or C sqrt(K / k) ("obrien-fleming").

    Args:
        looks: K, at least 1.
        alpha: Probability of a false difference over all looks, in (0, 1).
        shape: See `Shape`.

    Returns:
        Shape (K,); C is the last one.

    Raises:
        OutOfRange: An argument is out of range.

    Source: Pocock (1977), Biometrika 64, 191-199; O'Brien & Fleming (1979), Biometrics 35, 549-556.

    >>> [float(constant_bounds(5, shape=shape)[-1].round(4)) for shape in ("pocock", "obrien-fleming")]
    [2.4132, 2.0401]
    """
    if looks < 1:
        raise OutOfRange("looks", looks, "at least 1")
    check_open_unit("alpha", alpha)
    _check(shape)
    t = np.arange(1, looks + 1) / looks
    form = np.ones(looks) if shape == "pocock" else 1.0 / np.sqrt(t)
    return form * _root(lambda c: float(crossing_probs(c * form, t).sum()), alpha, high=20.0)


def crossing_probs(bounds: ArrayLike, fractions: ArrayLike, *, drift: float = 0.0) -> Floats:
    """Probability that each look is the first at which |Z| lies beyond its bound.

    Args:
        bounds: Bound on |Z| at each look, shape (K,), above 0.
        fractions: As for `alpha_spent`, shape (K,).
        drift: Mean of Z when all planned rows are there: the true difference over its standard error. 0 gives the rate
            of false differences; the sum of the result is then alpha, and otherwise the power.

    Returns:
        Shape (K,).

    Raises:
        OutOfRange: A bound is not above 0, or the fractions do not increase within (0, 1].
        LengthMismatch: There is not one bound for each look.

    Source: Armitage, McPherson & Rowe (1969), Journal of the Royal Statistical Society A 132, 235-244.

    >>> crossing_probs([1.959964, 1.959964], [0.5, 1.0]).round(4).tolist()
    [0.05, 0.0331]
    """
    t, b = _fractions(fractions), finite_vector(bounds, "bounds")
    same_length("bounds", b, len(t))
    if not bool((b > 0.0).all()):
        raise OutOfRange("bounds", b.tolist(), "above 0")
    walk = _Walk(drift)
    found = np.empty(len(t))
    for look, (at, edge) in enumerate(zip(t.tolist(), (b * np.sqrt(t)).tolist(), strict=True)):
        walk.go_to(at)
        found[look] = walk.beyond(edge)
        walk.stay_within(edge)
    return found


class _Walk:
    """Where sqrt(t) Z is, as weighted points, among the comparisons that have not ended."""

    def __init__(self, drift: float = 0.0) -> None:
        self._drift, self._at = drift, 0.0
        self._sd, self._mean = 0.0, np.zeros(1)
        self._points, self._mass = np.zeros(1), np.ones(1)

    def go_to(self, fraction: float) -> None:
        step = fraction - self._at
        self._at, self._sd, self._mean = fraction, math.sqrt(step), self._points + self._drift * step

    def beyond(self, edge: float) -> float:
        tails = normal_above((edge - self._mean) / self._sd) + normal_above((edge + self._mean) / self._sd)
        return float(self._mass @ tails)

    def stay_within(self, edge: float) -> None:
        edge = min(edge, 10.0)  # a walk of length 1 is never 10 away
        nodes, weights = _quadrature(2 + math.ceil(_NODES * edge / self._sd / 32))
        points = edge * nodes
        away = (points - self._mean[:, np.newaxis]) / self._sd
        density: Floats = self._mass @ np.exp(-0.5 * away * away) / (self._sd * math.sqrt(2.0 * math.pi))
        self._points, self._mass = points, edge * weights * density


@lru_cache(maxsize=64)
def _quadrature(size: int) -> tuple[Floats, Floats]:
    """Gauss's points on [-1, 1] and their weights, 32 times `size` of them."""
    nodes, weights = np.polynomial.legendre.leggauss(32 * size)
    return nodes, weights


def _root(falling: Callable[[float], float], level: float, *, high: float) -> float:
    """Where a falling function of a positive number passes `level`."""
    low = 0.0
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if falling(middle) > level else (low, middle)
    return high


def _fractions(values: ArrayLike) -> Floats:
    t = finite_vector(values, "fractions")
    if len(t) == 0:
        raise NothingToCount("fractions")
    if not (float(t[0]) > 0.0 and float(t[-1]) <= 1.0 and bool((np.diff(t) > 0.0).all())):
        raise OutOfRange("fractions", t.tolist(), "increasing, above 0 and at most 1")
    return t


def _check(shape: str) -> None:
    if shape not in ("obrien-fleming", "pocock"):
        raise OutOfRange("shape", shape, "'obrien-fleming' or 'pocock'")
