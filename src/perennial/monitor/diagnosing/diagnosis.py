"""Why did the model's performance move, where, since when, at what cost, and what would help?

`diagnose` looks for data bugs first. Then it asks whether the loss moved at all, and which story the rows contradict
least: other inputs, another mix of labels, or a changed relation between them. Without labels it says what inputs and
answers tell, what that rests on, and what stays unknown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from perennial.errors import Invalid
from perennial.monitor.diagnosing import affected, bugs, evidence, remedies, verdict, without_labels
from perennial.monitor.diagnosing.actions import Action, Advice, advise
from perennial.monitor.diagnosing.affected import AffectedSlice, MovedColumn
from perennial.monitor.diagnosing.costs import Cost, cost_estimated, cost_realised, metric_of
from perennial.monitor.diagnosing.period import Period, period_of
from perennial.monitor.diagnosing.remedies import Tried
from perennial.monitor.diagnosing.verdict import Cause, Verdict
from perennial.monitor.multivariate.domain import DomainScores, domain_scores
from perennial.monitor.quality.check import QualityIssue
from perennial.monitor.sample import Sample
from perennial.stats.disde import Overlap, overlap
from perennial.stats.results import Interval, Json, plain

if TYPE_CHECKING:
    from perennial.monitor.estimating.estimator import Estimator

__all__ = ["Diagnosis", "diagnose"]

Floats = NDArray[np.float64]

MIN_LABELLED: Final = 100  # of either side; with fewer only what needs no labels is said
FOLDS: Final = 3
MAX_ROWS: Final = 20_000  # a side, for the classifier that tells the windows apart
ASSUMPTION: Final = "rows are independent of each other; the reference is held out from training"


@dataclass(frozen=True, kw_only=True, eq=False)
class Diagnosis:
    """What happened, as far as the rows tell.

    Attributes:
        cause: What the change of the loss is put down to; "none" where the loss did not move.
        head: The verdict as a sentence, where the cause's usual one says too much or too little; else "".
        because: Why that, in sentences.
        shares: Parts of the change of the mean loss, with intervals: "covariate" and "concept"; "prior" and "rest";
            "data bug" and "rest". Empty where they cannot be told apart.
        loss: The change itself; None without labels.
        columns: Inputs it is about: the faulty ones, else those that moved, the most important first.
        moved: Those that moved, with how far and what their mix does to the loss.
        slices: Where it is.
        period: When, if event times are known.
        cost: What it costs in the user's metric.
        action: What the evidence supports.
        advice: Why that action, and what would change the verdict.
        issues: The data bugs.
        tried: Repairs that were tried on the rows and what they gained.
        overlap: How much the windows have in common; None where that was not needed.
        unknown: What these rows cannot tell.
        rests_on: Assumptions.
        rows: Reference rows, current rows.
        labelled: Of them with labels.
    """

    cause: Cause
    head: str
    because: tuple[str, ...]
    shares: dict[str, Interval]
    loss: Interval | None
    columns: tuple[str, ...]
    moved: tuple[MovedColumn, ...]
    slices: tuple[AffectedSlice, ...]
    period: Period | None
    cost: Cost | None
    action: Action
    advice: Advice
    issues: tuple[QualityIssue, ...]
    tried: tuple[Tried, ...]
    overlap: Overlap | None
    unknown: tuple[str, ...]
    rests_on: tuple[str, ...]
    rows: tuple[int, int]
    labelled: tuple[int, int]

    @property
    def would_change(self) -> tuple[str, ...]:
        """What would lead to another verdict or action."""
        return self.advice.would_change

    @property
    def says(self) -> tuple[str, ...]:
        """Sentences for a person, the most important first."""
        told = [self.head or _HEAD[self.cause]]
        if self.cost is not None:
            told.append(self.cost.says)
        told += self.because
        told += [_share_says(name, part) for name, part in self.shares.items()]
        if self.columns:
            told.append(f"columns: {', '.join(self.columns[:5])}")
        told += [one.says for one in self.slices[:3]]
        if self.period is not None:
            told.append(f"when: {self.period.says}")
        told.append(f"what the evidence supports: {self.action}; {self.advice.because}")
        told += [f"not known: {one}" for one in self.unknown]
        return tuple(told)

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values."""
        return {
            "cause": self.cause,
            "because": plain(self.because),
            "shares": {name: part.as_dict() for name, part in self.shares.items()},
            "loss": None if self.loss is None else self.loss.as_dict(),
            "columns": plain(self.columns),
            "moved": [one.as_dict() for one in self.moved],
            "slices": [one.as_dict() for one in self.slices],
            "period": None if self.period is None else self.period.as_dict(),
            "cost": None if self.cost is None else self.cost.as_dict(),
            "action": self.action,
            "action_because": self.advice.because,
            "would_change": plain(self.would_change),
            "issues": [one.as_dict() for one in self.issues],
            "tried": [one.as_dict() for one in self.tried],
            "overlap": None if self.overlap is None else self.overlap.as_dict(),
            "unknown": plain(self.unknown),
            "rests_on": plain(self.rests_on),
            "rows": plain(self.rows),
            "labelled": plain(self.labelled),
            "says": plain(self.says),
        }


