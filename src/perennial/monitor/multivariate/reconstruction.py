"""Reconstruction errors of tables: fitted once on a reference, then three sums for each window or shard.

Numbers and truth values are taken as they are, missing ones as the mean; texts by how frequent they are in the
reference, so that an unseen category counts as frequency 0. Moments are left out: time always moves on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial import stats
from perennial.errors import Invalid
from perennial.monitor.multivariate.encoding import is_number, is_text, numbers, texts

__all__ = ["Reconstruction", "fit_reconstruction"]

Floats = NDArray[np.float64]

VARIANCE = 0.65  # share of the variance that is kept
MAX_ROWS = 100_000  # of the reference, for the fit
MIN_ROWS = 50
FREQUENCIES = 1000  # categories a column whose frequency is kept; rarer ones count as unseen


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """Components of a reference, and how its rows become numbers.

    Attributes:
        columns: Names in the order of the components' columns.
        means: What stands for a missing number, by column.
        frequencies: Share of the reference rows by category, for each text column; "" under None is the missing ones.
        pca: Components.
        reference: Sums of the errors of reference rows by components fitted without them.
    """

    columns: tuple[str, ...]
    means: Mapping[str, float]
    frequencies: Mapping[str, Mapping[str, float]]
    missing: Mapping[str, float]
    pca: stats.Pca
    reference: stats.ErrorSums

    def errors(self, frame: pl.DataFrame) -> Floats:
        """Error of each row, shape (m,), at least 0.

        Raises:
            Invalid: A column is absent, or no longer a number or a text as it was.
        """
        return self.pca.errors(_matrix(frame, self.columns, self.means, self.frequencies, self.missing))

    def sums(self, frame: pl.DataFrame) -> stats.ErrorSums:
        """What is kept of a window; sums of windows and shards add up."""
        return stats.ErrorSums.of(self.errors(frame))

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` reads them back without loss."""
        return {
            "columns": list(self.columns),
            "means": dict(self.means),
            "frequencies": {name: dict(shares) for name, shares in self.frequencies.items()},
            "missing": dict(self.missing),
            "pca": self.pca.as_dict(),
            "reference": self.reference.as_dict(),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Reconstruction:
        """Read back what `as_dict` gave."""
        return cls(
            columns=tuple(record["columns"]),
            means=record["means"],
            frequencies=record["frequencies"],
            missing=record["missing"],
            pca=stats.Pca.from_dict(record["pca"]),
            reference=stats.ErrorSums(**record["reference"]),
        )


def fit_reconstruction(
    frame: pl.DataFrame, *, variance: float = VARIANCE, max_rows: int = MAX_ROWS, seed: int = 0
) -> Reconstruction | None:
    """Fit components on reference rows; their own errors are measured by halves, each by components of the other.

    Args:
        frame: Reference rows.
        variance: Share of the variance to keep.
        max_rows: Rows drawn for the fit.
        seed: Of the rows drawn and the halves.

    Returns:
        None where there is nothing to fit: fewer than 50 rows, or fewer than two columns that vary.
    """
    rng = np.random.default_rng(seed)
    rows = rng.permutation(frame.height)[:max_rows]
    kept = frame[np.sort(rows)]
    names = [one.name for one in kept.get_columns() if (is_number(one) or is_text(one)) and one.n_unique() > 1]
    if kept.height < MIN_ROWS or len(names) < 2:
        return None
    means = {name: _mean(numbers(kept[name])) for name in names if is_number(kept[name])}
    frequencies: dict[str, dict[str, float]] = {}
    missing: dict[str, float] = {}
    for name in names:
        if is_text(kept[name]):
            frequencies[name], missing[name] = _shares(texts(kept[name]))
    x = _matrix(kept, names, means, frequencies, missing)
    order = rng.permutation(len(x))
    halves = order[: len(x) // 2], order[len(x) // 2 :]
    if not all(bool((x[half].std(axis=0) > 0.0).any()) for half in halves):
        return None
    sums = [
        stats.ErrorSums.of(stats.fit_pca(x[fitted], variance=variance).errors(x[held]))
        for fitted, held in (halves, halves[::-1])
    ]
    return Reconstruction(
        columns=tuple(names),
        means=means,
        frequencies=frequencies,
        missing=missing,
        pca=stats.fit_pca(x, variance=variance),
        reference=sums[0] + sums[1],
    )


def _matrix(
    frame: pl.DataFrame,
    names: tuple[str, ...] | list[str],
    means: Mapping[str, float],
    frequencies: Mapping[str, Mapping[str, float]],
    missing: Mapping[str, float],
) -> Floats:
    columns: list[Floats] = []
    for name in names:
        if name not in frame.columns:
            raise Invalid(f"there is no column {name!r}", where=f"columns: {', '.join(frame.columns[:20])}")
        series = frame[name]
        if name in means:
            if not is_number(series) and series.dtype != pl.Null:
                raise Invalid(f"column {name!r} holds {series.dtype}, it held numbers in the reference")
            values = numbers(series)
            columns.append(np.where(np.isfinite(values), values, means[name]))
        else:
            shares = frequencies[name]
            told = texts(series).replace_strict(
                pl.Series(list(shares), dtype=pl.String),
                pl.Series(list(shares.values()), dtype=pl.Float64),
                default=0.0,
                return_dtype=pl.Float64,
            )
            columns.append(np.where(series.is_null().to_numpy(), missing[name], told.to_numpy()))
    return np.column_stack(columns)


def _mean(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else 0.0


def _shares(series: pl.Series) -> tuple[dict[str, float], float]:
    counts = series.drop_nulls().value_counts(sort=False)
    name = counts.columns[0]
    ranked = counts.sort("count", name, descending=[True, False]).head(FREQUENCIES)
    shares = {str(one): count / len(series) for one, count in zip(ranked[name], ranked["count"], strict=True)}
    return shares, series.null_count() / len(series)
