"""From a cause to what to do, and to what would change the verdict.

The map: a data bug wants the pipeline mended, not a model trained on it. Other inputs within what the model knows want
a training that holds more of them; beyond it the model had better abstain until there are labels enough to train on.
Another mix of labels
is corrected without training. A changed relation wants a training on recent rows, once there are enough labels, unless
calibrating anew recovers what was lost. A release after which all of it got worse is rolled back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from perennial.monitor.diagnosing.evidence import Evidence, z_of
from perennial.monitor.diagnosing.remedies import Tried
from perennial.monitor.diagnosing.verdict import LOSS_TOLERANCE, OUTSIDE, Verdict

__all__ = ["ACTIONS", "Action", "Advice", "advise"]

Action = Literal[
    "nothing",
    "fix the pipeline",
    "recalibrate",
    "correct the prior",
    "ask for labels",
    "retrain",
    "abstain there",
    "roll back",
]
ACTIONS: Final[tuple[Action, ...]] = get_args(Action)

ENOUGH_LABELS: Final = 500  # of the current rows, to train on the changed relation
RECOVERS: Final = 0.8  # of what a changed relation cost, for calibrating anew to be enough
UNCALIBRATED: Final = 0.03  # labels at equal inputs, beyond which unchanged answers still carry wrong probabilities
UNCALIBRATED_Z: Final = 4.0


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What to do.

    Attributes:
        action: What the evidence supports.
        because: A sentence.
        would_change: What would lead to another verdict or action.
    """

    action: Action
    because: str
    would_change: tuple[str, ...]


def advise(
    verdict: Verdict,
    evidence: Evidence | None,
    *,
    tried: Sequence[Tried] = (),
    outside: float = 0.0,
    can_correct: bool = False,
    labelled: int = 0,
) -> Advice:
    """The action that the evidence supports.

    Args:
        verdict: The cause.
        evidence: Of labelled rows; None where there are none.
        tried: Repairs and what they gained.
        outside: Share of current rows that the reference hardly holds.
        can_correct: The model gives probabilities of classes, so that another mix of labels can be corrected for.
        labelled: Current rows with labels.
    """
    return _ADVICE[verdict.cause](
        _Case(
            verdict=verdict,
            evidence=evidence,
            tried={one.repair: one for one in tried},
            outside=outside,
            can_correct=can_correct,
            labelled=labelled,
        )
    )


@dataclass(frozen=True, kw_only=True)
class _Case:
    verdict: Verdict
    evidence: Evidence | None
    tried: dict[str, Tried]
    outside: float
    can_correct: bool
    labelled: int

    @property
    def is_better(self) -> bool:
        """The loss fell, or is estimated to have fallen."""
        return self.verdict.is_better or (self.evidence is not None and self.evidence.loss.estimate < 0.0)


def _none(case: _Case) -> Advice:
    evidence = case.evidence
    if evidence is None and case.outside >= OUTSIDE:
        return Advice(
            action="ask for labels",
            because=f"{_part_of(case)} of the rows lie where the reference has next to none: no estimate is of them",
            would_change=("labels from there that show the usual loss: then nothing needs to be done",),
        )
    if evidence is None:
        return Advice(
            action="nothing",
            because="nothing that can be seen without labels says that the model got worse",
            would_change=("labels of some of these rows, if they show a higher loss than estimated",),
        )
    if case.verdict.is_offset:
        return _new_relation(case)
    moved = evidence.labels_at_inputs
    if case.can_correct and abs(z_of(moved)) >= UNCALIBRATED_Z and abs(moved.estimate) >= UNCALIBRATED:
        if case.verdict.is_other_mix:
            return Advice(
                action="correct the prior",
                because="answers are as good as before, but the mix of labels has changed: probabilities "
                f"are off by {moved.estimate:+.3f}",
                would_change=("nobody uses the probabilities: then nothing needs to be done",),
            )
        return Advice(
            action="recalibrate",
            because=f"answers are as good as before, but probabilities are off by {moved.estimate:+.3f}",
            would_change=("nobody uses the probabilities: then nothing needs to be done",),
        )
    return Advice(
        action="nothing",
        because="the model is as good as before",
        would_change=(
            (
                f"a loss that moves by more than {LOSS_TOLERANCE:.0%} (now {evidence.loss.low:+.4g} to "
                f"{evidence.loss.high:+.4g} of {evidence.reference_loss:.4g})"
            ),
        ),
    )


def _data_bug(case: _Case) -> Advice:
    return Advice(
        action="fix the pipeline",
        because="a model trained on faulty rows learns the fault",
        would_change=("the values turn out to be meant so: then declare it, and the rows count as other inputs",),
    )


def _release(case: _Case) -> Advice:
    return Advice(
        action="roll back",
        because="what was released made it worse everywhere",
        would_change=(
            "the version before, asked for the same rows, errs as often: then it is not the release",
            "slices that did not get worse: then look for what is special about the others",
        ),
    )


