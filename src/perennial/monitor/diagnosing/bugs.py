"""Data bugs: what of a window's quality issues is a fault of the pipeline, which rows it touches, and what it costs.

Not every issue is a bug. Categories and ranges that the reference does not know, more or fewer rows, or a column that
holds but one value where most rows held that value before, come with a change of who is asking too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

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
    return [
        one
        for one in issues
        if one.kind in BUGS and one.severity == "critical" and not _may_be_meant(one, reference, current)
    ]


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


def _may_be_meant(one: QualityIssue, reference: Sample, current: Sample) -> bool:
    """Other rows alone can look like this: of a group in which all rows have the usual value, or where rows repeat."""
    if one.kind == "duplicates":
        return (one.reference_value or 0.0) > REPEATING
    if one.kind != "constant" or one.column is None:
        return False
    now = current.inputs[one.column].drop_nulls()
    if now.is_empty():
        return False
    return (
        float((reference.inputs[one.column] == now[0]).fill_null(False).cast(pl.Float64()).to_numpy().mean()) >= USUAL
    )


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
