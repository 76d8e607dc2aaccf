"""A metric in each group of rows and on all the others, in one set of bootstrap draws.

The groups of a column are measured together: one pass over the rows and one matrix product, however many groups there
are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perennial.evaluate.answers import Floats, HeldOut, Ints
from perennial.evaluate.metrics import Metric
from perennial.models.facts.evaluation import Estimate
from perennial.stats.intervals import MIN_UNITS
from perennial.stats.tails import normal_tail

__all__ = ["Group", "Resamples", "estimate_of", "resampled_groups", "worse_groups"]


@dataclass(frozen=True)
class Group:
    """One group: the metric, the metric on all other rows, and how surely it is worse there (one-sided p-value)."""

    code: int
    rows: int
    value: Estimate
    rest: float | None
    p_value: float | None


@dataclass(frozen=True)
class Resamples:
    """Of k groups: metric as measured, shape (k,), and resampled, shape (resamples, k); the same on all other rows."""

    rows: Ints
    units: Ints
    value: Floats
    resampled: Floats
    rest: Floats
    rest_resampled: Floats


def resampled_groups(metric: Metric, on: HeldOut, codes: Ints, k: int) -> Resamples:
    """A metric of means in each of `k` groups of rows; `codes` in 0..k-1, shape (n,)."""
    assert metric.sums is not None
    draws = on.draws
    counts = np.bincount(codes, minlength=k)
    units = counts
    if on.clusters is not None:
        units = np.bincount(np.unique(draws.unit * k + codes) % k, minlength=k)
    sums = metric.sums(on.truth, on.answers, draws.group * k + codes, draws.groups * k)
    parts = sums.shape[1]
    sums = sums.reshape(draws.groups, k, parts)
    sizes = np.bincount(draws.group * k + codes, minlength=draws.groups * k).reshape(draws.groups, k).astype(np.float64)
    all_sums, all_sizes = draws.weights @ sums.sum(axis=1), draws.weights @ sizes.sum(axis=1)
    shape = (len(all_sizes), k)
    resampled, rest = np.empty(shape), np.empty(shape)
    drawn_sizes = draws.weights @ sizes
    for code in range(k):  # one at a time: the product for all groups and classes at once may not fit
        own = draws.weights @ sums[:, code, :]
        size = drawn_sizes[:, code : code + 1]
        with np.errstate(invalid="ignore", divide="ignore"):  # a resample without any row of a group is no number
            resampled[:, code] = metric.of_means(own / size)
            rest[:, code] = metric.of_means((all_sums - own) / (all_sizes[:, None] - size))
    whole, whole_sizes = sums.sum(axis=0), sizes.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = metric.of_means(whole / whole_sizes[:, None])
        others = metric.of_means((whole.sum(axis=0) - whole) / (len(codes) - whole_sizes)[:, None])
    return Resamples(counts, units, value, resampled, others, rest)


def worse_groups(metric: Metric, on: HeldOut, codes: Ints, k: int) -> list[Group]:
    """Each group that has rows, with its interval and the one-sided p-value of being worse than the rest."""
    found = resampled_groups(metric, on, codes, k)
    sign = -1.0 if metric.higher_is_better else 1.0
    groups: list[Group] = []
    for code in np.flatnonzero(found.rows):
        resampled, rest = found.resampled[:, code], found.rest_resampled[:, code]
        has_rest = found.rows[code] < len(codes)
        p_value = None
        if has_rest and min(found.units[code], len(codes) - found.rows[code]) >= MIN_UNITS:
            spread = float(np.nanstd(resampled - rest))
            gap = sign * float(found.value[code] - found.rest[code])
            p_value = _upper(gap / spread) if spread > 0 else (0.0 if gap > 0 else 1.0)
        groups.append(
            Group(
                code=int(code),
                rows=int(found.rows[code]),
                value=estimate_of(float(found.value[code]), resampled, int(found.units[code]), int(found.rows[code])),
                rest=float(found.rest[code]) if has_rest else None,
                p_value=p_value,
            )
        )
    return groups


def estimate_of(value: float, resampled: Floats, units: int, rows: int) -> Estimate:
    """A value with the percentile interval of its resamples; no interval below 20 units."""
    resampled = resampled[np.isfinite(resampled)]
    if units < MIN_UNITS or not len(resampled):
        return Estimate(value=value, low=None, high=None, rows=rows)
    low, high = (float(end) for end in np.quantile(resampled, [0.025, 0.975]))
    return Estimate(value=value, low=low, high=high, rows=rows)


def _upper(z: float) -> float:
    tail = normal_tail(abs(z)) / 2
    return tail if z > 0 else 1 - tail
