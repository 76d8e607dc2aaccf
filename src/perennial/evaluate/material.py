"""What an evaluation can work with besides truth and answers: the rows themselves, and ways to ask and to retrain."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.evaluate.answers import Answers, Ints

__all__ = ["Ask", "Budget", "Fit", "Live", "Material"]

Ask = Callable[[pl.DataFrame], Answers]
"""Request columns -> answers, as the service would give them."""
Fit = Callable[[Ints], Ask]
"""Positions of training rows -> the model fitted to just these."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """Rows in the order of truth and answers, and the model.

    Attributes:
        test_frame: Held-out rows: request columns and whatever else is known of them, but for the target.
        train_frame: The same of the training rows.
        inputs: Names of the request columns.
        ask: The judged model.
        fit: Retrains it on some of the training rows; None where that cannot be done.
        nullable: Request columns in which a value may be missing.
        key: Column that names the entity.
        time: Column of event time.
        delay_s: How long after its time the truth of a row is known.
        training: What training recorded, by name, one value per iteration (`Flavor.curves`).
    """

    test_frame: pl.DataFrame
    train_frame: pl.DataFrame
    inputs: tuple[str, ...]
    ask: Ask
    fit: Fit | None = None
    nullable: frozenset[str] = frozenset()
    key: str | None = None
    time: str | None = None
    delay_s: float = 0.0
    training: Mapping[str, list[float]] = field(default_factory=dict[str, list[float]])

    @property
    def requests(self) -> pl.DataFrame:
        """The held-out rows as requests."""
        return self.test_frame.select(self.inputs)


@dataclass(frozen=True, kw_only=True)
class Live:
    """The live version's answers to the held-out rows marked in `fresh`, which it was not trained on."""

    name: str
    answers: Answers
    fresh: NDArray[np.bool_]


class Budget:
    """Seconds that retraining may take, all together."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds

    def allows(self, seconds: float) -> bool:
        """Whether something that will take so long still fits."""
        return time.monotonic() + seconds <= self._ends
