"""An evaluation as it is stored: everything measured of one model on rows that it had not seen."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

__all__ = [
    "Calibration",
    "CalibrationBin",
    "Comparison",
    "Curve",
    "Estimate",
    "Evaluation",
    "Fairness",
    "GroupRow",
    "LeftOut",
    "Robustness",
    "Slice",
]


class Estimate(Struct, frozen=True, kw_only=True):
    """A metric on a set of rows with its 95 % interval; an end is None where too few rows give none."""

    value: float
    low: float | None
    high: float | None
    rows: int


class CalibrationBin(Struct, frozen=True, kw_only=True):
    """Rows whose predicted probability (or value) lies between `low` and `high`, and what came true of them."""

    low: float
    high: float
    rows: int
    predicted: float
    observed: float
    observed_low: float
    observed_high: float


class Calibration(Struct, frozen=True, kw_only=True):
    """How far predicted probabilities are what they say.

    `of`: the class, or "prediction" of a regression. `error`: expected calibration error, row-weighted mean of
    |predicted - observed| over the bins. `parts`: Brier score = reliability - resolution + uncertainty.
    """

    of: str
    bins: list[CalibrationBin]
    error: float
    parts: dict[str, float] | None = None


class Slice(Struct, frozen=True, kw_only=True):
    """A group of rows: `where` maps column to value or range. `found_by`: "column" (a row of a table) or "search".

    `rest` is the metric on all other rows. A slice found by search was looked for on one half of the rows; `value` is
    from the other half, and `is_confirmed` says whether it holds there after correction for the number tried.
    """

    where: dict[str, str]
    rows: int
    value: Estimate
    rest: float | None
    found_by: str
    score: float | None = None
    p_value: float | None = None
    is_confirmed: bool | None = None


class Curve(Struct, frozen=True, kw_only=True):
    """A line to draw: `kind` "learning" (rows -> metric, after retraining on parts) or "training" (iterations)."""

    kind: str
    name: str
    x: list[float]
    y: list[float]
    low: list[float] | None = None
    high: list[float] | None = None


class GroupRow(Struct, frozen=True, kw_only=True):
    """One group of a fairness table; `values` by name (the metric, selection rate, false and true positive rate)."""

    group: str
    rows: int
    values: dict[str, Estimate]
    is_judged: bool


class Fairness(Struct, frozen=True, kw_only=True):
    """Groups of one declared column. `ratios`: "selection_rate_ratio", "equalised_odds_difference", ..."""

    column: str
    groups: list[GroupRow]
    ratios: dict[str, Estimate]
    worst: str | None = None


class Robustness(Struct, frozen=True, kw_only=True):
    """What a disturbance of the inputs does: noise (in standard deviations of a column) or missing values (share)."""

    disturbance: str
    level: float
    value: Estimate
    changed: float
    """Share of rows whose answer changed: another label, or by more than a tenth of the answers' spread."""


class LeftOut(Struct, frozen=True, kw_only=True):
    """A model trained without the rows of one group, and measured on them."""

    column: str
    group: str
    value: Estimate
    inside: float | None
    """The metric on the same rows when their group was in the training data, where known."""
    lost: Estimate | None = None
    """How much worse it is without them, paired, in the unit of the comparison (`compared_by`); below 0: better."""


class Comparison(Struct, frozen=True, kw_only=True):
    """Against another version on the same rows; `decision`: better | non-inferior | inferior | inconclusive."""

    against: str
    metric: str
    method: str
    decision: str
    effect: float
    low: float | None
    high: float | None
    margin: float
    rows: int
    says: str


class Evaluation(Struct, frozen=True, kw_only=True):
    """What was measured of one model. `split` says in words which rows were held out.

    `baselines`: by name (constant, last value, linear), each metric. `answers`, `explanation` and `reference` (held-out
    rows that later ones are compared with) are digests of stored objects. Everything after `answers` is absent from
    evaluations of before it was measured.
    """

    task: str
    metric: str
    split: str
    test: dict[str, Estimate]
    train: dict[str, Estimate]
    baseline: dict[str, Estimate]
    saved_over_baseline: dict[str, Any]
    overfits: str | None
    answers: str | None = None
    baselines: dict[str, dict[str, Estimate]] = {}
    calibration: list[Calibration] = []
    slices: list[Slice] = []
    curves: list[Curve] = []
    fairness: list[Fairness] = []
    robustness: list[Robustness] = []
    left_out: list[LeftOut] = []
    comparisons: list[Comparison] = []
    says: list[str] = []
    """Sentences that a reviewer should read: overfitting, weak slices, a baseline that is as good, drift of the gap."""
    explanation: str | None = None
    reference: str | None = None
    compilation: dict[str, Any] | None = None
    """The compile report of the form that serves (`models.facts.compilation.Compilation`), with timings."""
    judged: str | None = None
    """The package of the fit that was measured, where the loop may correct answers later: what it would say of new rows
    is then asked of it, since the one that serves was fitted on all rows."""
