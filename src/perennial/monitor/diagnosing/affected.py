"""Where a change is: the columns that moved, the segments that carry it, the slices in which the relation changed.

A slice that was found by search looks worse than it is: it is named only if rows that the search has not seen bear it
out (Benjamini-Hochberg over all that were found).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial import stats
from perennial.evaluate.columns import Grouped, grouped_columns
from perennial.monitor.diagnosing.evidence import Rows
from perennial.monitor.sample import Sample
from perennial.stats.kitagawa import MeanChange, kitagawa
from perennial.stats.results import Json, plain
from perennial.stats.slice_line import slice_line
from perennial.stats.tails import normal_tail

__all__ = ["AffectedSlice", "MovedColumn", "changed_slices", "groups_of", "moved_columns", "segments", "worse_share"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TOP: Final = 5
MIN_ROWS: Final = 30
FALSE_SHARE: Final = 0.05
SEARCH_COLUMNS: Final = 20
SAME: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class MovedColumn:
    """A column whose distribution moved beyond tolerance and noise.

    Attributes:
        name: Of the column.
        psi: How far.
        p_value: That the true PSI is within tolerance.
        loss: What its new mix of values alone does to the loss (Kitagawa's composition); None without labels.
    """

    name: str
    psi: float
    p_value: float
    loss: float | None

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values."""
        return {"name": self.name, "psi": self.psi, "p_value": self.p_value, "loss": self.loss}


@dataclass(frozen=True, kw_only=True)
class AffectedSlice:
    """Rows that share values of one to three columns.

    Attributes:
        where: Value (or range) of each column.
        reference_share: Of the rows, before.
        current_share: Now.
        reference_loss: Mean loss before; NaN where there was no row.
        current_loss: Now.
        contribution: w1 r1 - w0 r0, what the slice adds to the change of the mean loss.
        found_by: "segment" (every value of every column is looked at) or "search" (SliceLine, then confirmed).
        p_value: For "search", that the loss is no higher there than expected, on rows the search has not seen.
    """

    where: dict[str, str]
    reference_share: float
    current_share: float
    reference_loss: float
    current_loss: float
    contribution: float
    found_by: str
    p_value: float | None = None

    @property
    def says(self) -> str:
        """A sentence."""
        values = " and ".join(f"{column} = {value}" for column, value in self.where.items())
        return (
            f"{values}: {self.reference_share:.1%} of the rows before, {self.current_share:.1%} now; mean loss "
            f"{self.reference_loss:.4g} before, {self.current_loss:.4g} now"
        )

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values."""
        return {name: plain(cast(object, getattr(self, name))) for name in self.__dataclass_fields__}


def groups_of(reference: Sample, current: Sample) -> list[Grouped]:
    """Each column that groups rows, coded alike on both sides: first the n reference rows, then the m current ones."""
    shared = [name for name in reference.inputs.columns if name in current.inputs.columns]
    fitting = [name for name in shared if _alike(reference.inputs[name].dtype, current.inputs[name].dtype)]
    both = pl.concat([reference.inputs.select(fitting), current.inputs.select(fitting)], how="vertical_relaxed")
    return grouped_columns(both)


def moved_columns(groups: list[Grouped], rows: Rows | None, n: int) -> list[MovedColumn]:
    """Columns that moved, those that matter most to the loss first; without labels those that moved furthest."""
    found: list[MovedColumn] = []
    for one in groups:
        counts = _counts(one, n)
        test = stats.tolerance_test(*counts)
        if test.p_value is None or test.statistic is None:
            continue
        loss = None
        if rows is not None:
            loss = float(_change(one, rows, n).composition.sum())
        found.append(MovedColumn(name=one.column, psi=test.statistic, p_value=test.p_value, loss=loss))
    chosen = stats.benjamini_hochberg([one.p_value for one in found], FALSE_SHARE).indices if found else ()
    kept = [found[index] for index in chosen]
    return sorted(kept, key=lambda one: -(one.psi if one.loss is None else abs(one.loss)))


def segments(groups: list[Grouped], rows: Rows, n: int, *, top: int = TOP) -> list[AffectedSlice]:
    """Values of single columns that carry most of the change of the loss, for either reason."""
    found: list[AffectedSlice] = []
    direction = math.copysign(1.0, float(rows.loss[1].mean() - rows.loss[0].mean()))
    for one in groups:
        change = _change(one, rows, n)
        best = int(np.argmax(direction * change.contribution))
        if direction * change.contribution[best] <= 0.0 or change.current_share[best] * len(rows.current) < MIN_ROWS:
            continue
        found.append(_slice({one.column: one.labels[best]}, change, best, found_by="segment"))
    return sorted(found, key=lambda one: -direction * one.contribution)[:top]


def worse_share(groups: list[Grouped], rows: Rows, n: int) -> float:
    """Share of the current rows in segments whose own loss rose, on average over the columns."""
    shares = [
        float(change.current_share[change.current_mean > change.reference_mean].sum())
        for change in (_change(one, rows, n) for one in groups if len(one.labels) > 1)
    ]
    return float(np.mean(shares)) if shares else 0.0


def changed_slices(groups: list[Grouped], rows: Rows, n: int, *, top: int = TOP, seed: int = 0) -> list[AffectedSlice]:
    """Slices in which the loss is higher than what the model says leads one to expect, confirmed on other rows.

    The search looks at one half of the current rows; on the other half the slice's loss above expectation is compared
    with the same on the reference.
    """
    groups = groups[:SEARCH_COLUMNS]
    if not groups or len(rows.current) < 4 * MIN_ROWS:
        return []
    before = np.column_stack([one.codes[rows.reference] for one in groups]) + 1
    after = np.column_stack([one.codes[n + rows.current] for one in groups]) + 1
    excess = rows.loss[0] - rows.expected[0], rows.loss[1] - rows.expected[1]
    half = np.random.default_rng(seed).permutation(len(after)) < len(after) // 2
    if float(excess[1][half].mean()) <= 0.0:
        return []
    found = slice_line(after[half], excess[1][half], top=2 * top)
    confirmed: list[tuple[float, dict[int, int]]] = []
    for one in found:
        predicates = dict(one.predicates)
        inside = _inside(before, predicates), _inside(after, predicates) & ~half
        confirmed.append((_p_value(excess[0][inside[0]], excess[1][inside[1]]), predicates))
    chosen = stats.benjamini_hochberg([p for p, _ in confirmed], FALSE_SHARE).indices if confirmed else ()
    kept: list[AffectedSlice] = []
    for index in chosen:
        p_value, predicates = confirmed[index]
        where = {groups[column].column: groups[column].labels[code - 1] for column, code in sorted(predicates.items())}
        if any(len(where.items() & other.where.items()) / len({**where, **other.where}) >= SAME for other in kept):
            continue
        codes = [_inside(side, predicates).astype(np.int64) for side in (before, after)]
        change = _measured(codes[0], rows.loss[0], codes[1], rows.loss[1], 2)
        kept.append(_slice(where, change, 1, found_by="search", p_value=p_value))
    return kept[:top]


def _inside(codes: Ints, predicates: dict[int, int]) -> NDArray[np.bool_]:
    return np.all([codes[:, column] == code for column, code in predicates.items()], axis=0)


def _p_value(before: Floats, after: Floats) -> float:
    """One-sided Welch test that the mean is no higher after."""
    if min(len(before), len(after)) < MIN_ROWS:
        return math.nan
    sd = math.sqrt(float(before.var(ddof=1)) / len(before) + float(after.var(ddof=1)) / len(after))
    gap = float(after.mean() - before.mean())
    if sd == 0.0:
        return 0.0 if gap > 0.0 else 1.0
    tail = normal_tail(abs(gap / sd)) / 2.0
    return tail if gap > 0.0 else 1.0 - tail


def _counts(one: Grouped, n: int) -> tuple[Ints, Ints]:
    k = len(one.labels)
    return np.bincount(one.codes[:n], minlength=k), np.bincount(one.codes[n:], minlength=k)


def _change(one: Grouped, rows: Rows, n: int) -> MeanChange:
    codes = one.codes[rows.reference], one.codes[n + rows.current]
    return _measured(codes[0], rows.loss[0], codes[1], rows.loss[1], len(one.labels))


def _measured(before: Ints, loss_before: Floats, after: Ints, loss_after: Floats, k: int) -> MeanChange:
    shares: list[Floats] = []
    means: list[Floats] = []
    for codes, losses in ((before, loss_before), (after, loss_after)):
        counts = np.bincount(codes, minlength=k).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):  # a segment without rows has no mean
            means.append(np.bincount(codes, losses, minlength=k) / counts)
        shares.append(counts / len(codes))
    return kitagawa(*shares, *means)


def _slice(
    where: dict[str, str], change: MeanChange, at: int, *, found_by: str, p_value: float | None = None
) -> AffectedSlice:
    return AffectedSlice(
        where=where,
        reference_share=float(change.reference_share[at]),
        current_share=float(change.current_share[at]),
        reference_loss=float(change.reference_mean[at]) if change.reference_share[at] > 0.0 else math.nan,
        current_loss=float(change.current_mean[at]),
        contribution=float(change.contribution[at]),
        found_by=found_by,
        p_value=p_value,
    )


def _alike(one: pl.DataType, other: pl.DataType) -> bool:
    return one == other or (one.is_numeric() and other.is_numeric())
