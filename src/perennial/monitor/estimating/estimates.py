"""What an estimate says, and the two ways to one: from a classifier's probabilities, and from a model of errors."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial import stats
from perennial.errors import Invalid
from perennial.monitor.estimating.error_models import ErrorModel, fit_error_model
from perennial.monitor.sample import Sample
from perennial.stats import atc, cbpe, dle, pape

__all__ = ["Basis", "Estimated", "FromErrors", "FromProbs", "Raw", "Weighting", "hits_of"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MIN_EFFECTIVE: Final = 100  # rows the weighted reference must be worth
IMPORTANCE: Final = "covariate shift alone, and density ratios that are right"


class Estimated(msgspec.Struct, frozen=True, kw_only=True):
    """A metric of a window whose labels are not known, or known in part.

    Attributes:
        metric: Name of the metric.
        method: Name of the estimator.
        value: The estimate.
        low: Lower end of the band in which the realised value falls if the assumption holds.
        high: Upper end.
        level: Share of windows whose realised value the band is made for.
        reference_value: The metric on the reference.
        usual_low: Lower end of what windows of this size came to while nothing had changed: below (or above) is news.
        usual_high: Upper end.
        assumption: What the estimate rests on.
        rests_on: How the estimator has done so far, and how far its weights carry.
        rows: Rows of the window.
        chosen: Whether this is the one to believe of those for this metric.
    """

    metric: str
    method: str
    value: float
    low: float
    high: float
    level: float
    reference_value: float
    usual_low: float
    usual_high: float
    assumption: str
    rests_on: str
    rows: int
    chosen: bool = False


class Raw(msgspec.Struct, frozen=True):
    """One estimate before anything is known about its band."""

    metric: str
    method: str
    value: float
    assumption: str
    rests_on: str = ""


@dataclass(frozen=True, kw_only=True)
class Weighting:
    """Density ratios of reference rows.

    Attributes:
        rows: Numbers of reference rows (of those that have a label) that have a ratio, shape (k,).
        scores: Their out-of-fold probabilities of being current, shape (k,).
        reference_rows: Reference rows that the classifier saw.
        current_rows: Current rows that it saw.
        diagnostics: Whether the ratios rest on anything.
    """

    rows: Ints
    scores: Floats
    reference_rows: int
    current_rows: int
    diagnostics: pape.RatioDiagnostics

    def ratios(self, power: float = 1.0) -> Floats:
        """Weights of `rows`, shape (k,)."""
        return pape.density_ratios(
            self.scores, reference_rows=self.reference_rows, current_rows=self.current_rows, power=power
        )


class Basis(Protocol):
    """What estimates are made from.

    Attributes:
        reference: The metrics on the reference, by name, in the order in which they are told.
        sds: Standard deviation of one row's part in each.
        candidates: Estimators among which the record chooses, the one to begin with first.
    """

    @property
    def reference(self) -> dict[str, float]: ...

    @property
    def sds(self) -> dict[str, float]: ...

    @property
    def candidates(self) -> tuple[str, ...]: ...

    def raw(self, current: Sample, weighting: Weighting | None) -> list[Raw]:
        """Estimates of rows all of which have an answer."""
        ...

    def realised(self, sample: Sample) -> dict[str, float]:
        """The same metrics of rows all of which have a label; NaN where one is not defined."""
        ...

    def expected(self, current: Sample) -> dict[str, Floats]:
        """Estimates of each row, by metric that is a mean over rows."""
        ...


@dataclass(frozen=True, kw_only=True)
class FromProbs:
    """A classifier that gives probabilities: CBPE, PAPE and its root, and as baselines ATC, DoC, importance weights."""

    classes: tuple[str, ...]
    confidence: cbpe.Confidence
    probs: Floats
    answered: Ints
    truth: Ints
    atc_threshold: float
    reference: dict[str, float]
    sds: dict[str, float]
    candidates: tuple[str, ...] = ("cbpe", "pape", "pape_sqrt")

    @classmethod
    def of(cls, reference: Sample, *, seed: int) -> FromProbs:
        """From rows all of which have a label.

        Raises:
            Invalid: One class alone occurs.
        """
        answered, truth, probs = _codes(reference.predictions, reference.classes), _truth(reference), reference.probs
        assert probs is not None
        if len(np.unique(truth)) < 2:
            raise Invalid("the reference holds rows of one class only", remedy="take a longer reference")
        fitted = cbpe.fit_confidence(probs, truth)
        found = cls(
            classes=reference.classes,
            confidence=fitted,
            probs=probs,
            answered=answered,
            truth=truth,
            atc_threshold=atc.atc_threshold(probs.max(axis=1), answered == truth),
            reference={},
            sds=cbpe.metric_sds(fitted, probs, answered, truth, seed=seed),
        )
        return dataclasses.replace(found, reference=found.realised(reference))

    def raw(self, current: Sample, weighting: Weighting | None) -> list[Raw]:
        probs, answered = current.probs, _codes(current.predictions, self.classes)
        assert probs is not None
        sure, sure_before = probs.max(axis=1), self.probs.max(axis=1)
        found = _all("cbpe", self.confidence.sums(probs, answered).metrics(), cbpe.ASSUMPTION)
        found += [
            Raw("accuracy", "atc", atc.atc_accuracy(sure, self.atc_threshold), atc.ASSUMPTION_ATC),
            Raw(
                "accuracy", "doc", atc.doc_accuracy(sure_before, self.answered == self.truth, sure), atc.ASSUMPTION_DOC
            ),
        ]
        if weighting is None or weighting.diagnostics.effective_rows < MIN_EFFECTIVE:
            return found
        words, rows = weighting.diagnostics.words(), weighting.rows
        for method, power in (("pape", 1.0), ("pape_sqrt", 0.5)):
            fitted = cbpe.fit_confidence(self.probs[rows], self.truth[rows], weights=weighting.ratios(power))
            found += _all(method, fitted.sums(probs, answered).metrics(), pape.ASSUMPTION, words)
        moved = self.confidence.realised(
            self.probs[rows], self.answered[rows], self.truth[rows], weights=weighting.ratios()
        )
        return found + _all("importance", moved.metrics(), IMPORTANCE, words)

    def realised(self, sample: Sample) -> dict[str, float]:
        assert sample.probs is not None
        truth = _truth(sample)
        found = self.confidence.realised(sample.probs, _codes(sample.predictions, self.classes), truth).metrics()
        # Known labels have an exact AUC; that of score bins is for what has to add up.
        scored = range(1, 2) if len(self.classes) == 2 else range(len(self.classes))
        areas = [
            stats.auc(truth == column, sample.probs[:, column]).estimate
            for column in scored
            if 0 < int((truth == column).sum()) < len(truth)
        ]
        return found | {"roc_auc": float(np.mean(areas)) if areas else math.nan}

    def expected(self, current: Sample) -> dict[str, Floats]:
        assert current.probs is not None
        return {"accuracy": self.confidence.correctness(current.probs, _codes(current.predictions, self.classes))}


@dataclass(frozen=True, kw_only=True)
class FromErrors:
    """A regression, or a classifier that gives labels alone: direct loss estimation by a second model."""

    model: ErrorModel
    is_regression: bool
    reference: dict[str, float]
    sds: dict[str, float]
    candidates: tuple[str, ...] = ("dle",)

    @classmethod
    def of(cls, reference: Sample, *, seed: int) -> FromErrors:
        """From rows all of which have a label."""
        model = fit_error_model(reference, seed=seed)
        is_regression = reference.task == "regression"
        if is_regression:
            sds = dle.loss_sds(np.sqrt(reference.losses()))
        else:
            sds = {"accuracy": float(reference.losses().std())}
        found = cls(model=model, is_regression=is_regression, reference={}, sds=sds)
        return dataclasses.replace(found, reference=found.realised(reference))

    def raw(self, current: Sample, weighting: Weighting | None) -> list[Raw]:
        del weighting  # the model of errors has seen the inputs themselves
        if self.is_regression:
            absolute, squared = self.model.expected(current)
            return _all("dle", dle.loss_sums(absolute, squared).metrics(), dle.ASSUMPTION)
        return [Raw("accuracy", "dle", float(self.expected(current)["accuracy"].mean()), dle.ASSUMPTION)]

    def realised(self, sample: Sample) -> dict[str, float]:
        losses = sample.losses()
        if self.is_regression:
            return dle.loss_sums(np.sqrt(losses), losses).metrics()
        return {"accuracy": 1.0 - float(losses.mean())}

    def expected(self, current: Sample) -> dict[str, Floats]:
        if self.is_regression:
            absolute, squared = self.model.expected(current)
            return {"mae": absolute, "mse": squared}
        return {"accuracy": 1.0 - np.clip(self.model.expected(current)[0], 0.0, 1.0)}


def hits_of(sample: Sample) -> dict[str, Floats]:
    """What `Basis.expected` is about, of rows all of which have a label."""
    losses = sample.losses()
    if sample.task == "regression":
        return {"mae": np.sqrt(losses), "mse": losses}
    return {"accuracy": 1.0 - losses}


def _all(method: str, metrics: dict[str, float], assumption: str, words: str = "") -> list[Raw]:
    return [Raw(metric, method, value, assumption, words) for metric, value in metrics.items()]


def _truth(sample: Sample) -> Ints:
    return _codes(sample.labels, sample.classes)


def _codes(labels: pl.Series | None, classes: tuple[str, ...]) -> Ints:
    """Column of the probabilities of each label; all of them are known."""
    assert labels is not None
    return labels.cast(pl.String()).cast(pl.Enum(classes)).to_physical().to_numpy().astype(np.int64)