def _covariate(case: _Case) -> Advice:
    if case.is_better and not (case.evidence is None and case.outside >= OUTSIDE):
        return _better(is_estimated=case.evidence is None)
    if case.outside >= OUTSIDE:
        return _out_there(case)
    if case.evidence is None:
        return Advice(
            action="ask for labels",
            because="the loss is estimated to have risen; whether training helps needs labels of such rows",
            would_change=(
                "labels that show the usual loss: then nothing needs to be done",
                "other labels at equal inputs: then it is a changed relation",
            ),
        )
    return Advice(
        action="retrain",
        because="harder inputs have become more frequent, and the model knows them: train with them in their new share",
        would_change=(
            "labels at equal inputs that differ: then it is a changed relation",
            "the former mix of inputs coming back",
            "a model trained on the new mix that is no better there: then these inputs are hard for any model",
        ),
    )


def _prior(case: _Case) -> Advice:
    gained = case.tried.get("correct the prior")
    if case.is_better and not (gained is not None and gained.gain.low > 0.0):
        return _better(is_estimated=case.evidence is None)
    if case.can_correct and (gained is None or gained.gain.high >= 0.0):
        told = "" if gained is None else f"; tried on these rows it lowers the loss by {gained.gain.estimate:.4g}"
        return Advice(
            action="correct the prior",
            because=f"only the mix of labels has changed: probabilities are corrected without training{told}",
            would_change=(
                "inputs at equal labels that differ: then the correction does harm",
                "the former mix of labels coming back: then the correction is taken back",
            ),
        )
    return Advice(
        action="retrain",
        because="only the mix of labels has changed, and the answers cannot be corrected for it: train anew",
        would_change=("probabilities of the model: with them it could be corrected at once",),
    )


def _concept(case: _Case) -> Advice:
    if case.is_better:
        return _better()
    mended = case.tried.get("recalibrate")
    concept = case.evidence.split.concept if case.evidence is not None else None
    lost = concept.estimate if concept is not None else 0.0
    if mended is not None and lost > 0.0 and mended.gain.low > 0.0 and mended.gain.estimate >= RECOVERS * lost:
        return Advice(
            action="recalibrate",
            because=f"calibrated anew on these rows, {_recovered(mended.gain.estimate, lost)}",
            would_change=("the same on later rows, if it recovers less",),
        )
    return _new_relation(case)


def _new_relation(case: _Case) -> Advice:
    if case.labelled < ENOUGH_LABELS:
        return Advice(
            action="ask for labels",
            because=f"{case.labelled} labelled rows are too few to train on the changed relation",
            would_change=(f"{ENOUGH_LABELS} labels: then train on recent rows",),
        )
    return Advice(
        action="retrain",
        because="equal inputs now lead to other labels: train on recent rows, older ones teach what no longer holds",
        would_change=(
            "labels that turn out to be wrong: then mend the labels",
            "a column that explains the difference: then it is missing among the inputs",
        ),
    )


def _recovered(gain: float, lost: float) -> str:
    if gain <= lost:
        return f"the model wins back {gain / lost:.0%} of what the changed relation costs"
    return f"the mean loss falls by {gain:.3g}, which is more than the {lost:.3g} that the changed relation costs"


def _undecided(case: _Case) -> Advice:
    if case.outside >= OUTSIDE:
        return _out_there(case)
    return Advice(
        action="ask for labels",
        because="the rows at hand do not decide between the causes",
        would_change=("more labelled rows of this window",),
    )


def _out_there(case: _Case) -> Advice:
    labelled = round(case.outside * case.labelled)
    part = _part_of(case)
    if labelled >= ENOUGH_LABELS:
        return Advice(
            action="retrain",
            because=f"{part} of the rows lie where the reference has next to none, and about {labelled} of those are "
            "labelled: train with them in it, and let the model abstain there until then",
            would_change=(
                "those rows not coming back: then abstaining there is enough",
                "a model trained with them that is no better there: then these inputs are hard for any model",
            ),
        )
    known = f", and about {labelled} of those are labelled" if labelled else ""
    return Advice(
        action="abstain there",
        because=f"{part} of the rows lie where the reference has next to none{known}: no estimate of the model there "
        "can be trusted; have them labelled, then train with them",
        would_change=(
            "labels from there that show the usual loss: then nothing needs to be done",
            f"{ENOUGH_LABELS} labels from there: then train with them",
        ),
    )


def _part_of(case: _Case) -> str:
    """A share that is not everything does not round to it."""
    return "all" if case.outside == 1.0 else f"{min(case.outside, 0.999):.1%}"


def _better(*, is_estimated: bool = False) -> Advice:
    return Advice(
        action="nothing",
        because="the model is estimated to be better than before" if is_estimated else "the loss fell",
        would_change=("the change turning back: then the loss rises to what it was",),
    )


_ADVICE = {
    "none": _none,
    "covariate": _covariate,
    "prior": _prior,
    "concept": _concept,
    "data bug": _data_bug,
    "release": _release,
    "undecided": _undecided,
}
