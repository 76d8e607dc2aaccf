"""Add evidence up over windows that something in [0, 1] happens more often, or is larger, than it did in the reference.

One e-detector for everything that is a rate or a bounded mean: wrong answers, losses, failed requests, missing values,
slow answers. A window is one bet, so the budget counts windows of time, however many rows a window has. The reference
enters by an upper confidence bound, so that a small reference makes a detector slow instead of wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from perennial import stats

__all__ = ["Stream", "Told"]

Floats = NDArray[np.float64]
BOUND_PROB = 0.975
EDGE = 0.98  # a bound beyond leaves nothing to bet on


@dataclass(frozen=True, kw_only=True)
class Told:
    """A stream after a window.

    Attributes:
        state: To be given to the next window.
        is_alarm: The evidence reached what the budget asks for; it starts anew.
        evidence: Accumulated evidence, an e-value in the sense of the detector.
        mean: Of this window, in units of the user.
        rows: Of this window.
    """

    state: dict[str, Any]
    is_alarm: bool
    evidence: float
    mean: float
    rows: int


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One thing that is watched.

    Attributes:
        design: What it bets on.
        low: Value of the user's that is 0 on the detector's scale.
        span: Values of the user's between 0 and 1 on that scale.
        reference_mean: In units of the user.
        reference_rows: Rows that this is of.
        tolerance: Change of the mean that is left alone, in units of the user.
    """

    design: stats.Design
    low: float
    span: float
    reference_mean: float
    reference_rows: int
    tolerance: float

    @classmethod
    def of_reference(
        cls,
        values: Floats,
        *,
        tolerance: float,
        evidence: float,
        side: Literal["above", "both"] = "above",
        low: float = 0.0,
        span: float = 1.0,
    ) -> Stream:
        """Watch whether the mean rises above that of reference values (or leaves it to either side).

        Args:
            values: Reference values in units of the user, shape (n,), n >= 1; rows that the model was not trained on.
            tolerance: What is left alone, in the same units.
            evidence: At which it alarms, see `Budget.evidence`.
            side: Whether a fall matters as well.
            low: Lower end of the range of values; what lies beyond an end counts as that end.
            span: Length of that range.
        """
        x = np.clip((values - low) / span, 0.0, 1.0)
        # The bound bets row by row and holds for a random order: of sorted values it would lie below their mean.
        x = np.random.default_rng(0).permutation(np.sort(x))
        slack = tolerance / span
        high = min(max(stats.upper_bound(x, level=BOUND_PROB, is_final=True).high + slack, 1e-4), EDGE)
        if side == "above":
            design = stats.Design.above(high, threshold=max(evidence, 1.5))
        else:
            bottom = 1.0 - stats.upper_bound(1.0 - x, level=BOUND_PROB, is_final=True).high - slack
            design = stats.Design.two_sided(min(max(bottom, 1.0 - EDGE), high), high, threshold=max(evidence, 1.5))
        return cls(
            design=design,
            low=low,
            span=span,
            reference_mean=low + span * float(x.mean()),
            reference_rows=len(x),
            tolerance=tolerance,
        )

    @classmethod
    def of_rate(cls, rate: float, *, evidence: float) -> Stream:
        """Watch whether something happens more often than at a rate that is declared, in (0, 1)."""
        design = stats.Design.above(min(max(rate, 1e-4), EDGE), threshold=max(evidence, 1.5))
        return cls(design=design, low=0.0, span=1.0, reference_mean=rate, reference_rows=0, tolerance=0.0)

    def step(self, state: Mapping[str, Any] | None, values: Floats) -> Told:
        """Feed the values of one window, in units of the user, shape (m,)."""
        x = np.clip((values - self.low) / self.span, 0.0, 1.0)
        return self._advance(state, stats.log_bet_sum(self.design, x), float(x.mean()) if len(x) else 0.0, len(x))

    def step_counts(self, state: Mapping[str, Any] | None, happened: int, rows: int) -> Told:
        """Feed a window by its counts: of so many rows it happened in `happened`."""
        ones, zeros = self._either
        return self._advance(state, happened * ones + (rows - happened) * zeros, happened / rows if rows else 0.0, rows)

    @cached_property
    def _either(self) -> Floats:
        """Logarithms of the factors of a row in which it happened, and of one in which it did not."""
        return stats.log_bets(self.design, [1.0, 0.0])

    def _advance(self, state: Mapping[str, Any] | None, sums: Floats, mean: float, rows: int) -> Told:
        held = self.design.start() if state is None else stats.State.from_dict(state)
        if len(held.carries) != len(self.design.mus):
            held = self.design.start()  # the declaration changed the sides that are watched
        if rows == 0:
            return Told(state=held.as_dict(), is_alarm=False, evidence=0.0, mean=self.reference_mean, rows=0)
        step = stats.advance(self.design, held, sums[np.newaxis, :])
        return Told(
            state=step.state.as_dict(),
            is_alarm=step.alarm is not None,
            evidence=step.evidence,
            mean=self.low + self.span * mean,
            rows=rows,
        )