def diagnose(
    reference: Sample,
    current: Sample,
    *,
    released: bool = False,
    metric: str | None = None,
    scores: DomainScores | None = None,
    issues: Sequence[QualityIssue] | None = None,
    estimator: Estimator | None = None,
    seed: int = 0,
) -> Diagnosis:
    """Find out why a model's performance moved between a reference and a current window.

    Args:
        reference: Rows the model was not trained on, from when it was fine.
        current: The window in question.
        released: A version, a pipeline or a service was released between the two.
        metric: In which the cost is told; "accuracy" or "rmse" where left out. Any metric of `evaluate.metrics`.
        scores: P(current | x) out of fold, where they are there already.
        issues: Quality issues of the window that were found already; looked for where left out.
        estimator: Of performance without labels, with its track record; used only where labels are missing.
        seed: Equal seeds give equal diagnoses.

    Raises:
        Invalid: The two are of different tasks, or one holds no row.
    """
    if reference.task != current.task:
        raise Invalid(f"the reference is a {reference.task}, the current rows a {current.task}")
    if min(reference.rows, current.rows) == 0:
        raise Invalid(f"{reference.rows} reference rows and {current.rows} current rows", remedy="pass rows of both")
    name = metric or metric_of(reference)
    faults = bugs.data_bugs(reference, current) if issues is None else bugs.only_bugs(issues, reference, current)
    if faults:
        return _faulty(reference, current, faults, metric=name, seed=seed)
    found = scores or domain_scores(
        reference.inputs, current.inputs, seed=seed, max_rows=MAX_ROWS, folds=FOLDS, importance=False
    )
    if min(int(reference.is_labelled.sum()), int(current.is_labelled.sum())) < MIN_LABELLED:
        return _unlabelled(reference, current, found, metric=name, estimator=estimator, seed=seed)
    return _labelled(reference, current, found, metric=name, released=released, seed=seed)


def _faulty(reference: Sample, current: Sample, faults: Sequence[QualityIssue], *, metric: str, seed: int) -> Diagnosis:
    touched = bugs.touched_rows(reference, current, faults)
    usual = float(bugs.touched_rows(reference, reference, faults).mean())
    found = Verdict(
        cause="data bug",
        because=tuple(one.says for one in faults),
        shares=bugs.loss_of_bug(reference, current, touched),
    )
    labelled = _labelled_rows(reference, current)
    return _told(
        reference,
        current,
        found,
        advise(found, None),
        columns=bugs.bug_columns(faults),
        issues=tuple(faults),
        period=period_of(current.at, touched.astype(np.float64), usual if usual < 1.0 else 0.0, seed=seed),
        cost=cost_realised(reference, current, metric) if min(labelled) >= MIN_LABELLED else None,
        unknown=("what the model would do once the fault is mended",),
        rests_on=tuple(dict.fromkeys(one.assumption for one in faults)),
    )


def _labelled(
    reference: Sample, current: Sample, scores: DomainScores, *, metric: str, released: bool, seed: int
) -> Diagnosis:
    known = evidence.gather(reference, current, scores, seed=seed)
    assert known is not None
    groups = affected.groups_of(reference, current)
    worse = affected.worse_share(groups, known.rows, reference.rows) if released else 0.0
    found = verdict.decide(known, released=released, worse_share=worse)
    tries = remedies.tried(reference, current, seed=seed) if found.cause in {"prior", "concept"} else []
    labelled = _labelled_rows(reference, current)
    advice = advise(
        found,
        known,
        tried=tries,
        outside=known.split.overlap.outside,
        can_correct=reference.probs is not None,
        labelled=labelled[1],
    )
    moved = affected.moved_columns(groups, known.rows, reference.rows)
    slices: list[AffectedSlice] = []
    if found.cause in {"concept", "release", "undecided"}:
        slices = affected.changed_slices(groups, known.rows, reference.rows, seed=seed)
    elif found.cause != "none":
        slices = affected.segments(groups, known.rows, reference.rows)
    columns = tuple(one.name for one in moved)
    if found.cause in {"concept", "release"}:
        columns = tuple(dict.fromkeys(name for one in slices for name in one.where)) or columns
    signs = np.full(current.rows, math.nan)
    usual = known.reference_loss
    signs[known.rows.current] = known.rows.loss[1]
    if found.cause == "covariate":
        signs, usual = _leanings(scores, current.rows)
    return _told(
        reference,
        current,
        found,
        advice,
        loss=known.loss,
        columns=columns,
        moved=tuple(moved),
        slices=tuple(slices),
        period=None if found.cause == "none" else period_of(current.at, signs, usual, seed=seed),
        cost=cost_realised(reference, current, metric),
        tried=tuple(tries),
        overlap=known.split.overlap,
        rests_on=(ASSUMPTION, *_LABELS_LATE) if labelled[1] < current.rows else (ASSUMPTION,),
    )


