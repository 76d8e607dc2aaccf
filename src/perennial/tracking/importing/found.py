"""What a reader finds in a foreign store, and what it says of the rest: skipped with a reason, or damaged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from perennial.tracking.importing.carried import CarriedModelMetric, CarriedVersion
from perennial.tracking.importing.places import Place
from perennial.tracking.run import Input, Lifecycle, MetricPoint, ModelLink, RunStatus

__all__ = [
    "Damaged",
    "Damage",
    "FoundExperiment",
    "FoundLoggedModel",
    "FoundModel",
    "FoundRun",
    "Points",
    "Skip",
    "Store",
    "Told",
    "micros",
    "number",
    "points_of",
    "whole",
]

LARGEST = 2**63 - 1
NAMED = 3  # examples of what was skipped


class Damaged(Exception):
    """This thing cannot be read; says why."""


class Points(NamedTuple):
    """Points of one metric: microseconds, steps, values."""

    at: npt.NDArray[np.int64]
    step: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]


@dataclass(kw_only=True)
class FoundExperiment:
    """An experiment. `key` is its name in the foreign store, `location` where its artifacts lie."""

    key: str
    identity: str
    name: str

    uri: str
    lifecycle: Lifecycle = "active"
    created: int = 0
    updated: int = 0
    tags: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(kw_only=True)
class FoundRun:
    """A run, whole. `uri` is where the store says that its artifacts lie, `files` where they are on this machine."""

    id: str
    identity: str
    experiment: str
    name: str
    person: str = ""
    status: RunStatus = "finished"
    lifecycle: Lifecycle = "active"
    git_commit: str = ""
    started: int = 0
    ended: int | None = None
    deleted: int | None = None
    params: dict[str, str] = field(default_factory=dict[str, str])
    tags: dict[str, str] = field(default_factory=dict[str, str])
    metrics: dict[str, Points] = field(default_factory=dict[str, Points])
    latest: list[MetricPoint] = field(default_factory=list[MetricPoint])
    inputs: list[Input] = field(default_factory=list[Input])
    models: list[ModelLink] = field(default_factory=list[ModelLink])
    uri: str = ""
    files: list[Place] = field(default_factory=list[Place])


@dataclass(kw_only=True)
class FoundLoggedModel:
    """A logged model, whole."""

    id: str
    identity: str
    experiment: str
    name: str
    type: str | None = None
    status: Literal["pending", "ready", "upload_failed"] = "ready"
    run: str | None = None
    created: int = 0
    updated: int = 0
    deleted: int | None = None
    params: dict[str, str] = field(default_factory=dict[str, str])
    tags: dict[str, str] = field(default_factory=dict[str, str])
    metrics: list[CarriedModelMetric] = field(default_factory=list[CarriedModelMetric])
    uri: str = ""
    files: list[Place] = field(default_factory=list[Place])


@dataclass(kw_only=True)
class FoundModel:
    """A registered model; its versions name their files as the foreign store does."""

    identity: str
    name: str
    description: str = ""
    created: int = 0
    updated: int = 0
    last: int = 0
    tags: dict[str, str] = field(default_factory=dict[str, str])
    aliases: dict[str, int] = field(default_factory=dict[str, int])
    versions: list[CarriedVersion] = field(default_factory=list[CarriedVersion])


@dataclass
class Skip:
    """A kind of thing that was not carried over: how many, why, and some of them by name."""

    kind: str
    reason: str
    count: int = 0
    examples: list[str] = field(default_factory=list[str])


@dataclass
class Damage:
    """One thing that should have been carried over and was not."""

    what: str
    why: str
    remedy: str = ""


@dataclass
class Told:
    """What a reader says beside what it finds."""

    skips: dict[str, Skip] = field(default_factory=dict[str, Skip])
    damage: list[Damage] = field(default_factory=list[Damage])

    def skip(self, kind: str, reason: str, count: int = 1, example: str = "") -> None:
        if count:
            skip = self.skips.setdefault(kind, Skip(kind, reason))
            skip.count += count
            if example and len(skip.examples) < NAMED:
                skip.examples.append(example)

    def damaged(self, what: str, why: str, remedy: str = "") -> None:
        self.damage.append(Damage(what, why, remedy))


class Store(Protocol):
    """A foreign store, read in this order, once. What cannot be read is told in `told`, and the rest goes on."""

    kind: str
    source: str
    told: Told

    def experiments(self) -> list[FoundExperiment]: ...
    def runs(self, experiments: Mapping[str, FoundExperiment]) -> Iterator[FoundRun]: ...
    def logged_models(self, experiments: Mapping[str, FoundExperiment]) -> Iterable[FoundLoggedModel]: ...
    def models(self) -> Iterable[FoundModel]: ...
    def close(self) -> None: ...


def points_of(rows: list[tuple[object, object, object]]) -> Points:
    """Points from rows of milliseconds, step and value.

    Raises:
        Damaged: One of them is no number, or beyond what can be kept.
    """
    try:
        at = np.array([row[0] for row in rows], np.int64)
        step = np.array([row[1] for row in rows], np.int64)
        value = np.array([row[2] for row in rows], np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise Damaged(f"a point is no number: {error}") from error
    if len(at) and max(abs(int(at.min())), abs(int(at.max()))) > LARGEST // 1000:
        raise Damaged("the time of a point is beyond what can be kept")
    return Points(at * 1000, step, value)


def micros(value: object, what: str) -> int:
    """Milliseconds as a foreign store has them, in microseconds.

    Raises:
        Damaged: It is no whole number, or beyond what can be kept.
    """
    return whole(value, what, most=LARGEST // 1000) * 1000


def whole(value: object, what: str, *, most: int = LARGEST) -> int:
    """A whole number.

    Raises:
        Damaged: It is none, or beyond `most`.
    """
    try:
        found = int(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
    except ValueError:
        found = None
    if found is None or abs(found) > most:
        raise Damaged(f"{what} is {str(value)[:80]!r}, not a whole number that can be kept")
    return found


def number(value: object, what: str) -> float:
    """A number, also NaN and the infinities.

    Raises:
        Damaged: It is none.
    """
    try:
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise Damaged(f"{what} is {str(value)[:80]!r}, not a number")
