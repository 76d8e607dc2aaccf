"""Do columns still hang together as they did? Reconstruction error of a principal component analysis.

The components of the reference keep most of its variance; rows whose columns no longer move together are rebuilt badly,
even where each column alone looks as before. The errors of a window are kept as three sums, which add up. A shift along
the components is not seen: this stands beside the distances of single columns, not in their place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Floats, check_open_unit, finite_vector
from perennial.stats.errors import NothingToCount, OutOfRange
from perennial.stats.results import Finding, Interval, Json
from perennial.stats.tails import log_normal_tail, normal_quantile

__all__ = ["ErrorSums", "Pca", "fit_pca", "pca_test"]

VARIANCE: Final = 0.65  # share kept; the rest is what the error is made of
TOLERANCE: Final = 0.05  # of the mean error of the reference
ALPHA: Final = 0.01
MIN_ROWS: Final = 50
ROUNDING: Final = 1e-9  # standard deviations: where all components are kept, only rounding is left of an error
_WHOLE_SD: Final = 1e-12  # relative to the largest value: a column that varies less is constant


@dataclass(frozen=True, slots=True, eq=False)
class Pca:
    """Standardisation and leading components of a reference of d columns.

    Attributes:
        mean: shape (d,).
        scale: Standard deviations, shape (d,); 1 for a constant column.
        components: Orthonormal rows, shape (k, d).
        variance: Share of the variance that they keep.
    """

    mean: Floats
    scale: Floats
    components: Floats
    variance: float

    def errors(self, rows: ArrayLike) -> Floats:
        """Distance of each standardised row from what the components rebuild of it, in standard deviations.

        |z - z V^T V| with z = (x - mean)/scale.

        Args:
            rows: shape (m, d), finite; shape (0, d) gives no errors.

        Returns:
            shape (m,), at least 0.

        Raises:
            OutOfRange: The table has not d columns, or a value is not finite.
        """
        x = _table(rows)
        if x.shape[1] != len(self.mean):
            raise OutOfRange("rows", f"of shape {x.shape}", f"of shape (m, {len(self.mean)})")
        z: Floats = (x - self.mean) / self.scale
        left: Floats = z - (z @ self.components.T) @ self.components
        return np.sqrt(np.einsum("ij,ij->i", left, left))

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values; `from_dict` reads them back without loss."""
        return {
            "mean": cast(Json, self.mean.tolist()),
            "scale": cast(Json, self.scale.tolist()),
            "components": cast(Json, self.components.tolist()),
            "variance": self.variance,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Json]) -> Pca:
        """Read back what `as_dict` gave.

        Raises:
            OutOfRange: A field is absent, of another shape or not finite.
        """
        mean, scale = (finite_vector(cast(ArrayLike, record.get(name, [])), name) for name in ("mean", "scale"))
        parts = _table(cast(ArrayLike, record.get("components", [])))
        variance = record.get("variance")
        if not len(mean) == len(scale) == parts.shape[1] or not isinstance(variance, int | float):
            raise OutOfRange("components", f"of shape {parts.shape}", f"of shape (k, {len(mean)}), beside a variance")
        return cls(mean, scale, parts, float(variance))


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorSums:
    """What is kept of the errors of a window; windows and shards add up with `+`."""

    rows: int
    total: float
    squares: float

    @classmethod
    def of(cls, errors: ArrayLike) -> ErrorSums:
        """Sums of `Pca.errors`, shape (m,).

        >>> (ErrorSums.of([1.0, 2.0]) + ErrorSums.of([3.0])).mean
        2.0
        """
        values = finite_vector(errors, "errors")
        return cls(rows=len(values), total=float(values.sum()), squares=float(values @ values))

    def __add__(self, other: ErrorSums) -> ErrorSums:
        return ErrorSums(
            rows=self.rows + other.rows, total=self.total + other.total, squares=self.squares + other.squares
        )

    @property
    def mean(self) -> float:
        """Mean error; NaN without rows."""
        return self.total / self.rows if self.rows else math.nan

    @property
    def variance(self) -> float:
        """Variance of the errors, n - 1 in the denominator; NaN below two rows."""
        if self.rows < 2:
            return math.nan
        return max(0.0, self.squares - self.total * self.total / self.rows) / (self.rows - 1)

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values."""
        return {"rows": self.rows, "total": self.total, "squares": self.squares}


def fit_pca(rows: ArrayLike, *, variance: float = VARIANCE) -> Pca:
    """Components of the standardised reference that keep more than a share of its variance, as few as possible.

    Args:
        rows: Reference, shape (n, d), finite.
        variance: Share to keep, in (0, 1).

    Raises:
        NothingToCount: There are fewer than two rows, or no column that varies.
        OutOfRange: A value is not finite, or a setting is out of range.

    Source: Jackson & Mudholkar (1979), Technometrics 21, 341-349, for control by residuals.

    >>> line = np.arange(10.0)
    >>> pca = fit_pca(np.column_stack([line, 2 * line]))
    >>> pca.components.shape, bool(pca.errors([[0.0, 18.0]])[0] > 1)
    ((1, 2), True)
    """
    check_open_unit("variance", variance)
    x = _table(rows)
    if len(x) < 2:
        raise NothingToCount("rows")
    mean: Floats = x.mean(axis=0)
    sd: Floats = x.std(axis=0)
    moves = sd > _WHOLE_SD * np.abs(x).max(axis=0)
    if not bool(moves.any()):
        raise NothingToCount("columns of rows")
    scale: Floats = np.where(moves, sd, 1.0)
    z: Floats = np.where(moves, (x - mean) / scale, 0.0)
    values, vectors = np.linalg.eigh(z.T @ z / len(z))
    shares: Floats = np.maximum(values[::-1], 0.0)
    kept: Floats = np.cumsum(shares) / shares.sum()
    k = min(int(np.searchsorted(kept, variance, side="right")) + 1, len(kept))
    return Pca(mean, scale, np.ascontiguousarray(vectors[:, ::-1][:, :k].T), float(kept[k - 1]))


def pca_test(
    reference: ErrorSums,
    current: ErrorSums,
    *,
    tolerance: float = TOLERANCE,
    alpha: float = ALPHA,
    min_rows: int = MIN_ROWS,
) -> Finding:
    """Test whether the mean reconstruction error changed by more than a share of the reference's.

    z = (|mean_c - mean_r| - tolerance mean_r) / sqrt(var_r/n + var_c/m): both ways, because a broken column that no
    longer moves is rebuilt too well. Rows are taken as independent; where they are not, learn a threshold from the
    means of reference chunks with `chunk_threshold`.

    Args:
        reference: Sums of the errors of reference rows that the components were not fitted on.
        current: Sums of the errors of the window, by the same components.
        tolerance: Largest true change of the mean that is still acceptable, as a share of the reference's mean.
        alpha: Probability of the decision "shifted" at the tolerance, at most.
        min_rows: Rows each side must hold.

    Returns:
        Decision "shifted", "within tolerance" or "undecided" (too few rows; then there is no p-value). The statistic is
        z, the effect the relative change of the mean error with its interval, the threshold the tolerance.

    Raises:
        OutOfRange: A setting is out of range.

    >>> calm, wild = ErrorSums.of([1.0, 1.2] * 100), ErrorSums.of([1.3, 1.4] * 100)
    >>> pca_test(calm, wild).decision
    'shifted'
    """
    check_open_unit("alpha", alpha)
    if not 0.0 <= tolerance < math.inf:
        raise OutOfRange("tolerance", tolerance, "at least 0 and finite")
    params: dict[str, Json] = {"tolerance": tolerance, "alpha": alpha, "min_rows": min_rows}
    details: dict[str, Json] = {"reference": reference.as_dict(), "current": current.as_dict()}
    n, m = reference.rows, current.rows
    reason = f"too few rows: {n} and {m}, at least {min_rows} needed on each side"
    if min(n, m) >= max(2, min_rows) and reference.mean <= ROUNDING:
        reason = "the components rebuild every reference row: there is no error to compare with"
    elif min(n, m) >= max(2, min_rows):
        return _decided(reference, current, tolerance, alpha, params, details)
    return Finding(
        method="pca reconstruction error",
        decision="undecided",
        reasons=(reason,),
        threshold=tolerance,
        n=n,
        m=m,
        params=params,
        details=details,
    )


def _decided(
    reference: ErrorSums,
    current: ErrorSums,
    tolerance: float,
    alpha: float,
    params: dict[str, Json],
    details: dict[str, Json],
) -> Finding:
    change = current.mean - reference.mean
    sd = math.sqrt(reference.variance / reference.rows + current.variance / current.rows)
    excess = abs(change) - tolerance * reference.mean
    z = excess / sd if sd > 0.0 else math.copysign(math.inf, excess)
    p_value = min(1.0, 2.0 * math.exp(log_normal_tail(z))) if math.isfinite(z) else float(excess <= 0.0)
    is_shifted = p_value <= alpha
    effect, half = change / reference.mean, normal_quantile(1.0 - alpha / 2.0) * sd / reference.mean
    return Finding(
        method="pca reconstruction error",
        decision="shifted" if is_shifted else "within tolerance",
        reasons=(
            (
                f"rows are rebuilt with a mean error of {current.mean:.4g}, {reference.mean:.4g} in the reference: "
                f"{effect:+.1%}, {'clearly' if is_shifted else 'not clearly'} beyond {tolerance:.0%} (alpha {alpha:g})"
            ),
        ),
        statistic=z if math.isfinite(z) else None,
        effect=effect,
        threshold=tolerance,
        p_value=p_value,
        interval=Interval(
            low=effect - half,
            high=effect + half,
            estimate=effect,
            level=1.0 - alpha,
            n=current.rows,
            method="normal, of the change alone",
        ),
        n=reference.rows,
        m=current.rows,
        params=params,
        details=details,
    )


def _table(rows: ArrayLike) -> Floats:
    x: Floats = np.asarray(rows, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] == 0:
        raise OutOfRange("rows", f"of shape {x.shape}", "of shape (n, d)")
    if not bool(np.isfinite(x).all()):
        row = int(np.argmin(np.isfinite(x).all(axis=1)))
        raise OutOfRange(f"rows[{row}]", "not finite", "finite", remedy="impute missing values first")
    return x
