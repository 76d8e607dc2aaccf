"""How the answer moves with one feature: accumulated local effects, and partial dependence where there is no order.

Partial dependence sets a feature to a value in every row, whatever the other features are; where features go together
it asks the model about rows that do not exist. Accumulated local effects move each row only within its own small
interval, and add up the mean moves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from perennial.evaluate.explain.asked import Floats
from perennial.models.facts.explanation import Effect

__all__ = ["FEW_VALUES", "INTERVALS", "MAX_LEVELS", "accumulated", "partial_dependence"]

INTERVALS = 20
FEW_VALUES = 10  # a number with at most so many values gets its partial dependence as well
MAX_LEVELS = 20  # the most frequent categories

Answer = Callable[[pl.DataFrame], Floats]


def accumulated(answer: Answer, frame: pl.DataFrame, feature: str, *, of: str, intervals: int = INTERVALS) -> Effect:
    """First-order accumulated local effects of a number or a time, centred: their mean over the rows is 0.

    The feature's range is cut at observed quantiles z_0 < ... < z_K. In the interval (z_{k-1}, z_k] the effect rises
    by the mean of f(z_k, others) - f(z_{k-1}, others) over the rows in it. Rows where the feature is missing do not
    count.

    Args:
        answer: Gives one number for each row.
        frame: Rows as requests have them.
        feature: A column of numbers or times with at least two values.
        of: What the numbers are (`Effect.of`).
        intervals: K, at most; fewer where the feature has fewer values.

    Returns:
        `grid` and `effect` at z_0 ... z_K; `rows[k]` are the rows between `grid[k]` and `grid[k + 1]`.

    Source: Apley & Zhu (2020), Journal of the Royal Statistical Society B 82, 1059-1086.
    """
    rows = _with_value(frame, feature)
    values = rows[feature]
    order = values.to_physical().to_numpy()
    shares = np.linspace(0.0, 1.0, intervals + 1)
    edges = np.unique(np.quantile(order, shares, method="inverted_cdf"))
    place = np.clip(np.searchsorted(edges, order, side="left"), 1, len(edges) - 1)
    grid = pl.Series(feature, edges).cast(values.dtype)
    upper = answer(rows.with_columns(grid.gather(place)))
    lower = answer(rows.with_columns(grid.gather(place - 1)))
    counts = np.bincount(place - 1, minlength=len(edges) - 1)
    rises = np.bincount(place - 1, weights=upper - lower, minlength=len(edges) - 1) / np.maximum(counts, 1)
    effect = np.concatenate([[0.0], np.cumsum(rises)])
    centre = float(((effect[:-1] + effect[1:]) / 2.0) @ counts) / len(order)
    return Effect(
        feature=feature,
        kind="ale",
        of=of,
        grid=_told(grid),
        effect=(effect - centre).tolist(),
        rows=counts.tolist(),
    )


def partial_dependence(answer: Answer, frame: pl.DataFrame, feature: str, *, of: str, rows: int = 1000) -> Effect:
    """Mean answer with the feature set to each of its values in every row, centred over the rows' own values.

    Args:
        answer: As in `accumulated`.
        frame: As in `accumulated`.
        feature: A category, or a number with few values; of more than 20 the most frequent ones are taken.
        of: As in `accumulated`.
        rows: Rows, evenly spread, over which answers are averaged.

    Returns:
        `rows[k]` are the rows whose value is `grid[k]`.

    Source: Friedman (2001), Annals of Statistics 29, 1189-1232.
    """
    known = _with_value(frame, feature)
    counted = known[feature].value_counts(sort=True).head(MAX_LEVELS)
    counted = counted.sort(pl.col(feature).cast(pl.String) if not counted[feature].dtype.is_numeric() else feature)
    values, counts = counted[feature], counted["count"].to_numpy()
    spread = np.unique(np.linspace(0, frame.height - 1, min(rows, frame.height)).astype(np.int64))
    sample = frame[spread.tolist()]
    # One question for all values: a model's fixed cost per question is paid once.
    asked = pl.concat(
        [sample.with_columns(pl.lit(value, dtype=frame[feature].dtype).alias(feature)) for value in values]
    )
    means = answer(asked).reshape(len(values), sample.height).mean(axis=1)
    centre = float(means @ counts) / float(counts.sum())
    return Effect(
        feature=feature,
        kind="pdp",
        of=of,
        grid=_told(values),
        effect=(means - centre).tolist(),
        rows=counts.tolist(),
    )


def _with_value(frame: pl.DataFrame, feature: str) -> pl.DataFrame:
    known = pl.col(feature).is_not_null()
    if frame[feature].dtype.is_float():
        known &= pl.col(feature).is_not_nan()
    return frame.filter(known)


def _told(values: pl.Series) -> list[float | str]:
    if values.dtype.is_numeric():
        return [float(value) for value in values]
    listed: list[Any] = values.to_list()
    return [value.isoformat() if hasattr(value, "isoformat") else _text(value) for value in listed]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
