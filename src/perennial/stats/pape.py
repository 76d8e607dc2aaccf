"""Performance without labels where the inputs have moved: weights that make the reference look like the present (PAPE).

Calibration is only right for the population it was fitted on. Under covariate shift each reference row is weighted by
the density ratio of present to reference at its inputs, from out-of-fold scores of a classifier that tells the two
apart, and `cbpe.fit_confidence` calibrates with these weights. Weights say nothing about inputs the reference does not
hold: `ratio_diagnostics` says how far that is the case, and a backtest on labelled windows which estimate to trust.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final, cast

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Floats, unit_vector
from perennial.stats.errors import NothingToCount, OutOfRange
from perennial.stats.results import Json, plain

__all__ = ["ASSUMPTION", "RatioDiagnostics", "density_ratios", "ratio_diagnostics"]

ASSUMPTION: Final = "covariate shift alone, and inputs that the reference holds as well"
SMALLEST: Final = 0.001  # floor of 1 - pi and of a weight: no row counts for nothing, and none for everything
OUTSIDE: Final = 0.05  # below this ratio of reference to present a row lies outside what the reference holds


def density_ratios(scores: ArrayLike, *, reference_rows: int, current_rows: int, power: float = 1.0) -> Floats:
    """How much more often rows like these occur now: w = n/m * pi / (1 - pi).

    Args:
        scores: pi(x), the out-of-fold probability that a row is a current one, shape (k,).
        reference_rows: Reference rows n that the classifier saw.
        current_rows: Current rows m that it saw.
        power: 1 for the ratio itself; 0.5 for its root, a middle between no weights and full ones that suffers less
            where the present leaves the reference's support.

    Returns:
        Weights, shape (k,), at least 0.001, with 1 - pi at least 0.001.

    Raises:
        OutOfRange: A score is no probability, or a number of rows is not positive.

    Source: Bickel, Brückner & Scheffer, JMLR 10 (2009) 2137-2155; as used in arXiv 2401.08348.

    >>> density_ratios([0.2, 0.5], reference_rows=800, current_rows=200).round(6).tolist()
    [1.0, 4.0]
    """
    pi = unit_vector(scores, "scores")
    if reference_rows < 1 or current_rows < 1:
        raise OutOfRange("reference_rows, current_rows", (reference_rows, current_rows), "at least 1 each")
    ratio: Floats = reference_rows / current_rows * pi / np.maximum(1.0 - pi, SMALLEST)
    return np.maximum(ratio, SMALLEST) ** power


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioDiagnostics:
    """How far density ratios can carry.

    Attributes:
        mean_weight: Mean weight on the reference; near 1 where the ratios are right.
        effective_share: Effective sample size of the weighted reference over its rows, (sum w)^2 / (n sum w^2).
        outside_share: Share of current rows whose inputs the reference hardly holds, p/q < 0.05.
        reference_rows: Rows behind the first two.
        current_rows: Rows behind the third.
    """

    mean_weight: float
    effective_share: float
    outside_share: float
    reference_rows: int
    current_rows: int

    @property
    def effective_rows(self) -> float:
        """Rows that the weighted reference is worth."""
        return self.effective_share * self.reference_rows

    def words(self) -> str:
        """One sentence."""
        return (
            f"mean weight {self.mean_weight:.2f} on the reference, which is worth {self.effective_rows:.0f} of its "
            f"{self.reference_rows} rows; {self.outside_share:.1%} of the current rows lie outside what it holds"
        )

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values."""
        return {item.name: plain(cast(object, getattr(self, item.name))) for item in fields(self)}


def ratio_diagnostics(reference_scores: ArrayLike, current_scores: ArrayLike) -> RatioDiagnostics:
    """Whether density ratios rest on anything. Show it beside every number that uses them.

    Args:
        reference_scores: Out-of-fold probabilities of being current, of the reference rows, shape (n,).
        current_scores: The same of the current rows, shape (m,).

    Raises:
        OutOfRange: A score is no probability.
        NothingToCount: A side is empty.

    >>> found = ratio_diagnostics([0.5] * 90 + [0.1] * 10, [0.5] * 100)
    >>> round(found.mean_weight, 2), round(found.effective_share, 2), found.outside_share
    (0.91, 0.92, 0.0)
    """
    reference = unit_vector(reference_scores, "reference_scores")
    current = unit_vector(current_scores, "current_scores")
    n, m = len(reference), len(current)
    if n == 0 or m == 0:
        raise NothingToCount("reference_scores" if n == 0 else "current_scores")
    w = density_ratios(reference, reference_rows=n, current_rows=m)
    of_current = density_ratios(current, reference_rows=n, current_rows=m)
    return RatioDiagnostics(
        mean_weight=float(w.mean()),
        effective_share=float(w.sum()) ** 2 / (n * float((w * w).sum())),
        outside_share=float((of_current > 1.0 / OUTSIDE).mean()),
        reference_rows=n,
        current_rows=m,
    )
