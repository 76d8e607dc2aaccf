"""Attributions of one kind of model, before it is known in which unit they add up to its answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import polars as pl

from perennial.evaluate.explain.asked import Floats

__all__ = ["Additive", "Contributions", "Unfit"]


class Unfit(Exception):
    """This way of computing attributions does not fit this model; the message says why, another way is taken."""


@dataclass(frozen=True)
class Contributions:
    """`values`: shape (n, k, d), for k scores over the model's d columns; `base`: shape (k,)."""

    values: Floats
    base: Floats

    def sums(self) -> Floats:
        """Base plus contributions, shape (n, k)."""
        return self.base + self.values.sum(axis=2)


class Additive(Protocol):
    """A model whose scores are split over its columns exactly.

    `relative`: what it counts in, as a scorer's: 1e-9, or 1e-5 for single precision.
    """

    @property
    def method(self) -> Literal["tree", "linear"]: ...

    @property
    def relative(self) -> float: ...

    def contributions(self, x: pl.DataFrame) -> Contributions:
        """Of rows given as the model's columns.

        Raises:
            Unfit: These rows cannot be explained in this way.
        """
        ...
