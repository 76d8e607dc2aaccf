"""What is known about a change: did the loss move, did inputs move, did labels move, and what goes with what.

Two hypotheses have something to be held against. If only who comes has changed (covariate shift), labels and losses at
equal inputs are as before. If only the mix of labels has changed (prior shift), inputs and losses at equal labels are
as before. If the relation itself has changed (concept shift), neither holds. Everything here needs labels; what can be
said without is in `unlabelled`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial import stats
from perennial.monitor.sample import Sample
from perennial.stats.disde import LossShift, at_equal_inputs, disde
from perennial.stats.kitagawa import SegmentedChange, segmented_change
from perennial.stats.results import Finding, Interval
from perennial.stats.tails import normal_quantile

__all__ = ["Evidence", "Rows", "Scores", "gather", "z_of"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LOSS_QUANTILE: Final = 0.995  # squared errors are cut here (of the reference), so that no single row is a diagnosis
PARTS: Final = 20  # of the reference by what the model says, each with its own expected loss and label
LABEL_PARTS: Final = 10  # of the truth of a regression
MAX_CLASSES: Final = 10  # the most frequent; each is compared at equal inputs
RESAMPLES: Final = 500
MIN_OF_LABEL: Final = 20  # rows of one label on a side, below which its inputs are not compared


class Scores(Protocol):
    """P(current | x), out of fold, of some rows of either side (`multivariate.domain_scores`)."""

    @property
    def reference(self) -> Floats: ...
    @property
    def current(self) -> Floats: ...
    @property
    def rows_reference(self) -> Ints: ...
    @property
    def rows_current(self) -> Ints: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """The labelled rows that have a score, as arrays: n of the reference, m of now.

    Attributes:
        reference: Their positions in the reference sample, shape (n,).
        current: Their positions in the current sample, shape (m,).
        loss: Loss of both, cut at the reference's 99.5 % quantile for a regression.
        expected: Loss that the reference has where the model says the same.
        label: Code of the label (class, or tenth of the truth), both coded alike.
        labels: How many codes there are.
        surprise: Truth minus what the reference leads to expect where the model says the same, shape (n, k) and (m, k):
            one column for a regression and for two classes, else one for each frequent class.
        score: P(current | x).
        share: Share of current rows among those the scores were made with.
    """

    reference: Ints
    current: Ints
    loss: tuple[Floats, Floats]
    expected: tuple[Floats, Floats]
    label: tuple[Ints, Ints]
    labels: int
    surprise: tuple[Floats, Floats]
    score: tuple[Floats, Floats]
    share: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """What the numbers say, before anybody concludes anything.

    Attributes:
        rows: What they were computed on.
        reference_loss: Mean loss before.
        loss: Change of the mean loss, with its interval.
        inputs: Can the two windows be told apart by their inputs (`stats.classifier_test` without tolerance)?
        split: The change of the loss by inputs and relation (DISDE).
        labels_at_inputs: How far labels moved at equal inputs, the class in which that is surest.
        label_mix: Test of the label counts, without tolerance; its statistic is the PSI.
        by_label: The change of the loss by the mix of labels and the loss at each label (Kitagawa).
        inputs_at_labels: AUC - 1/2 of the scores among rows of the same label, over all labels.
    """

    rows: Rows
    reference_loss: float
    loss: Interval
    inputs: Finding
    split: LossShift
    labels_at_inputs: Interval
    label_mix: Finding
    by_label: SegmentedChange
    inputs_at_labels: Interval

    @cached_property
    def auc(self) -> float:
        """Of the scores; 0.5 where the windows look alike."""
        return float(self.inputs.statistic or 0.5)


def z_of(interval: Interval) -> float:
    """How many standard errors an estimate is away from 0, read off its interval."""
    width = interval.high - interval.low
    if not math.isfinite(width):
        return 0.0
    if width <= 0.0:
        return 0.0 if interval.estimate == 0.0 else math.copysign(math.inf, interval.estimate)
    return interval.estimate / (width / (2.0 * normal_quantile(0.5 + interval.level / 2.0)))


def gather(reference: Sample, current: Sample, scores: Scores, *, seed: int = 0) -> Evidence | None:
    """Compute it all; None where one side has no labelled row with a score.

    Args:
        reference: Rows the model was not trained on, at least partly labelled.
        current: The window, at least partly labelled.
        scores: Of the inputs of both.
        seed: Of resampling.
    """
    rows = _rows(reference, current, scores)
    if rows is None:
        return None
    split = disde(
        *rows.loss,
        *rows.score,
        current_share=rows.share,
        expected=rows.expected,
        resamples=RESAMPLES,
        seed=seed,
    )
    moved = [
        at_equal_inputs(rows.surprise[0][:, column], rows.surprise[1][:, column], *rows.score, current_share=rows.share)
        for column in range(rows.surprise[0].shape[1])
    ]
    counts = [np.bincount(codes, minlength=rows.labels) for codes in rows.label]
    return Evidence(
        rows=rows,
        reference_loss=float(rows.loss[0].mean()),
        loss=split.total,
        inputs=stats.classifier_test(scores.reference, scores.current, tolerance_auc=0.5),
        split=split,
        labels_at_inputs=_widened(max(moved, key=lambda one: abs(z_of(one))), len(moved)),
        label_mix=stats.tolerance_test(counts[0], counts[1], 0.0),
        by_label=segmented_change(
            rows.label[0], rows.loss[0], rows.label[1], rows.loss[1],
            segments=rows.labels, resamples=RESAMPLES, seed=seed,
        ),
        inputs_at_labels=_within_labels(rows),
    )  # fmt: skip


def _widened(interval: Interval, looks: int) -> Interval:
    """The interval of the surest of several looks, at the level that allows for their number (Bonferroni)."""
    if looks == 1:
        return interval
    tail = (1.0 - interval.level) / 2.0
    wider = normal_quantile(1.0 - tail / looks) / normal_quantile(1.0 - tail)
    return Interval(
        low=interval.estimate + (interval.low - interval.estimate) * wider,
        high=interval.estimate + (interval.high - interval.estimate) * wider,
        estimate=interval.estimate,
        level=interval.level,
        n=interval.n,
        method=f"{interval.method}, the surest of {looks}",
    )


def _within_labels(rows: Rows) -> Interval:
    """AUC - 1/2 of the scores within each label, weighted by how surely each is known (van Elteren)."""
    total = weight = 0.0
    for code in range(rows.labels):
        before = rows.score[0][rows.label[0] == code]
        after = rows.score[1][rows.label[1] == code]
        n, m = len(before), len(after)
        if min(n, m) < MIN_OF_LABEL:
            continue
        certainty = 12.0 * n * m / (n + m + 1.0)
        total += certainty * (_auc(before, after) - 0.5)
        weight += certainty
    if weight == 0.0:
        return Interval(low=-0.5, high=0.5, estimate=math.nan, level=0.95, n=0, method="stratified rank sum")
    half = normal_quantile(0.975) / math.sqrt(weight)
    middle = total / weight
    return Interval(
        low=middle - half,
        high=middle + half,
        estimate=middle,
        level=0.95,
        n=min(len(rows.score[0]), len(rows.score[1])),
        method="stratified rank sum",
    )


def _auc(before: Floats, after: Floats) -> float:
    order = np.sort(before)
    below = np.searchsorted(order, after, side="left") + np.searchsorted(order, after, side="right")
    return float(below.mean()) / (2.0 * len(before))


# Rows


def _rows(reference: Sample, current: Sample, scores: Scores) -> Rows | None:
    keep = [
        np.flatnonzero(side.is_labelled[at])
        for side, at in ((reference, scores.rows_reference), (current, scores.rows_current))
    ]
    if min(len(part) for part in keep) == 0:
        return None
    at = (scores.rows_reference[keep[0]], scores.rows_current[keep[1]])
    sides = (reference.take(at[0]), current.take(at[1]))
    losses = [side.losses() for side in sides]
    if reference.task == "regression":
        most = float(np.quantile(losses[0], LOSS_QUANTILE))
        losses = [np.minimum(part, most) for part in losses]
    said = _parts(*sides)
    label, labels, surprise = _labels(*sides, said)
    share = len(scores.current) / (len(scores.reference) + len(scores.current))
    expected = _means(said, losses[0])
    return Rows(
        reference=at[0],
        current=at[1],
        loss=(losses[0], losses[1]),
        expected=(expected[said[0]], expected[said[1]]),
        label=label,
        labels=labels,
        surprise=surprise,
        score=(scores.reference[keep[0]], scores.current[keep[1]]),
        share=share,
    )


def _parts(reference: Sample, current: Sample) -> tuple[Ints, Ints]:
    """Rows where the model says about the same: by its prediction, and by its probability where there is one."""
    if reference.probs is not None and current.probs is not None:
        if reference.probs.shape[1] == 2:
            return _by_quantile(reference.probs[:, 1], current.probs[:, 1])
        before, after = _by_quantile(reference.probs.max(axis=1), current.probs.max(axis=1), parts=PARTS // 2)
        first, second, width = _codes(reference.predictions, current.predictions, reference.classes)
        return before * width + first, after * width + second
    if reference.task == "regression":
        return _by_quantile(_numbers(reference.predictions), _numbers(current.predictions))
    first, second, _ = _codes(reference.predictions, current.predictions, reference.classes)
    return first, second


def _labels(
    reference: Sample, current: Sample, said: tuple[Ints, Ints]
) -> tuple[tuple[Ints, Ints], int, tuple[Floats, Floats]]:
    if reference.task == "regression":
        truth = _numbers(reference.labels), _numbers(current.labels)
        errors = truth[0] - _numbers(reference.predictions), truth[1] - _numbers(current.predictions)
        usual = _means(said, errors[0])
        bound = float(np.quantile(np.abs(errors[0] - usual[said[0]]), LOSS_QUANTILE))
        surprise = [
            np.clip(part - usual[place], -bound, bound)[:, np.newaxis] for part, place in zip(errors, said, strict=True)
        ]
        label = _by_quantile(*truth, parts=LABEL_PARTS)
        return label, LABEL_PARTS, (surprise[0], surprise[1])
    first, second, width = _codes(reference.labels, current.labels, reference.classes)
    counts = np.bincount(first, minlength=width) + np.bincount(second, minlength=width)
    frequent = np.argsort(-counts, kind="stable")[:MAX_CLASSES]
    chosen = frequent[:1] if width == 2 else frequent
    found: list[list[Floats]] = [[], []]
    for code in chosen.tolist():
        base = _base_probs(reference, current, code)
        is_it = (first == code).astype(np.float64), (second == code).astype(np.float64)
        usual = _means(said, is_it[0] - base[0])
        for side in (0, 1):
            found[side].append(is_it[side] - base[side] - usual[said[side]])
    return (first, second), width, (np.column_stack(found[0]), np.column_stack(found[1]))


def _base_probs(reference: Sample, current: Sample, code: int) -> tuple[Floats, Floats]:
    """The model's own probability of a class; 0 where it gives none (then the parts alone say what is usual)."""
    if reference.probs is None or current.probs is None or code >= reference.probs.shape[1]:
        return np.zeros(reference.rows), np.zeros(current.rows)
    return reference.probs[:, code], current.probs[:, code]


