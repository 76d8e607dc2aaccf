"""How good a model is now, while its labels are not there: several estimates, each with its band and its assumption.

`fit_estimator` learns from a labelled reference that the model was not trained on. An estimate is never a bare number:
it says what it rests on, what windows of its size came to while nothing had changed, and how well that estimator has
done where labels arrived later (`track_record`). That record alone chooses between estimators. With a few labels,
`Estimator.with_labels` needs no assumption about the model at all.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from perennial import stats
from perennial.errors import Invalid
from perennial.monitor.estimating.estimates import Basis, Estimated, FromErrors, FromProbs, Raw, Weighting, hits_of
from perennial.monitor.estimating.track_record import CONSTANT, Entry, TrackRecord, entries_of
from perennial.monitor.sample import Sample
from perennial.monitor.windows import Window
from perennial.stats import cbpe, pape, powered

if TYPE_CHECKING:
    from perennial.monitor.multivariate.domain import DomainScores

__all__ = ["Estimated", "Estimator", "RowsToLabel", "fit_estimator"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MIN_REFERENCE: Final = 300  # labelled rows: fewer calibrate nothing
MIN_LABELLED: Final = 0.8  # share of a window's rows whose labels make a realised value of it
MAX_RATIO_ROWS: Final = 100_000  # a side, for density ratios: a calibration by weights needs more rows than a test does
RATIO_FOLDS: Final = 3
MIN_CHUNKS, MAX_CHUNKS = 5, 40  # of the reference, from which the usual range is learned
CONSTANT_ASSUMPTION: Final = "nothing has changed"


@dataclass(frozen=True, kw_only=True)
class RowsToLabel:
    """Rows chosen for labels, and with which probability each row might have been.

    Attributes:
        rows: Row numbers, ascending. All of them must get labels, or `Estimator.with_labels` is biased.
        probs: Probability of each row of the window, shape (m,); 0 for rows without an answer.
    """

    rows: Ints
    probs: Floats


@dataclass(frozen=True, kw_only=True)
class Estimator:
    """Made by `fit_estimator`.

    Attributes:
        basis: What estimates are made from.
        sample: The labelled rows of the reference.
        numbers: Their row numbers in the reference that was passed.
        record: How estimates have done so far.
        seed: Of every random step.
    """

    basis: Basis
    sample: Sample
    numbers: Ints
    record: TrackRecord = field(default_factory=TrackRecord)
    seed: int = 0

    def with_record(self, record: TrackRecord) -> Estimator:
        """The same, choosing by another record."""
        return dataclasses.replace(self, record=record)

    def estimate(
        self, current: Sample, *, scores: DomainScores | None = None, weighted: bool = True
    ) -> list[Estimated]:
        """All metrics of a window by all estimators that it allows.

        Args:
            current: Rows with answers (and probabilities, where the reference has them); labels are not looked at.
            scores: Out-of-fold scores of `monitor.multivariate.domain_scores(reference.inputs, current.inputs)`, of the
                same reference. Learned here where left out.
            weighted: Whether to estimate by density ratios at all, which takes seconds where `scores` are left out.

        Returns:
            By metric, the chosen one first. Metrics that are not defined on the window are left out.

        Raises:
            Invalid: No row has an answer, or the model gave probabilities on the reference and gives none now.
        """
        part, _ = self._answered(current)
        weighting = self._weighting(part, scores) if weighted and len(self.basis.candidates) > 1 else None
        usual = self.usual(part.rows)
        found: list[Estimated] = []
        raw = self.basis.raw(part, weighting)
        for metric, reference_value in self.basis.reference.items():
            of_metric = [one for one in raw if one.metric == metric and math.isfinite(one.value)]
            here = [one.method for one in of_metric if one.method in self.basis.candidates]
            best = (self.record.best(metric, here) or here[0]) if here else ""
            told = [self._told(one, reference_value, part.rows, usual.get(metric), best) for one in of_metric]
            found += sorted(told, key=lambda one: not one.chosen)
        return found

    def with_labels(self, current: Sample, *, label_probs: Floats | None = None) -> list[Estimated]:
        """Accuracy, or the errors of a regression, of a window in which some rows have labels: right whatever changed.

        Args:
            current: Rows with answers; some with labels.
            label_probs: With which probability each row was chosen for a label, shape (m,), as `rows_to_label` gave
                them. Left out where rows with labels are a random sample of all. Labels that came fast are not.

        Raises:
            Invalid: No row has a label.
        """
        part, kept = self._answered(current)
        labelled = part.is_labelled
        if not bool(labelled.any()):
            raise Invalid("no row of the window has a label", remedy="label the rows that `rows_to_label` names")
        values = hits_of(part.take(labelled))
        usual = self.usual(part.rows)
        found: list[Estimated] = []
        for metric, estimates in self.basis.expected(part).items():
            if label_probs is None:
                method, assumption = "ppi", powered.ASSUMPTION_POWERED
                interval = powered.powered_mean(values[metric], estimates[labelled], estimates[~labelled])
            else:
                method, assumption = "active", powered.ASSUMPTION_ACTIVE
                interval = powered.active_mean(estimates, labelled, values[metric], probs=label_probs[kept])
            bounds = (0.0, _upper_bound(metric))
            value, low, high = (
                float(np.clip(end, *bounds)) for end in (interval.estimate, interval.low, interval.high)
            )
            told = {metric: (value, low, high)}
            if metric == "mse":  # what is true of a mean is true of its root
                told["rmse"] = (math.sqrt(value), math.sqrt(low), math.sqrt(high))
            for name, (middle, bottom, top) in told.items():
                lowest, highest = usual.get(name, (-math.inf, math.inf))
                found.append(
                    Estimated(
                        metric=name,
                        method=method,
                        value=middle,
                        low=bottom,
                        high=top,
                        level=interval.level,
                        reference_value=self.basis.reference[name],
                        usual_low=lowest,
                        usual_high=highest,
                        assumption=assumption,
                        rests_on=f"{interval.n} labels beside estimates of all {part.rows} rows",
                        rows=part.rows,
                        chosen=True,
                    )
                )
        return found

    def rows_to_label(self, current: Sample, labels: int, *, seed: int | None = None) -> RowsToLabel:
        """Choose about so many rows whose labels tell most about the window's metric.

        Raises:
            Invalid: There are fewer rows with an answer than labels are asked for.
        """
        part, kept = self._answered(current)
        if not 0 < labels <= part.rows:
            raise Invalid(f"{labels} labels for {part.rows} rows", remedy="ask for at least 1 and at most all")
        expected = self.basis.expected(part)
        if "accuracy" in expected:
            doubt = np.sqrt(expected["accuracy"] * (1.0 - expected["accuracy"]))
        else:
            # The spread of an absolute error around its mean.
            doubt = np.sqrt(np.maximum(expected["mse"] - expected["mae"] ** 2, 0.0))
        probs = np.zeros(current.rows)
        probs[kept] = powered.active_probs(doubt, labels=labels)
        drawn = np.random.default_rng(self.seed if seed is None else seed).random(current.rows)
        return RowsToLabel(rows=np.flatnonzero(drawn < probs), probs=probs)

    def realised(self, current: Sample) -> dict[str, float]:
        """The metrics of a window once its labels are there; empty while less than 80 % of the answers have one."""
        labelled = current.is_labelled
        answered = current.rows if current.predictions is None else current.rows - current.predictions.null_count()
        if not answered or int(labelled.sum()) < MIN_LABELLED * answered:
            return {}
        return self.basis.realised(current.take(labelled))

    def judged(self, current: Sample, estimates: Sequence[Estimated], *, window: Window | None = None) -> list[Entry]:
        """Entries for the record: what was estimated beside what came true, and what "as on the reference" says.

        Args:
            current: The window, by now with labels. Without enough of them there is no entry.
            estimates: What was said while there were none.
            window: Its times.
        """
        realised = self.realised(current)
        told = [(one.metric, one.method, one.value, one.low, one.high) for one in estimates]
        for metric in dict.fromkeys(one.metric for one in estimates):
            band = self._band(metric, self.basis.reference[metric], current.rows)
            told.append((metric, CONSTANT, band.estimate, band.low, band.high))
        return entries_of(told, realised, rows=current.rows, window=window)

    def backtest(self, windows: Iterable[Sample]) -> TrackRecord:
        """Estimate labelled windows as if they had no labels, and judge: a record to choose by from the first day.

        Windows with less than 80 % of the labels are left out.
        """
        record = self.record
        for current in windows:
            window = None
            if current.at is not None and len(current.at):
                window = Window(int(current.at.min()), int(current.at.max()) + 1)
            record = record.add(self.judged(current, self.estimate(current), window=window))
        return record

    def usual(self, rows: int) -> dict[str, tuple[float, float]]:
        """In which range a window of so many rows lies with probability 99.7 % while nothing has changed, by metric.

        From chunks of the reference in their order of time, where it holds five of that size; else from the deviation
        of one row's part, as if rows were independent of each other.
        """
        n = self.sample.rows
        chunks = min(n // rows, MAX_CHUNKS)
        order = np.arange(n) if self.sample.at is None else np.argsort(self.sample.at, kind="stable")
        parts = np.array_split(order, n // rows)[:chunks] if chunks >= MIN_CHUNKS else []
        values = [self.basis.realised(self.sample.take(part)) for part in parts]
        found: dict[str, tuple[float, float]] = {}
        for metric, reference_value in self.basis.reference.items():
            seen = [one[metric] for one in values if math.isfinite(one[metric])]
            if len(seen) >= MIN_CHUNKS:
                learned = stats.chunk_threshold(seen, alpha=0.0027, side="both")
                low, high = learned.low, learned.high
            else:
                half = cbpe.BAND_SDS * self.basis.sds[metric] * math.sqrt(1.0 / rows + 1.0 / n)
                low, high = reference_value - half, reference_value + half
            found[metric] = (max(0.0, low), min(_upper_bound(metric), high))
        return found

    def _answered(self, current: Sample) -> tuple[Sample, Ints]:
        """The rows that have an answer, and their numbers."""
        if current.predictions is None:
            raise Invalid("the window holds no answers of the model")
        there = current.predictions.is_not_null().to_numpy()
        if self.sample.probs is not None:
            if current.probs is None:
                raise Invalid("the reference holds probabilities and the window does not")
            there &= np.isfinite(current.probs).all(axis=1)
        kept = np.flatnonzero(there)
        if not len(kept):
            raise Invalid("no row of the window has an answer of the model")
        return current.take(kept), kept

    def _weighting(self, part: Sample, scores: DomainScores | None) -> Weighting | None:
        """None where no classifier could be trained."""
        if scores is None:
            from perennial.monitor.multivariate.domain import domain_scores

            scores = domain_scores(
                self.sample.inputs,
                part.inputs,
                seed=self.seed,
                max_rows=MAX_RATIO_ROWS,
                folds=RATIO_FOLDS,
                importance=False,
            )
            rows, of_reference = scores.rows_reference, scores.reference
        else:
            # The scores are of the whole reference; rows without a label calibrate nothing.
            place = np.full(int(max(self.numbers.max(), scores.rows_reference.max(initial=0))) + 1, -1, dtype=np.int64)
            place[self.numbers] = np.arange(len(self.numbers))
            at = place[scores.rows_reference]
            rows, of_reference = at[at >= 0], scores.reference[at >= 0]
        if scores.untrained or not len(rows):
            return None
        return Weighting(
            rows=rows,
            scores=of_reference,
            reference_rows=len(scores.reference),
            current_rows=len(scores.current),
            diagnostics=pape.ratio_diagnostics(scores.reference, scores.current),
        )

    def _told(
        self, one: Raw, reference_value: float, rows: int, usual: tuple[float, float] | None, best: str
    ) -> Estimated:
        band = self._band(one.metric, one.value, rows)
        low, high = usual or (-math.inf, math.inf)
        grounds = [self.record.words(one.metric, one.method), *([one.rests_on] if one.rests_on else [])]
        return Estimated(
            metric=one.metric,
            method=one.method,
            value=one.value,
            low=band.low,
            high=band.high,
            level=band.level,
            reference_value=reference_value,
            usual_low=low,
            usual_high=high,
            assumption=one.assumption,
            rests_on="; ".join(grounds),
            rows=rows,
            chosen=one.method == best,
        )

    def _band(self, metric: str, value: float, rows: int) -> stats.Interval:
        return cbpe.sampling_band(value, self.basis.sds[metric], rows, bounds=(0.0, _upper_bound(metric)))


def fit_estimator(reference: Sample, *, record: TrackRecord | None = None, seed: int = 0) -> Estimator:
    """Learn from a labelled reference how to estimate performance without labels.

    A classifier with probabilities gets CBPE, PAPE and baselines; a regression, or a classifier that gives labels
    alone, a second model of its errors (DLE).

    Args:
        reference: Rows that the model was not trained on, later than those. Rows without a label or an answer, or of a
            class that the model does not know, are left out.
        record: How estimates of this model have done so far.
        seed: Of every random step.

    Raises:
        Invalid: Fewer than 300 rows have a label, or one class alone occurs.
    """
    usable = reference.is_labelled
    if reference.task == "classification" and reference.probs is not None and reference.labels is not None:
        usable &= reference.labels.is_in(reference.classes).fill_null(value=False).to_numpy()
        usable &= np.isfinite(reference.probs).all(axis=1)
    numbers = np.flatnonzero(usable)
    if len(numbers) < MIN_REFERENCE:
        raise Invalid(
            f"{len(numbers)} reference rows have an answer and a label, at least {MIN_REFERENCE} are needed",
            remedy="take a longer reference, or wait for labels",
        )
    sample = reference.take(numbers)
    is_confident = sample.task == "classification" and sample.probs is not None
    basis: Basis = FromProbs.of(sample, seed=seed) if is_confident else FromErrors.of(sample, seed=seed)
    return Estimator(basis=basis, sample=sample, numbers=numbers, record=record or TrackRecord(), seed=seed)


def _upper_bound(metric: str) -> float:
    if metric in ("mae", "mse", "rmse", "log_loss"):
        return math.inf
    return 2.0 if metric == "brier" else 1.0
