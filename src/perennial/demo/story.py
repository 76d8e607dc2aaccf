"""What happened, read back from the records: the facts of the report and of the closing table."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import polars as pl

from perennial import stats
from perennial.clock import iso
from perennial.demo.drive import ENDPOINT, known_by
from perennial.demo.facts import (
    Command,
    Facts,
    Gate,
    Mark,
    Moment,
    Period,
    Policy,
    PolicyName,
    ShiftCell,
    StageSpan,
    VersionFacts,
)
from perennial.demo.world import TARGET
from perennial.deploy.endpoints import Rollout
from perennial.renew.replay import replay
from perennial.types import Micros
from perennial.workspace import Workspace

__all__ = ["tell"]

POLICIES: tuple[PolicyName, ...] = ("never", "loop", "yearly")
QUARTER = "3mo"
TOLERANCE = 0.05

COMMANDS = (
    Command(command="perennial log", says="the whole time line, with the numbers behind each decision"),
    Command(command="perennial log --why PREDICTION_ID", says="one answer: model, run, code, data and who let it pass"),
    Command(command="perennial models list", says="every version and what it was required to meet"),
    Command(command="perennial runs list", says="each training with its steps, data and metrics"),
    Command(command="perennial up", says="serve it again, with pages at http://127.0.0.1:5000"),
    Command(command="perennial verify", says="check every stored byte and the chain of events"),
)


def tell(ws: Workspace, seed: int, years: list[int], *, stationary: bool) -> tuple[Facts, pl.DataFrame]:
    """The facts, and the rows that its errors are computed from."""
    rows = replay(ws, ENDPOINT, known_by)
    rows = rows.with_columns(day=pl.from_epoch("at", time_unit="us").dt.date())
    findings = ws.monitor.list(endpoint=ENDPOINT)
    decisions = ws.renew.decisions(endpoint=ENDPOINT)
    versions = ws.models.list(name=ENDPOINT)
    rollouts = ws.endpoints.history(name=ENDPOINT)
    trainings = {
        "never": 1,
        "loop": len(versions),
        "yearly": len(rows["day"].dt.year().unique()),
    }
    world = (
        "Nothing changes: every year's people are drawn from those of 1980."
        if stationary
        else "545 young men in the United States, asked once a year from 1980 to 1987, and what they earned."
    )
    facts = Facts(
        title="The life of a model of wages",
        target=TARGET,
        world=world,
        seed=seed,
        years=years,
        began=_day(int(rows["at"][0])),
        ended=_day(int(ws.clock.now())),
        tolerance=TOLERANCE,
        policies=[_policy(rows, name, trainings[name]) for name in POLICIES],
        periods=[period for name in POLICIES for period in _periods(rows, name)],
        marks=[
            *(Mark(at=_day(found.at), kind="alarm", version=found.version) for found in _alarms(findings, decisions)),
            *(Mark(at=_day(found.at), kind="trained", version=found.version) for found in versions[1:]),
            *(
                Mark(at=_day(found.ended), kind="live" if found.state == "live" else "refused", version=found.version)
                for found in rollouts
                if found.ended is not None
            ),
        ],
        shifts=[cell for found in findings if found.kind == "covariate_shift" for cell in _cells(found)],
        rollouts=[span for found in rollouts for span in _spans(found, rollouts)],
        versions=[
            VersionFacts(
                version=found.version,
                trained_until=_day(found.trained_until or found.at),
                rows=ws.datasets.get(name=found.dataset, version=found.dataset_version).rows
                if found.dataset and found.dataset_version
                else 0,
                state=_state(found.version, found.state, rollouts),
                gates=[Gate(sentence=gate.sentence, passed=gate.passed, says=gate.says) for gate in found.verdicts],
            )
            for found in versions
        ],
        timeline=_timeline(findings, decisions, versions, rollouts),
        commands=list(COMMANDS),
    )
    return facts, rows


def _policy(rows: pl.DataFrame, name: PolicyName, trainings: int) -> Policy:
    last = rows.filter(pl.col("day").dt.year() == rows["day"].dt.year().max())
    return Policy(
        policy=name,
        trainings=trainings,
        rmse=_rmse(rows, name),
        rmse_last_year=_rmse(last, name),
        bias_last_year=float((last["label"] - last[name]).to_numpy().mean()),
    )


def _rmse(rows: pl.DataFrame, name: str) -> float:
    return float(np.sqrt(((rows["label"] - rows[name]) ** 2).to_numpy().mean()))


def _periods(rows: pl.DataFrame, name: PolicyName) -> list[Period]:
    found: list[Period] = []
    quarters = rows.with_columns(start=pl.col("day").dt.truncate(QUARTER)).partition_by("start", maintain_order=True)
    for quarter in quarters:
        start: date = quarter["start"][0]
        end: date = pl.Series([start]).dt.offset_by(QUARTER)[0]
        squares = ((quarter["label"] - quarter[name]) ** 2).to_numpy()
        interval = stats.bootstrap_interval(squares, stats.root_mean)
        found.append(
            Period(
                policy=name,
                start=start.isoformat(),
                end=end.isoformat(),
                rows=len(quarter),
                rmse=interval.estimate,
                low=interval.low if np.isfinite(interval.low) else None,
                high=interval.high if np.isfinite(interval.high) else None,
                truth=float(quarter["label"].to_numpy().mean()),
                prediction=float(quarter[name].to_numpy().mean()),
            )
        )
    return found


def _alarms(findings: Any, decisions: Any) -> list[Any]:
    """Alarms that a training answered; those that came while it was under way say the same again."""
    answered = {decision.key for decision in decisions if decision.verdict == "retrain"}
    return [found for found in findings if found.key in answered]


def _cells(finding: Any) -> list[ShiftCell]:
    shifted = set(finding.evidence["shifted"])
    return [
        ShiftCell(
            feature=name,
            start=_day(finding.window_from),
            end=_day(finding.window_to),
            version=finding.version,
            psi=numbers["psi"],
            is_shifted=name in shifted,
        )
        for name, numbers in finding.evidence["columns"].items()
    ]


def _spans(rollout: Rollout, rollouts: list[Rollout]) -> list[StageSpan]:
    spans: list[StageSpan] = []
    start = rollout.started
    for step in rollout.evidence:
        stage = rollout.stages[step["stage"]]
        spans.append(
            StageSpan(
                version=rollout.version,
                stage=stage.kind,
                share=float(stage.options.get("share", 0.0)),
                start=_day(start),
                end=_day(step["at"]),
                outcome=step["to"],
                reason=step["reason"],
            )
        )
        start = step["at"]
    if rollout.state == "running":
        stage = rollout.stages[rollout.stage]
        share = float(stage.options.get("share", 0.0))
        spans.append(
            StageSpan(
                version=rollout.version,
                stage=stage.kind,
                share=share,
                start=_day(start),
                end=None,
                outcome="running",
                reason="",
            )
        )
    if rollout.state == "live" and rollout.ended is not None:
        later = [other.ended for other in rollouts if other.state == "live" and (other.ended or 0) > rollout.ended]
        spans.append(
            StageSpan(
                version=rollout.version,
                stage="live",
                start=_day(rollout.ended),
                end=_day(min(filter(None, later))) if any(later) else None,
                outcome="live",
                reason=rollout.verdict,
            )
        )
    return spans


def _state(version: int, state: str, rollouts: list[Rollout]) -> str:
    return next((found.state for found in rollouts if found.version == version), state)


_FOUND = {"performance_drop": "drop", "covariate_shift": "shift", "prediction_shift": "shift"}


def _timeline(findings: Any, decisions: Any, versions: Any, rollouts: list[Rollout]) -> list[Moment]:
    told: list[tuple[int, int, Moment]] = []

    def add(at: int, order: int, what: str, says: str, numbers: dict[str, Any] | None = None) -> None:
        kept = {key: value for key, value in (numbers or {}).items() if isinstance(value, int | float | str)}
        told.append((at, order, Moment(at=_day(at), what=what, says=says, numbers=kept)))

    for found in findings:
        kind = str(found.kind)
        what = _FOUND.get(kind, kind.replace("_", " "))
        add(found.at, 0, what, found.says, found.evidence)
    for decision in decisions:
        add(decision.at, 1, f"retrain: {decision.verdict}", decision.reason)
    for version in versions:
        failed = [verdict.says for verdict in version.verdicts if verdict.passed is False]
        says = f"version {version.version} is trained: " + (
            "; ".join(failed) if failed else "it meets every requirement"
        )
        add(version.at, 2, "trained" if not failed else "refused", says)
    for rollout in rollouts:
        for step in rollout.evidence:
            stage = rollout.stages[step["stage"]]
            name = "shadow" if stage.kind == "shadow" else f"canary {stage.options['share']:.0%}"
            add(step["at"], 3, name, f"version {rollout.version}: {step['reason']}")
        if rollout.ended is not None:
            add(rollout.ended, 4, rollout.state, f"version {rollout.version} is {rollout.state}: {rollout.verdict}")
    return [moment for _, _, moment in sorted(told, key=lambda row: row[:2])]


def _day(at: int) -> str:
    return iso(Micros(at))[:10]
