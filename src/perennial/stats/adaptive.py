"""Adaptive conformal inference: keep the share of misses of intervals while the world drifts, by moving their level."""

from __future__ import annotations

from collections.abc import Iterable

from perennial.stats.arrays import check_open_unit
from perennial.stats.errors import OutOfRange

__all__ = ["adaptation_bound", "adapted"]


def adapted(alpha: float, missed: Iterable[bool], *, target: float, step: float = 0.01) -> float:
    """The level after these labels: each moves it by step * (target - 1 if the interval missed its truth, else 0).

    It may leave [0, 1]: at or below 0 the next interval is to hold everything, at or above 1 nothing.

    Args:
        alpha: The level before, `target` at first.
        missed: Whether each interval missed its truth, in the order in which the labels came.
        target: Share of misses that is aimed at, in (0, 1).
        step: How far one label moves the level, in (0, 1).

    Raises:
        OutOfRange: `target` or `step` lies outside (0, 1).

    Source: Gibbs & Candes (2021), Adaptive Conformal Inference Under Distribution Shift, NeurIPS 34, equation 2.

    >>> round(adapted(0.1, [False, False, True], target=0.1, step=0.01), 4)
    0.093
    """
    check_open_unit("target", target)
    check_open_unit("step", step)
    for one in missed:
        alpha += step * (target - bool(one))
    return alpha


def adaptation_bound(labels: int, *, target: float, step: float) -> float:
    """How far the share of misses over so many labels can lie from the target, whatever comes.

    (max(target, 1 - target) + step) / (step * labels); for labels that come at once, before the next answer.

    Source: Gibbs & Candes (2021), proposition 4.1.

    >>> round(adaptation_bound(6000, target=0.1, step=0.01), 4)
    0.0152
    """
    check_open_unit("target", target)
    check_open_unit("step", step)
    if labels < 1:
        raise OutOfRange("labels", labels, "at least 1")
    return (max(target, 1.0 - target) + step) / (step * labels)
