"""What a window is compared with: like with like.

    release     the rows on which the model was tested, for as long as it lives: hides no slow decay; for reporting
    rolling     the windows just before: what changed now
    matched     former windows of the same weekday and season
    calendar    the reference re-weighted to the window's mix of season, weekday and hour

A Monday in January is not compared with all of the year: the calendar reference counts rows by cell of season, weekday
and hour, and gives each cell the weight that it has in the window. Where the reference holds too little for that, the
cells are made coarser, and it says so. What weights cost in rows is counted: the matched profile holds as many rows as
the weighted ones are worth, so that tests on it keep their level.

Rows of one window resemble each other: the weather of a week is not that of a year, however many rows the week has.
`usual_shifts` learns from sound windows how far each column moves by itself, which is then tolerated.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Self

import numpy as np
from numpy.typing import NDArray

from perennial import stats
from perennial.errors import Invalid
from perennial.monitor.profiling.counting import place_series
from perennial.monitor.profiling.profiles import Profiler, WindowProfile
from perennial.monitor.profiling.tallies import ColumnTally
from perennial.monitor.sample import Sample
from perennial.monitor.windows import CELLS, DAY, HOURS, WEEKDAYS, Window, calendar_cells, season_of
from perennial.stats.tolerance import TOLERANCE_PSI

__all__ = ["LEVELS", "CalendarCounts", "MatchedReference", "matched_windows", "rolling", "usual_shifts"]

Ints = NDArray[np.int64]
MIN_ROWS = 500  # that a matched reference is worth, before its cells are made coarser
MIN_WINDOWS = 5
ALPHA = 0.01  # sound windows that exceed what is tolerated of a column
UNCOVERED = 0.01  # share of the window's rows whose cells the reference may lack
_PREDICTION, _LABEL = "\0prediction", "\0label"  # beside the columns, whose names are text of users

_CELL = np.arange(CELLS)
_HOUR, _WEEKDAY, _SEASON = _CELL % HOURS, _CELL // HOURS % WEEKDAYS, _CELL // (HOURS * WEEKDAYS)
_IS_WEEKEND = (_WEEKDAY >= 5).astype(np.int64)
LEVELS: Mapping[str, Ints] = {
    "season, weekday and hour": _CELL,
    "season, working day or weekend, and hour": (_SEASON * 2 + _IS_WEEKEND) * HOURS + _HOUR,
    "season and hour": _SEASON * HOURS + _HOUR,
    "weekday and hour": _WEEKDAY * HOURS + _HOUR,
    "working day or weekend, and hour": _IS_WEEKEND * HOURS + _HOUR,
    "hour": _HOUR,
    "nothing": np.zeros(CELLS, np.int64),
}


@dataclass(frozen=True, kw_only=True)
class MatchedReference:
    """A reference with the calendar mix of one window.

    Attributes:
        profile: Its counts, re-weighted; `rows` is what they are worth.
        level: What was matched, one of `LEVELS`.
        uncovered: Share of the window's rows at times of which the reference has none.
        says: A sentence.
    """

    profile: WindowProfile
    level: str
    uncovered: float
    says: str


@dataclass(frozen=True, kw_only=True, eq=False)
class CalendarCounts:
    """Rows of the reference by cell of the calendar and bin of each column. Counts of more rows add up.

    Attributes:
        whole: Profile of all these rows.
        cells: Cells that hold rows, ascending, shape (k,).
        rows: Rows of each.
        counts: By column: rows by cell and bin, shape (k, bins).
    """

    whole: WindowProfile
    cells: Ints
    rows: Ints
    counts: Mapping[str, Ints]

    @classmethod
    def of(cls, profiler: Profiler, sample: Sample) -> CalendarCounts:
        """Count reference rows.

        Raises:
            Invalid: The rows have no times.
        """
        if sample.at is None:
            raise Invalid("a calendar reference needs event times", remedy="name the column of times, or use all rows")
        cells, index = np.unique(calendar_cells(sample.at), return_inverse=True)
        plans = [
            (name, plan, sample.inputs[name])
            for name, plan in profiler.columns.items()
            if name in sample.inputs.columns
        ]
        if profiler.prediction is not None and sample.predictions is not None:
            plans.append((_PREDICTION, profiler.prediction, sample.predictions))
        if profiler.label is not None and sample.labels is not None:
            plans.append((_LABEL, profiler.label, sample.labels))
        counts: dict[str, Ints] = {}
        for name, plan, values in plans:
            bins = plan.bins.n_bins
            flat = np.bincount(index * bins + place_series(values, plan), minlength=len(cells) * bins)
            counts[name] = flat.reshape(len(cells), bins)
        return cls(
            whole=profiler.profile(sample),
            cells=cells.astype(np.int64),
            rows=np.bincount(index, minlength=len(cells)).astype(np.int64),
            counts=counts,
        )

    def __add__(self, other: Self) -> CalendarCounts:
        cells = np.union1d(self.cells, other.cells)
        mine, theirs = np.searchsorted(cells, self.cells), np.searchsorted(cells, other.cells)
        rows = np.zeros(len(cells), np.int64)
        rows[mine] += self.rows
        rows[theirs] += other.rows
        counts: dict[str, Ints] = {}
        for name, one in self.counts.items():
            if name in other.counts:
                both = np.zeros((len(cells), one.shape[1]), np.int64)
                both[mine] += one
                both[theirs] += other.counts[name]
                counts[name] = both
        return CalendarCounts(whole=self.whole + other.whole, cells=cells, rows=rows, counts=counts)

    def matched(self, current: WindowProfile, *, min_rows: int = MIN_ROWS) -> MatchedReference:
        """The reference with the calendar mix of a window, as finely as its rows allow.

        With c the share of the window's rows in a group of cells and R the reference rows there, each of these rows
        gets the weight c/R; together they are worth 1 / sum(c^2 / R) rows (Kish).

        Args:
            current: A window with times.
            min_rows: Rows that the weighted reference must be worth.
        """
        if current.calendar is None or not current.calendar.sum():
            return self._all("the window has no times, so the whole reference is taken")
        for level, groups in LEVELS.items():
            wanted = np.bincount(groups, weights=current.calendar)
            held = np.bincount(groups[self.cells], weights=self.rows, minlength=len(wanted))[: len(wanted)]
            covered = held > 0
            uncovered = 1.0 - float(wanted[covered].sum() / wanted.sum())
            if uncovered > UNCOVERED:
                continue
            shares = np.where(covered, wanted, 0.0) / wanted[covered].sum()
            weights = np.divide(shares, held, out=np.zeros(len(held)), where=covered)
            worth = 1.0 / float((shares * weights).sum())
            if worth < min(min_rows, float(self.rows.sum())) and level != "nothing":
                continue
            profile = self._weighted(weights[groups[self.cells]] * worth, worth)
            says = f"compared with reference rows of the same {level} ({worth:.0f} rows' worth)"
            if level == "nothing":
                says = "compared with the whole reference: it holds too few rows of the same hours"
            return MatchedReference(profile=profile, level=level, uncovered=uncovered, says=says)
        return self._all("compared with the whole reference: it has no rows")

    def _weighted(self, weights: NDArray[np.float64], worth: float) -> WindowProfile:
        def tally(name: str, whole: ColumnTally) -> ColumnTally:
            return replace(whole, counts=weights @ self.counts[name]) if name in self.counts else whole

        whole = self.whole
        return replace(
            whole,
            rows=worth,
            columns={name: tally(name, one) for name, one in whole.columns.items()},
            prediction=None if whole.prediction is None else tally(_PREDICTION, whole.prediction),
            label=None if whole.label is None else tally(_LABEL, whole.label),
        )

    def _all(self, says: str) -> MatchedReference:
        return MatchedReference(profile=self.whole, level="nothing", uncovered=0.0, says=says)


def rolling(
    former: Sequence[WindowProfile], *, windows: int = 7, before: int | None = None, skip: Collection[Window] = ()
) -> WindowProfile | None:
    """The newest windows together, as the reference of what changed now; None without any.

    Never the only reference: one that follows every change hides a slow one.

    Args:
        former: Profiles with their windows, oldest first.
        windows: How many, at most.
        before: Only windows that end at or before this moment, microseconds.
        skip: Windows that had an issue or belong to an incident: a reference must not learn from them.
    """
    kept = [one for one in former if _is_usable(one, before, skip)][-windows:]
    return reduce(add, kept) if kept else None


def matched_windows(
    former: Sequence[WindowProfile],
    window: Window,
    *,
    skip: Collection[Window] = (),
    min_rows: int = MIN_ROWS,
) -> WindowProfile | None:
    """Former windows of the same weekday, hour and season together; None where they hold too few rows.

    The season is given up before the weekday. For windows of whole weeks or months only the season counts.

    Args:
        former: Profiles with their windows.
        window: The window to compare.
        skip: Windows to leave out.
        min_rows: Rows that the reference must hold.
    """
    alike = [
        one
        for one in former
        if _is_usable(one, window.start, skip)
        and one.window is not None
        and (window.end - window.start > DAY or _hour_of_week(one.window) == _hour_of_week(window))
    ]
    season = _season(window)
    same = [one for one in alike if one.window is not None and _season(one.window) == season]
    for chosen in (same, alike):
        if chosen and sum(one.rows for one in chosen) >= min_rows:
            return reduce(add, chosen)
    return None


def usual_shifts(
    windows: Sequence[WindowProfile], *, tolerance: float = TOLERANCE_PSI, alpha: float = ALPHA
) -> dict[str, float]:
    """How far each column of a sound window may be from the others: tolerances for `profiles.compare`, in nats of PSI.

    For each window and column, the PSI to all other windows together over its noise floor; then the range in which
    one further window lies with probability 1 - alpha (`stats.chunk_threshold`), never below `tolerance`.

    Args:
        windows: Sound windows of about the length and size of those to be compared, at least 5: former ones, or the
            reference cut by the same period.
        tolerance: Least tolerance.
        alpha: Probability that a sound window exceeds it.

    Raises:
        Invalid: Fewer than 5 windows.
    """
    if len(windows) < MIN_WINDOWS:
        raise Invalid(
            f"{len(windows)} windows do not tell how far a sound one moves", remedy=f"take at least {MIN_WINDOWS}"
        )
    found: dict[str, float] = {}
    for name in windows[0].columns:
        counts = np.stack([one.columns[name].counts for one in windows])
        others = counts.sum(axis=0) - counts
        tests = [stats.tolerance_test(*sides, tolerance) for sides in zip(others, counts, strict=True)]
        excess = [test.effect for test in tests if test.effect is not None]
        if len(excess) >= MIN_WINDOWS:
            found[name] = max(tolerance, stats.chunk_threshold(excess, alpha=alpha).high)
    return found


def _is_usable(one: WindowProfile, before: int | None, skip: Collection[Window]) -> bool:
    if one.window is None or one.window in skip:
        return False
    return before is None or one.window.end <= before


def _hour_of_week(window: Window) -> int:
    return int(calendar_cells(np.array([window.start]))[0]) % (WEEKDAYS * HOURS)


def _season(window: Window) -> int:
    return int(season_of(np.array([(window.start + window.end) // 2]))[0])
