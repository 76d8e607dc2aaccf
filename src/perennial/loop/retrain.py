"""Triggers: reasons to look whether a new version would help. What moves anything is only the evidence that it does."""

from __future__ import annotations

from perennial.loop.declaration import Trigger
from perennial.loop.options import count, number, seconds

__all__ = ["by_hand", "every", "never", "on_new_rows", "on_performance_drop", "on_prior_shift", "on_shift"]


def on_performance_drop(*, one_false_alarm_in: int = 100_000, tolerance: float = 0.1) -> Trigger:
    """The live version does worse on labelled rows than when it was tested: its loss has risen, or its answers lean.

    Args:
        one_false_alarm_in: Labelled rows: while nothing has changed, at most one alarm in this many, on average.
        tolerance: What is left alone, as a share: a rise of the mean loss by this share of it and, for quantities, a
            mean residual of this share of the held-out root mean squared error.
    """
    return Trigger(
        "performance_drop",
        {
            "one_false_alarm_in": count("one_false_alarm_in", one_false_alarm_in, least=100),
            "tolerance": number("tolerance", tolerance, least=0),
        },
    )


def on_shift(*, tolerance: float = 0.05, min_rows: int = 500) -> Trigger:
    """A feature or the predictions are no longer distributed as in training.

    Args:
        tolerance: Population stability index that is left alone, in nats.
        min_rows: Rows in a window before it is judged.
    """
    return Trigger(
        "shift",
        {"tolerance": number("tolerance", tolerance, least=0), "min_rows": count("min_rows", min_rows, least=100)},
    )


def on_prior_shift() -> Trigger:
    """Classes have become more or less frequent, and nothing else has changed: correct the answers, without training.

    Where the diagnosis of an alarm says so and the gate of label shift lets it pass, a new version is made at once from
    the live one, with its probabilities corrected; it has to meet the same requirements as a retrained one.
    """
    return Trigger("prior_shift", {})


def every(period: str) -> Trigger:
    """A period has passed since the live version was trained: a duration such as "30d"."""
    return Trigger("schedule", {"period_s": seconds("every", period, least=1.0)})


def on_new_rows(rows: int) -> Trigger:
    """The data have so many rows more than the live version was trained on."""
    return Trigger("new_rows", {"rows": count("rows", rows)})


def by_hand() -> Trigger:
    """Only when a person asks: `perennial run`."""
    return Trigger("by_hand", {})


def never() -> Trigger:
    """Never retrain by itself; says so where it could be thought forgotten."""
    return Trigger("never", {})
