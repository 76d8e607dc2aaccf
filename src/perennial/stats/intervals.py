"""Bootstrap interval of a metric that is a function of row means.

RMSE is the root of the mean squared error, accuracy the mean of hits, F1 a function of three means: pass the per-row
values and the function. Metrics that need ranks (AUC) are not of this kind and not handled here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Floats, check_open_unit
from perennial.stats.errors import OutOfRange
from perennial.stats.resampling import RESAMPLES, resample_means
from perennial.stats.results import Interval

__all__ = ["bootstrap_interval", "first_mean", "percentile_interval", "root_mean"]

MIN_UNITS: Final = 20  # below this many independent units percentiles are too narrow to be shown as an interval

MetricOfMeans = Callable[[Floats], Floats]


def first_mean(means: Floats) -> Floats:
    """The mean itself: MAE from absolute errors, accuracy from hits, log loss from per-row losses."""
    return means[..., 0]


def root_mean(means: Floats) -> Floats:
    """Square root of the mean: RMSE from squared errors."""
    return np.sqrt(means[..., 0])


def bootstrap_interval(
    rows: ArrayLike,
    metric: MetricOfMeans = first_mean,
    *,
    clusters: ArrayLike | None = None,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of `metric(means of rows)`.

    Args:
        rows: Per-row values the metric averages, shape (n,) or (n, k); for example squared errors.
        metric: Maps means, shape (..., k), to metric values, shape (...). Applied to all resamples at once.
        clusters: Identifier per row; clusters instead of rows are resampled. Give it whenever rows of one entity or day
            resemble each other, or the interval is too narrow.
        confidence: Coverage probability.
        resamples: Number of resamples.
        seed: Equal seeds give equal intervals.

    Returns:
        Interval with `n` the number of independent units; unbounded if that is below 20.

    Raises:
        OutOfRange: A value is not finite, or a setting is out of range.
        LengthMismatch: `clusters` differs in length from `rows`.
        NothingToCount: There is no row.

    Source: Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 13.

    >>> squared_errors = np.random.default_rng(0).normal(size=2000) ** 2
    >>> interval = bootstrap_interval(squared_errors, root_mean)
    >>> interval.low < 1.0 < interval.high
    True
    """
    check_open_unit("confidence", confidence)
    table = _table(rows)
    drawn = resample_means(table, clusters=clusters, resamples=resamples, seed=seed)
    return percentile_interval(
        float(metric(drawn.means)), metric(drawn.resampled), units=drawn.units, confidence=confidence
    )


def percentile_interval(estimate: float, resampled: Floats, *, units: int, confidence: float) -> Interval:
    """Interval between the (1 - confidence)/2 quantiles of resampled values; unbounded below 20 units."""
    tail = (1.0 - confidence) / 2.0
    low, high = (float(end) for end in np.quantile(resampled, [tail, 1.0 - tail]))
    if units < MIN_UNITS:
        low, high = -np.inf, np.inf
    return Interval(low=low, high=high, estimate=estimate, level=confidence, n=units, method="percentile bootstrap")


def _table(rows: ArrayLike) -> Floats:
    table: Floats = np.asarray(rows, dtype=np.float64)
    if table.ndim == 1:
        table = table[:, np.newaxis]
    if table.ndim != 2:
        raise OutOfRange("rows", f"of shape {table.shape}", "of shape (n,) or (n, k)")
    if not bool(np.isfinite(table).all()):
        raise OutOfRange("rows", "not finite", "finite", remedy="drop or impute rows without a value")
    return table
