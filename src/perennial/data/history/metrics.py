"""The metrics of one batch: sizes, shares, moments, and how far it is from the batch before.

All come out of a few passes of polars; what the next batch needs for comparison (bins, shares of categories, a sample
of row hashes) is kept with them, as JSON.
"""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import polars as pl
import polars.selectors as cs
from msgspec import Struct

from perennial.stats import l_infinity, psi, smooth_shares

__all__ = ["BatchMetrics", "measure"]

BINS = 10
TRIM = 0.05  # of the rows at either end have no part in the trimmed mean, which one outlier does not move
TOP = 50  # categories that are told apart; the rest are one
MAX_BASES = 500  # distinct values up to which a text column counts as categories
SKETCH = 256  # smallest row hashes that are kept: the overlap of two batches to some percent


class BatchMetrics(Struct, frozen=True, kw_only=True):
    """One batch. `values` maps "metric" or "metric(column)" to a number.

    `noise` is the standard deviation that a metric has by sampling alone. `bins` and `shares` describe the columns for
    the next batch, `hashes` the rows; `hashed_by` names what made them, since other versions hash otherwise.
    """

    rows: int
    values: dict[str, float]
    noise: dict[str, float]
    bins: dict[str, tuple[list[float], list[int]]]
    shares: dict[str, dict[str, int]]
    hashes: list[int]
    hashed_by: str


def measure(batch: pl.DataFrame, previous: BatchMetrics | None = None) -> BatchMetrics:
    """Measure one batch, and how far it is from the previous one.

    Args:
        batch: Rows as they were collected.
        previous: The batch before it; without one there are no metrics of distance.
    """
    rows = batch.height
    values: dict[str, float] = {"log rows": math.log1p(rows)}
    noise: dict[str, float] = {}
    hashes = batch.hash_rows(seed=0).unique() if rows else pl.Series([], dtype=pl.UInt64)
    repeated = values["share of repeated rows"] = 1.0 - len(hashes) / rows if rows else 0.0
    noise["share of repeated rows"] = _share_noise(repeated, rows)
    smallest = hashes.bottom_k(SKETCH).sort().to_list()
    if previous is not None and previous.hashed_by == _hashed_by():
        shared = values["share of rows of the batch before"] = _overlap(smallest, previous.hashes)
        noise["share of rows of the batch before"] = _share_noise(shared, min(rows, SKETCH))
    bins: dict[str, tuple[list[float], list[int]]] = {}
    shares: dict[str, dict[str, int]] = {}
    for name, found in _figures(batch).items():
        _add(values, noise, name, found, rows)
    for name in batch.select(cs.numeric()).columns:
        column = batch.get_column(name).cast(pl.Float64).drop_nulls().drop_nans()
        if previous is not None and name in previous.bins and previous.bins[name][1]:
            edges, before = previous.bins[name]
            _add_distance(values, noise, f"PSI to the batch before({name})", psi, before, _tally(column, edges))
        edges = _deciles(column)
        bins[name] = edges, _tally(column, edges)
    for name in batch.select(cs.string() | cs.categorical() | cs.boolean()).columns:
        _compare(name, _counts(batch.get_column(name)), l_infinity, "L-infinity", shares, values, noise, previous)
    for name in batch.select(cs.datetime()).columns:
        hours = _counts(batch.get_column(name).dt.hour())
        _compare(f"hour of {name}", hours, psi, "PSI", shares, values, noise, previous)
    return BatchMetrics(
        rows=rows, values=values, noise=noise, bins=bins, shares=shares, hashes=smallest, hashed_by=_hashed_by()
    )


def _figures(batch: pl.DataFrame) -> dict[str, dict[str, float]]:
    """For each column its figures by name, in one pass."""
    if not batch.height:
        return {}
    plan: list[pl.Expr] = []
    for name, kind in batch.schema.items():
        column = pl.col(name)
        figures: dict[str, pl.Expr] = {"missing": column.is_null().mean()}
        if kind.is_numeric():
            number = column.cast(pl.Float64).fill_nan(None)
            figures |= {
                "missing": number.is_null().mean(),
                "mean": number.mean(),
                "sd": number.std(),
                "median": number.median(),
                "trimmed mean": number.filter(
                    number.is_between(number.quantile(TRIM), number.quantile(1 - TRIM))
                ).mean(),
                "largest": number.max(),
                "smallest": number.min(),
                "zero": (number == 0).mean(),
                "negative": (number < 0).mean(),
            }
        elif kind.is_temporal() and kind.base_type() in (pl.Date, pl.Datetime):
            moment = column.cast(pl.Datetime("us")).cast(pl.Int64) / 86_400e6
            figures |= {"mean day": moment.mean(), "last day": moment.max(), "first day": moment.min()}
            if kind.base_type() == pl.Datetime:
                figures["mean hour"] = (moment % 1.0).mean() * 24.0
        elif kind == pl.String:
            figures |= {
                "distinct": column.n_unique() / pl.len(),
                "mean length": column.str.len_chars().mean(),
                "with digits": column.str.contains(r"\d").mean(),
                "empty": (column.str.strip_chars() == "").mean(),
            }
        elif kind == pl.Boolean:
            figures["true"] = column.mean()
        plan.append(pl.struct([value.alias(figure) for figure, value in figures.items()]).alias(name))
    row: dict[str, dict[str, Any]] = batch.select(plan).row(0, named=True)
    return {
        name: {figure: float(value) for figure, value in found.items() if value is not None and math.isfinite(value)}
        for name, found in row.items()
    }


