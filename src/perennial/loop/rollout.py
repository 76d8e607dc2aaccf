"""Stages of a rollout: a new version shows itself in the shadow, then on a small share of the requests, then live."""

from __future__ import annotations

from typing import Literal

from perennial.loop.declaration import Stage
from perennial.loop.options import choice, count, number, seconds

__all__ = ["canary", "shadow"]

AtMaxTime = Literal["refuse", "promote", "hold"]
_AT_MAX_TIME = ("refuse", "promote", "hold")


def shadow(
    *, min_labels: int = 200, margin: float = 0.0, max_time: str = "30d", at_max_time: AtMaxTime = "refuse"
) -> Stage:
    """Answer the same requests unseen, and compare both versions' losses on every labelled row.

    Args:
        min_labels: Labelled rows before the first verdict.
        margin: Loss for each row that the new version may be worse by and still go on; 0 asks for better.
        max_time: Longest stay in the shadow, a duration. Count the label delay in.
        at_max_time: What happens to a version that is neither clearly better nor worse by then; "hold" asks a person.
    """
    return Stage(
        "shadow",
        {
            "min_labels": count("min_labels", min_labels),
            "margin": number("margin", margin, least=0),
            "max_time_s": seconds("max_time", max_time, least=1e-3),
            "at_max_time": choice("at_max_time", at_max_time, _AT_MAX_TIME),
        },
    )


def canary(
    share: float,
    *,
    min_predictions: int = 100,
    min_time: str = "1h",
    max_disagreement: float = 0.5,
    max_time: str = "30d",
    at_max_time: AtMaxTime = "hold",
) -> Stage:
    """Give a share of the entities to the new version, guarded by errors, latency and disagreement.

    Args:
        share: Of the requests, above 0 and below 1.
        min_predictions: Answers of the new version before it may go on.
        min_time: Shortest stay, a duration.
        max_disagreement: Share of rows, in [0, 1], on which both versions may differ materially.
        max_time: Longest stay, a duration.
        at_max_time: What happens when too few answers came by then; "hold" asks a person.
    """
    return Stage(
        "canary",
        {
            "share": number("share", share, above=0, most=0.999),
            "min_predictions": count("min_predictions", min_predictions),
            "min_time_s": seconds("min_time", min_time),
            "max_disagreement": number("max_disagreement", max_disagreement, least=0, most=1),
            "max_time_s": seconds("max_time", max_time, least=1e-3),
            "at_max_time": choice("at_max_time", at_max_time, _AT_MAX_TIME),
        },
    )
