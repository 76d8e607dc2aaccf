"""A loop as pure data: what was declared, without the functions. Survives JSON without loss.

Times are seconds; `file` is relative to the project. Nothing here imports the user's code, so that an unchanged loop
can be planned from its stored declaration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

from perennial.loop.failsafe import FailSafePolicy
from perennial.types import JSON

__all__ = [
    "Declaration",
    "EvaluatePolicy",
    "MonitorPolicy",
    "Requirement",
    "RetrainPolicy",
    "SplitPolicy",
    "Stage",
    "StepKind",
    "StepSpec",
    "Task",
    "Trigger",
]

StepKind = Literal["collect", "step", "features", "train"]
Task = Literal["regression", "classification"]
BadRows = Literal["warn", "quarantine", "stop"]
Options = Mapping[str, JSON]

# Left out of the JSON where nothing was said, so that a loop of before they were there is still the same loop.
_LATER = ("cursor", "overlap", "schema", "checks", "bad_rows", "split", "evaluate", "failsafe", "capture", "monitor")


@dataclass(frozen=True, kw_only=True)
class StepSpec:
    """One function of the loop.

    Attributes:
        name: The function's name, and what other steps ask for.
        inputs: Names of the steps whose results it takes (`X` and `y` for train).
        params: Its keyword arguments and their defaults.
        secrets: Environment variables that it reads; masked in logs, never part of a fingerprint.
        order_matters: The order of its rows is part of the data's identity.
        cursor: Column by which new rows are told from known ones; only those are fetched and appended.
        overlap: How far before the cursor's last value to look again: a duration for times, else a number.
        schema: File with the schema that its rows must fit, relative to the project.
        checks: Names of functions or expressions in its file that are true for good rows.
        bad_rows: What happens to rows that break with the schema.
        file: Relative to the project.
        line: Where the function begins.
        variable: What the loop is called in that file; its decorators are no part of the step.
    """

    name: str
    kind: StepKind
    inputs: tuple[str, ...]
    params: Options
    secrets: tuple[str, ...] = ()
    order_matters: bool = False
    cursor: str | None = None
    overlap: str | float | None = None
    schema: str | None = None
    checks: tuple[str, ...] = ()
    bad_rows: BadRows | None = None
    file: str
    line: int
    variable: str

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Requirement:
    """A gate: the `kind` of check, its options, and the sentence that a person reads."""

    kind: str
    options: Options
    sentence: str


@dataclass(frozen=True)
class Stage:
    """A step of the rollout."""

    kind: Literal["shadow", "canary"]
    options: Options


@dataclass(frozen=True)
class Trigger:
    """A reason to look whether to retrain."""

    kind: Literal["performance_drop", "shift", "prior_shift", "schedule", "new_rows", "by_hand", "never"]
    options: Options


@dataclass(frozen=True)
class RetrainPolicy:
    """When to retrain, who lets the result pass, and how long to rest in between. No triggers: never by itself."""

    triggers: tuple[Trigger, ...] = ()
    approval: Literal["automatic", "person"] = "person"
    cool_down_s: float = 30 * 86_400.0


@dataclass(frozen=True, kw_only=True)
class SplitPolicy:
    """Which rows judge a candidate. `gap_s` None: the labels' delay."""

    by: Literal["time", "group", "random"] | None = None
    test: float = 0.2
    gap_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class EvaluatePolicy:
    """What is measured of a candidate beyond what always is.

    Attributes:
        groups: Columns whose values are groups of people: fairness is reported by them, and each is compared with live.
        leave_out: Columns of which each value in turn is kept out of training, and measured.
        learning_curve: Retrain on parts of the rows, to see whether more would help.
        time_split: Train on the past and measure on what follows, five times over.
        robustness: Ask with noise in the numbers and with missing values.
        budget_s: How long retraining for these may take, all together.
        test_uses: How many candidates the same test rows may judge; None: the ledger's default, or by `tolerance`.
        tolerance: Error of an accuracy that is accepted, from which the number of candidates follows.
    """

    groups: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    learning_curve: bool = False
    time_split: bool = False
    robustness: bool = True
    budget_s: float = 600.0
    test_uses: int | None = None
    tolerance: float | None = None


@dataclass(frozen=True, kw_only=True)
class MonitorPolicy:
    """How the live version is watched; everything is, also where nothing is declared.

    Attributes:
        false_alarms: Allowed in `days` days, over all monitors of the endpoint.
        days: See `false_alarms`.
        window_s: Length of a window.
        min_rows: Rows in a window; a thinner one is merged with those that follow.
        slices: Columns whose values are watched one by one.
        groups: Columns whose values are groups of people; None: those of `evaluate`.
        slow_ms: An answer that takes longer is a slow one.
        off: Kinds of findings that are not looked for.
    """

    false_alarms: float = 1.0
    days: float = 30.0
    window_s: float = 86_400.0
    min_rows: int = 500
    slices: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None
    slow_ms: float | None = None
    off: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """Everything that a loop file declares. `capture`: what is done to columns before a request is written down."""

    name: str
    target: str | None
    time: str | None
    key: str | None
    task: Task | None
    positive: str | int | bool | None
    label_delay_s: float
    horizon_s: float | None
    file: str
    line: int
    steps: tuple[StepSpec, ...]
    requirements: tuple[Requirement, ...]
    stages: tuple[Stage, ...]
    retrain: RetrainPolicy
    split: SplitPolicy | None = None
    evaluate: EvaluatePolicy | None = None
    failsafe: FailSafePolicy | None = None
    capture: Mapping[str, str] | None = None
    monitor: MonitorPolicy | None = None

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"

    def step(self, name: str) -> StepSpec:
        """The step of this name; KeyError when there is none."""
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(name)

    def to_json(self) -> dict[str, JSON]:
        """Plain JSON values, tuples as lists."""
        return cast("dict[str, JSON]", _plain(_without_defaults(asdict(self))))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Declaration:
        """The declaration that `to_json` wrote."""
        retrain = value["retrain"]
        parts: dict[str, Any] = {
            "steps": tuple(
                StepSpec(**step | {key: tuple(step.get(key, ())) for key in ("inputs", "secrets", "checks")})
                for step in value["steps"]
            ),
            "requirements": tuple(Requirement(**item) for item in value["requirements"]),
            "stages": tuple(Stage(**item) for item in value["stages"]),
            "retrain": RetrainPolicy(
                tuple(Trigger(**item) for item in retrain["triggers"]), retrain["approval"], retrain["cool_down_s"]
            ),
        }
        if value.get("split") is not None:
            parts["split"] = SplitPolicy(**value["split"])
        if value.get("evaluate") is not None:
            told: dict[str, Any] = dict(value["evaluate"])
            told |= {name: tuple(told.get(name, ())) for name in ("groups", "leave_out")}
            parts["evaluate"] = EvaluatePolicy(**told)
        if value.get("monitor") is not None:
            watched: dict[str, Any] = dict(value["monitor"])
            watched |= {name: tuple(watched.get(name, ())) for name in ("slices", "off")}
            groups = watched.get("groups")
            watched["groups"] = None if groups is None else tuple(groups)
            parts["monitor"] = MonitorPolicy(**watched)
        if value.get("failsafe") is not None:
            parts["failsafe"] = FailSafePolicy.from_json(value["failsafe"])
        return cls(**{**value, **parts})


def _without_defaults(told: dict[str, Any]) -> dict[str, Any]:
    def said(values: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in values.items() if key not in _LATER or value not in (None, ())}

    return said(told) | {"steps": [said(step) for step in told["steps"]]}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in cast("list[Any]", value)]
    return value
