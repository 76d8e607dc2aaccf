"""Performance of a classifier without labels, from what its calibrated probabilities expect (CBPE).

A row with calibrated probability c of class k is counted as c of a row of that class. So the whole confusion matrix,
and with it every metric, is known in expectation before a label arrives, as long as the probabilities stay right: no
concept drift, and what comes in resembles rows of the reference.

`fit_confidence` calibrates on a labelled reference, `Confidence.sums` counts a window in one pass, and what it counted
adds up: windows, slices and shards may be joined later. Weighted by density ratios (`pape`) the same calibration is
fitted for another population.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Floats, Ints, finite_vector, same_length
from perennial.stats.calibrators import IsotonicMap, class_codes, isotonic, prob_rows
from perennial.stats.errors import BinMismatch, NothingToCount, OutOfRange
from perennial.stats.results import Interval, Json

__all__ = ["ASSUMPTION", "Confidence", "ExpectedSums", "fit_confidence", "metric_sds", "sampling_band"]

ASSUMPTION: Final = "no concept drift, and inputs that the reference holds as well"
SCORE_BINS: Final = 1024  # quantiles of the reference scores, beside the ends of every calibrated step
SMALLEST_PROB: Final = 1e-15  # a probability of zero for what happened costs 34.5 nats, not infinity
GROUPS: Final = 200  # of rows left out in turn for a standard deviation: it is right to about 5 %
BAND_SDS: Final = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class ExpectedSums:
    """What rows add up to. `a + b` are the sums of the rows of both.

    Attributes:
        rows: Number of rows (their weight, where they are weighted).
        confusion: Expected rows by answer and true class, shape (K, K): [j, k] answered j and of class k.
        log_loss: Sum of expected log losses, in nats.
        brier: Sum of expected squared errors over all classes.
        positives: Expected rows of a class by score bin: one row of bins for two classes (the second), else K.
        negatives: Expected rows of other classes, same shape.
    """

    rows: float
    confusion: Floats
    log_loss: float
    brier: float
    positives: Floats
    negatives: Floats

    def __add__(self, other: ExpectedSums) -> ExpectedSums:
        """Sums over both.

        Raises:
            BinMismatch: They were counted with different calibrations.
        """
        if self.positives.shape != other.positives.shape or self.confusion.shape != other.confusion.shape:
            raise BinMismatch(self.positives.size, other.positives.size)
        return ExpectedSums(
            self.rows + other.rows,
            self.confusion + other.confusion,
            self.log_loss + other.log_loss,
            self.brier + other.brier,
            self.positives + other.positives,
            self.negatives + other.negatives,
        )

    def __sub__(self, other: ExpectedSums) -> ExpectedSums:
        """Sums over the rows that are not among those of `other`."""
        return self + ExpectedSums(
            -other.rows, -other.confusion, -other.log_loss, -other.brier, -other.positives, -other.negatives
        )

    def metrics(self) -> dict[str, float]:
        """The metrics by name; NaN where one is not defined.

        Two classes: accuracy, precision, recall, f1, specificity (of the second class), roc_auc, log_loss, brier. More:
        the same, where precision_macro, recall_macro, f1_macro, specificity_macro and roc_auc are means over the
        classes that occur, one against the rest.
        """
        if self.rows <= 0.0:
            raise NothingToCount("rows")
        whole = {
            "accuracy": float(np.trace(self.confusion)) / self.rows,
            "roc_auc": self._roc_auc(),
            "log_loss": self.log_loss / self.rows,
            "brier": self.brier / self.rows,
        }
        k = len(self.confusion)
        both: Floats = np.diag(self.confusion)
        answered: Floats = self.confusion.sum(axis=1)
        true: Floats = self.confusion.sum(axis=0)
        neither = self.rows - answered - true + both
        by_class: dict[str, Floats] = {
            "precision": _ratio(both, answered),
            "recall": _ratio(both, true),
            "f1": _ratio(2.0 * both, answered + true),
            "specificity": _ratio(neither, self.rows - true),
        }
        if k == 2:
            return whole | {name: float(values[1]) for name, values in by_class.items()}
        occurs = (answered + true) > 0.0
        return whole | {f"{name}_macro": float(np.nanmean(values[occurs])) for name, values in by_class.items()}

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values, enough to add up later."""
        return {
            "rows": self.rows,
            "confusion": cast(Json, self.confusion.tolist()),
            "log_loss": self.log_loss,
            "brier": self.brier,
            "positives": cast(Json, self.positives.tolist()),
            "negatives": cast(Json, self.negatives.tolist()),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Json]) -> ExpectedSums:
        """What `as_dict` gave."""
        return cls(
            float(cast(float, stored["rows"])),
            np.asarray(cast(ArrayLike, stored["confusion"]), dtype=np.float64),
            float(cast(float, stored["log_loss"])),
            float(cast(float, stored["brier"])),
            np.asarray(cast(ArrayLike, stored["positives"]), dtype=np.float64),
            np.asarray(cast(ArrayLike, stored["negatives"]), dtype=np.float64),
        )

    def _roc_auc(self) -> float:
        mass = self.positives.sum(axis=1) * self.negatives.sum(axis=1)
        below: Floats = np.cumsum(self.negatives, axis=1) - self.negatives
        ordered: Floats = (self.positives * (below + self.negatives / 2.0)).sum(axis=1)
        areas = ordered[mass > 0.0] / mass[mass > 0.0]
        return float(areas.mean()) if len(areas) else math.nan


