"""How far predicted probabilities (or numbers) are what comes true.

Rows are put into ten bins of equal mass by what was predicted; in each, the mean prediction stands beside what was
observed, with its interval.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from perennial import stats
from perennial.evaluate.answers import Floats, HeldOut
from perennial.models.facts.evaluation import Calibration, CalibrationBin
from perennial.stats.resampling import Draws

__all__ = ["MIN_ROWS", "brier_parts", "calibration"]

BINS = 10
MIN_ROWS = 100  # ten rows a bin


def calibration(task: str, on: HeldOut) -> list[Calibration]:
    """Of the positive class where there are two, of the most probable class where there are more, of the number else.

    Empty where the model gives no probabilities, or there are fewer than 100 rows.
    """
    if len(on) < MIN_ROWS:
        return []
    if task == "regression":
        return [_table("prediction", on.answers.prediction, on.truth, on.draws, exact=False)]
    table = on.answers.probabilities
    if table is None:
        return []
    is_exact = on.clusters is None
    if on.answers.positive is not None:
        positive = on.answers.positive
        hits = (on.truth == positive).astype(np.float64)
        return [_table(on.answers.classes[positive], table[:, positive], hits, on.draws, exact=is_exact)]
    top = table.argmax(axis=1)
    confidence = table[np.arange(len(on)), top]
    return [_table("most probable class", confidence, (top == on.truth).astype(np.float64), on.draws, exact=is_exact)]


def brier_parts(predicted: Floats, hits: Floats, bins: NDArray[np.int64]) -> dict[str, float]:
    """Mean squared error of probabilities = reliability - resolution + uncertainty + within_bins.

    The last part is what remains of predictions that differ inside a bin: mean of (p - mean p)^2 - 2 (p - mean p)
    (hit - mean hit); 0 where each bin holds one value.

    Source: Murphy (1973), Journal of Applied Meteorology 12, 595-600; the part within bins as Stephenson, Coelho &
    Jolliffe (2008), Weather and Forecasting 23, 752-757.
    """
    counts = np.bincount(bins)
    share = counts / len(bins)
    p = np.bincount(bins, predicted) / np.maximum(counts, 1)
    y = np.bincount(bins, hits) / np.maximum(counts, 1)
    base = float(hits.mean())
    apart, off = predicted - p[bins], hits - y[bins]
    return {
        "brier": float(((predicted - hits) ** 2).mean()),
        "reliability": float((share * (p - y) ** 2).sum()),
        "resolution": float((share * (y - base) ** 2).sum()),
        "uncertainty": base * (1 - base),
        "within_bins": float((apart**2).mean() - 2 * (apart * off).mean()),
    }


def _table(of: str, predicted: Floats, observed: Floats, draws: Draws, *, exact: bool) -> Calibration:
    """`exact`: the observed are hits of independent rows, whose share has an exact interval."""
    edges = np.unique(np.quantile(predicted, np.linspace(0, 1, BINS + 1)[1:-1]))
    bins = np.searchsorted(edges, predicted, side="right").astype(np.int64)
    kept = np.flatnonzero(np.bincount(bins))
    bins = np.searchsorted(kept, bins)
    k = len(kept)
    counts = np.bincount(bins, minlength=k)
    p, y = np.bincount(bins, predicted) / counts, np.bincount(bins, observed) / counts
    rows: list[CalibrationBin] = []
    ends = _exact(counts, np.bincount(bins, observed)) if exact else _drawn(bins, k, observed, draws)
    for code in range(k):
        inside = predicted[bins == code]
        rows.append(
            CalibrationBin(
                low=float(inside.min()),
                high=float(inside.max()),
                rows=int(counts[code]),
                predicted=float(p[code]),
                observed=float(y[code]),
                observed_low=min(float(ends[code][0]), float(y[code])),
                observed_high=max(float(ends[code][1]), float(y[code])),
            )
        )
    error = float((counts * np.abs(p - y)).sum() / counts.sum())
    is_share = of != "prediction"
    return Calibration(
        of=of, bins=rows, error=error, parts=brier_parts(predicted, observed, bins) if is_share else None
    )


def _exact(counts: NDArray[np.int64], hits: NDArray[Any]) -> list[tuple[float, float]]:
    found = [stats.clopper_pearson(round(hit), int(count), alpha=0.05) for hit, count in zip(hits, counts, strict=True)]
    return [(one.low, one.high) for one in found]


def _drawn(bins: NDArray[np.int64], k: int, observed: Floats, draws: Draws) -> list[tuple[float, float]]:
    cell = draws.group * k + bins
    sums = np.bincount(cell, observed, draws.groups * k).reshape(draws.groups, k)
    sizes = np.bincount(cell, minlength=draws.groups * k).reshape(draws.groups, k).astype(np.float64)
    with np.errstate(invalid="ignore"):
        means = (draws.weights @ sums) / (draws.weights @ sizes)
    low, high = np.nanquantile(means, [0.025, 0.975], axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))
