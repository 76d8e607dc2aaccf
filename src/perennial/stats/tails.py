"""Tail probabilities and quantiles the tests need, exact far into the tail, without loading `scipy.stats`.

`scipy.special` carries no types, so this is the only module that touches it.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from scipy import special

from perennial.stats.arrays import Floats
from perennial.stats.errors import OutOfRange

__all__ = [
    "beta_quantile",
    "binomial_above",
    "binomial_below",
    "kolmogorov_tail",
    "log_beta",
    "log_normal_tail",
    "noncentral_chi2_sf",
    "normal_above",
    "normal_quantile",
    "normal_tail",
    "student_above",
    "student_quantile",
    "student_tail",
]

# Poisson terms further than this many standard deviations from the largest one weigh less than 1e-22 together.
_REACH_SD = 10.0


def noncentral_chi2_sf(x: float, df: float, nc: float) -> float:
    """Probability that a noncentral chi-squared variable exceeds `x`.

    sf = sum_j Poisson(j; nc/2) * Q(df/2 + j, x/2), with Q the regularised upper incomplete gamma function. All terms
    are positive, so the far tail keeps its digits, where 1 - cdf (scipy.special.chndtr) rounds to 0 below 1e-16.

    Args:
        x: Point, >= 0.
        df: Degrees of freedom, > 0.
        nc: Noncentrality, >= 0; 0 is the central chi-squared distribution.

    Raises:
        OutOfRange: `df` is not positive, or `nc` is negative or not finite.

    Source: Johnson, Kotz & Balakrishnan (1995), Continuous Univariate Distributions 2, chapter 29.

    >>> round(noncentral_chi2_sf(16.918977604620448, df=9, nc=0), 6)
    0.05
    """
    if not df > 0.0:
        raise OutOfRange("df", df, "above 0")
    if not 0.0 <= nc < math.inf:
        raise OutOfRange("nc", nc, "at least 0 and finite")
    if x <= 0.0:
        return 1.0
    if nc == 0.0:
        return float(special.gammaincc(df / 2.0, x / 2.0))
    body = 1.0 - float(special.chndtr(x, df, nc))
    if body > 1e-3:  # there it keeps twelve digits, at a twentieth of the time
        return min(1.0, body)
    # The largest term sits near nc/2 in the body and near sqrt(nc*x)/2 in the upper tail.
    rate = nc / 2.0
    centre = max(rate, math.sqrt(nc * x) / 2.0)
    reach = _REACH_SD * math.sqrt(centre) + 50.0
    first = max(0, math.floor(centre - reach))
    j: Floats = np.arange(first, math.ceil(centre + reach) + 1, dtype=np.float64)
    log_weight: Floats = j * math.log(rate) - rate - special.gammaln(j + 1.0)
    upper: Floats = special.gammaincc(df / 2.0 + j, x / 2.0)
    return min(1.0, float(np.sum(np.exp(log_weight) * upper)))


def beta_quantile(prob: float, a: float, b: float) -> float:
    """The `prob` quantile of the Beta(a, b) distribution."""
    return float(special.betaincinv(a, b, prob))


def student_quantile(prob: float, df: float) -> float:
    """The `prob` quantile of Student's distribution.

    >>> round(student_quantile(0.975, 10), 4)
    2.2281
    """
    return float(special.stdtrit(df, prob))


def student_tail(distance: float, df: float) -> float:
    """Probability that a Student variable is further from 0 than `distance` >= 0, on either side."""
    return 2.0 * float(special.stdtr(df, -distance))


def student_above(value: float, df: float) -> float:
    """Probability that a Student variable lies above `value`."""
    return float(special.stdtr(df, -value))


def binomial_below(successes: int, trials: int, prob: float) -> float:
    """Probability of at most `successes` in `trials`."""
    return float(special.bdtr(successes, trials, prob))


def kolmogorov_tail(value: float) -> float:
    """Probability that a Brownian bridge ever is further from 0 than `value`: the law of KS D / sqrt(1/n + 1/m).

    >>> round(kolmogorov_tail(1.3581), 4)
    0.05
    """
    return float(special.kolmogorov(value))


def binomial_above(successes: int, trials: int, prob: float) -> float:
    """Probability of at least `successes` in `trials`, with its digits far into the tail.

    >>> round(binomial_above(10, 10, 0.5) * 1024, 9)
    1.0
    """
    return float(special.bdtrc(successes - 1, trials, prob)) if successes > 0 else 1.0


def log_normal_tail(z: float) -> float:
    """Natural logarithm of the probability that a standard normal variable exceeds `z`, also where that rounds to 0.

    >>> round(log_normal_tail(40.0), 3)
    -804.608
    """
    return float(special.log_ndtr(-z))


def normal_tail(distance: float) -> float:
    """Probability that a standard normal variable is further from 0 than `distance` >= 0, on either side.

    >>> round(normal_tail(1.959964), 6)
    0.05
    """
    return math.erfc(distance / math.sqrt(2.0))


def log_beta(a: float, b: float) -> float:
    """Natural logarithm of the beta function, ln B(a, b)."""
    return float(special.betaln(a, b))


def normal_quantile(prob: float) -> float:
    """The `prob` quantile of the standard normal distribution."""
    return NormalDist().inv_cdf(prob)


def normal_above(values: Floats) -> Floats:
    """Probability that a standard normal variable exceeds each of `values`, with its digits far into the tail.

    >>> normal_above(np.array([0.0, 1.644854])).round(6).tolist()
    [0.5, 0.05]
    """
    found: Floats = special.ndtr(-values)
    return found
