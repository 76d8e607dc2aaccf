"""How many false alarms an endpoint may raise, shared out over everything that watches it.

A user states one number, "at most one false alarm in 30 days". Each kind of monitor gets a share of it, and each stream
or column within a kind an even part of that. A monitor that looks once a window turns its part into a level for that
look, one that adds evidence up over windows into the evidence that it needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from perennial.errors import Invalid
from perennial.monitor.findings import Kind
from perennial.monitor.windows import DAY

__all__ = ["SHARES", "Budget"]

# What hurts gets most. The shares add up to 1; a kind that is off, or has nothing to look at, leaves its share unused.
SHARES: Final[Mapping[Kind, float]] = {
    "performance_drop": 0.20,
    "concept_drift": 0.10,
    "data_quality": 0.13,
    "training_serving_skew": 0.03,
    "estimated_drop": 0.10,
    "covariate_shift": 0.09,
    "prediction_shift": 0.05,
    "prior_shift": 0.05,
    "slice_drop": 0.09,
    "calibration": 0.03,
    "fairness": 0.03,
    "multivariate_shift": 0.02,
    "attribution_drift": 0.01,
    "unforeseen": 0.02,
    "errors": 0.02,
    "latency": 0.02,
    "traffic": 0.01,
}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """At most `alarms` false alarms in `days` days, for one endpoint, over all of its monitors together."""

    alarms: float = 1.0
    days: float = 30.0

    def __post_init__(self) -> None:
        if not (self.alarms > 0.0 and self.days > 0.0):
            raise Invalid(f"a budget of {self.alarms:g} false alarms in {self.days:g} days allows nothing")

    @property
    def says(self) -> str:
        """As a person states it."""
        often = "one false alarm" if self.alarms == 1 else f"{self.alarms:g} false alarms"
        return f"at most {often} in {self.days:g} days, over all monitors of the endpoint"

    def per_window(self, kind: Kind, window_us: float) -> float:
        """False alarms that all looks of a kind at one window may raise: the level of that look.

        Args:
            kind: Of the monitor.
            window_us: Length of a window, microseconds.
        """
        return min(self.alarms * SHARES[kind] * window_us / (self.days * DAY), 0.5)

    def evidence(self, kind: Kind, window_us: float, *, streams: int = 1) -> float:
        """Evidence at which a detector that is fed window by window alarms: windows between false alarms, on average.

        Args:
            kind: Of the monitor.
            window_us: Length of a window, microseconds.
            streams: How many of its kind run side by side.
        """
        return max(streams, 1) / self.per_window(kind, window_us)
