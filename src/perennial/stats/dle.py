"""Error of a regression without labels, from what a second model says about the first one's errors (DLE).

The second model learns on a labelled reference how large the absolute and the squared error is at given inputs and
prediction; here its answers for a window are added up. Training it is not part of this module.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Floats, finite_vector, same_length
from perennial.stats.errors import NothingToCount

__all__ = ["ASSUMPTION", "LossSums", "loss_sds", "loss_sums"]

ASSUMPTION: Final = "no concept drift, and inputs that the reference holds as well"


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSums:
    """What rows add up to, expected or realised. `a + b` are the sums of the rows of both.

    Attributes:
        rows: Number of rows.
        absolute: Sum of (expected) absolute errors, in the unit of the prediction.
        squared: Sum of (expected) squared errors.
    """

    rows: int
    absolute: float
    squared: float

    def __add__(self, other: LossSums) -> LossSums:
        return LossSums(
            rows=self.rows + other.rows,
            absolute=self.absolute + other.absolute,
            squared=self.squared + other.squared,
        )

    def metrics(self) -> dict[str, float]:
        """`mae`, `mse` and `rmse`.

        >>> LossSums(rows=2, absolute=3.0, squared=8.0).metrics()
        {'mae': 1.5, 'mse': 4.0, 'rmse': 2.0}
        """
        if self.rows == 0:
            raise NothingToCount("rows")
        mse = self.squared / self.rows
        return {"mae": self.absolute / self.rows, "mse": mse, "rmse": math.sqrt(mse)}


def loss_sums(absolute: ArrayLike, squared: ArrayLike) -> LossSums:
    """Add up a window.

    Args:
        absolute: Expected (or realised) absolute error of each row, shape (m,); below 0, as an extrapolating model may
            say, counts as 0.
        squared: The same of the squared error.

    Raises:
        LengthMismatch: The arrays differ in length.
        OutOfRange: A value is not finite.

    Source: Direct loss estimation, as in NannyML's documentation.

    >>> loss_sums([1.0, -0.5], [1.0, 3.0])
    LossSums(rows=2, absolute=1.0, squared=4.0)
    """
    first, second = finite_vector(absolute, "absolute"), finite_vector(squared, "squared")
    same_length("squared", second, len(first))
    return LossSums(
        rows=len(first),
        absolute=float(np.maximum(first, 0.0).sum()),
        squared=float(np.maximum(second, 0.0).sum()),
    )


def loss_sds(errors: ArrayLike) -> dict[str, float]:
    """Standard deviation of one row's part in each metric, from the reference's errors (prediction less truth).

    Of the root of the mean by the delta method: sd(e^2) / (2 rmse).

    Raises:
        OutOfRange: An error is not finite.
        NothingToCount: There is no row.

    >>> {name: round(sd, 3) for name, sd in loss_sds([1.0, -1.0, 3.0, -3.0]).items()}
    {'mae': 1.0, 'mse': 4.0, 'rmse': 0.894}
    """
    values = finite_vector(errors, "errors")
    if len(values) == 0:
        raise NothingToCount("errors")
    squares: Floats = values**2
    rmse = math.sqrt(float(squares.mean()))
    mse_sd = float(squares.std())
    return {"mae": float(np.abs(values).std()), "mse": mse_sd, "rmse": mse_sd / (2.0 * rmse) if rmse > 0.0 else 0.0}