def _by_quantile(reference: Floats, current: Floats, *, parts: int = PARTS) -> tuple[Ints, Ints]:
    edges = np.unique(np.quantile(reference, np.linspace(0.0, 1.0, parts + 1)[1:-1]))
    first, second = (np.searchsorted(edges, values, side="right").astype(np.int64) for values in (reference, current))
    return first, second


def _codes(reference: pl.Series | None, current: pl.Series | None, classes: tuple[str, ...]) -> tuple[Ints, Ints, int]:
    """Positions in the classes, which are extended by labels that the model does not know."""
    assert reference is not None
    assert current is not None
    texts = [side.cast(pl.String()) for side in (reference, current)]
    seen = sorted(set(texts[0].unique().to_list()) | set(texts[1].unique().to_list()) - set(classes))
    names = [*classes, *(name for name in seen if name not in classes)]
    found = [side.replace_strict(names, list(range(len(names))), return_dtype=pl.Int64()).to_numpy() for side in texts]
    return found[0], found[1], len(names)


def _means(place: tuple[Ints, Ints], values: Floats) -> Floats:
    """Mean of the reference's values in each part; of all its rows where it has none there."""
    size = int(max(place[0].max(), place[1].max())) + 1
    counts, sums = np.bincount(place[0], minlength=size), np.bincount(place[0], values, minlength=size)
    return np.where(counts > 0, sums / np.maximum(counts, 1), float(values.mean()))


def _numbers(series: pl.Series | None) -> Floats:
    assert series is not None
    found: NDArray[Any] = series.cast(pl.Float64()).to_numpy()
    return found
