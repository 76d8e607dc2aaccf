"""What an endpoint does when an answer cannot be relied on, as data: guards, fallbacks, intervals, breaker, limits.

Declared by `guard.*`, `fallback.*` and the methods of `Loop`; `models.guards` fits what needs rows, the prediction
service keeps to it. Survives JSON without loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from perennial.types import JSON

__all__ = [
    "BreakerPolicy",
    "FailSafePolicy",
    "Fallback",
    "Guard",
    "GuardKind",
    "IntervalPolicy",
    "ServingPolicy",
]

GuardKind = Literal["range", "missing", "unseen", "unforeseen", "uncertain", "output", "nan"]


@dataclass(frozen=True)
class Guard:
    """One check of a request or of an answer, and what happens where it fires."""

    kind: GuardKind
    options: Mapping[str, JSON]


@dataclass(frozen=True)
class Fallback:
    """One link of the chain that answers in place of the live version."""

    kind: Literal["previous", "version", "constant", "person"]
    options: Mapping[str, JSON]


@dataclass(frozen=True, kw_only=True)
class IntervalPolicy:
    """Intervals of a regression, sets of labels of a classification, that hold the truth at `level`.

    Attributes:
        level: Share of the answers whose interval or set holds the truth, in (0, 1).
        adaptive: Follow the labels: widen when too many truths lie outside, narrow when too few do.
        step: How far one label moves the level, as a share of one.
        by: Keep the level in each group alone: "class", or a column.
        sets: How labels are chosen: by their own probability (lac), or until their sum is enough (aps).
    """

    level: float = 0.9
    adaptive: bool = True
    step: float = 0.01
    by: str | None = None
    sets: Literal["lac", "aps"] = "lac"


@dataclass(frozen=True, kw_only=True)
class BreakerPolicy:
    """When a version that fails is no longer asked.

    Attributes:
        failures: Share of the last `of` answers that must fail for the version to be left alone.
        of: How many answers are looked at.
        slow_ms: An answer slower than this counts as failed, milliseconds; None: only errors do.
        open_s: How long it is left alone, seconds.
        probes: Answers that must succeed after that before it is trusted again.
    """

    failures: float = 0.5
    of: int = 20
    slow_ms: float | None = None
    open_s: float = 30.0
    probes: int = 5


@dataclass(frozen=True, kw_only=True)
class ServingPolicy:
    """Limits of one endpoint; None leaves the service's own.

    Attributes:
        deadline_s: A request that is not answered within this is answered with 504, seconds.
        queue_rows: Rows that may wait for the model; a request beyond them is answered with 503 at once.
    """

    deadline_s: float | None = None
    queue_rows: int | None = None


@dataclass(frozen=True, kw_only=True)
class FailSafePolicy:
    """All of it, for one loop."""

    guards: tuple[Guard, ...] = ()
    fallbacks: tuple[Fallback, ...] = ()
    interval: IntervalPolicy | None = None
    breaker: BreakerPolicy | None = None
    serving: ServingPolicy | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FailSafePolicy:
        """The policy that was written as a mapping of its fields."""

        def one(name: str, kind: type[Any]) -> Any:
            return None if value.get(name) is None else kind(**value[name])

        return cls(
            guards=tuple(Guard(**item) for item in value.get("guards", ())),
            fallbacks=tuple(Fallback(**item) for item in value.get("fallbacks", ())),
            interval=one("interval", IntervalPolicy),
            breaker=one("breaker", BreakerPolicy),
            serving=one("serving", ServingPolicy),
        )
