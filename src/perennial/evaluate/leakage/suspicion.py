"""What a search for leaks looks at, and what it finds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["MOST_ROWS", "Sides", "Strength", "Suspicion"]

MOST_ROWS = 20_000  # of each side, taken evenly: what tells the target does so on these

Strength = Literal["strong", "weak"]


@dataclass(frozen=True, kw_only=True)
class Suspicion:
    """A possible leak. `columns`: those it is about; none where it is about rows."""

    kind: str
    columns: tuple[str, ...] = ()
    strength: Strength
    says: str
    evidence: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, kw_only=True)
class Sides:
    """The rows that a model was fitted to and those held out, with the target of each in one coding.

    `features`: columns of both that the model takes. `time`, `key`: columns of moments and of entities, where there are
    any; they tell rows apart and are no features by themselves.
    """

    task: str
    train: pl.DataFrame
    test: pl.DataFrame
    train_target: NDArray[Any]
    test_target: NDArray[Any]
    features: tuple[str, ...]
    time: str | None = None
    key: str | None = None

    @property
    def is_regression(self) -> bool:
        return self.task == "regression"

    @property
    def labels(self) -> int:
        """How many labels there are, on both sides together."""
        return int(max(self.train_target.max(), self.test_target.max())) + 1

    def some(self) -> Sides:
        """At most `MOST_ROWS` rows of each side, taken evenly."""
        rows, held = (
            np.unique(np.linspace(0, len(one) - 1, min(len(one), MOST_ROWS)).astype(np.int64))
            for one in (self.train, self.test)
        )
        return replace(
            self,
            train=self.train[rows],
            test=self.test[held],
            train_target=self.train_target[rows],
            test_target=self.test_target[held],
        )
