"""How much of a target columns explain: one by one, or all together.

Learned from training rows and measured on held-out ones. For numbers it is the share of the variance (R2), for labels
the share of their entropy (an estimate from below of the mutual information, over the entropy).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from perennial.evaluate.answers import Floats, Ints
from perennial.evaluate.leakage.suspicion import Sides

__all__ = ["BIN_ROWS", "explained_by", "explained_together", "floats"]

BINS = 100  # of a number: so fine that a copy of the target explains more than 0.99 of it
BIN_ROWS = 20  # at least, in each bin
JOINT_ROWS = 5000


def explained_by(sides: Sides, name: str) -> float:
    """Share of the target explained on held-out rows by one column, cut into bins on the training rows; at least 0."""
    train, test, y, z = sides.train[name], sides.test[name], sides.train_target, sides.test_target
    if train.dtype != test.dtype or train.dtype.is_nested():
        return 0.0
    bins, held, k = _binned(train, test)
    if sides.is_regression:
        prior = float(np.mean(y))
        counts = np.bincount(bins, minlength=k)
        means = (np.bincount(bins, y, k) + prior) / (counts + 1)
        return _share(float(np.mean((z - means[held]) ** 2)), float(np.mean((z - prior) ** 2)))
    classes = sides.labels
    prior_probs = (np.bincount(y, minlength=classes) + 0.5) / (len(y) + 0.5 * classes)
    table = np.bincount(bins * classes + y, minlength=k * classes).reshape(k, classes) + prior_probs
    table = table / table.sum(axis=1, keepdims=True)
    return _share(-float(np.mean(np.log(table[held, z]))), -float(np.mean(np.log(prior_probs[z]))))


def explained_together(sides: Sides, names: Sequence[str]) -> float:
    """The same share by all of these columns together: gradient boosting on at most 5,000 rows."""
    columns, held = [], []
    for name in names:
        train, test = sides.train[name], sides.test[name]
        if train.dtype != test.dtype or train.dtype.is_nested():
            continue
        if _is_measured(train):
            a, b = floats(train), floats(test)
        else:
            codes, other, k = _binned(train, test)
            # A category by the mean of what it stands for would leak; by how frequent it is, it cannot.
            shares = np.bincount(codes, minlength=k) + np.arange(k) / (10 * k)
            a, b = shares[codes].astype(np.float64), shares[other].astype(np.float64)
        columns.append(a)
        held.append(b)
    if not columns:
        return 0.0
    y = sides.train_target
    some = np.unique(np.linspace(0, len(y) - 1, min(len(y), JOINT_ROWS)).astype(np.int64))
    with threadpool_limits(1):  # so few rows are slower with more, and ten times so on a busy machine
        return _boosted(sides, np.column_stack(columns)[some], y[some], np.column_stack(held))


def _boosted(sides: Sides, x: Floats, y: NDArray[Any], x_held: Floats) -> float:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    z = sides.test_target
    if sides.is_regression:
        model = HistGradientBoostingRegressor(max_iter=60, random_state=0).fit(x, y)
        whole = float(np.mean((z - np.mean(sides.train_target)) ** 2))
        return _share(float(np.mean((z - model.predict(x_held)) ** 2)), whole)
    if len(np.unique(y)) < 2:
        return 0.0
    classifier = HistGradientBoostingClassifier(max_iter=60, random_state=0).fit(x, y)
    counts = np.bincount(sides.train_target, minlength=sides.labels)
    prior = (counts + 0.5) / (len(sides.train_target) + 1)
    probs = cast("NDArray[np.float64]", classifier.predict_proba(x_held))
    at = {int(code): column for column, code in enumerate(classifier.classes_)}
    place = np.array([at.get(int(code), -1) for code in z])
    told = np.where(place >= 0, probs[np.arange(len(z)), place], 1e-3)
    return _share(-float(np.mean(np.log(np.maximum(told, 1e-6)))), -float(np.mean(np.log(prior[z]))))


def _share(left: float, whole: float) -> float:
    return max(0.0, 1 - left / whole) if whole > 0 else 0.0


def _is_measured(column: pl.Series) -> bool:
    return column.dtype.is_numeric() or column.dtype.is_temporal() or column.dtype == pl.Boolean


def _binned(train: pl.Series, test: pl.Series) -> tuple[Ints, Ints, int]:
    """Bins of equal mass of a number, with equal values in one bin, or the values of a category; missing apart."""
    if _is_measured(train):
        a, b = (floats(column) for column in (train, test))
        present = a[np.isfinite(a)]
        if not len(present):
            return np.zeros(len(a), np.int64), np.zeros(len(b), np.int64), 1
        values, counts = np.unique(present, return_counts=True)
        if len(values) <= BINS and counts.min() >= 2:
            edges = (values[1:] + values[:-1]) / 2
        else:
            parts = max(2, min(BINS, len(present) // BIN_ROWS))
            edges = np.unique(np.quantile(present, np.linspace(0, 1, parts + 1)[1:-1]))
        k = len(edges) + 2
        bins, held = (np.where(np.isnan(x), k - 1, np.searchsorted(edges, x, side="right")) for x in (a, b))
        return bins.astype(np.int64), held.astype(np.int64), k
    texts, others = (column.cast(pl.String, strict=False).fill_null("\1missing") for column in (train, test))
    names = texts.unique().sort()
    number = pl.Series(range(len(names)), dtype=pl.Int64)
    a_codes, b_codes = (
        one.replace_strict(names, number, default=len(names), return_dtype=pl.Int64).to_numpy()
        for one in (texts, others)
    )
    return a_codes, b_codes, len(names) + 1


def floats(column: pl.Series) -> Floats:
    """A column as numbers: moments as their count of units, missing values as NaN."""
    whole = column.to_physical() if column.dtype.is_temporal() else column
    return whole.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()
