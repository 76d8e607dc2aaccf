"""Whether to retrain: every reason to look gets an answer, also when the answer is no.

A drop in realised performance is a reason to retrain. A shift of the inputs is a reason to look whether it hurts; it
trains only if it does (docs/decisions/0008 says what the alternative cost). A schedule and new rows are what the loop
declares them to be. A rollout under way or a cool-down postpones the answer, and says so once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from perennial.clock import iso
from perennial.loop.declaration import RetrainPolicy
from perennial.monitor.findings import Finding, Kind
from perennial.renew.retraining import Decision
from perennial.types import Micros

__all__ = ["Correctable", "Harm", "Proposal", "Situation", "propose"]


# What a finding can be a reason for. Bad data, slow answers and the like are no reason to train on them.
_TRIGGERS: Final[Mapping[Kind, str]] = {
    "performance_drop": "performance_drop",
    "concept_drift": "performance_drop",
    "covariate_shift": "shift",
    "multivariate_shift": "shift",
    "prediction_shift": "shift",
    "prior_shift": "shift",
    "estimated_drop": "shift",
    "slice_drop": "shift",
}


@dataclass(frozen=True, kw_only=True)
class Harm:
    """What the labelled rows of a shifted window say: does the live version do worse there than when it was tested?"""

    is_harmed: bool
    says: str
    evidence: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Correctable:
    """Whether the live version's answers can be corrected for new shares of the classes, and with what.

    `correction` is None where the gate of label shift does not let it pass; `says` tells why.
    """

    correction: dict[str, Any] | None
    says: str


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What is known of an endpoint at `now` (microseconds).

    `live_since`, `last_end`: when the live version went live, and when the last rollout ended. `labels`: labels that
    came since the live version was trained. `harm` looks at the labelled rows of a window, `correct` at all of them.
    """

    now: int
    live: int
    live_since: int
    last_end: int | None
    busy: str
    findings: Sequence[Finding]
    decisions: Sequence[Decision]
    labels: int
    harm: Callable[[Finding], Harm]
    correct: Callable[[Finding], Correctable] | None = None


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """An answer to record; `key` names the reason, so that it is answered once."""

    key: str
    trigger: str
    verdict: Literal["retrain", "correct", "no"]
    reason: str
    evidence: dict[str, Any]


def propose(policy: RetrainPolicy, situation: Situation) -> list[Proposal]:
    """Answers to every reason that has none yet; at most one of them is to retrain."""
    triggers: dict[str, dict[str, Any]] = {trigger.kind: dict(trigger.options) for trigger in policy.triggers}
    answered = {decision.key for decision in situation.decisions}
    found: list[Proposal] = []
    for finding in situation.findings:
        if finding.key in answered or finding.severity == "info":
            continue
        trigger = _TRIGGERS.get(finding.kind, "")
        if "prior_shift" in triggers and finding.version == situation.live and _says_prior(finding):
            corrected = _corrected(situation, finding)
            if corrected is not None and (corrected.verdict == "correct" or trigger not in triggers):
                found.append(corrected)
                continue
        if trigger not in triggers:
            continue
        if finding.version != situation.live:
            reason = f"version {finding.version} is no longer live: {finding.says}"
            found.append(_no(trigger, finding.key, reason, finding.evidence))
        elif trigger == "performance_drop":
            found.append(_retrain(trigger, finding.key, finding.says, finding.evidence))
        else:
            harm = situation.harm(finding)
            evidence = {**finding.evidence, "harm": harm.evidence}
            answer = _retrain if harm.is_harmed else _no
            found.append(answer(trigger, finding.key, f"{finding.says}; {harm.says}", evidence))
    if "schedule" in triggers:
        period = triggers["schedule"]["period_s"] * 1e6
        newest = max([situation.live_since, *_retrained(situation)])
        if situation.now - newest >= period:
            reason = f"{(situation.now - newest) / 86_400e6:.0f} days since the last training"
            found.append(_retrain("schedule", f"schedule/{newest}", reason, {"since": newest}))
    times = situation.labels // triggers["new_rows"]["rows"] if "new_rows" in triggers else 0
    if times:  # again after as many rows more, when the first candidate was refused
        reason = f"{situation.labels} new labelled rows"
        found.append(_retrain("new_rows", f"new_rows/{situation.live}/{times}", reason, {"rows": situation.labels}))
    return _settle(policy, situation, [proposal for proposal in found if proposal.key not in answered])


def _settle(policy: RetrainPolicy, situation: Situation, found: list[Proposal]) -> list[Proposal]:
    answers: list[Proposal] = []
    answered = {decision.key for decision in situation.decisions}
    wait = _wait(policy, situation)
    chosen: list[Proposal] = []
    # A correction needs no training: where both are called for, it comes first.
    for proposal in sorted(found, key=lambda one: one.verdict != "correct"):
        if proposal.verdict == "no":
            answers.append(proposal)
        elif wait:
            key = f"{proposal.key}/waits"
            if key not in answered:
                answers.append(_no(proposal.trigger, key, f"not now, {wait}: {proposal.reason}", proposal.evidence))
        elif chosen:
            reason = f"answered by the training decided at the same time: {proposal.reason}"
            answers.append(_no(proposal.trigger, proposal.key, reason, proposal.evidence))
        else:
            chosen.append(proposal)
    # The training last: whoever is killed before it was recorded gives the same answers to what is left.
    return [*answers, *chosen]


def _wait(policy: RetrainPolicy, situation: Situation) -> str:
    if situation.busy:
        return situation.busy
    corrected = [decision.at for decision in situation.decisions if decision.verdict == "correct"]
    moments = [*_retrained(situation), *corrected, *([situation.last_end] if situation.last_end is not None else [])]
    if not moments:
        return ""
    until = max(moments) + round(policy.cool_down_s * 1e6)
    return f"the cool-down lasts until {iso(Micros(until))}" if situation.now < until else ""


def _retrained(situation: Situation) -> list[int]:
    return [decision.at for decision in situation.decisions if decision.verdict == "retrain"]


def _says_prior(finding: Finding) -> bool:
    diagnosis: Mapping[str, Any] = finding.evidence.get("diagnosis") or {}
    return diagnosis.get("action") == "correct the prior"


def _corrected(situation: Situation, finding: Finding) -> Proposal | None:
    """The answers corrected, or why not; None where nobody can tell."""
    if situation.correct is None:
        return None
    told = situation.correct(finding)
    evidence = {"diagnosis": finding.evidence["diagnosis"]["says"], "correction": told.correction}
    verdict: Literal["correct", "no"] = "no" if told.correction is None else "correct"
    return Proposal(
        key=finding.key,
        trigger="prior_shift",
        verdict=verdict,
        reason=f"{finding.says}; {told.says}",
        evidence=evidence,
    )


def _retrain(trigger: str, key: str, reason: str, evidence: dict[str, Any]) -> Proposal:
    return Proposal(key=key, trigger=trigger, verdict="retrain", reason=reason, evidence=evidence)


def _no(trigger: str, key: str, reason: str, evidence: dict[str, Any]) -> Proposal:
    return Proposal(key=key, trigger=trigger, verdict="no", reason=reason, evidence=evidence)
