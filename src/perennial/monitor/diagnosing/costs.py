"""What a change costs in the metric that the user has chosen, realised or estimated, with its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl

from perennial.evaluate.answers import Answers, HeldOut
from perennial.evaluate.metrics import Metric, loss_of, measure_on, metric_named, rows_of
from perennial.monitor.estimating.estimator import Estimated
from perennial.monitor.sample import Sample
from perennial.stats.results import Interval, Json

__all__ = ["HIGHER_IS_BETTER", "Cost", "cost_estimated", "cost_realised", "metric_of"]

Z = 1.959964  # of a 95 % interval
HIGHER_IS_BETTER = frozenset({"accuracy", "roc_auc", "f1", "precision", "recall"})  # of the metrics that are estimated


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A metric before and now.

    Attributes:
        metric: Its name.
        before: On the reference.
        now: On the current rows.
        change: Now minus before.
        higher_is_better: So that a fall is a cost.
        is_estimated: Without labels; `rests_on` says how.
        rests_on: What the numbers rest on.
    """

    metric: str
    before: float
    now: float
    change: Interval
    higher_is_better: bool
    is_estimated: bool
    rests_on: str

    @property
    def says(self) -> str:
        """A sentence."""
        how = "is estimated at" if self.is_estimated else "is"
        return (
            f"{self.metric} {how} {self.now:.4g}, it was {self.before:.4g}: {self.change.estimate:+.4g} "
            f"({self.change.low:+.4g} to {self.change.high:+.4g})"
        )

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values."""
        return {
            "metric": self.metric,
            "before": self.before,
            "now": self.now,
            "change": self.change.as_dict(),
            "higher_is_better": self.higher_is_better,
            "is_estimated": self.is_estimated,
            "rests_on": self.rests_on,
        }


def metric_of(sample: Sample) -> str:
    """The metric where the user names none."""
    return "rmse" if sample.task == "regression" else "accuracy"


def cost_realised(reference: Sample, current: Sample, metric: str) -> Cost:
    """The metric on the labelled rows of both.

    The interval of the change joins those of both sides (Zou & Donner's method of variance estimates recovery).

    Raises:
        LoopError: There is no such metric, or these rows do not have it.
    """
    chosen = metric_named(metric, reference.task)
    before, now = (_measured(side, chosen) for side in (reference, current))
    middle = now.estimate - before.estimate
    low = middle - math.hypot(now.estimate - now.low, before.high - before.estimate)
    high = middle + math.hypot(now.high - now.estimate, before.estimate - before.low)
    return Cost(
        metric=metric,
        before=before.estimate,
        now=now.estimate,
        change=Interval(
            low=low, high=high, estimate=middle, level=0.95, n=now.n, method="both sides' intervals joined"
        ),
        higher_is_better=chosen.higher_is_better,
        is_estimated=False,
        rests_on="labels that have arrived",
    )


def cost_estimated(estimated: Estimated) -> Cost:
    """The metric as estimated without labels."""
    change = estimated.value - estimated.reference_value
    return Cost(
        metric=estimated.metric,
        before=estimated.reference_value,
        now=estimated.value,
        change=Interval(
            low=estimated.low - estimated.reference_value,
            high=estimated.high - estimated.reference_value,
            estimate=change,
            level=estimated.level,
            n=estimated.rows,
            method=estimated.method,
        ),
        higher_is_better=estimated.metric in HIGHER_IS_BETTER,
        is_estimated=True,
        rests_on=estimated.assumption,
    )


def _measured(sample: Sample, metric: Metric) -> Interval:
    known = sample.take(sample.is_labelled)
    assert known.labels is not None
    assert known.predictions is not None
    if sample.task == "regression":
        answers = Answers(prediction=known.predictions.cast(pl.Float64()).to_numpy())
        on = HeldOut(truth=known.labels.cast(pl.Float64()).to_numpy(), answers=answers)
    else:
        answers = Answers.of_arrays(known.predictions.to_list(), known.probs, sample.classes, sample.task)
        on = HeldOut.of(known.labels.to_list(), answers, sample.task)
    rows = loss_of(sample.task, on.truth, on.answers) if metric.name == "rmse" else None
    rows = rows_of(metric, on.truth, on.answers) if rows is None else rows
    if rows is None or metric.why_not(on.truth, on.answers) is not None:
        return measure_on(metric, on)  # no mean of rows: by resampling
    middle, half = float(rows.mean()), Z * float(rows.std()) / math.sqrt(len(rows))
    ends = [middle - half, middle, middle + half]
    low, middle, high = (math.sqrt(max(end, 0.0)) if metric.name == "rmse" else end for end in ends)
    return Interval(low=low, high=high, estimate=middle, level=0.95, n=len(rows), method="normal, of row means")
