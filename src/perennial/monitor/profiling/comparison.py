"""Two profiles column by column: how far apart, whether more than tolerated and more than noise, and in which words.

A column counts as shifted when the tolerance-aware test of its bins says so and all columns tested together bear it out
(Benjamini-Hochberg). What holds: rows of each side are independent given their window; compare like with like
(`monitor.references`) where the calendar matters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from perennial import stats
from perennial.monitor.profiling.counting import ColumnPlan
from perennial.monitor.profiling.tallies import ColumnTally
from perennial.stats.bins import CategoryBins, NumericBins
from perennial.stats.distances import ks_distance_from_bins, wasserstein_from_bins
from perennial.stats.results import Json, plain

__all__ = ["ASSUMPTION", "ColumnShift", "Comparison", "Decision", "compared"]

Decision = Literal["shifted", "within tolerance", "undecided"]
Floats = NDArray[np.float64]
ASSUMPTION = "rows of a side are independent of each other, and the reference holds the same season, weekdays and hours"
MOVES = 2  # bins that the words name


@dataclass(frozen=True, kw_only=True)
class ColumnShift:
    """One column of the reference and of a window.

    Attributes:
        column: Its name.
        kind: "number", "text", "time" or "other" (of the last two only what is missing is compared).
        decision: "shifted" only together with `selected`; "undecided": too few rows.
        selected: All columns tested together bear the shift out.
        psi: Population stability index over the bins, nats; missing values are a bin.
        excess: Of the PSI over its noise floor: what would be there without any shift.
        noise_floor: That, on average.
        js: Jensen-Shannon distance, in [0, 1].
        l_infinity: Largest change of a bin's share.
        hellinger: Hellinger distance, in [0, 1].
        ks: Kolmogorov-Smirnov distance at the bounds of the bins; numbers only.
        wasserstein: In standard deviations of the reference; numbers only.
        p_value: That the true PSI is within the tolerance, as far as the rows tell; None: too few rows.
        tolerance: The largest true PSI that is no shift.
        reference_missing: Share of rows without a value.
        current_missing: The same now.
        reference_unseen: Share of present values outside the reference's range or named categories.
        unseen: The same now.
        importance: How much the model heeds the column; None where nobody said.
        reference_rows: Rows that were compared.
        current_rows: The same now.
        words: For a person.
        labels: Of the bins, in order.
        reference: Rows of each bin.
        current: The same now.
    """

    column: str
    kind: str
    decision: Decision
    selected: bool
    psi: float | None
    excess: float | None
    noise_floor: float | None
    js: float | None
    l_infinity: float | None
    hellinger: float | None
    ks: float | None
    wasserstein: float | None
    p_value: float | None
    tolerance: float
    reference_missing: float
    current_missing: float
    reference_unseen: float
    unseen: float
    importance: float | None
    reference_rows: int
    current_rows: int
    words: str
    labels: tuple[str, ...]
    reference: tuple[float, ...]
    current: tuple[float, ...]

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values."""
        return {name: plain(getattr(self, name)) for name in self.__dataclass_fields__}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All columns of two profiles.

    Attributes:
        columns: By name, in the order of the profiler.
        prediction: The answers; None where a side has none.
        label: The truths likewise.
        tolerance: The largest true PSI that is no shift.
        alpha: Bound on the share of false ones among the selected columns.
        method: How they were selected together.
        assumption: What all of it rests on.
    """

    columns: Mapping[str, ColumnShift]
    prediction: ColumnShift | None
    label: ColumnShift | None
    tolerance: float
    alpha: float
    method: str
    assumption: str = ASSUMPTION

    @property
    def shifted(self) -> list[ColumnShift]:
        """Selected columns, the most harmful first: by excess, times importance where it is known."""
        chosen = [one for one in self.columns.values() if one.selected]
        return sorted(chosen, key=lambda one: -_weight(one))

    @property
    def undecided(self) -> list[str]:
        """Columns with too few rows to tell."""
        return [name for name, one in self.columns.items() if one.decision == "undecided"]

    @property
    def severity(self) -> Literal["info", "warn"]:
        """Warn: a column, the answers or the truths shifted. A shift alone is never critical: it may do no harm."""
        alike = any(one is not None and one.selected for one in (self.prediction, self.label))
        return "warn" if self.shifted or alike else "info"

    @property
    def says(self) -> str:
        """One sentence about the columns."""
        found = self.shifted
        names = ", ".join(one.column for one in found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        untold = self.undecided
        tail = f"; too few rows to tell for {len(untold)} of {len(self.columns)} columns" if untold else ""
        said = f"inputs shifted: {names}" if found else "no input shifted beyond its tolerance"
        return (
            f"{said} (tolerance PSI {self.tolerance:g}, at most {self.alpha:.0%} of these are false on average{tail})"
        )

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values."""
        return {
            "severity": self.severity,
            "says": self.says,
            "shifted": [one.column for one in self.shifted],
            "columns": {name: one.as_dict() for name, one in self.columns.items()},
            "prediction": None if self.prediction is None else self.prediction.as_dict(),
            "label": None if self.label is None else self.label.as_dict(),
            "tolerance": self.tolerance,
            "alpha": self.alpha,
            "method": self.method,
            "assumption": self.assumption,
        }


