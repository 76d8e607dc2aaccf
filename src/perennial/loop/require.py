"""Requirements: the gates that every candidate must pass, each with the sentence that a person reads.

Metrics are named here so that a wrong name is found where it is written; `evaluate.metrics` computes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from perennial.errors import LoopError
from perennial.loop.declaration import Requirement, Task
from perennial.loop.options import choice, flag, number, text
from perennial.loop.place import place

__all__ = [
    "METRICS",
    "better_than_baseline",
    "better_than_live",
    "latency",
    "metric",
    "monotone",
    "not_worse_than_live",
    "slices",
]

METRICS: Mapping[str, Task] = MappingProxyType(
    {
        "rmse": "regression",
        "mae": "regression",
        "r2": "regression",
        "bias": "regression",
        "accuracy": "classification",
        "f1_macro": "classification",
        "log_loss": "classification",
        "brier": "classification",
    }
)


def metric(name: str, *, at_most: float | None = None, at_least: float | None = None) -> Requirement:
    """The metric on held-out rows is within a bound, in the metric's own unit."""
    choice("metric", name, METRICS)
    if (at_most is None) == (at_least is None):
        raise LoopError(
            f"require.metric({name!r}) needs one bound", where=place(), remedy="give either at_most or at_least"
        )
    if at_most is not None:
        bound, says = {"at_most": number("at_most", at_most)}, f"at most {at_most:g}"
    else:
        bound, says = {"at_least": number("at_least", at_least)}, f"at least {at_least:g}"
    return Requirement("metric", {"metric": name, **bound}, f"{name} is {says}")


def better_than_live(metric: str, *, margin: float = 0.0) -> Requirement:
    """Clearly better than the live version on the same rows, which neither was trained on.

    Args:
        metric: By which.
        margin: It must be better by more than this, in the metric's unit.
    """
    options = {"metric": choice("metric", metric, METRICS), "margin": number("margin", margin, least=0)}
    return Requirement("better_than_live", options, f"{metric} is better than the live version's" + _by(margin, "by"))


def not_worse_than_live(metric: str, *, margin: float) -> Requirement:
    """Clearly not worse than the live version by more than `margin`, in the metric's unit."""
    options = {"metric": choice("metric", metric, METRICS), "margin": number("margin", margin, above=0)}
    return Requirement("not_worse_than_live", options, f"{metric} is not worse than the live version's by {margin:g}")


def better_than_baseline(metric: str) -> Requirement:
    """Clearly better than the trivial model: the mean, or the most frequent class."""
    options = {"metric": choice("metric", metric, METRICS)}
    return Requirement("better_than_baseline", options, f"{metric} is better than the trivial baseline's")


def slices(metric: str, *, by: str, within: float) -> Requirement:
    """In no group of rows is the metric clearly worse than overall.

    Args:
        metric: By which.
        by: Column that makes the groups.
        within: How much worse a group may be, as a share of the overall value: 0.10 is ten percent.
    """
    options = {
        "metric": choice("metric", metric, METRICS),
        "by": text("by", by),
        "within": number("within", within, least=0),
    }
    return Requirement("slices", options, f"{metric} in each {by} is within {within * 100:g} % of the overall value")


def monotone(feature: str, *, increasing: bool) -> Requirement:
    """The prediction only rises (or falls) with a numeric feature, all else equal."""
    options = {"feature": text("feature", feature), "increasing": flag("increasing", increasing)}
    return Requirement("monotone", options, f"the prediction only {'rises' if increasing else 'falls'} with {feature}")


def latency(*, p99_ms: float) -> Requirement:
    """99 of 100 single predictions take no longer than this, in milliseconds."""
    options = {"p99_ms": number("p99_ms", p99_ms, above=0)}
    return Requirement("latency", options, f"99 % of single predictions take at most {p99_ms:g} ms")


def _by(margin: float, word: str) -> str:
    return f" {word} more than {margin:g}" if margin else ""
