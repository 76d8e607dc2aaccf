"""What an import carries to the owner of the records: whole experiments, runs, models, as JSON can carry them.

Times are microseconds. `identity` is what makes a thing the same thing when it is imported again, wherever its store
lies by then.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from perennial.tracking.run import Artifact, Input, Lifecycle, MetricPoint, ModelLink, RunStatus

__all__ = [
    "Carried",
    "CarriedExperiment",
    "CarriedLoggedModel",
    "CarriedMetric",
    "CarriedModel",
    "CarriedModelMetric",
    "CarriedRun",
    "CarriedVersion",
    "Outcome",
    "Placed",
]


class CarriedMetric(msgspec.Struct, frozen=True, kw_only=True):
    """Points of one metric: columns of little-endian 64-bit numbers of one length, JSON has them in base64."""

    key: str
    at: bytes
    step: bytes
    value: bytes


class CarriedExperiment(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment. `artifact_location` is empty unless its artifacts stay where they are."""

    identity: str
    name: str
    artifact_location: str = ""
    lifecycle: Lifecycle = "active"
    created: int
    updated: int
    tags: dict[str, str] = {}


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """Under which number and name an experiment is here, and where its artifacts lie."""

    id: int
    name: str
    artifact_uri: str
    is_new: bool


class CarriedRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run. `experiment` is our number.

    Attributes:
        sent: Names the points that were sent before, in calls of their own; empty when all are in `metrics`.
        latest: The newest value of each metric as the foreign store told it.
    """

    id: str
    identity: str
    experiment: int
    name: str
    person: str
    status: RunStatus
    lifecycle: Lifecycle
    git_commit: str = ""
    source: str
    started: int
    ended: int | None = None
    deleted: int | None = None
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics: list[CarriedMetric] = []
    latest: list[MetricPoint] = []
    sent: str = ""
    inputs: list[Input] = []
    models: list[ModelLink] = []
    files: list[Artifact] = []


class CarriedModelMetric(msgspec.Struct, frozen=True, kw_only=True):
    """A point that was measured with a model; `dataset` and `digest` are empty when nobody said on what."""

    key: str
    value: float | Literal["NaN", "Infinity", "-Infinity"]
    step: int
    at: int
    run: str
    dataset: str = ""
    digest: str = ""


class CarriedLoggedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A logged model. `experiment` is our number."""

    id: str
    identity: str
    experiment: int
    name: str
    type: str | None = None
    status: Literal["pending", "ready", "upload_failed"]
    run: str | None = None
    created: int
    updated: int
    deleted: int | None = None
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics: list[CarriedModelMetric] = []
    files: list[Artifact] = []


class CarriedVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a registered model; `source` and `storage` are addresses here where its files came along."""

    version: int
    created: int
    updated: int
    description: str = ""
    stage: str = "None"
    source: str
    storage: str
    run_id: str | None = None
    run_link: str = ""
    model_id: str | None = None
    tags: dict[str, str] = {}


class CarriedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A registered model. `last` is the highest number that was ever given, to a deleted version too."""

    identity: str
    name: str
    source: str
    description: str = ""
    created: int
    updated: int
    last: int
    tags: dict[str, str] = {}
    aliases: dict[str, int] = {}
    versions: list[CarriedVersion] = []


Carried = CarriedRun | CarriedLoggedModel | CarriedModel


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one thing: it is new here, was brought up to date, was the same already, or was not taken."""

    id: str
    what: Literal["added", "updated", "same", "refused"]
    why: str = ""
    remedy: str = ""
