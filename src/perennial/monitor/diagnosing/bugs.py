"""Data bugs: what of a window's quality issues is a fault of the pipeline, which rows it touches, and what it costs.

Not every issue is a bug. Categories and ranges that the reference does not know, and more or fewer rows, come with a
change of who is asking too; names that all gave way to others while the rest of the rows stayed as it was do not: the
column was renamed. A column that holds but one value, or none, may be the sign of a whole population that is missing
from the window: then the other columns go along. They are what tells it from a column that froze: behind a frozen
column the rows are as they always were; of a population they look like the rows that had that value (or none) before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.monitor.diagnosing.verdict import AUC_TOLERANCE
from perennial.monitor.multivariate.domain import domain_scores
from perennial.monitor.profiling.profiles import Profiler
from perennial.monitor.quality.check import QualityIssue, QualityKind, check_quality
from perennial.monitor.sample import Sample
from perennial.stats.results import Interval
from perennial.stats.tails import normal_quantile

__all__ = ["BUGS", "bug_columns", "data_bugs", "loss_of_bug", "only_bugs", "touched_rows"]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

BUGS: Final[frozenset[QualityKind]] = frozenset(
    {"absent_column", "type_changed", "missing", "constant", "swapped_columns", "unit_scale", "duplicates",
     "stale_copy", "truncated", "timezone_shift"}
)  # fmt: skip
USUAL: Final = 0.5  # share of the reference with one value, from which on a window that holds no other is no bug
REPEATING: Final = 0.02  # share of the reference's rows that occur twice, from which on repeated rows are no bug
RENAMED: Final = 0.95  # share of rows with names that the reference does not know, from which on the column was renamed
NAMES: Final = 50  # of a column in the reference, above which new ones come every day
LIKE: Final = 50  # rows of the reference that have the value, below which nobody knows how such rows look
ACCORD: Final = 0.5  # share of what tells the rows from the reference that the rows with the value must leave at most
LOOK_ROWS: Final = 4_000  # a side
TAIL: Final = 0.005  # of the reference on either side: values beyond are strange
RARE: Final = 0.002  # share of the reference below which a category is strange


def data_bugs(reference: Sample, current: Sample) -> list[QualityIssue]:
    """The issues that are bugs, the gravest first."""
    profiler = Profiler.of_reference(reference)
    return only_bugs(
        check_quality(profiler, profiler.profile(reference), profiler.profile(current)), reference, current
    )


def only_bugs(issues: Sequence[QualityIssue], reference: Sample, current: Sample) -> list[QualityIssue]:
    """Those of the issues that are faults of the pipeline and not a sign of other inputs."""
    grave = [
        one for one in issues if one.severity == "critical" and (one.kind in BUGS or _may_be_renamed(one, reference))
    ]
    faulty = bug_columns(grave)
    return [one for one in grave if not _may_be_meant(one, reference, current, faulty)]


def bug_columns(bugs: Sequence[QualityIssue]) -> tuple[str, ...]:
    """The columns of the issues, each once."""
    names = [name for one in bugs if one.column is not None for name in one.column.split(", ")]
    return tuple(dict.fromkeys(names))


def touched_rows(reference: Sample, current: Sample, bugs: Sequence[QualityIssue]) -> Mask:
    """Rows that a bug can be seen on, shape (m,).

    Where values are missing that is each row; a column in another unit or place is seen where its value is strange, and
    touches all rows between.
    """
    touched = np.zeros(current.rows, dtype=np.bool_)
    for name in bug_columns(bugs):
        if name not in current.inputs.columns or name not in reference.inputs.columns:
            touched[:] = True
            continue
        touched |= _strange(reference.inputs[name], current.inputs[name])
    return touched if touched.any() else ~touched


def loss_of_bug(reference: Sample, current: Sample, touched: Mask) -> dict[str, Interval]:
    """The change of the loss by rows that the bug touches and all others; empty without labels."""
    before = reference.losses()
    before = before[np.isfinite(before)]
    after = current.losses()
    known = np.isfinite(after)
    if min(len(before), int(known.sum())) == 0:
        return {}
    found: dict[str, Interval] = {}
    for name, mask in (("data bug", touched[known]), ("rest", ~touched[known])):
        if not mask.any():
            continue
        share = float(mask.mean())
        values = np.where(mask, after[known] - before.mean(), 0.0)
        sd = math.sqrt(float(values.var()) / len(values) + share**2 * float(before.var()) / len(before))
        half = normal_quantile(0.975) * sd
        middle = float(values.mean())
        found[name] = Interval(
            low=middle - half, high=middle + half, estimate=middle, level=0.95, n=len(values), method="by rows touched"
        )
    return found


def _may_be_renamed(one: QualityIssue, reference: Sample) -> bool:
    if one.kind != "unseen_category" or one.column is None or (one.current_value or 0.0) < RENAMED:
        return False
    return reference.inputs[one.column].n_unique() <= NAMES


def _may_be_meant(one: QualityIssue, reference: Sample, current: Sample, faulty: tuple[str, ...]) -> bool:
    """Other rows alone can look like this."""
    if one.kind == "duplicates":
        return (one.reference_value or 0.0) > REPEATING
    if one.kind not in {"constant", "missing", "unseen_category"} or one.column is None:
        return False
    before, after = reference.inputs[one.column], current.inputs[one.column]
    others = [name for name in reference.inputs.columns if name in current.inputs.columns and name not in faulty]
    if one.kind == "unseen_category":
        return _told_apart(reference.inputs.select(others), current.inputs.select(others)) > 0.5
    if one.kind == "missing":
        return _is_population(reference, before.is_null(), current, after.is_null(), others)
    values = after.drop_nulls()
    if values.is_empty():
        return False
    like = (before == values[0]).fill_null(False)
    if float(like.cast(pl.Float64()).to_numpy().mean()) >= USUAL:
        return True
    if not like.any() and not before.dtype.is_numeric():
        # A name that the reference does not know: of a new population if all else is new as well.
        return _told_apart(reference.inputs.select(others), current.inputs.select(others)) > 0.5
    return _is_population(reference, like, current, after.is_not_null(), others)


def _is_population(reference: Sample, like: pl.Series, current: Sample, now: pl.Series, others: list[str]) -> bool:
    """Whether the rows look like those that had the value before, and not like all that were.

    Args:
        reference: All rows before.
        like: Those that had the value.
        current: The window.
        now: Those that have it now.
        others: Columns to look at.
    """
    if int(like.sum()) < LIKE or not others:
        return False
    before, after = reference.inputs.select(others), current.inputs.select(others).filter(now)
    unlike_all = _told_apart(before, after) - 0.5
    return unlike_all > 0.0 and _told_apart(before.filter(like), after, sure=False) - 0.5 <= ACCORD * unlike_all


def _told_apart(before: pl.DataFrame, after: pl.DataFrame, *, sure: bool = True) -> float:
    """AUC of a classifier; 0.5 where it may be chance, if it has to be sure."""
    if not before.columns:
        return 0.5
    found = domain_scores(before, after, max_rows=LOOK_ROWS, folds=2, importance=False).finding(tolerance_auc=0.5)
    auc, p_value = found.statistic or 0.5, found.p_value
    if sure and not (auc >= AUC_TOLERANCE and p_value is not None and p_value < 0.001):
        return 0.5
    return auc


def _strange(before: pl.Series, after: pl.Series) -> Mask:
    is_missing = after.is_null().to_numpy()
    if before.dtype.is_numeric() and after.dtype.is_numeric():
        known = before.cast(pl.Float64()).drop_nulls().to_numpy()
        known = known[np.isfinite(known)]
        values = after.cast(pl.Float64()).fill_null(math.nan).to_numpy()
        if len(known) == 0:
            return np.isfinite(values)
        low, high = np.quantile(known, [TAIL, 1.0 - TAIL])
        strange: Mask = is_missing | (values < low) | (values > high) | ~np.isfinite(values)
        return strange
    shares = before.cast(pl.String()).value_counts(normalize=True, name="share").filter(pl.col("share") >= RARE)
    usual: set[str | None] = set(shares[before.name].to_list())
    texts: list[str | None] = after.cast(pl.String()).to_list()
    return np.array([value not in usual for value in texts], dtype=np.bool_)
