"""What the demo found out, as plain values: the report draws them, a script recomputes them from the records.

Dates are ISO 8601 text, "1984-03-01". RMSE and bias are in the unit of the target; bias is truth minus answer, so that
a positive one means answers too low.
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = [
    "Command",
    "Facts",
    "Gate",
    "Mark",
    "Moment",
    "Period",
    "Policy",
    "PolicyName",
    "ShiftCell",
    "StageSpan",
    "VersionFacts",
]

PolicyName = Literal["never", "loop", "yearly"]


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How a policy did on everybody who was asked. `trainings` counts the first one too."""

    policy: PolicyName
    trainings: int
    rmse: float
    rmse_last_year: float
    bias_last_year: float


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """One policy's answers to those asked in [start, end): mean truth, mean answer, error with its interval or none."""

    policy: PolicyName
    start: str
    end: str
    rows: int
    rmse: float
    low: float | None = None
    high: float | None = None
    truth: float
    prediction: float


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened on the way; `version` is the one that it is about, if any."""

    at: str
    kind: Literal["alarm", "trained", "live", "refused"]
    version: int | None = None


class ShiftCell(msgspec.Struct, frozen=True, kw_only=True):
    """One feature in the window [start, end) against what `version` was trained on; `psi` is None when undecided."""

    feature: str
    start: str
    end: str
    version: int
    psi: float | None
    is_shifted: bool


class StageSpan(msgspec.Struct, frozen=True, kw_only=True):
    """A version's time in one stage. `end` is None while it lasts; `share` is a canary's, in [0, 1]."""

    version: int
    stage: Literal["shadow", "canary", "live"]
    share: float = 0.0
    start: str
    end: str | None
    outcome: str
    reason: str


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the time line: a word for what it is, a sentence, and the numbers behind it."""

    at: str
    what: str
    says: str
    numbers: dict[str, float | int | str] = {}


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """A requirement's verdict; `passed` is None where it did not apply."""

    sentence: str
    passed: bool | None
    says: str


class VersionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A model version and what was asked of it."""

    version: int
    trained_until: str
    rows: int
    state: str
    gates: list[Gate]


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A command to look further, and what it shows."""

    command: str
    says: str


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the report shows. `began` and `ended` bound the time lived through; `tolerance` is in PSI."""

    title: str
    target: str
    world: str
    seed: int
    years: list[int]
    began: str
    ended: str
    tolerance: float
    policies: list[Policy]
    periods: list[Period]
    marks: list[Mark]
    shifts: list[ShiftCell]
    rollouts: list[StageSpan]
    versions: list[VersionFacts]
    timeline: list[Moment]
    commands: list[Command]
