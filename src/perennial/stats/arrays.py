"""Array types of this package, and the checks at its edge: after these, an array is what its name says."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perennial.stats.errors import LengthMismatch, OutOfRange

__all__ = [
    "Counts",
    "Floats",
    "Ints",
    "Mask",
    "check_open_unit",
    "finite_vector",
    "same_length",
    "unit_vector",
    "vector",
]

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


def vector(values: ArrayLike, name: str) -> Floats:
    """One-dimensional float64 view or copy of `values`; NaN stays NaN."""
    array: Floats = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise OutOfRange(name, f"of shape {array.shape}", "one-dimensional")
    return array


def finite_vector(values: ArrayLike, name: str) -> Floats:
    """As `vector`, and every value is finite."""
    array = vector(values, name)
    finite: Mask = np.isfinite(array)
    if not finite.all():
        row = int(np.argmin(finite))
        raise OutOfRange(f"{name}[{row}]", float(array[row]), "finite", remedy="drop or impute rows without a value")
    return array


def unit_vector(values: ArrayLike, name: str) -> Floats:
    """As `vector`, and every value lies in [0, 1]."""
    array = vector(values, name)
    inside: Mask = (array >= 0.0) & (array <= 1.0)
    if not inside.all():
        row = int(np.argmin(inside))
        raise OutOfRange(
            f"{name}[{row}]",
            float(array[row]),
            "in [0, 1]",
            remedy="scale by a bound fixed in advance, such as the reference 99.5 % quantile, and clip",
        )
    return array


def same_length(name: str, array: NDArray[np.generic], expected: int) -> None:
    """Raise `LengthMismatch` unless `array` has `expected` rows."""
    if len(array) != expected:
        raise LengthMismatch(name, expected, len(array))


def check_open_unit(name: str, value: float) -> None:
    """Raise `OutOfRange` unless 0 < value < 1."""
    if not 0.0 < value < 1.0:
        raise OutOfRange(name, value, "strictly between 0 and 1")
