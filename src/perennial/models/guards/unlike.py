"""How far a row of numbers is from the rows of training, as one score that conformal p-values are counted from.

`mahalanobis`: from their middle, by a shrunk covariance; one product of matrices, and it sees relations of columns that
are broken. `nearest`: to the tenth nearest of them; it sees what lies between what is known, as a letter lies between
digits, and costs a product with all of them. Numbers of one unit, as pixels are, keep it: scaled one by one, a pixel
that is nearly always black would outweigh all others.

Sources: Lee, Lee, Lee & Shin (2018), NeurIPS 31; Ledoit & Wolf (2004), J. Multivariate Analysis 88, 365-411; Sun, Ming,
Zhu & Li (2022), Out-of-Distribution Detection with Deep Nearest Neighbors, ICML.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from perennial.errors import DataError
from perennial.models.guards.conformal import MAX_SCORES, kept

__all__ = ["MAX_WIDTH", "NEIGHBOURS", "Method", "calibrate", "fit", "looks_of_one_unit", "scores"]

Floats = NDArray[np.floating[Any]]
Method = Literal["mahalanobis", "nearest"]

NEIGHBOURS = 10
FOLDS = 10
MAX_ROWS = 20_000
MAX_WIDTH = 1024  # numbers of a row that a covariance is fitted to
MAX_REFERENCE_BYTES = 64 * 1024 * 1024
CHUNK = 512  # rows whose distances to all others are held at once
MANY = 16  # columns from which equal ranges are no accident
SHARED = 0.25


def looks_of_one_unit(matrix: Floats) -> bool:
    """Whether columns look measured in one unit: of 16 or more, a quarter of those that vary have the same range."""
    low, high = matrix.min(axis=0), matrix.max(axis=0)
    varies = high > low
    if varies.sum() < MANY:
        return False
    _, counts = np.unique(np.column_stack([low[varies], high[varies]]), axis=0, return_counts=True)
    return bool(counts.max() >= SHARED * varies.sum())


def fit(matrix: Floats, method: Method, *, same_unit: bool) -> dict[str, Floats]:
    """The arrays that `scores` needs.

    Args:
        matrix: Rows, shape (n, k), without NaN.
        method: How to tell.
        same_unit: Scale all columns by one number.

    Raises:
        DataError: There are too few rows, or too many columns for a covariance.
    """
    if len(matrix) <= NEIGHBOURS:
        raise DataError(f"{len(matrix)} rows do not tell what is usual", remedy="collect more rows")
    center = matrix.mean(axis=0)
    spread = matrix.std(axis=0)
    scale = np.full_like(spread, np.sqrt((spread**2).mean())) if same_unit else spread
    scale = np.where(scale > 0, scale, np.abs(center).clip(1e-6))  # a constant: any other value is far
    scaled = (matrix - center) / scale
    if method == "nearest":
        rows = min(len(scaled), MAX_ROWS, max(NEIGHBOURS + 1, MAX_REFERENCE_BYTES // (4 * scaled.shape[1])))
        reference = scaled[:rows].astype(np.float32)
        norms = np.einsum("ij,ij->i", reference, reference)
        return {"center": center, "scale": scale, "reference": reference, "norms": norms}
    if matrix.shape[1] > MAX_WIDTH:
        raise DataError(
            f"a covariance of {matrix.shape[1]} numbers is too large",
            remedy='name fewer columns, or say guard.unforeseen(method="nearest")',
        )
    from sklearn.covariance import ledoit_wolf

    covariance = np.asarray(ledoit_wolf(scaled)[0], dtype=np.float64)
    # A column that hardly varies would otherwise make the inverse explode.
    covariance += 1e-6 * np.trace(covariance) / len(covariance) * np.eye(len(covariance)) + 1e-12 * np.eye(
        len(covariance)
    )
    whiten = np.linalg.cholesky(np.linalg.inv(covariance)).T / scale
    return {"center": center, "scale": scale, "whiten": np.ascontiguousarray(whiten)}


def scores(arrays: Mapping[str, Floats], matrix: Floats, *, without_itself: bool = False) -> NDArray[np.float64]:
    """Of each row, shape (n,); `without_itself` where the rows are the reference ones, in its order."""
    if "whiten" in arrays:
        whitened = (matrix - arrays["center"]) @ arrays["whiten"].T
        return np.einsum("ij,ij->i", whitened, whitened)
    reference, norms = arrays["reference"], arrays["norms"]
    scaled = ((matrix - arrays["center"]) / arrays["scale"]).astype(np.float32)
    found = np.empty(len(matrix), dtype=np.float64)
    for start in range(0, len(matrix), CHUNK):
        part = scaled[start : start + CHUNK]
        distances = norms - 2 * (part @ reference.T) + np.einsum("ij,ij->i", part, part)[:, None]
        if without_itself:
            distances[np.arange(len(part)), start + np.arange(len(part))] = np.inf
        found[start : start + CHUNK] = np.partition(distances, NEIGHBOURS - 1, axis=1)[:, NEIGHBOURS - 1]
    return np.sqrt(np.maximum(found, 0.0))


def calibrate(
    matrix: Floats, method: Method, *, same_unit: bool, seed: int = 0
) -> tuple[dict[str, Floats], NDArray[np.float64], bool]:
    """Fit, and the sorted scores of rows that were not fitted to; whether these make p-values exact.

    Of twenty thousand rows and more ten thousand are kept from the fit, and p-values of new rows like them are exact.
    Of fewer each row is scored by a fit on nine tenths of the others, or by all but itself (nearest): new rows, scored
    by the fit on all, then score a little lower than these, so that p-values err to the large side.
    """
    order = np.random.default_rng(seed).permutation(len(matrix))
    if len(matrix) >= 2 * MAX_SCORES:
        arrays = fit(matrix[order[MAX_SCORES:][:MAX_ROWS]], method, same_unit=same_unit)
        return arrays, kept(scores(arrays, matrix[order[:MAX_SCORES]])), True
    shuffled = matrix[order]
    arrays = fit(shuffled, method, same_unit=same_unit)
    if method == "nearest":
        reference = shuffled[: len(arrays["reference"])]
        return arrays, kept(scores(arrays, reference, without_itself=True)), False
    found = np.empty(len(shuffled))
    for fold in range(FOLDS):
        out = np.arange(len(shuffled)) % FOLDS == fold
        found[out] = scores(fit(shuffled[~out], method, same_unit=same_unit), shuffled[out])
    return arrays, kept(found), False
