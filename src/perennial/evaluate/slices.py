"""Where a model is weak: a row for each group of each column, and a search for groups that nobody named.

The table tests every group against the rest on all held-out rows and corrects for their number. The search looks at
one half of the rows (whole entities), where it finds the worst groups by SliceLine; what it found is then measured on
the other half, which the search has not seen, and is shown as a fact only if it holds there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from perennial import stats
from perennial.evaluate.answers import HeldOut, Ints
from perennial.evaluate.columns import Grouped
from perennial.evaluate.groups import Group, worse_groups
from perennial.evaluate.metrics import Metric, loss_of, metric_named
from perennial.models.facts.evaluation import Slice
from perennial.stats.slice_line import FoundSlice, slice_line

__all__ = ["MIN_ROWS", "search_slices", "slice_metric", "slice_table", "weak_slices_say"]

MIN_ROWS = 30  # a smaller group is listed, not judged
FALSE_SHARE = 0.05  # of the groups called weak, at most this share are not, in expectation
SEARCH_ROWS = 200_000  # rows that the search looks at; beyond this a slice too small to be found is too small to matter
SEARCH_COLUMNS = 30
MOST_OF_ALL = 0.5  # of the rows: a larger group is no weak part, the rest is a strong one
SAME = 0.5  # of the conditions: a slice that shares so many with one that was named says nothing new
WEAK_RATIO = 1.2  # a weak slice named in words errs at least this many times as often (in loss) as the rest


def slice_metric(task: str) -> Metric:
    """The metric by which slices are measured: a function of means, whatever the main metric is."""
    return metric_named("rmse" if task == "regression" else "accuracy", task)


def slice_table(task: str, on: HeldOut, columns: Sequence[Grouped]) -> list[Slice]:
    """Every group of every column; `is_confirmed`: worse than the rest, after Benjamini and Hochberg over all groups.

    Args:
        task: "regression" or "classification".
        on: Held-out rows.
        columns: The groups of each column of the same rows (`columns.grouped_columns`).
    """
    metric = slice_metric(task)
    found: list[tuple[Grouped, Group]] = []
    for column in columns:
        found += [(column, group) for group in worse_groups(metric, on, column.codes, len(column.labels))]
    p_values = [_p_value(group) for _, group in found]
    chosen = stats.benjamini_hochberg(p_values, FALSE_SHARE).selected if found else []
    return [
        Slice(
            where={column.column: column.labels[group.code]},
            rows=group.rows,
            value=group.value,
            rest=group.rest,
            found_by="column",
            p_value=group.p_value,
            is_confirmed=bool(is_weak) if not np.isnan(p_value) else None,
        )
        for (column, group), p_value, is_weak in zip(found, p_values, chosen, strict=True)
    ]


def search_slices(task: str, on: HeldOut, columns: Sequence[Grouped], *, top: int = 10, seed: int = 0) -> list[Slice]:
    """The worst groups of up to three columns: found on one half of the entities, measured on the other.

    Args:
        task: "regression" or "classification".
        on: Held-out rows.
        columns: The groups of each column of the same rows.
        top: At most so many.
        seed: Of the halving.
    """
    columns = columns[:SEARCH_COLUMNS]
    random = np.random.default_rng(seed)
    searched = (random.permutation(on.draws.units) < on.draws.units // 2)[on.draws.unit]
    rows, rest = np.flatnonzero(searched), np.flatnonzero(~searched)
    if not columns or min(len(rows), len(rest)) < 2 * MIN_ROWS:
        return []
    if len(rows) > SEARCH_ROWS:
        rows = np.sort(random.choice(rows, SEARCH_ROWS, replace=False))
    codes = np.column_stack([column.codes for column in columns]) + 1
    found = slice_line(codes[rows], loss_of(task, on.truth[rows], on.answers.take(rows)), top=top)
    return _confirmed(task, on.take(rest), codes[rest], columns, found)


def weak_slices_say(slices: Sequence[Slice], metric: Metric, *, at_most: int = 3) -> list[str]:
    """A sentence for each confirmed slice that is also worse by much, the worst first, and none that repeats another.

    Slices of more than half of the rows are left out, and those that share half of their conditions with one before.
    """
    most = MOST_OF_ALL * _rows_of(slices)
    weak = [
        found
        for found in slices
        if found.is_confirmed and found.rest is not None and found.rows <= most and _ratio(found, metric) >= WEAK_RATIO
    ]
    weak.sort(key=lambda found: -_ratio(found, metric))
    named: list[Slice] = []
    for found in weak:
        if len(named) < at_most and all(_alike(found, other) < SAME for other in named):
            named.append(found)
    said: list[str] = []
    for found in named:
        where = " and ".join(f"{column} = {value}" for column, value in found.where.items())
        said.append(
            f"weak where {where}: {metric.name} {found.value.value:.4g} on {found.rows} rows, "
            f"{found.rest:.4g} elsewhere"
        )
    return said


def _confirmed(
    task: str, on: HeldOut, codes: Ints, columns: Sequence[Grouped], found: Sequence[FoundSlice]
) -> list[Slice]:
    metric = slice_metric(task)
    measured: list[tuple[FoundSlice, Group | None]] = []
    for one in found:
        inside = np.all([codes[:, column] == code for column, code in one.predicates.items()], axis=0)
        groups = worse_groups(metric, on, inside.astype(np.int64), 2)
        measured.append((one, next((group for group in groups if group.code == 1), None)))
    p_values = [_p_value(group) if group is not None else np.nan for _, group in measured]
    chosen = stats.benjamini_hochberg(p_values, FALSE_SHARE).selected if measured else []
    return [
        Slice(
            where={
                columns[column].column: columns[column].labels[code - 1]
                for column, code in sorted(one.predicates.items())
            },
            rows=group.rows,
            value=group.value,
            rest=group.rest,
            found_by="search",
            score=one.score,
            p_value=group.p_value,
            is_confirmed=bool(is_weak),
        )
        for (one, group), is_weak in zip(measured, chosen, strict=True)
        if group is not None
    ]


def _p_value(group: Group) -> float:
    return np.nan if group.p_value is None or group.rows < MIN_ROWS else group.p_value


def _rows_of(slices: Sequence[Slice]) -> float:
    """How many rows a table is of: those of all groups of one column; not known (infinite) of slices from a search."""
    by: dict[str, int] = {}
    for found in slices:
        if found.found_by == "column":
            (column,) = found.where
            by[column] = by.get(column, 0) + found.rows
    return max(by.values(), default=math.inf)


def _alike(one: Slice, other: Slice) -> float:
    """Share of the conditions of both that both have."""
    ours, theirs = set(one.where.items()), set(other.where.items())
    return len(ours & theirs) / len(ours | theirs)


def _ratio(found: Slice, metric: Metric) -> float:
    """How many times as large the error is as elsewhere."""
    assert found.rest is not None
    inside, outside = found.value.value, found.rest
    if metric.higher_is_better:
        inside, outside = 1 - inside, 1 - outside
    return inside / outside if outside > 0 else np.inf
