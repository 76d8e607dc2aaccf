"""What is watched of a live version: the names of the monitors, as findings and declarations use them."""

from __future__ import annotations

from typing import Final, Literal, get_args

__all__ = ["MONITORS", "Monitored"]

Monitored = Literal[
    "data_quality",
    "training_serving_skew",
    "covariate_shift",
    "multivariate_shift",
    "attribution_drift",
    "prior_shift",
    "prediction_shift",
    "concept_drift",
    "performance_drop",
    "estimated_drop",
    "calibration",
    "slice_drop",
    "fairness",
    "unforeseen",
    "traffic",
    "latency",
    "errors",
]
MONITORS: Final[tuple[str, ...]] = get_args(Monitored)