def _unlabelled(
    reference: Sample,
    current: Sample,
    scores: DomainScores,
    *,
    metric: str,
    estimator: Estimator | None,
    seed: int,
) -> Diagnosis:
    known = without_labels.foresee(reference, current, scores, metric=metric, estimator=estimator, seed=seed)
    groups = affected.groups_of(reference, current)
    common = overlap(scores.reference, scores.current)
    moved = affected.moved_columns(groups, None, reference.rows)
    signs, usual = _leanings(scores, current.rows)
    estimated = known.estimated
    return _told(
        reference,
        current,
        known.verdict,
        advise(known.verdict, None, outside=common.outside, can_correct=reference.probs is not None),
        columns=tuple(one.name for one in moved),
        moved=tuple(moved),
        period=None if known.verdict.cause == "none" else period_of(current.at, signs, usual, seed=seed),
        cost=None if estimated is None else cost_estimated(estimated),
        overlap=common,
        unknown=("whether equal inputs still lead to the same labels", "the true loss"),
        rests_on=(ASSUMPTION, *(() if estimated is None else (estimated.assumption,))),
    )


def _told(
    reference: Sample,
    current: Sample,
    found: Verdict,
    advice: Advice,
    *,
    loss: Interval | None = None,
    columns: tuple[str, ...] = (),
    moved: tuple[MovedColumn, ...] = (),
    slices: tuple[AffectedSlice, ...] = (),
    period: Period | None = None,
    cost: Cost | None = None,
    issues: tuple[QualityIssue, ...] = (),
    tried: tuple[Tried, ...] = (),
    overlap: Overlap | None = None,
    unknown: tuple[str, ...] = (),
    rests_on: tuple[str, ...] = (),
) -> Diagnosis:
    return Diagnosis(
        cause=found.cause,
        head=found.head,
        because=found.because,
        shares=found.shares,
        loss=loss,
        columns=columns,
        moved=moved,
        slices=slices,
        period=period,
        cost=cost,
        action=advice.action,
        advice=advice,
        issues=issues,
        tried=tried,
        overlap=overlap,
        unknown=tuple(dict.fromkeys((*found.unknown, *unknown))),
        rests_on=rests_on,
        rows=(reference.rows, current.rows),
        labelled=_labelled_rows(reference, current),
    )


def _leanings(scores: DomainScores, rows: int) -> tuple[Floats, float]:
    """How far each current row looks like the current window, and the reference's mean of that."""
    signs = np.full(rows, math.nan)
    signs[scores.rows_current] = scores.current
    return signs, float(scores.reference.mean())


def _labelled_rows(reference: Sample, current: Sample) -> tuple[int, int]:
    return int(reference.is_labelled.sum()), int(current.is_labelled.sum())


def _share_says(name: str, part: Interval) -> str:
    return f"{_PARTS[name]}: {part.estimate:+.4g} of the mean loss ({part.low:+.4g} to {part.high:+.4g})"


_LABELS_LATE: Final = ("rows whose labels are there are like those whose labels are still to come",)
_HEAD: Final[dict[Cause, str]] = {
    "none": "Nothing to explain: the loss did not move beyond tolerance and noise.",
    "covariate": "Other inputs arrive than before; what follows from them is as it was.",
    "prior": "The mix of labels has changed; the rows of each label are as they were.",
    "concept": "Equal inputs now lead to other labels than before.",
    "data bug": "The data are faulty.",
    "release": "The release made the model's answers worse nearly everywhere.",
    "undecided": "The rows at hand do not decide what happened.",
}
_PARTS: Final = {
    "covariate": "by other inputs",
    "concept": "by a changed relation",
    "prior": "by another mix of labels",
    "data bug": "on rows that the fault touches",
    "rest": "by all else",
}
