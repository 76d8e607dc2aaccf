"""The shapes every routine answers in: a `Finding` for a decision, an `Interval` for an estimate.

No routine returns a bare boolean. A decision travels with the effect it is about, the threshold it was compared with,
the noise control behind it and the sizes it rests on. `as_dict` gives plain JSON values only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import cast

import numpy as np

__all__ = ["Finding", "Interval", "Json", "plain"]

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def plain(value: object) -> Json:
    """Turn numbers, arrays, tuples and mappings into JSON values; a number that is not finite becomes None.

    >>> plain({"share": np.float64(0.25), "ends": (0, float("inf"))})
    {'share': 0.25, 'ends': [0, None]}
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.generic | np.ndarray):
        return plain(cast(object, value.tolist()))
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Interval):
        return value.as_dict()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in cast(Mapping[object, object], value).items()}
    if isinstance(value, Sequence):
        return [plain(item) for item in cast(Sequence[object], value)]
    raise TypeError(f"no plain JSON form for {type(value).__name__}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A range that covers the true value with probability at least `level`.

    Attributes:
        low: Lower end; -inf when nothing is known below.
        high: Upper end; inf when nothing is known above.
        estimate: Point estimate, in the same unit as the ends; NaN when there is none.
        level: Coverage probability, in (0, 1).
        n: Rows (or clusters, where the method resamples clusters) it rests on.
        method: Name of the method.
        anytime: True if the coverage holds however often one looks while rows arrive.
    """

    low: float
    high: float
    estimate: float
    level: float
    n: int
    method: str
    anytime: bool = False

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values; an end that is not finite becomes None."""
        return {item.name: plain(cast(object, getattr(self, item.name))) for item in fields(self)}


def _no_details() -> dict[str, Json]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a test found, and on what grounds.

    Attributes:
        method: Name of the method.
        decision: What to conclude, one of the words the routine documents.
        reasons: Sentences behind the decision, the most important first.
        statistic: The number the test is built on.
        effect: Size of what was found, in the unit a user cares about.
        threshold: What the effect or the e-value was compared with.
        p_value: Probability of a statistic at least this large if nothing beyond the tolerance happened.
        e_value: Evidence against "nothing happened"; its mean is at most 1 if nothing did.
        interval: Range for the effect.
        n: Reference rows, or all rows where there is one sample.
        m: Current rows; None where there is one sample.
        params: The settings used, enough to repeat the test.
        details: Further numbers worth showing.
    """

    method: str
    decision: str
    reasons: tuple[str, ...] = ()
    statistic: float | None = None
    effect: float | None = None
    threshold: float | None = None
    p_value: float | None = None
    e_value: float | None = None
    interval: Interval | None = None
    n: int | None = None
    m: int | None = None
    params: Mapping[str, Json] = field(default_factory=_no_details)
    details: Mapping[str, Json] = field(default_factory=_no_details)

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values; a number that is not finite becomes None.

        >>> Finding(method="demo", decision="undecided", reasons=("too few rows",)).as_dict()["reasons"]
        ['too few rows']
        """
        return {item.name: plain(cast(object, getattr(self, item.name))) for item in fields(self)}