@dataclass(frozen=True, slots=True, eq=False)
class Confidence:
    """Calibrated expectations of one model; made by `fit_confidence`.

    Attributes:
        maps: Score to probability: of the second of two classes, else one per class.
        edges: Edges of the score bins, one array per map.
        classes: Number of classes.
    """

    maps: tuple[IsotonicMap, ...]
    edges: tuple[Floats, ...]
    classes: int

    def calibrated(self, probs: ArrayLike) -> Floats:
        """Calibrated probabilities, shape (n, K), each row summing to 1."""
        return self._calibrated(self._checked(probs))

    def correctness(self, probs: ArrayLike, predictions: ArrayLike) -> Floats:
        """Probability that each answer is right, shape (n,)."""
        rows = self._checked(probs)
        answered = class_codes(predictions, self.classes, len(rows), "predictions")
        return self._calibrated(rows)[np.arange(len(rows)), answered]

    def sums(self, probs: ArrayLike, predictions: ArrayLike) -> ExpectedSums:
        """Count the rows of a window, in expectation.

        Args:
            probs: The model's probabilities as it gave them, shape (n, K).
            predictions: Its answers as column numbers, shape (n,): thresholds are the model's affair.
        """
        rows = self._checked(probs)
        answered = class_codes(predictions, self.classes, len(rows), "predictions")
        return self._sums(rows, answered, self._calibrated(rows))

    def realised(
        self, probs: ArrayLike, predictions: ArrayLike, labels: ArrayLike, *, weights: ArrayLike | None = None
    ) -> ExpectedSums:
        """Count the same rows once their labels are known; with `weights`, as another population would have them."""
        rows = self._checked(probs)
        answered = class_codes(predictions, self.classes, len(rows), "predictions")
        truth = np.zeros_like(rows)
        truth[np.arange(len(rows)), class_codes(labels, self.classes, len(rows))] = 1.0
        if weights is None:
            return self._sums(rows, answered, truth)
        w = finite_vector(weights, "weights")
        same_length("weights", w, len(rows))
        return self._sums(rows, answered, truth, weights=w)

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values."""
        return {
            "classes": self.classes,
            "maps": [item.as_dict() for item in self.maps],
            "edges": [cast(Json, item.tolist()) for item in self.edges],
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Json]) -> Confidence:
        """What `as_dict` gave."""
        maps = tuple(IsotonicMap.from_dict(item) for item in cast(list[dict[str, Json]], stored["maps"]))
        edges = tuple(np.asarray(item, dtype=np.float64) for item in cast(list[ArrayLike], stored["edges"]))
        return cls(maps, edges, int(cast(int, stored["classes"])))

    def _checked(self, probs: ArrayLike) -> Floats:
        rows = prob_rows(probs)
        if rows.shape[1] != self.classes:
            raise OutOfRange("probs", f"of {rows.shape[1]} classes", f"of {self.classes} classes")
        return rows

    def _calibrated(self, rows: Floats) -> Floats:
        if self.classes == 2:
            second = self.maps[0](rows[:, 1])
            return np.column_stack([1.0 - second, second])
        table: Floats = np.column_stack([item(rows[:, k]) for k, item in enumerate(self.maps)])
        sums: Floats = table.sum(axis=1, keepdims=True)
        # Where every class is calibrated to 0 there is nothing to divide by: the model's own word stands.
        return np.where(sums > 0.0, table / np.where(sums > 0.0, sums, 1.0), rows)

    def _sums(self, rows: Floats, answered: Ints, truth: Floats, *, weights: Floats | None = None) -> ExpectedSums:
        """`truth`: probability (or certainty) of each class, shape (n, K)."""
        if weights is not None:
            truth = truth * weights[:, np.newaxis]
        k = self.classes
        confusion = np.column_stack([np.bincount(answered, truth[:, column], k) for column in range(k)]).astype(
            np.float64
        )
        log_p: Floats = np.log(np.maximum(rows, SMALLEST_PROB))
        squares: Floats = np.einsum("ij,ij->i", rows, rows)
        mass: Floats = truth.sum(axis=1)
        scored = range(1, 2) if k == 2 else range(k)
        positives: list[Floats] = []
        negatives: list[Floats] = []
        for edges, column in zip(self.edges, scored, strict=True):
            bins = np.searchsorted(edges, rows[:, column], side="right")
            inside: Floats = np.bincount(bins, truth[:, column], len(edges) + 1).astype(np.float64)
            positives.append(inside)
            negatives.append(np.bincount(bins, mass, len(edges) + 1) - inside)
        width = max((len(item) for item in positives), default=0)
        return ExpectedSums(
            rows=float(mass.sum()),
            confusion=confusion,
            log_loss=-float(np.einsum("ij,ij->", truth, log_p)),
            brier=float((mass * (squares + 1.0)).sum() - 2.0 * np.einsum("ij,ij->", truth, rows)),
            positives=np.array([np.pad(item, (0, width - len(item))) for item in positives]),
            negatives=np.array([np.pad(item, (0, width - len(item))) for item in negatives]),
        )


def fit_confidence(
    probs: ArrayLike, labels: ArrayLike, *, weights: ArrayLike | None = None, bins: int = SCORE_BINS
) -> Confidence:
    """Calibrate on a labelled reference what a model's probabilities mean.

    Isotonic regression per class (of the second class alone where there are two), each row then divided by its sum. The
    score bins of the AUC end where a calibrated step ends: inside a step the order of rows does not matter, so that the
    histogram loses nothing that the sorted rows would tell there.

    Args:
        probs: Probabilities on rows the model was not trained on, shape (n, K).
        labels: Class of each row as a column number, shape (n,).
        weights: Density ratios of the population that is asked about (`pape.density_ratios`); 1 when left out.
        bins: Quantiles of the reference scores that cut the bins beside the steps.

    Raises:
        OutOfRange: `probs` are no probabilities, a label is no column of them, or a weight is negative.
        LengthMismatch: The arrays differ in length.
        NothingToCount: There is no row.

    Source: Kuberski, Białek, Kivimäki & Perrakis, arXiv 2401.08348 (M-CBPE, PAPE); CBPE as described there.

    >>> rng = np.random.default_rng(0)
    >>> second = rng.random(20_000)
    >>> probs = np.column_stack([1 - second, second])
    >>> labels = rng.random(20_000) < second**2
    >>> found = fit_confidence(probs, labels)
    >>> estimated = found.sums(probs, second > 0.5).metrics()["accuracy"]
    >>> bool(abs(estimated - np.mean((second > 0.5) == labels)) < 0.001)
    True
    """
    rows = prob_rows(probs)
    n, k = rows.shape
    if n == 0:
        raise NothingToCount("probs")
    truth = class_codes(labels, k, n)
    scored = range(1, 2) if k == 2 else range(k)
    maps = tuple(isotonic(rows[:, column], truth == column, weights=weights) for column in scored)
    cuts = np.linspace(0.0, 1.0, bins + 1)
    edges = tuple(
        np.unique(np.concatenate([item.at, np.quantile(rows[:, column], cuts)]))
        for item, column in zip(maps, scored, strict=True)
    )
    return Confidence(maps, edges, k)


def metric_sds(
    confidence: Confidence,
    probs: ArrayLike,
    predictions: ArrayLike,
    labels: ArrayLike,
    *,
    groups: int = GROUPS,
    seed: int = 0,
) -> dict[str, float]:
    """Standard deviation of one row's part in each metric: that of the metric over m rows is this over sqrt(m).

    The rows of the reference are dealt into groups at random and each group is left out in turn (the delete-a-group
    jackknife), which serves means, ratios and the AUC alike.

    Raises:
        OutOfRange: Fewer than two rows for each of 20 groups.

    Source: Shao & Tu (1995), The Jackknife and Bootstrap, chapter 2.
    """
    rows = prob_rows(probs)
    n = len(rows)
    answered = class_codes(predictions, rows.shape[1], n, "predictions")
    truth = class_codes(labels, rows.shape[1], n)
    count = min(groups, n // 2)
    if count < 20:
        raise OutOfRange("probs", f"{n} rows", "at least 40 rows", remedy="take a longer reference")
    order: Ints = np.random.default_rng(seed).permutation(n)
    whole = confidence.realised(rows, answered, truth)
    left: list[dict[str, float]] = []
    for number in range(count):
        part = order[number::count]
        left.append((whole - confidence.realised(rows[part], answered[part], truth[part])).metrics())
    found: dict[str, float] = {}
    for name in left[0]:
        values: Floats = np.array([item[name] for item in left])
        variance = (count - 1) / count * float(((values - values.mean()) ** 2).sum())
        found[name] = math.sqrt(variance * n)
    return found


def sampling_band(
    value: float, sd: float, rows: float, *, bounds: tuple[float, float] = (0.0, 1.0), sds: float = BAND_SDS
) -> Interval:
    """Where the realised metric of `rows` rows falls if the estimate is right: value +- 3 sd / sqrt(rows).

    It holds the luck of the draw alone; that the assumption fails is not in it. That is what a track record is for.

    Args:
        value: The estimate.
        sd: Standard deviation of one row's part (`metric_sds`).
        rows: Rows of the window.
        bounds: Of the metric.
        sds: Half-width; 3 covers 99.73 % of a normal variable.

    >>> band = sampling_band(0.9, 0.3, 900)
    >>> round(band.low, 3), round(band.high, 3)
    (0.87, 0.93)
    """
    if rows <= 0:
        raise NothingToCount("rows")
    half = sds * sd / math.sqrt(rows)
    return Interval(
        low=max(bounds[0], value - half),
        high=min(bounds[1], value + half),
        estimate=value,
        level=math.erf(sds / math.sqrt(2.0)),
        n=round(rows),
        method=f"sampling band of {sds:g} reference sd",
    )


def _ratio(above: Floats, below: Floats) -> Floats:
    usable = below > 1e-12
    return np.where(usable, above / np.where(usable, below, 1.0), np.nan)
