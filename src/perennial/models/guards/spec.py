"""How an endpoint protects its answers, in the form that travels to the prediction service.

`FailSafe` is what a loop declared (`loop.failsafe`) and nothing else but `alpha`: how much the intervals may miss at
present, where they follow the labels. What was learned from rows lies in the package (`models.guards.fitted`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct

from perennial.errors import Invalid
from perennial.loop.failsafe import FailSafePolicy
from perennial.store.decoding import ready

__all__ = [
    "Action",
    "AnyFallback",
    "AnyGuard",
    "Breaker",
    "Constant",
    "FailSafe",
    "Interval",
    "Missing",
    "Named",
    "Nan",
    "OutOfRange",
    "Output",
    "Person",
    "Previous",
    "Uncertain",
    "Unforeseen",
    "Unseen",
]

Action = Literal["reject", "fill", "flag", "fall_back", "abstain"]


class OutOfRange(Struct, frozen=True, kw_only=True, tag_field="kind", tag="range", omit_defaults=True):
    """A number outside what training saw, which reaches `widen` times its width further at both ends."""

    action: Action
    columns: list[str] | None = None
    widen: float = 0.0


class Missing(Struct, frozen=True, kw_only=True, tag_field="kind", tag="missing", omit_defaults=True):
    """A missing value; without `columns`, in those that training had whole."""

    action: Action
    columns: list[str] | None = None


class Unseen(Struct, frozen=True, kw_only=True, tag_field="kind", tag="unseen", omit_defaults=True):
    """A category that training did not see."""

    action: Action
    columns: list[str] | None = None


class Unforeseen(Struct, frozen=True, kw_only=True, tag_field="kind", tag="unforeseen", omit_defaults=True):
    """A row unlike those of training: its conformal p-value is at most `p`."""

    action: Action
    p: float = 0.001
    method: Literal["mahalanobis", "nearest"] | None = None
    columns: list[str] | None = None
    same_unit: bool | None = None


class Uncertain(Struct, frozen=True, kw_only=True, tag_field="kind", tag="uncertain", omit_defaults=True):
    """An answer that the model is not sure of: by its largest probability, or by the width of its interval."""

    action: Action
    below: float | None = None
    risk: float | None = None
    confidence: float = 0.95
    wider_than: float | None = None


class Output(Struct, frozen=True, kw_only=True, tag_field="kind", tag="output", omit_defaults=True):
    """An answer outside bounds, or against a rule."""

    action: Action
    low: float | None = None
    high: float | None = None
    rule: str | None = None


class Nan(Struct, frozen=True, kw_only=True, tag_field="kind", tag="nan", omit_defaults=True):
    """What stands for an answer of NaN or infinity: a number, or what is done."""

    answer: float | Literal["error", "null", "fall_back", "abstain"] = "error"


AnyGuard: TypeAlias = OutOfRange | Missing | Unseen | Unforeseen | Uncertain | Output | Nan


class Previous(Struct, frozen=True, kw_only=True, tag_field="kind", tag="previous"):
    """The version that was live before."""


class Named(Struct, frozen=True, kw_only=True, tag_field="kind", tag="version"):
    """Another version: `name@alias` or `name@number`."""

    version: str


class Constant(Struct, frozen=True, kw_only=True, tag_field="kind", tag="constant", omit_defaults=True):
    """Always the same; None: the mean of the training target, or its most frequent class."""

    value: float | str | bool | None = None


class Person(Struct, frozen=True, kw_only=True, tag_field="kind", tag="person"):
    """A person is asked."""


AnyFallback: TypeAlias = Previous | Named | Constant | Person


class Interval(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """See `loop.failsafe.IntervalPolicy`."""

    level: float = 0.9
    adaptive: bool = True
    step: float = 0.01
    by: str | None = None
    sets: Literal["lac", "aps"] = "lac"


class Breaker(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """See `loop.failsafe.BreakerPolicy`."""

    failures: float = 0.5
    of: int = 20
    slow_ms: float | None = None
    open_s: float = 30.0
    probes: int = 5


class FailSafe(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything that an endpoint's answers are protected by.

    `deadline_s` and `queue_rows`: None leaves the service's own. `alpha`: the share that intervals may miss at present;
    None: 1 - level.
    """

    guards: list[AnyGuard] = []
    fallbacks: list[AnyFallback] = []
    interval: Interval | None = None
    breaker: Breaker | None = None
    deadline_s: float | None = None
    queue_rows: int | None = None
    alpha: float | None = None

    @classmethod
    def of(cls, policy: FailSafePolicy | None, *, alpha: float | None = None) -> FailSafe:
        """What a loop declared."""
        if policy is None:
            return cls()
        told: dict[str, Any] = {
            "guards": [{"kind": guard.kind, **guard.options} for guard in policy.guards],
            "fallbacks": [{"kind": link.kind, **link.options} for link in policy.fallbacks],
            "interval": asdict(policy.interval) if policy.interval is not None else None,
            "breaker": asdict(policy.breaker) if policy.breaker is not None else None,
            **(asdict(policy.serving) if policy.serving is not None else {}),
            "alpha": alpha,
        }
        return msgspec.convert(told, ready(cls))

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> FailSafe:
        """What `to_builtins` gave.

        Raises:
            Invalid: It is not that; an unknown guard counts as such, since what it protects would go unprotected.
        """
        try:
            return msgspec.convert(value, ready(cls))
        except msgspec.ValidationError as error:
            raise Invalid(
                f"the endpoint's guards cannot be read: {error}", remedy="let the owner write the spec anew"
            ) from error

    def to_builtins(self) -> dict[str, Any]:
        """Plain values; empty when nothing is declared."""
        return msgspec.to_builtins(self)

    @property
    def miss(self) -> float:
        """The share that intervals may miss at present; 0.1 where no interval is declared."""
        if self.alpha is not None:
            return self.alpha
        return 1.0 - self.interval.level if self.interval is not None else 0.1
