"""Does the model carry over: to a group it has not seen, and to later times than it was trained on?"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import polars as pl

from perennial.errors import LoopError
from perennial.evaluate.answers import HeldOut, Ints
from perennial.evaluate.columns import grouped
from perennial.evaluate.compare import compare, compared_by
from perennial.evaluate.material import Budget, Material
from perennial.evaluate.metrics import Metric, measure_on
from perennial.models.facts.evaluation import Curve, Estimate, LeftOut
from perennial.stats.results import Interval

__all__ = ["leave_groups_out", "rolling_origin"]

MIN_ROWS = 30  # fewer test rows of a group measure nothing
MAX_GROUPS = 20
FOLDS = 5


def leave_groups_out(
    metric: Metric, *, test: HeldOut, train: HeldOut, material: Material, columns: Sequence[str], budget: Budget
) -> tuple[list[LeftOut], list[str]]:
    """For each group of each column: a model trained without it, measured on its test rows.

    Raises:
        LoopError: There is no such column, or it makes no groups.
    """
    assert material.fit is not None
    found: list[LeftOut] = []
    says: list[str] = []
    for column in columns:
        for frame in (material.test_frame, material.train_frame):
            if column not in frame.columns:
                raise LoopError(
                    f"loop.evaluate(leave_out=...): the data have no column {column!r}",
                    remedy=f"use one of {', '.join(frame.columns)}",
                )
        joined = pl.concat([material.test_frame[column], material.train_frame[column]])
        made = grouped(joined)
        if made is None:
            raise LoopError(
                f"loop.evaluate(leave_out=...): column {column!r} has a different value in almost every row",
                remedy="name a column whose values make groups",
            )
        asked, learned = made.codes[: len(test)], made.codes[len(test) :]
        sizes = np.bincount(asked, minlength=len(made.labels))
        groups = [int(code) for code in np.argsort(-sizes, kind="stable")[:MAX_GROUPS] if sizes[code] >= MIN_ROWS]
        few = [made.labels[code] for code in np.flatnonzero((sizes > 0) & (sizes < MIN_ROWS))]
        if few:
            says.append(f"not left out by {column}, fewer than {MIN_ROWS} test rows: {', '.join(few)}")
        took = 0.0
        for code in groups:
            if not budget.allows(took):
                says.append(f"not left out by {column}, for want of time: {made.labels[code]}")
                continue
            began = time.monotonic()
            one = _without(
                metric, column, made.labels[code], test, asked == code, np.flatnonzero(learned != code), material
            )
            took = time.monotonic() - began
            if one is not None:
                found.append(one[0])
                says += one[1]
    return found, says


def rolling_origin(
    metric: Metric, *, train: HeldOut, material: Material, budget: Budget
) -> tuple[list[Curve], list[str]]:
    """The training rows in order of time, in six parts: trained on those before, measured on each but the first.

    Rows of one moment are never divided. x of the curve is the number of rows trained on.
    """
    assert material.fit is not None
    assert material.time is not None
    frame = material.train_frame
    moments = frame[material.time].to_physical().cast(pl.Float64).to_numpy()
    delay = material.delay_s * _per_second(frame[material.time])
    edges = np.quantile(moments, np.linspace(0, 1, FOLDS + 2)[1:-1], method="higher")
    x: list[float] = []
    found: list[Estimate] = []
    says: list[str] = []
    per_row = 0.0
    for number, start in enumerate(edges):
        end = edges[number + 1] if number + 1 < len(edges) else np.inf
        # What was not labelled yet when the part began could not have trained.
        before: Ints = np.flatnonzero((moments < start) & (moments + delay <= start)).astype(np.int64)
        part: Ints = np.flatnonzero((moments >= start) & (moments < end)).astype(np.int64)
        if len(before) < MIN_ROWS or len(part) < MIN_ROWS:
            continue
        if not budget.allows(per_row * len(before)):
            says.append(f"time split: part {number + 2} of {FOLDS + 1} was left out, for want of time")
            continue
        began = time.monotonic()
        answers = material.fit(before)(frame.select(material.inputs)[part])
        per_row = (time.monotonic() - began) / len(before)
        on = train.take(part).with_answers(answers)
        if metric.why_not(on.truth, on.answers) is None:
            x.append(float(len(before)))
            found.append(_estimate(metric, on))
    if len(x) < 2:
        return [], says
    has_ends = all(one.low is not None for one in found)
    curve = Curve(
        kind="time",
        name=f"{metric.name} on the next part in time",
        x=x,
        y=[one.value for one in found],
        low=[one.low for one in found if one.low is not None] if has_ends else None,
        high=[one.high for one in found if one.high is not None] if has_ends else None,
    )
    return [curve], says


def _without(
    metric: Metric,
    column: str,
    group: str,
    test: HeldOut,
    inside: np.ndarray,
    rows: Ints,
    material: Material,
) -> tuple[LeftOut, list[str]] | None:
    if len(rows) < MIN_ROWS:
        return None
    assert material.fit is not None
    known = test.take(inside)
    unknown = known.with_answers(material.fit(rows)(material.requests.filter(pl.Series(inside))))
    if any(metric.why_not(on.truth, on.answers) is not None for on in (known, unknown)):
        return None
    value, of_known = _estimate(metric, unknown), measure_on(metric, known).estimate
    found = compare(metric, known.truth, unknown.answers, known.answers, margin=0.0, clusters=known.clusters)
    interval = found.interval
    lost = _estimated(interval, len(known)) if interval is not None else None
    says: list[str] = []
    if found.decision == "better":
        both = f"{metric.name} {value.value:.4g} without these rows in training, {of_known:.4g} with them"
        behind = f"{compared_by(metric)} worse by {found.effect or 0.0:.4g}"
        between = f", {lost.low:.4g} to {lost.high:.4g}" if lost is not None and lost.low is not None else ""
        says.append(f"knows {column} = {group} less well when it never saw it: {both} ({behind}{between})")
    return LeftOut(column=column, group=group, value=value, inside=of_known, lost=lost), says


def _estimate(metric: Metric, on: HeldOut) -> Estimate:
    return _estimated(measure_on(metric, on), len(on))


def _estimated(interval: Interval, rows: int) -> Estimate:
    is_known = np.isfinite(interval.low)
    return Estimate(
        value=interval.estimate,
        low=interval.low if is_known else None,
        high=interval.high if is_known else None,
        rows=rows,
    )


def _per_second(column: pl.Series) -> float:
    if column.dtype == pl.Date:
        return 1 / 86_400
    if isinstance(column.dtype, pl.Datetime):
        return {"ns": 1e9, "us": 1e6, "ms": 1e3}[column.dtype.time_unit]
    return 0.0  # plain numbers: what a second is, is not known
