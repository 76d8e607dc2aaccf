"""What is usual at the time of a window: a weekday, an hour or a season that has always been so is no alarm.

A window that differs from what the version was tested on is compared once more, with like: with held-out rows of the
same season, weekday and hour, and with former windows of the same weekday. These are windows of the version's first
weeks (or of the year before), never of the last ones: a reference that follows every change hides a slow one. What
holds against them is usual; what does not is told, beside what changed against the last days (`rolling`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from perennial.monitor.profiling.profiles import Profiler, WindowProfile, compare
from perennial.monitor.profiling.references import (
    CalendarCounts,
    matched_windows,
    rolling,
    usual_shifts,
)
from perennial.monitor.sample import Sample
from perennial.monitor.windows import DAY, WEEK

__all__ = ["Explained", "Usual", "calendar_of", "same_time_of_week"]

FIRST = 8 * WEEK  # of a version's life, whose windows say what is usual
A_YEAR_AGO = 40 * WEEK  # windows older than this are of another season's turn, and say what is usual in this one
MIN_SPAN = 2 * WEEK  # of the held-out rows, below which they hold no calendar
MIN_WINDOWS = 5  # of one weekday, from which their own spread is learned


@dataclass(frozen=True, kw_only=True)
class Explained:
    """What of a window is usual for its time.

    Attributes:
        columns: Columns that differ from what the version was tested on and not from their like; why, in words.
        prediction: The same of the answers; None where they differ from their like, too.
        changed_now: Columns that differ from the last sound windows; None while there are none.
    """

    columns: dict[str, str] = field(default_factory=dict[str, str])
    prediction: str | None = None
    changed_now: list[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Usual:
    """What windows of one version are compared with.

    Attributes:
        profiler: That all of them were counted with.
        calendar: The held-out rows by calendar; None where they have no times, or too short a span of them.
        former: Sound windows with their times, oldest first.
        since: When the version went live, microseconds.
    """

    profiler: Profiler
    calendar: CalendarCounts | None = None
    former: Sequence[WindowProfile] = ()
    since: int = 0

    def explained(self, current: WindowProfile, *, tolerance: float) -> Explained:
        """What of a window is usual.

        Args:
            current: The window, with its times.
            tolerance: Largest true PSI that is no shift, in nats.
        """
        columns: dict[str, str] = {}
        prediction: str | None = None
        for reference, tolerances, says in self._alike(current):
            found = compare(self.profiler, reference, current, tolerance=tolerance, tolerances=tolerances)
            for name, one in found.columns.items():
                if one.decision == "within tolerance":
                    columns.setdefault(name, says)
            if found.prediction is not None and found.prediction.decision == "within tolerance":
                prediction = prediction or says
        return Explained(columns=columns, prediction=prediction, changed_now=self._changed(current, tolerance))

    def _alike(self, current: WindowProfile) -> Iterator[tuple[WindowProfile, dict[str, float] | None, str]]:
        window = current.window
        if self.calendar is not None:
            matched = self.calendar.matched(current)
            if matched.level != "nothing":
                yield matched.profile, None, matched.says
        if window is None:
            return
        known = [
            one
            for one in self.former
            if one.window is not None
            and (one.window.end <= self.since + FIRST or one.window.end <= window.start - A_YEAR_AGO)
        ]
        alike = matched_windows(known, window)
        if alike is not None:
            same = same_time_of_week(known, current)
            tolerances = usual_shifts(same) if len(same) >= MIN_WINDOWS else None
            what = "the same weekday" if window.end - window.start <= DAY else "the same length"
            yield alike, tolerances, f"as former windows of {what} ({alike.rows:.0f} rows)"

    def _changed(self, current: WindowProfile, tolerance: float) -> list[str] | None:
        before = rolling(self.former, before=None if current.window is None else current.window.start)
        if before is None:
            return None
        return [one.column for one in compare(self.profiler, before, current, tolerance=tolerance).shifted]


def calendar_of(profiler: Profiler, reference: Sample) -> CalendarCounts | None:
    """Held-out rows by calendar; None where their times say nothing of weekdays."""
    if reference.at is None or not reference.rows or int(reference.at.max() - reference.at.min()) < MIN_SPAN:
        return None
    return CalendarCounts.of(profiler, reference)


def same_time_of_week(former: Sequence[WindowProfile], current: WindowProfile) -> list[WindowProfile]:
    """Former windows that begin at the same time of the week and are as long."""
    window = current.window
    if window is None:
        return []
    length = window.end - window.start
    return [
        one
        for one in former
        if one.window is not None
        and one.window.end - one.window.start == length
        and (window.start - one.window.start) % WEEK == 0
    ]