def _add(values: dict[str, float], noise: dict[str, float], name: str, found: dict[str, float], rows: int) -> None:
    for figure, value in found.items():
        key = f"{figure}({name})"
        values[key] = value
        if figure in ("missing", "zero", "negative", "with digits", "empty", "true"):
            noise[key] = _share_noise(value, rows)
        elif figure == "mean" and "sd" in found:
            noise[key] = found["sd"] / math.sqrt(rows)
        elif figure == "median" and "sd" in found:
            noise[key] = 1.2533 * found["sd"] / math.sqrt(rows)  # of a normal sample


def _share_noise(share: float, rows: int) -> float:
    share = (share * rows + 1.0) / (rows + 2.0)  # a share of 0 in 100 rows is not known to be 0
    return math.sqrt(share * (1.0 - share) / max(rows, 1))


def _compare(
    name: str,
    counts: dict[str, int] | None,
    distance: Any,
    word: str,
    shares: dict[str, dict[str, int]],
    values: dict[str, float],
    noise: dict[str, float],
    previous: BatchMetrics | None,
) -> None:
    """Keep the counts of a column's categories, and add how far they are from those of the batch before."""
    if counts is None:
        return
    shares[name] = counts
    if previous is not None and (before := previous.shares.get(name)):
        keys = sorted(before.keys() | counts.keys())
        pair = [before.get(key, 0) for key in keys], [counts.get(key, 0) for key in keys]
        _add_distance(values, noise, f"{word} to the batch before({name})", distance, *pair)


def _add_distance(
    values: dict[str, float], noise: dict[str, float], key: str, distance: Any, before: list[int], now: list[int]
) -> None:
    if sum(before) and sum(now):
        # Distances are never negative and spread in proportion to their size: their logarithm is what looks normal.
        # Without any change PSI is chi-squared times 1/n + 1/m: its mean is added, so that 0 is not minus infinity.
        floor = max(len(now) - 1, 1) * (1.0 / sum(before) + 1.0 / sum(now))
        values[f"log {key}"] = math.log(float(distance(smooth_shares(before), smooth_shares(now))) + floor)
        noise[f"log {key}"] = math.sqrt(2.0 / max(len(now) - 1, 1)) / 2.0


def _deciles(column: pl.Series) -> list[float]:
    """Inner edges of bins with about equally many rows; none when there is no finite value."""
    data = column.filter(column.is_finite()).to_numpy()
    return np.unique(np.quantile(data, np.arange(1, BINS) / BINS)).tolist() if len(data) else []


def _tally(column: pl.Series, edges: list[float]) -> list[int]:
    """Rows in each of the bins between these edges."""
    data = column.filter(column.is_finite()).to_numpy()
    places = np.searchsorted(np.array(edges, dtype=np.float64), data, side="right")
    return cast("list[int]", np.bincount(places, minlength=len(edges) + 1).tolist())


def _counts(column: pl.Series) -> dict[str, int] | None:
    """Rows of the most frequent values, the rest as one; None when there are too many to be categories."""
    counted = column.cast(pl.String).drop_nulls().value_counts(sort=True, name="rows")
    if not counted.height or counted.height > MAX_BASES:
        return None
    top = dict(
        zip(counted.to_series(0).head(TOP).to_list(), counted.get_column("rows").head(TOP).to_list(), strict=True)
    )
    rest = int(counted.get_column("rows").sum()) - sum(top.values())
    return top | ({"\1other": rest} if rest else {})


def _overlap(now: list[int], before: list[int]) -> float:
    """The share of rows of this batch that were in the other one, from the smallest hashes of both."""
    if not now or not before:
        return 0.0
    reach = min(now[-1], before[-1]) if len(now) == len(before) == SKETCH else max(now[-1], before[-1])
    some = [value for value in now if value <= reach]
    return len(set(some) & set(before)) / len(some) if some else 0.0


def _hashed_by() -> str:
    return f"polars {pl.__version__}"
