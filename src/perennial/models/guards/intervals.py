"""Look up intervals and sets: what an answer's neighbours in score say about where its truth is.

One `Intervals` for each loaded version; `at` sets how much may be missed. Only numpy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perennial.models.guards.conformal import aps_scores, lac_scores, quantile
from perennial.models.guards.fitted import Fitted

__all__ = ["Intervals"]

Floats = NDArray[np.float64]


class Intervals:
    """Intervals of a regression or sets of a classification, from a package's calibration scores.

    `classes`: the labels in the order of the probabilities that are asked about.
    """

    def __init__(self, fitted: Fitted, alpha: float, classes: Sequence[Any] = ()) -> None:
        assert fitted.conformal is not None
        self.facts = fitted.conformal
        self.alpha = alpha
        self._arrays = fitted.arrays
        self._groups: dict[Any, int] = {value: at for at, value in enumerate(self.facts.groups)}
        self._classes = list(classes)
        self._limits: list[float] = []
        self._all = 0.0
        self.at(alpha)

    def at(self, alpha: float) -> None:
        """From now on miss at most this share; at 0 and below nothing, at 1 and above everything."""
        self.alpha = alpha
        self._all = quantile(self._arrays["conformal_all"], alpha)
        self._limits = []
        for at in range(len(self.facts.groups)):
            limit = quantile(self._arrays[f"conformal_{at}"], alpha)
            # A group of so few rows promises nothing by itself; what holds for all is the next best.
            self._limits.append(self._all if math.isinf(limit) and limit > 0 else limit)

    def bounds(self, values: Floats, numbers: Floats | None, groups: Sequence[Any] | None) -> Floats:
        """[low, high] of each answer, shape (n, 2); infinite where nothing less holds at this level.

        Args:
            values: Answers, shape (n,).
            numbers: The rows' numbers, shape (n, width); needed where the width follows the row.
            groups: Value of the grouping column in each row, where one was declared.
        """
        limit: Any = self._all if self.facts.by is None or groups is None else self._of(groups)
        if self.facts.score == "quantile":
            assert numbers is not None
            heads = features(values, numbers, self._arrays) @ self._arrays["conformal_heads"].T
            low, high = values + heads[:, 0] - limit, values + heads[:, 1] + limit
            crossed = low > high
            if crossed.any():
                middle = values + (heads[:, 0] + heads[:, 1]) / 2  # of the two, whatever the limit
                low, high = np.where(crossed, middle, low), np.where(crossed, middle, high)
        else:
            width = np.maximum(limit, 0.0)
            low, high = values - width, values + width
        return np.stack([low, high], axis=1)

    def members(self, probabilities: Floats, groups: Sequence[Any] | None) -> NDArray[np.bool_]:
        """Which classes are in the set of each answer, shape (n, k); the most probable one always is."""
        found = aps_scores(probabilities) if self.facts.score == "aps" else lac_scores(probabilities)
        if self.facts.by == "class":
            inside = found <= self._of(self._classes)
        elif self.facts.by is None or groups is None:
            inside = found <= self._all
        else:
            inside = found <= self._of(groups)[:, None]
        inside[np.arange(len(inside)), probabilities.argmax(axis=1)] = True
        return inside

    def _of(self, groups: Sequence[Any]) -> Floats:
        known, limits = self._groups, self._limits
        return np.array([limits[known[group]] if group in known else self._all for group in groups])


def features(values: Floats, numbers: Floats, arrays: Any) -> Floats:
    """What the width of an interval may follow: the answer itself and the numbers of the row, scaled; missing is 0."""
    table = np.column_stack([values, numbers])
    scaled = (table - arrays["conformal_center"]) / arrays["conformal_scale"]
    scaled = np.clip(np.nan_to_num(scaled, nan=0.0), -4.0, 4.0)  # a row far out must not have an interval far out
    return np.column_stack([np.ones(len(scaled)), scaled])
