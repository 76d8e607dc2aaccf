"""How each column is counted: what its values are, and the bins, fixed on the reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from perennial.stats.bins import Bins, bins_from_dict

__all__ = ["ColumnPlan", "Kind", "kind_of"]

Kind = Literal["number", "text", "time", "other"]


@dataclass(frozen=True, kw_only=True)
class ColumnPlan:
    """How a column is counted, fixed on the reference.

    Attributes:
        kind: What its values are.
        bins: Where they are counted.
        centre: What sums are taken from: the reference mean, so that squares keep their digits.
        is_hour: Its values are the hours of the event times.
        is_slow: It has one value on most days, as the month or a holiday has.
    """

    kind: Kind
    bins: Bins
    centre: float = 0.0
    is_hour: bool = False
    is_slow: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": self.kind,
            "bins": self.bins.as_dict(),
            "centre": self.centre,
            "is_hour": self.is_hour,
            "is_slow": self.is_slow,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> ColumnPlan:
        """What `as_dict` gave."""
        return cls(
            kind=stored["kind"],
            bins=bins_from_dict(stored["bins"]),
            centre=stored["centre"],
            is_hour=stored["is_hour"],
            is_slow=stored["is_slow"],
        )


def kind_of(dtype: pl.DataType) -> Kind:
    """What the values of a column are; true and false are the numbers 1 and 0."""
    if dtype.is_numeric() or dtype == pl.Boolean:
        return "number"
    if dtype == pl.String or isinstance(dtype, pl.Enum | pl.Categorical):
        return "text"
    return "time" if dtype.is_temporal() else "other"
