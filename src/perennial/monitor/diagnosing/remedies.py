"""What would help, tried on the rows at hand: mended answers are made on one half and judged on the other.

Only repairs that need no new model: calibrate anew, or correct for another mix of labels. What is tried here is a
candidate like any other; nothing is deployed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.monitor.sample import Sample
from perennial.stats.calibrators import bias_corrected_temperature
from perennial.stats.label_shift import corrected
from perennial.stats.results import Interval, Json
from perennial.stats.tails import normal_quantile

__all__ = ["Tried", "tried"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Repair = Literal["recalibrate", "correct the prior"]
FOLDS = 2
MIN_ROWS = 100
FOLLOWS = 0.99  # share of the answers that a rule must give


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A repair and what it gained.

    Attributes:
        repair: What was tried.
        gain: Mean loss without it minus mean loss with it, on rows that it was not made on; above 0 it helps.
        rows: On how many.
    """

    repair: Repair
    gain: Interval
    rows: int

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values."""
        return {"repair": self.repair, "gain": self.gain.as_dict(), "rows": self.rows}


def tried(reference: Sample, current: Sample, *, seed: int = 0) -> list[Tried]:
    """The repairs that the rows allow; empty with fewer than 100 labelled rows.

    For a classification with probabilities: bias-corrected temperature scaling, and weights by the labels' new shares,
    decided as the model decides (`_rule`): what a repair gains is not what another threshold would have gained. For a
    regression: a line from predictions to truths.

    Args:
        reference: Labelled, at least in part.
        current: Likewise; only its labelled rows are used.
        seed: Of the halves.
    """
    before, after = reference.take(reference.is_labelled), current.take(current.is_labelled)
    if min(before.rows, after.rows) < MIN_ROWS:
        return []
    fold = np.random.default_rng(seed).permutation(after.rows) % FOLDS
    if after.task == "regression":
        return [_gain("recalibrate", after.losses(), _line(after, fold))]
    if before.probs is None or after.probs is None:
        return []
    codes, decide = _codes(after), _rule(before, after)
    if codes is None or decide is None:
        return []
    shares = np.bincount(_known(_codes(before)), minlength=len(after.classes)) / before.rows
    scaled, weighted = np.zeros(after.rows), np.zeros(after.rows)
    for part in range(FOLDS):
        fitted, judged = fold != part, fold == part
        made = bias_corrected_temperature(after.probs[fitted], codes[fitted])
        scaled[judged] = decide(made(after.probs[judged])) != codes[judged]
        now = np.bincount(codes[fitted], minlength=len(after.classes)) / int(fitted.sum())
        ratio = np.where(shares > 0.0, now / np.maximum(shares, 1e-12), 1.0)
        weighted[judged] = decide(corrected(after.probs[judged], ratio)) != codes[judged]
    losses = after.losses()
    return [_gain("recalibrate", losses, scaled), _gain("correct the prior", losses, weighted)]


def _rule(*sides: Sample) -> Callable[[Floats], Ints] | None:
    """How answers follow from probabilities: the likeliest class, or of two classes a threshold. None: neither."""
    answers: list[Ints] = []
    for side in sides:
        assert side.predictions is not None
        answers.append(_positions(side.predictions, side.classes))
    said, probs = np.concatenate(answers), np.concatenate([side.probs for side in sides if side.probs is not None])
    if float(np.mean(probs.argmax(axis=1) == said)) >= FOLLOWS:
        return lambda rows: rows.argmax(axis=1).astype(np.int64)
    if probs.shape[1] != 2 or len(np.unique(said)) < 2:
        return None
    second = probs[:, 1]
    # Whoever rounds probabilities leaves a few on the wrong side: most are on the right one.
    threshold = float(second[said == 1].min())
    if float(np.mean((second >= threshold) == (said == 1))) < FOLLOWS:
        return None
    return lambda rows: (rows[:, 1] >= threshold).astype(np.int64)


def _positions(texts: pl.Series, classes: tuple[str, ...]) -> Ints:
    found = texts.cast(pl.String()).replace_strict(
        list(classes), list(range(len(classes))), default=-1, return_dtype=pl.Int64()
    )
    return found.to_numpy()


def _line(sample: Sample, fold: Ints) -> Floats:
    assert sample.labels is not None
    assert sample.predictions is not None
    truth = sample.labels.cast(pl.Float64()).to_numpy()
    said = sample.predictions.cast(pl.Float64()).to_numpy()
    losses = np.zeros(len(truth))
    for part in range(FOLDS):
        fitted, judged = fold != part, fold == part
        slope, start = np.polyfit(said[fitted], truth[fitted], 1) if np.ptp(said[fitted]) > 0.0 else (1.0, 0.0)
        losses[judged] = (truth[judged] - start - slope * said[judged]) ** 2
    return losses


def _gain(repair: Repair, before: Floats, after: Floats) -> Tried:
    gains = before - after
    half = normal_quantile(0.975) * float(gains.std()) / math.sqrt(len(gains))
    middle = float(gains.mean())
    interval = Interval(
        low=middle - half, high=middle + half, estimate=middle, level=0.95, n=len(gains), method="paired, two folds"
    )
    return Tried(repair=repair, gain=interval, rows=len(gains))


def _codes(sample: Sample) -> Ints | None:
    """Positions of the labels in the classes; None where a label is none of them: then no repair helps."""
    assert sample.labels is not None
    names = list(sample.classes)
    found = sample.labels.cast(pl.String()).replace_strict(
        names, list(range(len(names))), default=None, return_dtype=pl.Int64()
    )
    return None if found.null_count() else found.to_numpy()


def _known(codes: Ints | None) -> Ints:
    return np.zeros(0, dtype=np.int64) if codes is None else codes
