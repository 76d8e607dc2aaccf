"""Follow the labels with the level of intervals: pure, one step for the labels that are new.

The level is adaptive conformal inference (`stats.adapted`) in the order in which labels came, each held against the
interval that was answered at its time. Labels that come late move it late; the bound of `stats.adaptation_bound` holds
for labels that come before the next answer, and up to what was answered meanwhile else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from perennial import stats

__all__ = ["follow_labels"]


def follow_labels(
    state: Mapping[str, Any] | None, missed: Sequence[bool], *, target: float, step: float
) -> dict[str, Any]:
    """The state after these labels: `alpha`, and of how many `labels` how many were `missed`.

    Args:
        state: What the step before returned; None at first.
        missed: Whether each interval or set missed its truth, in the order of the labels.
        target: Share of misses that is declared.
        step: How far one label moves the level.
    """
    before = state or {"alpha": target, "labels": 0, "missed": 0}
    return {
        "alpha": stats.adapted(float(before["alpha"]), missed, target=target, step=step),
        "labels": int(before["labels"]) + len(missed),
        "missed": int(before["missed"]) + sum(missed),
    }