def compared(
    plans: Mapping[str, ColumnPlan],
    reference: Mapping[str, ColumnTally],
    current: Mapping[str, ColumnTally],
    *,
    prediction: tuple[ColumnPlan, ColumnTally, ColumnTally] | None = None,
    label: tuple[ColumnPlan, ColumnTally, ColumnTally] | None = None,
    tolerance: float,
    alpha: float,
    tolerances: Mapping[str, float] | None = None,
    importances: Mapping[str, float] | None = None,
    any_dependence: bool = False,
) -> Comparison:
    """Compare tallies column by column, and the answers and truths each on its own."""
    own, heeded = tolerances or {}, importances or {}
    both = [name for name in plans if name in reference and name in current]
    tests = _tests([(reference[name], current[name], own.get(name, tolerance)) for name in both], alpha)
    told = {
        name: _shift(name, plans[name], reference[name], current[name], test, heeded.get(name))
        for name, test in zip(both, tests, strict=True)
    }
    select = stats.benjamini_yekutieli if any_dependence else stats.benjamini_hochberg
    tested = [math.nan if one.p_value is None else one.p_value for one in told.values()]
    selection = select(tested, alpha) if tested else None
    chosen = set(selection.indices) if selection is not None else set[int]()
    return Comparison(
        columns={name: _decided(one, index in chosen) for index, (name, one) in enumerate(told.items())},
        prediction=_alone("prediction", prediction, tolerance, alpha),
        label=_alone("label", label, tolerance, alpha, known_only=True),
        tolerance=tolerance,
        alpha=alpha,
        method="benjamini-yekutieli" if any_dependence else "benjamini-hochberg",
    )


def _alone(
    name: str,
    sides: tuple[ColumnPlan, ColumnTally, ColumnTally] | None,
    tolerance: float,
    alpha: float,
    *,
    known_only: bool = False,
) -> ColumnShift | None:
    if sides is None:
        return None
    plan, reference, current = sides
    if known_only:  # a truth that has not come yet is no missing value
        reference, current = (replace(one, counts=np.array([*one.counts[:-1], 0])) for one in (reference, current))
    (test,) = _tests([(reference, current, tolerance)], alpha)
    one = _shift(name, plan, reference, current, test, None)
    return _decided(one, one.decision == "shifted")


def _tests(sides: Sequence[tuple[ColumnTally, ColumnTally, float]], alpha: float) -> list[stats.Finding]:
    """Reference, window and tolerance of each; columns with the same tolerance are tested at once."""
    found: dict[int, stats.Finding] = {}
    for tolerance in {own for _, _, own in sides}:
        alike = [place for place, (_, _, own) in enumerate(sides) if own == tolerance]
        pairs = [(np.rint(sides[place][0].counts), np.rint(sides[place][1].counts)) for place in alike]
        found |= zip(alike, stats.tolerance_tests(pairs, tolerance, alpha=alpha), strict=True)
    return [found[place] for place in range(len(sides))]


