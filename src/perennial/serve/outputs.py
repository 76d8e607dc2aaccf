"""The guards that look at answers: NaN, doubt, bounds and rules, each telling the rows on which it fires."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perennial.loop.rules import columns_of, compiled
from perennial.models.guards.fitted import Fitted
from perennial.models.guards.spec import Output, Uncertain
from perennial.serve.asked import Asked
from perennial.serve.checks import Hit

__all__ = ["OutputCheck", "UncertainCheck", "not_finite", "threshold_of"]

Floats = NDArray[np.float64]


def not_finite(numbers: Floats | None, probabilities: Floats | None) -> list[int]:
    """Rows whose answer is NaN or infinite."""
    table = numbers if probabilities is None else probabilities
    if table is None or np.isfinite(table).all():
        return []
    bad = ~np.isfinite(table)
    return np.flatnonzero(bad if bad.ndim == 1 else bad.any(axis=1)).tolist()


class UncertainCheck:
    """Answers that the model is not sure of."""

    kind = "uncertain"

    def __init__(self, guard: Uncertain, threshold: float | None) -> None:
        self.action = guard.action
        self._below = threshold
        self._wider_than = guard.wider_than

    def look(self, probabilities: Floats | None, bounds: Floats | None) -> list[Hit] | None:
        """The rows on which it fires; a row whose width or probability is NaN counts as uncertain."""
        if self._below is not None:
            if probabilities is None:
                return None
            surest = probabilities.max(axis=1)
            if (surest >= self._below).all():
                return None
            rows = np.flatnonzero(~(surest >= self._below)).tolist()
            return [
                Hit(row, None, f"the largest probability is {surest[row]:.4g}, below {self._below:.4g}") for row in rows
            ]
        if bounds is None or self._wider_than is None:
            return None
        widths = bounds[:, 1] - bounds[:, 0]
        if (widths <= self._wider_than).all():
            return None
        rows = np.flatnonzero(~(widths <= self._wider_than)).tolist()
        return [Hit(row, None, f"the interval is {widths[row]:.4g} wide, above {self._wider_than:g}") for row in rows]


class OutputCheck:
    """Answers outside bounds, or against a rule."""

    kind = "output"

    def __init__(self, guard: Output, names: Sequence[str]) -> None:
        self.action = guard.action
        self._low, self._high = guard.low, guard.high
        self._told = guard.rule or ""
        self._rule = compiled(guard.rule) if guard.rule is not None else None
        self._columns = (
            [] if guard.rule is None else [(name, list(names).index(name)) for name in columns_of(guard.rule)]
        )

    def look(self, rows: Asked, values: Sequence[Any]) -> list[Hit] | None:
        """The rows on which it fires; answers that are None are left alone."""
        found: list[Hit] = []
        for row, value in enumerate(values):
            if value is None:
                continue
            if self._low is not None and not value >= self._low:
                found.append(Hit(row, None, f"{value:.6g} is below {self._low:g}", self._low))
            elif self._high is not None and not value <= self._high:
                found.append(Hit(row, None, f"{value:.6g} is above {self._high:g}", self._high))
            if self._rule is not None:
                says = self._broken(rows, row, value)
                if says:
                    found.append(Hit(row, None, says))
        return found or None

    def _broken(self, rows: Asked, row: int, value: Any) -> str:
        assert self._rule is not None
        given = rows.rows()[row] if self._columns else ()
        told = {"prediction": value} | {name: given[at] for name, at in self._columns}
        try:
            return "" if self._rule(told) else f"it is not so that {self._told}"
        except (TypeError, ArithmeticError):  # a missing value, text beside a number, a division by zero
            return f"whether {self._told} cannot be told"


def threshold_of(guard: Uncertain, fitted: Fitted | None) -> float | None:
    """The least probability that is sure enough; None where the guard looks at intervals, or nothing was chosen."""
    if guard.below is not None or guard.risk is None:
        return guard.below
    for risk in fitted.risks if fitted is not None else ():
        if risk.risk == guard.risk and risk.confidence == guard.confidence:
            return risk.threshold
    return None
