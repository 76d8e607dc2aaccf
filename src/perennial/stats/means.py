"""How well a mean is known: exact, fixed-size intervals and sequences that hold however often one looks.

For shares, Clopper-Pearson; for values in [0, 1], empirical-Bernstein and betting confidence sequences; for unbounded
values from about 100 rows on, the asymptotic confidence sequence. `upper_bound` gives the bound that `edetector` bets
against.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Floats, check_open_unit, unit_vector
from perennial.stats.errors import NothingToCount, OutOfRange
from perennial.stats.results import Interval
from perennial.stats.tails import beta_quantile

__all__ = [
    "Band",
    "asymptotic_half_width",
    "asymptotic_interval",
    "asymptotic_rho",
    "betting_interval",
    "clopper_pearson",
    "empirical_bernstein_sequence",
    "upper_bound",
]

MIN_ASYMPTOTIC: Final = 100  # rows before the asymptotic sequence is trusted; below, its interval is unbounded
_STAKE_CAP: Final = 0.5  # c of the source: no bet risks more than half of the wealth
_BISECTIONS: Final = 50  # halvings of [0, 1]: the ends are exact to 1e-15


class Band(NamedTuple):
    """Running interval ends, shape (T,) each: entry t rests on the first t + 1 values."""

    low: Floats
    high: Floats


def clopper_pearson(successes: int, trials: int, *, alpha: float = 0.05) -> Interval:
    """Exact interval for a share from `successes` of `trials`, looked at once.

    Ends are the alpha/2 quantile of Beta(k, n - k + 1) and the 1 - alpha/2 quantile of Beta(k + 1, n - k). Each end
    alone is a one-sided bound at 1 - alpha/2.

    Args:
        successes: k, 0 <= k <= n.
        trials: n, >= 1.
        alpha: Probability of missing the true share, at most.

    Raises:
        OutOfRange: The counts or alpha are out of range.

    Source: Clopper & Pearson (1934), Biometrika 26, 404-413.

    >>> interval = clopper_pearson(200, 1000)
    >>> round(interval.low, 4), round(interval.high, 4)
    (0.1756, 0.2262)
    """
    check_open_unit("alpha", alpha)
    if trials < 1:
        raise OutOfRange("trials", trials, "at least 1")
    if not 0 <= successes <= trials:
        raise OutOfRange("successes", successes, f"between 0 and trials ({trials})")
    failures = trials - successes
    return Interval(
        low=beta_quantile(alpha / 2.0, successes, failures + 1.0) if successes else 0.0,
        high=beta_quantile(1.0 - alpha / 2.0, successes + 1.0, failures) if failures else 1.0,
        estimate=successes / trials,
        level=1.0 - alpha,
        n=trials,
        method="clopper-pearson",
    )


def empirical_bernstein_sequence(values: ArrayLike, *, alpha: float = 0.05) -> Band:
    """Interval for the mean of values in [0, 1] after each value; all of them hold at once with probability 1 - alpha.

    Predictable plug-in empirical Bernstein: sum(l_i x_i)/sum(l_i) +- (ln(2/alpha) + sum(v_i psi_i))/sum(l_i), with
    stakes l_t = min(sqrt(2 ln(2/alpha) / (var_{t-1} t ln(1 + t))), 1/2), v_i = 4 (x_i - mean_{i-1})^2 and
    psi_i = (-ln(1 - l_i) - l_i)/4. Closed form, so cheap at every t; `betting_interval` is tighter. The mean must be
    the same given the past (independent rows, or a random order of fixed ones).

    Args:
        values: shape (T,), in [0, 1], in order of arrival.
        alpha: Probability of ever missing the mean, at most.

    Raises:
        OutOfRange: A value is outside [0, 1].
        NothingToCount: There is no value.

    Source: Waudby-Smith & Ramdas (2024), JRSS B 86, 1-27, theorem 2.

    >>> band = empirical_bernstein_sequence([float(i % 5 == 0) for i in range(1000)])
    >>> round(float(band.low[-1]), 4), round(float(band.high[-1]), 4)
    (0.1529, 0.2504)
    """
    x = _some_unit_values(values)
    check_open_unit("alpha", alpha)
    stakes, earlier_mean = _stakes(x, alpha)
    stakes = np.minimum(stakes, _STAKE_CAP)
    spread = (x - earlier_mean) ** 2 * (-np.log1p(-stakes) - stakes)
    total: Floats = np.cumsum(stakes)
    centre = np.cumsum(stakes * x) / total
    half = (math.log(2.0 / alpha) + np.cumsum(spread)) / total
    return Band(np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0))


def betting_interval(values: ArrayLike, *, alpha: float = 0.05, is_final: bool = False) -> Interval:
    """Interval for the mean of values in [0, 1] from hedged betting; may be recomputed at any time while rows arrive.

    Holds every m with max(prod(1 + a_i (x_i - m)), prod(1 - b_i (x_i - m)))/2 < 1/alpha, where a_i = min(l_i, 1/(2m)),
    b_i = min(l_i, 1/(2(1 - m))) and l_i as in `empirical_bernstein_sequence` without the cap. The first product falls
    in m and the second rises, so each end is found by bisection and no grid is needed. Each end alone is a one-sided
    bound at 1 - alpha/2.

    Args:
        values: shape (n,), in [0, 1], in order of arrival.
        alpha: Probability of ever missing the mean, at most.
        is_final: Nobody looks before all rows are there: l_i then has n in place of i ln(1 + i), which makes the
            interval narrower, by a quarter at some thousand rows; it holds only for this one look.

    Raises:
        OutOfRange: A value is outside [0, 1].
        NothingToCount: There is no value.

    Source: Waudby-Smith & Ramdas (2024), JRSS B 86, 1-27, theorem 3; for one look, their section 4.

    >>> interval = betting_interval([float(i % 5 == 0) for i in range(1000)])
    >>> round(interval.low, 3), round(interval.high, 3)
    (0.156, 0.25)
    """
    x = _some_unit_values(values)
    check_open_unit("alpha", alpha)
    stakes, _ = _stakes(x, alpha, is_final=is_final)
    limit = math.log(2.0 / alpha)

    def is_too_low(m: float) -> bool:
        bets = np.minimum(stakes, _STAKE_CAP / m)
        return float(np.sum(np.log1p(bets * (x - m)))) >= limit

    def is_too_high(m: float) -> bool:
        bets = np.minimum(stakes, _STAKE_CAP / (1.0 - m))
        return float(np.sum(np.log1p(-bets * (x - m)))) >= limit

    low = _bisect(is_too_low, 0.0, 1.0)
    high = _bisect(is_too_high, 1.0, 0.0)
    return Interval(
        low=low,
        high=high,
        estimate=float(np.mean(x)),
        level=1.0 - alpha,
        n=len(x),
        method="hedged betting",
        anytime=not is_final,
    )


def upper_bound(values: ArrayLike, *, level: float = 0.975, is_final: bool = False) -> Interval:
    """Upper confidence bound of the mean of values in [0, 1]; `high`, plus a tolerance, is the mu0 of an e-detector.

    Clopper-Pearson if all values are 0 or 1, hedged betting otherwise. `low` is 0: the bound is one-sided.

    Args:
        values: Reference values, shape (n,), in [0, 1]; rows the model was not trained on.
        level: Probability that the mean is at most `high`.
        is_final: See `betting_interval`.

    Raises:
        OutOfRange: A value is outside [0, 1].
        NothingToCount: There is no value.

    >>> round(upper_bound([float(i % 5 == 0) for i in range(1000)]).high, 4)
    0.2262
    """
    x = _some_unit_values(values)
    check_open_unit("level", level)
    alpha = 2.0 * (1.0 - level)
    if alpha >= 1.0:
        raise OutOfRange("level", level, "above 0.5")
    if bool(np.all((x == 0.0) | (x == 1.0))):
        both = clopper_pearson(int(x.sum()), len(x), alpha=alpha)
    else:
        both = betting_interval(x, alpha=alpha, is_final=is_final)
    return Interval(
        low=0.0, high=both.high, estimate=both.estimate, level=level, n=both.n, method=both.method, anytime=both.anytime
    )


def asymptotic_rho(tuned_for: int, *, alpha: float = 0.05) -> float:
    """Scale that makes the asymptotic sequence tightest after `tuned_for` rows.

    rho^2 = (-2 ln alpha + ln(-2 ln alpha) + 1) / t.

    >>> round(asymptotic_rho(1000), 4)
    0.0937
    """
    check_open_unit("alpha", alpha)
    if tuned_for < 1:
        raise OutOfRange("tuned_for", tuned_for, "at least 1")
    spent = -2.0 * math.log(alpha)
    if spent <= 0.3:  # ln(spent) would make rho^2 negative: alpha above 0.86 is no confidence at all
        raise OutOfRange("alpha", alpha, "at most 0.86")
    return math.sqrt((spent + math.log(spent) + 1.0) / tuned_for)


def asymptotic_half_width(sd: float, n: int, *, tuned_for: int, alpha: float = 0.05) -> float:
    """Half-width of the asymptotic confidence sequence after n rows, in the unit of `sd`.

    sd * sqrt((n rho^2 + 1)/(n^2 rho^2) * ln((n rho^2 + 1)/alpha^2)).

    >>> round(asymptotic_half_width(0.4, 1000, tuned_for=1000), 4)
    0.0384
    """
    if n < 1:
        raise OutOfRange("n", n, "at least 1")
    if not 0.0 <= sd < math.inf:
        raise OutOfRange("sd", sd, "at least 0 and finite")
    rho2 = asymptotic_rho(tuned_for, alpha=alpha) ** 2
    inflated = n * rho2 + 1.0
    return sd * math.sqrt(inflated / (n * n * rho2) * math.log(inflated / alpha**2))


def asymptotic_interval(mean: float, sd: float, n: int, *, tuned_for: int, alpha: float = 0.05) -> Interval:
    """Interval for an unbounded mean that may be looked at any time from about 100 rows on.

    Needs three sums only (rows, values, squares), so it merges. Below 100 rows the interval is unbounded: the guarantee
    is asymptotic and does not hold there.

    Args:
        mean: Mean of the values so far.
        sd: Their standard deviation.
        n: Their number.
        tuned_for: Number of rows at which the interval is to be tightest, such as the planned size. Fix it in advance.
        alpha: Probability of ever missing the mean, for large samples.

    Source: Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas (2024), Annals of Statistics 52, 2613-2640.

    >>> asymptotic_interval(0.2, 0.4, 99, tuned_for=1000).high
    inf
    """
    half = asymptotic_half_width(sd, n, tuned_for=tuned_for, alpha=alpha) if n >= MIN_ASYMPTOTIC else math.inf
    return Interval(
        low=mean - half,
        high=mean + half,
        estimate=mean,
        level=1.0 - alpha,
        n=n,
        method="asymptotic confidence sequence",
        anytime=True,
    )


def _some_unit_values(values: ArrayLike) -> Floats:
    x = unit_vector(values, "values")
    if len(x) == 0:
        raise NothingToCount("values")
    return x


def _stakes(x: Floats, alpha: float, *, is_final: bool = False) -> tuple[Floats, Floats]:
    """Uncapped stakes and the running mean before each value; both use earlier values only."""
    t = np.arange(1, len(x) + 1)
    mean = (0.5 + np.cumsum(x)) / (t + 1)
    variance = (0.25 + np.cumsum((x - mean) ** 2)) / (t + 1)
    earlier_mean: Floats = np.concatenate(([0.5], mean[:-1]))
    earlier_variance: Floats = np.concatenate(([0.25], variance[:-1]))
    spread: Floats = np.asarray(np.full(len(x), len(x)) if is_final else t * np.log1p(t), dtype=np.float64)
    stakes: Floats = np.sqrt(2.0 * math.log(2.0 / alpha) / (earlier_variance * spread))
    return stakes, earlier_mean


def _bisect(is_outside: Callable[[float], bool], outer: float, inner: float) -> float:
    """Move `outer` (excluded end of the range) to the last point that is outside; errs on the wide side."""
    for _ in range(_BISECTIONS):
        middle = (outer + inner) / 2.0
        if is_outside(middle):
            outer = middle
        else:
            inner = middle
    return outer
