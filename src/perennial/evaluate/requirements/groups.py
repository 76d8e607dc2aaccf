"""Requirements on groups of rows: no slice much worse than the whole, groups of people treated alike."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl

from perennial.errors import LoopError
from perennial.evaluate.answers import HeldOut, Ints
from perennial.evaluate.fairness import MIN_ROWS
from perennial.evaluate.fairness import fairness as fairness_table
from perennial.evaluate.groups import estimate_of, resampled_groups
from perennial.evaluate.metrics import Metric, measure_on, metric_named
from perennial.evaluate.requirements.case import Case, Result, listed
from perennial.models.facts.evaluation import Estimate, GroupRow

__all__ = ["fairness", "slices"]

MIN_SLICE_ROWS = 30  # a smaller slice is listed, not judged: its interval says nothing


def slices(case: Case, options: dict[str, Any]) -> Result:
    """In no group does the interval lie beyond the bound, at a level that leaves 5 % for all groups together."""
    metric = metric_named(options["metric"], case.task)
    by, within = options["by"], float(options["within"])
    _check_column(case, "slices", by)
    on = case.held_out
    overall = measure_on(metric, on).estimate
    bound = overall + within * abs(overall) * (-1 if metric.higher_is_better else 1)
    labels = case.frame[by].cast(pl.String, strict=False).fill_null("(missing)")
    names = labels.unique().sort().to_list()
    codes = labels.replace_strict(names, pl.Series(range(len(names)), dtype=pl.Int64), return_dtype=pl.Int64).to_numpy()
    counts = np.bincount(codes, minlength=len(names))
    # Of many groups, some lie beyond their own 95 % by chance.
    wider = _z(int((counts >= MIN_SLICE_ROWS).sum())) / _z(1)
    table: list[dict[str, Any]] = []
    for name, found in zip(names, _measured(metric, on, codes, len(names)), strict=True):
        row: dict[str, Any] = {"slice": name, "rows": int((labels == name).sum()), "fails": False, "judged": False}
        if found is not None:
            low, high = (
                found.value + wider * (end - found.value) if end is not None else None
                for end in (found.low, found.high)
            )
            edge = high if metric.higher_is_better else low
            beyond = edge is not None and (edge < bound if metric.higher_is_better else edge > bound)
            judged = found.rows >= MIN_SLICE_ROWS and edge is not None
            row |= {"estimate": found.value, "low": found.low, "high": found.high}
            row |= {"judged": judged, "fails": bool(judged and beyond)}
        table.append(row)
    weak = [f"{row['slice']} ({row['estimate']:.4g}, {row['rows']} rows)" for row in table if row["fails"]]
    few = sum(not row["judged"] for row in table)
    says = (
        f"{metric.name} is {overall:.4g} overall; clearly beyond {bound:.4g} in {listed(weak)}"
        if weak
        else f"{metric.name} is {overall:.4g} overall and in no {by} clearly beyond {bound:.4g}"
    )
    says += f" ({few} of {len(table)} slices have fewer than {MIN_SLICE_ROWS} rows and are not judged)" if few else ""
    return not weak, says, {"overall": overall, "bound": bound, "by": by, "slices": table}


def _measured(metric: Metric, on: HeldOut, codes: Ints, groups: int) -> list[Estimate | None]:
    """The metric in each group; None where a group does not have it (one class alone ranks nothing)."""
    if metric.sums is not None and metric.why_not(on.truth, on.answers) is None:
        drawn = resampled_groups(metric, on, codes, groups)  # all groups in the same draws
        return [
            estimate_of(float(drawn.value[at]), drawn.resampled[:, at], int(drawn.units[at]), int(drawn.rows[at]))
            if np.isfinite(drawn.value[at])
            else None
            for at in range(groups)
        ]
    found: list[Estimate | None] = []
    for at in range(groups):
        part = on.take(codes == at)
        if metric.why_not(part.truth, part.answers) is not None:
            found.append(None)
            continue
        one = measure_on(metric, part)
        low, high = (float(end) if np.isfinite(end) else None for end in (one.low, one.high))
        found.append(Estimate(value=one.estimate, low=low, high=high, rows=len(part)))
    return found


def fairness(case: Case, options: dict[str, Any]) -> Result:
    """Of all pairs of groups that are large enough, none is clearly further apart than allowed.

    Each pair is judged at a level that leaves 5 % for all of them together (Bonferroni). Fails where a pair is clearly
    beyond; None where the measured values are beyond, but no pair clearly.
    """
    by = options["by"]
    _check_column(case, "fairness", by)
    on = case.held_out
    if on.answers.positive is None:
        raise LoopError(
            f"require.fairness({by!r}): who is chosen is known only where one of two classes is the positive one",
            remedy="name it: Loop(..., positive=...); for other tasks use require.slices",
        )
    (table,), _ = fairness_table(case.task, on, case.frame, [by])
    judged = [group for group in table.groups if group.is_judged]
    small = [group.group for group in table.groups if not group.is_judged]
    evidence: dict[str, Any] = {
        "by": by,
        "groups": [
            {"group": group.group, "rows": group.rows, "is_judged": group.is_judged}
            | {name: value.value for name, value in group.values.items()}
            for group in table.groups
        ],
        "ratios": {
            name: {"value": value.value, "low": value.low, "high": value.high} for name, value in table.ratios.items()
        },
    }
    left_out = f"; not judged for fewer than {MIN_ROWS} rows: {listed(small)}" if small else ""
    if len(judged) < 2:
        return None, f"fewer than two groups of {by} have {MIN_ROWS} rows{left_out}", evidence
    parts: list[tuple[bool | None, str]] = []
    ratio, odds = options.get("selection_rate_ratio"), options.get("equalised_odds")
    if ratio is not None:
        parts.append(_ratio(judged, float(ratio)))
    if odds is not None:
        parts.append(_odds(judged, float(odds)))
    outcomes = [passed for passed, _ in parts]
    passed = False if False in outcomes else None if None in outcomes else True
    return passed, "; ".join(says for _, says in parts) + left_out, evidence


def _ratio(groups: list[GroupRow], bound: float) -> tuple[bool | None, str]:
    """The lowest selection rate over the highest: beyond the bound where rate - bound * highest is clearly below 0."""
    rated = [(group, group.values["selection_rate"]) for group in groups if "selection_rate" in group.values]
    lowest, highest = min(rated, key=lambda one: one[1].value), max(rated, key=lambda one: one[1].value)
    low, high = lowest[1], highest[1]
    if high.value == 0:
        return True, "nobody is chosen in any group"
    z = _z(len(rated) * (len(rated) - 1) // 2)
    gap = low.value - bound * high.value
    doubt = z * math.hypot(_sd(low), bound * _sd(high))
    says = (
        f"{lowest[0].group} ({lowest[0].rows} rows) is chosen in {low.value * 100:.3g} % of its rows, "
        f"{highest[0].group} "
        f"({highest[0].rows} rows) in {high.value * 100:.3g} %: "
        f"a ratio of {low.value / high.value:.2f}, asked for at least {bound:g}"
    )
    return _judged(gap >= 0, gap + doubt < 0, says)


def _odds(groups: list[GroupRow], bound: float) -> tuple[bool | None, str]:
    """The largest difference of true or of false positive rates."""
    names = {"true_positive_rate": "truly positive", "false_positive_rate": "truly negative"}
    found: list[tuple[bool | None, float, str]] = []
    for name, words in names.items():
        rated = [(group, group.values[name]) for group in groups if name in group.values]
        if len(rated) < 2:
            continue
        lowest, highest = min(rated, key=lambda one: one[1].value), max(rated, key=lambda one: one[1].value)
        gap = highest[1].value - lowest[1].value
        doubt = _z(len(rated) * (len(rated) - 1)) * math.hypot(_sd(lowest[1]), _sd(highest[1]))
        says = (
            f"of the {words}, {highest[1].value * 100:.3g} % are answered positive in {highest[0].group} and "
            f"{lowest[1].value * 100:.3g} % in {lowest[0].group}: a difference of {gap:.2f}, "
            f"asked for at most {bound:g}"
        )
        passed, told = _judged(gap <= bound, gap - doubt > bound, says)
        found.append((passed, gap, told))
    if not found:
        return None, "too few groups have positive and negative rows to compare how they are recognised"
    worst = max(found, key=lambda one: ({False: 2, None: 1, True: 0}[one[0]], one[1]))
    return worst[0], worst[2]


def _judged(is_within: bool, is_clear: bool, says: str) -> tuple[bool | None, str]:
    if is_within:
        return True, says
    return (False, says) if is_clear else (None, f"{says}; beyond it, but not clearly on so few rows")


def _z(looks: int) -> float:
    """Standard deviations on either side that leave 5 % for so many comparisons together (Bonferroni)."""
    return NormalDist().inv_cdf(1 - 0.025 / max(looks, 1))


def _sd(value: Estimate) -> float:
    if value.low is None or value.high is None:
        return math.inf
    return (value.high - value.low) / (2 * 1.959964)


def _check_column(case: Case, kind: str, by: str) -> None:
    if by not in case.frame.columns:
        raise LoopError(
            f"require.{kind}(by={by!r}): the data have no such column",
            remedy=f"use one of {', '.join(case.frame.columns)}",
        )
