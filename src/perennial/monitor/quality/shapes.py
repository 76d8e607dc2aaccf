"""Columns that hold what belongs elsewhere: another unit, or another column.

Both are read off the rows per bucket of magnitude, which are the same buckets for every column. A bucket hides where
in it a value lies, so the distance that is used is the one that must be there wherever they lie (`sure_distance`):
that keeps the tests right for columns of a few round values. Columns with few different values are compared by these
as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from perennial.monitor.profiling.hashes import KeptHashes
from perennial.monitor.profiling.profiles import Profiler, WindowProfile
from perennial.monitor.profiling.tallies import ColumnTally, Magnitudes, magnitude_edges
from perennial.monitor.quality.issue import QualityIssue

__all__ = ["FACTORS", "shape_issues", "sure_distance"]

Floats = NDArray[np.float64]
# A factor below ten (miles, pounds) cannot be told from a cold week or a growing market by one window.
FACTORS = (10.0, 100.0, 1000.0, 1e6, 60.0, 3600.0, 24.0)
MOVED = 0.35  # distance from what the column was, above which another unit or column is looked for
FITS = 0.08  # distance from what it would be, up to which that explains it,
EXPLAINED = 0.75  # or what of the distance is gone then: a week is not like the year in its own unit either
APART = 0.2  # distance of two columns of the reference, below which nobody can tell them apart
MIN_ROWS = 30
FEW_VALUES = 0.05  # distinct values to rows, up to which the values themselves say what a column is


def shape_issues(
    profiler: Profiler, reference: WindowProfile, current: WindowProfile, *, level: float
) -> Iterator[QualityIssue]:
    """Swapped columns and changed units, each explained by one issue."""
    moved: dict[str, float] = {}
    for name, plan in profiler.columns.items():
        if plan.kind not in ("number", "text"):
            continue
        before, after = reference.columns[name], current.columns[name]
        if min(before.present, after.present) < MIN_ROWS:
            continue
        if _p_value(before, after) <= level:
            moved[name] = _distance(before, after)
    swapped: set[str] = set()
    for one, other in combinations(moved, 2):
        if profiler.columns[one].kind == profiler.columns[other].kind and not {one, other} & swapped:
            for issue in _swap(one, other, reference, current, level):
                swapped |= {one, other}
                yield issue
    for name, distance in moved.items():
        if profiler.columns[name].kind == "number" and name not in swapped and distance > MOVED:
            yield from _unit(name, reference.columns[name], current.columns[name], level)


def sure_distance(one: Magnitudes, other: Magnitudes, factor: float = 1.0) -> float:
    """The Kolmogorov-Smirnov distance of two columns that their buckets leave no doubt about.

    Args:
        one: Rows per bucket, values taken times `factor`.
        other: Rows per bucket.
        factor: Above 0.
    """
    if not (len(one.places) and len(other.places)):
        return 0.0
    low, high = magnitude_edges(one.places)
    sides = ((low * factor, high * factor, one.counts), (*magnitude_edges(other.places), other.counts))
    points = np.unique(np.concatenate([ends for low, high, _ in sides for ends in (low, high)]))
    surely, maybe = zip(*(_at_most(points, low, high, counts) for low, high, counts in sides), strict=True)
    # At any point, surely <= F <= maybe: what lies between the two bands is the distance.
    return float(max(0.0, np.max(surely[0] - maybe[1]), np.max(surely[1] - maybe[0])))


def _at_most(points: Floats, low: Floats, high: Floats, counts: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """The share of rows at most each point: surely, and possibly."""
    total = float(counts.sum())
    by_high, by_low = np.argsort(high, kind="stable"), np.argsort(low, kind="stable")
    reached = np.concatenate([[0], np.cumsum(counts[by_high])])[np.searchsorted(high[by_high], points, side="right")]
    begun = np.concatenate([[0], np.cumsum(counts[by_low])])[np.searchsorted(low[by_low], points, side="right")]
    return reached / total, begun / total


def _swap(
    one: str, other: str, reference: WindowProfile, current: WindowProfile, level: float
) -> Iterator[QualityIssue]:
    a, b = reference.columns[one], reference.columns[other]
    a_now, b_now = current.columns[one], current.columns[other]
    if _distance(a, b) < APART:
        return
    crossed = max(_excess(b, a_now), _excess(a, b_now))
    straight = min(_distance(a, a_now), _distance(b, b_now))
    if not _explains(crossed, straight):
        return
    yield QualityIssue(
        kind="swapped_columns",
        column=f"{one}, {other}",
        reference_value=straight,
        current_value=crossed,
        p_or_e=max(_p_value(a, a_now), _p_value(b, b_now)),
        evidence="p",
        tolerance=APART,
        severity="critical",
        says=f"{one} holds what {other} held, and {other} what {one} held (distance {straight:.2f} straight, "
        f"{crossed:.2f} crossed)",
        remedy="put the columns in their order again where the rows come from",
    )


def _explains(left: float, distance: float) -> bool:
    return left <= max(FITS, (1.0 - EXPLAINED) * distance)


def _unit(name: str, before: ColumnTally, after: ColumnTally, level: float) -> Iterator[QualityIssue]:
    was, now = _nonzero(before.magnitudes), _nonzero(after.magnitudes)
    rows = (int(was.counts.sum()), int(now.counts.sum()))
    if min(rows) < MIN_ROWS:
        return
    factors = [factor for base in FACTORS for factor in (base, 1.0 / base)]
    fits = [(sure_distance(was, now, factor) - _noise(*rows), factor) for factor in factors]
    fit, factor = min(fits)
    distance = sure_distance(was, now)
    if not _explains(fit, distance) or _tail(distance - MOVED, *rows) > level:
        return
    middle = np.array([0.5])
    yield QualityIssue(
        kind="unit_scale",
        column=name,
        reference_value=float(before.magnitudes.quantiles(middle)[0]),
        current_value=float(after.magnitudes.quantiles(middle)[0]),
        p_or_e=_tail(distance - MOVED, *rows),
        evidence="p",
        tolerance=MOVED,
        severity="critical",
        says=f"{name} looks like {_times(factor)} what it was: another unit (distance {distance:.2f} as it is, "
        f"{max(0.0, fit):.2f} when that is undone)",
        remedy=f"divide it by {factor:g} where it comes from, or mend the step that changed its unit"
        if factor >= 1.0
        else f"multiply it by {1.0 / factor:g} where it comes from, or mend the step that changed its unit",
    )


@dataclass(frozen=True)
class _Gap:
    """One distance of two columns, and from how many rows of either it comes. `usual`: its mean without any change."""

    distance: float
    rows: tuple[int, int]
    usual: float


def _gaps(before: ColumnTally, after: ColumnTally) -> list[_Gap]:
    """By magnitude, by the magnitude of what is not zero, and by value where there are few."""
    every = (before.magnitudes, after.magnitudes)
    other_than_zero = (_nonzero(before.magnitudes), _nonzero(after.magnitudes))
    whole = _gap(*every)
    found = [*whole, *(whole if other_than_zero == every else _gap(*other_than_zero))]
    rows = (int(before.present), int(after.present))
    if before.values.distinct <= FEW_VALUES * before.present and min(rows) >= MIN_ROWS:
        # The mean total variation of samples of one law over V values is at most sqrt(V)/2 (1/sqrt(n) + 1/sqrt(m)).
        usual = math.sqrt(before.values.distinct) / 2.0 * (1.0 / math.sqrt(rows[0]) + 1.0 / math.sqrt(rows[1]))
        found.append(_Gap(_by_value(before, after), rows, usual))
    return found


def _gap(one: Magnitudes, other: Magnitudes) -> list[_Gap]:
    """By magnitude; nothing where there are too few rows."""
    rows = (int(one.counts.sum()), int(other.counts.sum()))
    return [_Gap(sure_distance(one, other), rows, 0.0)] if min(rows) >= MIN_ROWS else []


def _distance(before: ColumnTally, after: ColumnTally) -> float:
    """How far two columns are apart, surely."""
    return max((gap.distance for gap in _gaps(before, after)), default=0.0)


def _excess(before: ColumnTally, after: ColumnTally) -> float:
    """What of the distance noise does not explain."""
    return max((gap.distance - gap.usual - _noise(*gap.rows) for gap in _gaps(before, after)), default=1.0)


def _p_value(before: ColumnTally, after: ColumnTally) -> float:
    """That all true distances are within what is let pass."""
    gaps = _gaps(before, after)
    return min((len(gaps) * _tail(gap.distance - gap.usual - APART, *gap.rows) for gap in gaps), default=1.0)


def _by_value(before: ColumnTally, after: ColumnTally) -> float:
    """Total variation over the kept values."""
    halvings = max(before.values.halvings, after.values.halvings)
    p, q = (_weights(one.values, halvings) for one in (before, after))
    if not p or not q:
        return 0.0
    return sum(abs(p.get(value, 0.0) - q.get(value, 0.0)) for value in {*p, *q}) / 2.0


def _weights(values: KeptHashes, halvings: int) -> dict[int, float]:
    kept = replace(values, hashes=values.hashes[:0], counts=values.counts[:0], halvings=halvings) + values
    total = float(kept.counts.sum())
    return dict(zip(kept.hashes.tolist(), (kept.counts / total).tolist(), strict=True)) if total else {}


def _tail(excess: float, n: int, m: int) -> float:
    """That two samples are this much further apart than their laws (and than usual); 1 where there is no excess.

    Each side's part of the excess is bounded exponentially. Source: Massart (1990), Annals of Probability 18,
    1269-1283, for distribution functions; McDiarmid (1989) for total variations.
    """
    if excess <= 0.0 or min(n, m) == 0:
        return 1.0
    return min(1.0, 4.0 * math.exp(-2.0 * excess**2 / (1.0 / math.sqrt(n) + 1.0 / math.sqrt(m)) ** 2))


def _noise(n: int, m: int) -> float:
    """The distance that two samples of the same law leave below them 19 times in 20."""
    return 1.358 * math.sqrt(1.0 / n + 1.0 / m)


def _nonzero(magnitudes: Magnitudes) -> Magnitudes:
    if not len(magnitudes.places) or magnitudes.places[0] > 0:
        return magnitudes
    kept = magnitudes.places > 0
    return Magnitudes(places=magnitudes.places[kept], counts=magnitudes.counts[kept])


def _times(factor: float) -> str:
    return f"{factor:g} times" if factor >= 1.0 else f"1/{1.0 / factor:g} of"
