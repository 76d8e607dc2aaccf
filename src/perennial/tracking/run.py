"""What a run is, as it is told: frozen values that JSON can carry. Times are microseconds."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

__all__ = [
    "Artifact",
    "Input",
    "Lifecycle",
    "MetricPoint",
    "ModelLink",
    "Run",
    "RunHead",
    "RunPage",
    "RunStatus",
    "StepRecord",
    "StepState",
    "spelled",
]

RunStatus = Literal["running", "scheduled", "finished", "failed", "killed"]
StepState = Literal["done", "cached", "failed"]
Lifecycle = Literal["active", "deleted"]


class MetricPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a metric; "NaN", "Infinity" and "-Infinity" are texts, as JSON has no numbers for them."""

    key: str
    value: float | Literal["NaN", "Infinity", "-Infinity"]
    step: int = 0
    at: int


class StepRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What one step of a run did.

    `output` is the stored result as its room describes it, with at least its `digest`; `cached_from` the run that made
    it; `log` a digest.
    """

    name: str
    fingerprint: str | None
    state: StepState
    cached_from: str | None = None
    log: str | None = None
    output: dict[str, Any] | None = None
    error: str | None = None
    started: int
    ended: int


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a run; `digest` names its bytes."""

    path: str
    digest: str
    size: int


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset that a run used. `schema` and `profile` are texts as the client wrote them."""

    name: str
    digest: str
    source_type: str = ""
    source: str = ""
    schema: str | None = None
    profile: str | None = None
    context: str = ""
    tags: dict[str, str] = {}


class ModelLink(msgspec.Struct, frozen=True, kw_only=True):
    """A logged model that a run read or made."""

    model: str
    role: Literal["input", "output"]
    step: int = 0


class RunHead(msgspec.Struct, frozen=True, kw_only=True):
    """A run without what hangs on it.

    Attributes:
        experiment: The number of the experiment that it is kept under; `loop` is its name.
    """

    id: str
    experiment: int
    loop: str
    kind: str
    name: str
    person: str
    status: RunStatus
    lifecycle: Lifecycle
    seed: int | None
    bundle: str | None
    git_commit: str
    git_diff: str | None
    environment: str | None
    reason: str
    error: str | None
    started: int
    ended: int | None
    artifact_uri: str


class Run(RunHead, frozen=True, kw_only=True):
    """One run, with the newest value of each metric.

    Attributes:
        dataset: Name -> digest of the data it used; `inputs` tells more of them.
        artifacts, steps: Only when one run is asked for, not in lists.
    """

    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, MetricPoint]
    dataset: dict[str, str]
    inputs: list[Input]
    models: list[ModelLink]
    artifacts: list[Artifact]
    steps: list[StepRecord]


class RunPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some runs; `next_page_token` asks for more, None at the end."""

    runs: list[Run]
    next_page_token: str | None


def spelled(value: float) -> float | Literal["NaN", "Infinity", "-Infinity"]:
    """A number as JSON can carry it."""
    if value - value == 0:  # finite
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
