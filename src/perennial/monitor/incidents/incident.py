"""What an incident is: findings about one thing that is wrong, as one matter with a life of its own.

Findings of one endpoint, one version and one group of kinds that follow each other within the quiet period are one
incident, told once. It is open, acknowledged (somebody looks), explained (somebody knows why; what is found further
belongs to it and is not told) and closed, by a person or because nothing was found for the quiet period.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa

__all__ = ["GROUPS", "RANKS", "Cause", "Group", "Incident", "Severity", "State", "group_of", "incident_of"]

Group = Literal["inputs", "predictions", "performance", "quality", "service"]
State = Literal["open", "acknowledged", "explained", "closed"]
Severity = Literal["info", "warn", "critical"]
Cause = Literal["covariate", "prior", "concept", "data bug", "release", "other"]

RANKS: Final[Mapping[str, int]] = MappingProxyType({"": 0, "info": 1, "warn": 2, "critical": 3})

GROUPS: Final[Mapping[str, Group]] = MappingProxyType(
    {
        "covariate_shift": "inputs",
        "multivariate_shift": "inputs",
        "attribution_drift": "inputs",
        "unforeseen": "inputs",
        "prediction_shift": "predictions",
        "prior_shift": "predictions",
        "performance_drop": "performance",
        "estimated_drop": "performance",
        "concept_drift": "performance",
        "calibration": "performance",
        "slice_drop": "performance",
        "fairness": "performance",
        "data_quality": "quality",
        "training_serving_skew": "quality",
        "traffic": "service",
        "latency": "service",
        "errors": "service",
    }
)
"""Kinds of findings that usually have one cause, so that a person is told of them once. A test holds that none is left
out."""


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """One incident. Times are microseconds; those of windows are event times, the others the workspace's clock.

    Attributes:
        number: Counts from 1 in the workspace.
        group: What kind of thing is wrong.
        severity: The worst of its findings.
        kind: Of the finding that `says` is from, the first of the worst.
        since: Start of the earliest window in which something was found, and `until` the end of the latest.
        opened: When it was, and `last_at` when the latest finding was recorded.
        findings: How many there are.
        quiet_us: After so long without a finding it closes by itself.
        muted: The maintenance window in which it began; nobody was told while all its findings lay in one.
        told: The worst severity that was told; empty while none was.
        closed_by: Empty where it closed by itself.
        false_alarm_by: Who said that nothing was wrong; None where nobody did.
        promised: The budget of false alarms that the monitors declared, as in `Budget`; None where they did not.
    """

    number: int
    endpoint: str
    version: int
    group: Group
    state: State
    severity: Severity
    kind: str
    says: str
    since: int
    until: int
    opened: int
    last_at: int
    findings: int
    quiet_us: int
    muted: int | None = None
    told: str = ""
    acknowledged_at: int | None = None
    acknowledged_by: str | None = None
    explained_at: int | None = None
    explained_by: str | None = None
    cause: Cause | None = None
    explanation: str = ""
    closed_at: int | None = None
    closed_by: str | None = None
    comment: str = ""
    false_alarm_at: int | None = None
    false_alarm_by: str | None = None
    false_alarm_comment: str = ""
    promised: dict[str, float] | None = None


def group_of(kind: str) -> Group:
    """The group of a kind of finding; of a kind that a newer version knows, `service`, so that it is told at all."""
    return GROUPS.get(kind, "service")


def incident_of(row: sa.RowMapping) -> Incident:
    """A row of the table as the value that it stands for."""
    values: dict[str, Any] = dict(row)
    values["group"] = values.pop("kind_group")
    values["promised"] = None if values["promised"] is None else msgspec.json.decode(values["promised"])
    return Incident(**values)
