"""One live version as it is watched, and what is seen of it in one window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from perennial.monitor.estimating.estimates import Estimated
from perennial.monitor.findings import Kind, NewFinding, Severity
from perennial.monitor.profiling.profiles import Profiler, WindowProfile
from perennial.monitor.sample import Sample
from perennial.monitor.watching.budget import Budget
from perennial.monitor.windows import Window

__all__ = ["Look", "Seen", "Watched", "excess", "finding", "loss_scale"]

T = TypeVar("T")
Floats = NDArray[np.float64]
EXCESS = 0.01  # share of wrong labels beyond the reference that is left alone
EXCESS_SHARE = 0.1  # for quantities: of the mean loss
QUANTILE = 0.995  # losses beyond this quantile of the reference are clipped: a bet needs a bound


class Look(NamedTuple):
    """What a monitor remembers until the next window, and what it found in this one."""

    state: dict[str, Any]
    found: list[NewFinding]


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A version and how it is watched.

    Attributes:
        version: Its number.
        reference: Rows that it was judged on, with predictions and, but for imported models, the truth.
        expected: Loss to be expected of rows by what the model says of them, from a calibration on the reference: the
            share of wrong labels or the squared error. None where the model says nothing of its certainty.
        budget: False alarms, over all monitors.
        window_us: Length of a window, microseconds.
        slices: Columns whose values are watched one by one.
        groups: Columns whose values are groups of people.
        positive: The label that selection is about; None: the last class of two.
        off: What is not looked for.
    """

    version: int
    reference: Sample
    expected: Callable[[Sample], Floats] | None
    budget: Budget
    window_us: int
    slices: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    positive: str | None = None
    off: frozenset[str] = frozenset()
    _made: dict[str, Any] = field(default_factory=dict[str, Any], init=False, compare=False, repr=False)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What is made of the reference under this name: made once, for all windows."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def evidence(self, kind: Kind, *, streams: int = 1) -> float:
        """Evidence at which a detector of this kind alarms."""
        return self.budget.evidence(kind, self.window_us, streams=streams)

    def level(self, kind: Kind) -> float:
        """Level at which all looks of this kind at one window may err together."""
        return self.budget.per_window(kind, self.window_us)

    @cached_property
    def profiler(self) -> Profiler:
        """Where the rows of a window are counted."""
        return Profiler.of_reference(self.reference)

    @cached_property
    def reference_profile(self) -> WindowProfile:
        """What the reference adds up to."""
        return self.profiler.profile(self.reference)

    @cached_property
    def losses(self) -> Floats:
        """Losses of the reference rows whose truth is known."""
        losses = self.reference.losses()
        return losses[~np.isnan(losses)]

    @cached_property
    def expected_losses(self) -> Floats:
        """What was to be expected of the same rows."""
        if self.expected is None:
            return np.zeros(0)
        return self.expected(self.reference)[~np.isnan(self.reference.losses())]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One window.

    Attributes:
        window: Event times.
        rows: What this version answered.
        asked: Rows that the endpoint was asked for, whoever answered.
        failed: Rows without an answer.
        slow: Rows whose answer took longer than it may.
        flagged: Rows on which a guard fired.
        profile: What its rows add up to; None: counted when it is asked for.
        former: Sound windows before it, oldest first.
        alike: Rows of the former window that is its like (the same weekday), read when asked; None: there is none.
        estimates: What is estimated of its rows by every estimator.
        beside: What the version's own model says of its rows, asked when called (`watching.model`).
    """

    window: Window
    rows: Sample
    asked: int
    failed: int = 0
    slow: int = 0
    flagged: int = 0
    profile: WindowProfile | None = None
    former: Sequence[WindowProfile] = ()
    alike: Callable[[], Sample | None] | None = None
    estimates: Sequence[Estimated] = ()
    beside: Callable[[], Any] | None = None


def loss_scale(watched: Watched) -> float:
    """What a loss is divided by so that it lies in [0, 1]: 1 for labels, a high quantile of the reference else."""
    if watched.reference.task == "classification":
        return 1.0
    losses = watched.losses
    return float(np.quantile(losses, QUANTILE)) or float(losses.max()) or 1.0


def excess(losses: Floats, scale: float) -> float:
    """How far the mean of losses like these may rise and be left alone, in their unit."""
    return EXCESS if scale == 1.0 else EXCESS_SHARE * float(losses.mean())


def finding(
    watched: Watched,
    kind: Kind,
    window: Window,
    says: str,
    evidence: dict[str, Any],
    *,
    severity: Severity = "warn",
    of: str = "",
) -> NewFinding:
    """A finding about this version in this window; `of` tells those of one kind apart."""
    name = f"{kind}/{of}" if of else kind
    return NewFinding(
        key=f"{name}/{watched.version}/{window.start}",
        version=watched.version,
        kind=kind,
        severity=severity,
        window_from=window.start,
        window_to=window.end,
        says=says,
        evidence={
            **evidence,
            "budget": watched.budget.says,
            # What a false alarm is counted against, see `Incidents.feedback`.
            "promised": {"alarms": watched.budget.alarms, "days": watched.budget.days},
        },
    )
