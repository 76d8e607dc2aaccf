"""The reference profile of a model: what its inputs, features and predictions looked like when it was made.

Monitoring compares windows of production with these counts (`reference.json`): columns as the training rows had them;
predictions and losses on held-out rows, because a model's answers on rows it was trained on flatter it.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import polars as pl
from msgspec import Struct

from perennial.stats.bins import Bins, CategoryBins, NumericBins, bins_from_dict

__all__ = ["Losses", "Profile", "Reference", "count", "losses", "profile", "reference"]

MAX_LOSSES = 2000  # enough for the 99.5 % quantile that scales a detector
DIGITS = 12  # significant digits of stored losses


class Profile(Struct, frozen=True, kw_only=True):
    """One column: its bins as `stats.bins` writes them, and the reference counts in their order."""

    bins: dict[str, Any]
    counts: list[int]


class Losses(Struct, frozen=True, kw_only=True):
    """Loss per held-out row, in row order: squared error ("squared") or 1 for a wrong label ("zero_one").

    `residuals` is truth minus answer in the same order, for a regression. `n` rows were held out; of more than
    `MAX_LOSSES`, evenly spaced ones are kept.
    """

    form: str
    n: int
    losses: list[float]
    residuals: list[float] | None = None


class Reference(Struct, frozen=True, kw_only=True):
    """`reference.json`. Times and bytes have no profile."""

    format: int = 1
    rows: int
    inputs: dict[str, Profile]
    columns: dict[str, Profile]
    prediction: Profile
    losses: Losses | None


def reference(
    raw: pl.DataFrame, x: pl.DataFrame, predicted: pl.Series, actual: pl.Series | None, *, task: str
) -> Reference:
    """Profile training inputs and model columns, and held-out predictions with their losses.

    Args:
        raw: Training rows as requests have them.
        x: The same rows as the model sees them.
        predicted: Held-out predictions.
        actual: Held-out targets, in the same order; None where they are not known.
        task: "regression" or "classification".
    """
    return Reference(
        rows=raw.height,
        inputs=_profiles(raw),
        columns=_profiles(x),
        prediction=_required(predicted, as_text=task == "classification"),
        losses=None if actual is None else losses(predicted, actual, task=task),
    )


def profile(series: pl.Series, *, as_text: bool = False) -> Profile | None:
    """Bins at the column's own quantiles or most frequent values, with counts; None for times and bytes."""
    if as_text or _is_text(series):
        bins: Bins = CategoryBins.from_reference(_texts(series))
    elif series.dtype.is_numeric() or series.dtype == pl.Boolean:
        bins = NumericBins.from_reference(_numbers(series))
    else:
        return None
    return Profile(bins=cast("dict[str, Any]", bins.as_dict()), counts=count(bins, series).tolist())


def count(bins: Bins | Profile, series: pl.Series) -> np.ndarray[Any, Any]:
    """How many values of a window fall into each bin."""
    fixed = bins_from_dict(bins.bins) if isinstance(bins, Profile) else bins
    if isinstance(fixed, CategoryBins):
        tally = series.cast(pl.String()).alias("value").value_counts(name="rows")
        return fixed.count_distinct(tally["value"].to_list(), tally["rows"].to_numpy())
    return fixed.count(_numbers(series))


def losses(predicted: pl.Series, actual: pl.Series, *, task: str) -> Losses:
    """What the model got wrong on held-out rows."""
    n = len(actual)
    kept = np.unique(np.linspace(0, n - 1, min(n, MAX_LOSSES)).round().astype(np.int64))
    predicted, actual = predicted[kept], actual[kept]
    if task == "regression":
        residuals = _numbers(actual) - _numbers(predicted)
        return Losses(form="squared", n=n, losses=_rounded(residuals**2), residuals=_rounded(residuals))
    wrong = [float(a != b) for a, b in zip(_texts(predicted), _texts(actual), strict=True)]
    return Losses(form="zero_one", n=n, losses=wrong)


def _profiles(frame: pl.DataFrame) -> dict[str, Profile]:
    found = {series.name: profile(series) for series in frame.get_columns()}
    return {name: made for name, made in found.items() if made is not None}


def _required(series: pl.Series, *, as_text: bool) -> Profile:
    made = profile(series, as_text=as_text)
    assert made is not None  # predictions are numbers or are counted as text
    return made


def _is_text(series: pl.Series) -> bool:
    return series.dtype == pl.String or isinstance(series.dtype, pl.Enum | pl.Categorical)


def _texts(series: pl.Series) -> list[str | None]:
    return cast("list[str | None]", series.cast(pl.String()).to_list())


def _numbers(series: pl.Series) -> np.ndarray[Any, Any]:
    return series.cast(pl.Float64()).to_numpy()  # null becomes NaN


def _rounded(values: np.ndarray[Any, Any]) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in values.tolist()]
