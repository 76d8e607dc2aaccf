"""Whether a version may go on to its next stage: pure judgement of what was observed since the stage began.

Shadow decides quality: both versions answered the same requests, so every labelled row is a pair. Canary decides
safety: errors, slow answers and disagreement; it refutes a bad version and says nothing of a better one. Neither
passes by silence: what happens when a stage runs out of time is declared with the stage.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from perennial import stats

__all__ = ["Judgement", "Observed", "judge"]

Floats = NDArray[np.float64]
Answer = Literal["wait", "next", "refused", "rolled_back", "held"]

GUARD_ALPHA = 0.01  # chance that a harmless version is ever stopped by one guard, however often it is looked at
SHADOW_ALPHA = 0.05
SHADOW_ERROR_SHARE = 0.01  # of the shadow's answers may be errors before it is refused outright
LOG_MAX_WEALTH = 100.0  # far beyond any threshold, and far from the largest float
MAX_WEALTH = float(np.exp(LOG_MAX_WEALTH))
AT_MAX_TIME: dict[str, Answer] = {"promote": "next", "refuse": "refused", "hold": "held"}


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What happened since the stage began, up to `now` (microseconds).

    `live_loss` and `candidate_loss`: losses of the same labelled rows in the order of their labels, shape (n,), lower
    is better. `scale`: a loss difference of a row that is large, above 0 and fixed before the stage began. `answered`,
    `errors`, `slow`: counts by arm, "live" and "candidate"; an error is an answer too. `compared` and `disagreed`: rows
    that both versions answered, and those on which their answers differ materially.
    """

    now: int
    since: int
    live_loss: Floats = field(default_factory=lambda: np.empty(0))
    candidate_loss: Floats = field(default_factory=lambda: np.empty(0))
    scale: float = 1.0
    answered: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    slow: dict[str, int] = field(default_factory=dict)
    compared: int = 0
    disagreed: int = 0


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What to do with the version and why; `evidence` holds the numbers."""

    to: Answer
    reason: str
    evidence: dict[str, Any]


def judge(kind: Literal["shadow", "canary"], options: dict[str, Any], seen: Observed) -> Judgement:
    """Judge one stage. `options` are those of `rollout.shadow` or `rollout.canary`."""
    verdict = _judge_shadow(options, seen) if kind == "shadow" else _judge_canary(options, seen)
    if verdict.to != "wait" or seen.now - seen.since < options["max_time_s"] * 1e6:
        return verdict
    declared = options["at_max_time"]
    return Judgement(
        to=AT_MAX_TIME[declared],
        reason=f"{kind} ran out of time ({options['max_time_s'] / 86400:g} days): {verdict.reason}; "
        f"declared for that: {declared}",
        evidence=verdict.evidence,
    )


def _judge_shadow(options: dict[str, Any], seen: Observed) -> Judgement:
    answered = seen.answered.get("candidate", 0)
    errors = seen.errors.get("candidate", 0)
    evidence: dict[str, Any] = {
        "labelled": len(seen.live_loss),
        "answered": answered,
        "errors": errors,
        "compared": seen.compared,
        "disagreed": seen.disagreed,
    }
    if _exceeds(errors, answered, SHADOW_ERROR_SHARE):
        return Judgement(to="refused", reason=f"{errors} of {answered} shadow answers are errors", evidence=evidence)
    rows = len(seen.live_loss)
    if rows < options["min_labels"]:
        reason = f"{rows} labelled rows, {options['min_labels']} needed"
        return Judgement(to="wait", reason=reason, evidence=evidence)
    saved = seen.live_loss - seen.candidate_loss
    margin = float(options.get("margin", 0.0))
    better, inferior = _bet(saved + margin, seen.scale), _bet(-saved - margin, seen.scale)
    evidence["paired"] = {
        "saved_per_row": float(saved.mean()),
        "scale": seen.scale,
        "margin": margin,
        "e_value_better": better,
        "e_value_inferior": inferior,
        "needed": 1 / SHADOW_ALPHA,
    }
    reason = f"the candidate saves {saved.mean():.4g} of loss a row on {rows} labelled rows"
    if better >= 1 / SHADOW_ALPHA:
        reason += f": not worse by {margin:g}" if margin else ": better"
        reason += f" (e-value {better:.4g}, {1 / SHADOW_ALPHA:g} needed)"
        return Judgement(to="next", reason=reason, evidence=evidence)
    if inferior >= 1 / SHADOW_ALPHA:
        reason += f": inferior (e-value {inferior:.4g}, {1 / SHADOW_ALPHA:g} needed)"
        return Judgement(to="refused", reason=reason, evidence=evidence)
    reason += f": not yet clear (e-value {better:.4g} of {1 / SHADOW_ALPHA:g} needed)"
    return Judgement(to="wait", reason=reason, evidence=evidence)


def _bet(saved: Floats, scale: float) -> float:
    """The largest wealth ever reached by betting that the mean of `saved`, clipped at the scale, is above zero.

    If it is not, the chance that the wealth ever reaches 1/alpha is at most alpha, however often one looks (Ville).
    """
    design = stats.Design.above(0.5, kind="ville", threshold=MAX_WEALTH)
    bets = stats.log_bets(design, (np.clip(saved / scale, -1.0, 1.0) + 1.0) / 2.0)
    wealth = np.exp(np.minimum(np.cumsum(bets, axis=0), LOG_MAX_WEALTH)) @ np.asarray(design.weights)
    return float(wealth.max(initial=0.0))


def _exceeds(count: int, total: int, limit: float) -> bool:
    """Whether a share is above its limit; the count test of the canary, so it may be looked at at any time."""
    if not 0.0 < limit < 1.0:
        return count > limit * total
    return stats.canary_test(count, total, limit, alpha=GUARD_ALPHA).decision == "roll back"


def _judge_canary(options: dict[str, Any], seen: Observed) -> Judgement:
    share = float(options["share"])
    evidence: dict[str, Any] = {
        "share": share,
        "answered": dict(seen.answered),
        "errors": dict(seen.errors),
        "timing": {"slow": dict(seen.slow)},
        "compared": seen.compared,
        "disagreed": seen.disagreed,
    }
    # The candidate answers the canary's share as the primary; errors it makes in the shadow are not counted here.
    for name, bad in (("errors", seen.errors), ("slow answers", seen.slow)):
        total = bad.get("candidate", 0) + bad.get("live", 0)
        if not total or share >= 1:
            continue
        found = stats.canary_test(bad.get("candidate", 0), total, share, alpha=GUARD_ALPHA / 2)
        # How many answers were slow is the machine's affair; it stands apart from what a replay must repeat.
        (evidence["timing"] if bad is seen.slow else evidence)[name] = found.as_dict()
        if found.decision == "roll back":
            return Judgement(to="rolled_back", reason=f"{name}: {found.reasons[0]}", evidence=evidence)
    limit = float(options["max_disagreement"])
    if _exceeds(seen.disagreed, seen.compared, limit):
        reason = f"the versions disagree on {seen.disagreed} of {seen.compared} rows, more than {limit:.0%}"
        return Judgement(to="rolled_back", reason=reason, evidence=evidence)
    answered = seen.answered.get("candidate", 0)
    if answered < options["min_predictions"] or seen.now - seen.since < options["min_time_s"] * 1e6:
        reason = (
            f"{answered} of {options['min_predictions']} predictions in "
            f"{(seen.now - seen.since) / 86_400e6:.1f} of {options['min_time_s'] / 86400:g} days"
        )
        return Judgement(to="wait", reason=reason, evidence=evidence)
    reason = f"no guard fired on {answered} answers at {share:.0%} of the traffic"
    return Judgement(to="next", reason=reason, evidence=evidence)
