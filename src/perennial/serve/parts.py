"""Rows of one request that one model answers: a request is one part, or several where a canary takes its share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from perennial.serve.asked import Asked
from perennial.serve.orders import Told

__all__ = ["Part"]


class Part:
    """Rows for a model. `done` is called once with this part: `told` is there then, or `failure`.

    Attributes:
        asked: The rows.
        rows: Where they are in the request; None is all of them, in order.
        arm: The part of the endpoint that they are meant for.
        deadline: Of the monotonic clock; what waits beyond it is not computed.
        alone: Not to be answered together with others.
        matrix: The rows as the model takes them, where that is known already.
        step: How many of the chain of fallbacks have been asked for them.
    """

    __slots__ = (
        "alone", "arm", "asked", "deadline", "done", "failure", "is_retried", "job", "matrix", "rows", "step", "timer",
        "told",
    )  # fmt: skip

    def __init__(
        self, asked: Asked, arm: str, done: Callable[[Part], None], *, rows: Sequence[int] | None = None,
        deadline: float = float("inf"), alone: bool = False, job: Any = None,
    ) -> None:  # fmt: skip
        self.asked = asked
        self.arm = arm
        self.rows = rows
        self.deadline = deadline
        self.alone = alone
        self.done = done
        self.job = job
        self.matrix: Any = None
        self.told: Told | None = None
        self.failure: Exception | None = None
        self.is_retried = False
        self.step = 0
        self.timer: Any = None

    @property
    def is_settled(self) -> bool:
        return self.told is not None or self.failure is not None

    def settle(self, outcome: Told | Exception) -> None:
        """Tell how it went; the first outcome counts."""
        if self.is_settled:
            return
        if self.timer is not None:
            self.timer.cancel()
        if isinstance(outcome, Exception):
            self.failure = outcome
        else:
            self.told = outcome
        self.done(self)