def _shift(
    name: str,
    plan: ColumnPlan,
    reference: ColumnTally,
    current: ColumnTally,
    test: stats.Finding,
    importance: float | None,
) -> ColumnShift:
    before, after = np.rint(reference.counts), np.rint(current.counts)
    details = test.details
    is_number = isinstance(plan.bins, NumericBins) and plan.bins.low is not None
    has_values = bool(before[:-1].sum() and after[:-1].sum())
    moved = is_number and has_values
    return ColumnShift(
        column=name,
        kind=plan.kind,
        decision=cast(Decision, test.decision),
        selected=False,
        psi=_number(details.get("psi")),
        excess=_number(details.get("excess")),
        noise_floor=_number(details.get("noise_floor")),
        js=_number(details.get("js_distance")),
        l_infinity=_number(details.get("l_infinity")),
        hellinger=_number(details.get("hellinger")),
        ks=ks_distance_from_bins(before[:-1], after[:-1]) if moved else None,
        wasserstein=_wasserstein(plan, reference, current, before, after) if moved else None,
        p_value=test.p_value,
        tolerance=cast(float, test.threshold),
        reference_missing=_share(before[-1:], before),
        current_missing=_share(after[-1:], after),
        reference_unseen=_share(_outside(plan, before), before[:-1]),
        unseen=_share(_outside(plan, after), after[:-1]),
        importance=importance,
        reference_rows=int(before.sum()),
        current_rows=int(after.sum()),
        words=_words(plan, reference, current, before, after, test),
        labels=plan.bins.labels,
        reference=tuple(before.tolist()),
        current=tuple(after.tolist()),
    )


def _wasserstein(
    plan: ColumnPlan, reference: ColumnTally, current: ColumnTally, before: Floats, after: Floats
) -> float | None:
    scale = reference.sd
    if not scale > 0.0:
        return None
    bins = cast(NumericBins, plan.bins)
    return wasserstein_from_bins(
        bins, before, after, scale=scale, reference_beyond=reference.beyond, current_beyond=current.beyond
    )


def _decided(one: ColumnShift, is_selected: bool) -> ColumnShift:
    if one.decision == "undecided":
        return replace(one, words=f"{one.column} cannot be judged: {one.words}")
    decision: Decision = "shifted" if is_selected else "within tolerance"
    return replace(one, selected=is_selected, decision=decision, words=_VERB[decision].format(one.column) + one.words)


_VERB = {"shifted": "{} shifted: ", "within tolerance": "{} did not shift beyond its tolerance: "}


def _words(
    plan: ColumnPlan, reference: ColumnTally, current: ColumnTally, before: Floats, after: Floats, test: stats.Finding
) -> str:
    if test.p_value is None:
        return test.reasons[0]
    p, q = before / before.sum(), after / after.sum()
    largest = np.argsort(-np.abs(q - p), kind="stable")[:MOVES]
    labels = plan.bins.labels
    moves = [f"{labels[i]} {p[i]:.1%} before, {q[i]:.1%} now" for i in largest if abs(q[i] - p[i]) > 0.0]
    parts = [f"PSI {test.statistic:.3g}, {test.threshold:g} tolerated", *moves]
    if plan.kind == "number" and reference.finite and current.finite and reference.counts.dtype.kind == "i":
        # Of a re-weighted reference the sums are not those of its counts.
        parts.append(f"mean {reference.mean(plan.centre):.4g} before, {current.mean(plan.centre):.4g} now")
    return "; ".join(parts)


def _outside(plan: ColumnPlan, counts: Floats) -> Floats:
    if isinstance(plan.bins, CategoryBins):
        return counts[-2:-1]
    return counts[[0, -2]] if plan.bins.low is not None else counts[:0]


def _share(part: Floats, whole: Floats) -> float:
    total = float(whole.sum())
    return float(part.sum()) / total if total else 0.0


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _weight(one: ColumnShift) -> float:
    return (one.excess or 0.0) * (1.0 if one.importance is None else one.importance)
