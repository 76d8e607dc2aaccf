"""Many tests at once: which findings survive when the share of false ones is to stay below a level.

A p-value or e-value of NaN means "not tested" (an undecided finding): it is never selected and does not count as a
test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Floats, Ints, Mask, check_open_unit, vector
from perennial.stats.errors import OutOfRange
from perennial.stats.results import Json, plain

__all__ = ["Selection", "benjamini_hochberg", "benjamini_yekutieli", "e_benjamini_hochberg"]


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Which of several tests to believe.

    Attributes:
        selected: One flag per test, shape (C,), in input order.
        adjusted: The smallest level at which each test would be selected, shape (C,); NaN where not tested.
        threshold: The value the tests were compared with: largest selected p-value or smallest sufficient e-value
            bound.
        level: Bound on the false discovery rate.
        tests: Number of tests counted (NaN excluded).
        method: Name of the method.
    """

    selected: Mask
    adjusted: Floats
    threshold: float
    level: float
    tests: int
    method: str

    @property
    def indices(self) -> tuple[int, ...]:
        """Positions of the selected tests, in input order."""
        return tuple(int(i) for i in np.flatnonzero(self.selected))

    @property
    def count(self) -> int:
        """Number of selected tests."""
        return int(np.count_nonzero(self.selected))

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values."""
        return {
            "method": self.method,
            "level": self.level,
            "tests": self.tests,
            "threshold": self.threshold,
            "selected": list(self.indices),
            "adjusted": plain(self.adjusted),
        }


def benjamini_hochberg(p_values: ArrayLike, level: float = 0.05) -> Selection:
    """Keep the false discovery rate at `level` for independent or positively dependent tests.

    Select the k smallest p-values, k = max{i: p_(i) <= i * level / C}.

    Args:
        p_values: One per test, shape (C,), in [0, 1] or NaN for "not tested".
        level: Bound on the expected share of false selections.

    Raises:
        OutOfRange: A p-value or the level is out of range.

    Source: Benjamini & Hochberg (1995), JRSS B 57, 289-300.

    >>> benjamini_hochberg([0.01, 0.9, 0.02, 0.5], level=0.05).indices
    (0, 2)
    """
    return _step_up(p_values, level, penalty_of=lambda _: 1.0, method="benjamini-hochberg")


def benjamini_yekutieli(p_values: ArrayLike, level: float = 0.05) -> Selection:
    """Keep the false discovery rate at `level` under any dependence between the tests.

    As `benjamini_hochberg` with the level divided by 1 + 1/2 + ... + 1/C.

    Source: Benjamini & Yekutieli (2001), Annals of Statistics 29, 1165-1188.

    >>> benjamini_yekutieli([0.01, 0.9, 0.02, 0.5], level=0.05).count
    0
    """
    return _step_up(p_values, level, penalty_of=_harmonic, method="benjamini-yekutieli")


def e_benjamini_hochberg(e_values: ArrayLike, level: float = 0.05) -> Selection:
    """Keep the false discovery rate at `level` from e-values, under any dependence between the tests.

    Select the k largest e-values, k = max{k: e_(k) >= C / (level * k)}. For C parallel e-detectors with threshold A
    each, pass their evidence with level 1/A.

    Args:
        e_values: One per test, shape (C,), >= 0 or NaN for "not tested"; inf is allowed.
        level: Bound on the expected share of false selections.

    Raises:
        OutOfRange: An e-value or the level is out of range.

    Source: Wang & Ramdas (2022), JRSS B 84, 822-852.

    >>> e_benjamini_hochberg([100, 60, 25, 5, 1], level=0.1).count
    3
    """
    check_open_unit("level", level)
    e = vector(e_values, "e_values")
    if bool(np.any(e < 0.0)):
        raise OutOfRange("e_values", float(np.nanmin(e)), "at least 0")
    with np.errstate(divide="ignore"):
        as_p: Floats = np.minimum(1.0, 1.0 / e)
    picked = _step_up(as_p, level, penalty_of=lambda _: 1.0, method="e-benjamini-hochberg")
    bound = picked.tests / (level * max(1, picked.count))
    return Selection(picked.selected, picked.adjusted, bound, level, picked.tests, picked.method)


def _step_up(p_values: ArrayLike, level: float, *, penalty_of: Callable[[int], float], method: str) -> Selection:
    check_open_unit("level", level)
    p = vector(p_values, "p_values")
    if bool(np.any((p < 0.0) | (p > 1.0))):
        raise OutOfRange("p_values", "outside [0, 1]", "in [0, 1], or NaN for a test that was not made")
    tested: Ints = np.flatnonzero(~np.isnan(p))
    count = len(tested)
    adjusted: Floats = np.full(len(p), np.nan)
    selected: Mask = np.zeros(len(p), dtype=np.bool_)
    if count == 0:
        return Selection(selected, adjusted, 0.0, level, 0, method)
    order = tested[np.argsort(p[tested], kind="stable")]
    ranks = np.arange(1, count + 1)
    penalty = penalty_of(count)
    scaled = p[order] * penalty * count / ranks
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    passing: Ints = np.flatnonzero(p[order] <= ranks * level / (count * penalty))
    last = int(passing[-1]) + 1 if len(passing) else 0
    selected[order[:last]] = True
    return Selection(selected, adjusted, max(1, last) * level / (count * penalty), level, count, method)


def _harmonic(count: int) -> float:
    return float(np.sum(1.0 / np.arange(1, count + 1)))
