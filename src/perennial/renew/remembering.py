"""Former windows of a live version: their profiles, what was estimated of them, and what is usual on a weekday.

Windows that had bad data, or in which the version was wrong, belong to an incident or lie in a time of maintenance, are
never what later ones are compared with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, Final

import msgspec
import numpy as np

from perennial.errors import Invalid
from perennial.monitor.estimating.estimates import Estimated
from perennial.monitor.estimating.estimator import Estimator, fit_estimator
from perennial.monitor.estimating.track_record import Entry, TrackRecord
from perennial.monitor.findings import NewFinding
from perennial.monitor.multivariate.domain import domain_scores
from perennial.monitor.profiling.profiles import WindowProfile
from perennial.monitor.remembered import NewWindow
from perennial.monitor.sample import Sample
from perennial.monitor.watching.usual import Usual, calendar_of, same_time_of_week
from perennial.monitor.watching.watched import Watched
from perennial.monitor.windows import Window
from perennial.renew.rooms import Rooms
from perennial.store.decoding import ready
from perennial.types import Digest

__all__ = ["Memory", "estimated", "estimator_of", "record_of"]

SPOILT: Final = frozenset({"data_quality", "training_serving_skew", "concept_drift", "performance_drop"})
ESTIMATED_ROWS = 5_000  # of a window, for density ratios: a second or two of one core
RATIO_ROWS = 10_000  # of the reference
RATIO_FOLDS = 3
ESTIMATED_LEAST = 100  # rows of a window


class Memory:
    """Former windows of one version. Made anew for each pass, reads nothing until it is asked."""

    def __init__(self, rooms: Rooms, endpoint: str, version: int, since: int) -> None:
        self._rooms = rooms
        self._endpoint = endpoint
        self._version = version
        self._since = since
        self._profiles: dict[int, WindowProfile] = {}
        self._new: list[tuple[NewWindow, WindowProfile | None]] = []

    def sound(self, before: int) -> list[WindowProfile]:
        """Profiles of windows that end at or before a moment and were fine, oldest first."""
        found: list[WindowProfile] = []
        for one in self._windows:
            if one.end <= before and one.profile is not None and not self._is_spoilt(one):
                if one.start not in self._profiles:
                    held = self._rooms.objects.get(Digest(one.profile))
                    self._profiles[one.start] = WindowProfile.from_bytes(held)
                found.append(self._profiles[one.start])
        return found

    def usual(self, watched: Watched, before: int) -> Usual:
        """What a window that begins at a moment is compared with, beside what the version was tested on."""
        return Usual(
            profiler=watched.profiler,
            calendar=watched.once("calendar", lambda: calendar_of(watched.profiler, watched.reference)),
            former=self.sound(before),
            since=self._since,
        )

    def alike(self, current: WindowProfile, read: Callable[[Window], Sample]) -> Sample | None:
        """Rows of the first sound window of the same time of the week; None without any."""
        if current.window is None:
            return None
        known = same_time_of_week(self.sound(current.window.start), current)
        return read(known[0].window) if known and known[0].window is not None else None

    def keep(
        self, window: Window, profile: WindowProfile, found: Iterable[NewFinding], estimates: Iterable[Estimated]
    ) -> NewWindow:
        """A window as it is to be remembered; later windows of this pass see it."""
        made = NewWindow(
            start=window.start,
            end=window.end,
            rows=int(profile.rows),
            profile=self._rooms.objects.put(profile.to_bytes()),
            alarms=alarms_of(found),
            estimates=[told for one in estimates if _is_finite(told := msgspec.to_builtins(one))],
        )
        self._profiles[made.start] = profile
        self._windows.append(made)
        return made

    def learned(self, window: Window, rows: int, found: Iterable[NewFinding], entries: Iterable[Entry]) -> NewWindow:
        """What labels have told of a window that was looked at before."""
        return NewWindow(
            start=window.start,
            end=window.end,
            rows=rows,
            alarms=alarms_of(found),
            entries=[msgspec.to_builtins(entry) for entry in entries],
        )

    def estimated(self, start: int) -> list[Estimated]:
        """What was estimated of the window that began then."""
        told = next((one.estimates for one in self._windows if one.start == start), [])
        return [msgspec.convert(one, ready(Estimated)) for one in told]

    @property
    def record(self) -> TrackRecord:
        """What was estimated beside what came true, of all windows so far."""
        return record_of(self._windows)

    @cached_property
    def _windows(self) -> list[NewWindow]:
        return list(self._rooms.monitor.windows(endpoint=self._endpoint, version=self._version))

    @cached_property
    def _maintained(self) -> list[tuple[int, float]]:
        kept = self._rooms.maintenance.list(endpoint=self._endpoint)
        return [(one.since, float("inf") if one.until is None else one.until) for one in kept]

    def _is_spoilt(self, one: NewWindow) -> bool:
        if SPOILT.intersection(one.alarms):
            return True
        return any(since < one.end and one.start < until for since, until in self._maintained)


def alarms_of(found: Iterable[NewFinding]) -> list[str]:
    """Kinds of findings that are more than information."""
    return sorted({one.kind for one in found if one.severity != "info"})


def record_of(windows: Iterable[NewWindow]) -> TrackRecord:
    """The track record of estimators that windows hold."""
    return TrackRecord().add(msgspec.convert(entry, ready(Entry)) for one in windows for entry in one.entries)


def estimator_of(watched: Watched, record: TrackRecord) -> Estimator | None:
    """What estimates a version's performance, choosing by its record; None where the reference cannot teach it."""

    def make() -> Estimator | None:
        try:
            return fit_estimator(watched.reference)
        except Invalid:  # too few labels, or one class alone: the report says so, and nothing is estimated
            return None

    made = watched.once("estimator", make)
    return None if made is None else made.with_record(record)


def estimated(watched: Watched, estimator: Estimator, rows: Sample) -> list[Estimated]:
    """The metrics of a window by every estimator; none where it has too few rows, or answers of another kind."""
    reference = watched.reference
    if rows.rows < ESTIMATED_LEAST or (reference.probs is not None and rows.probs is None):
        return []
    if reference.probs is not None and rows.classes != reference.classes:
        return []  # its probabilities are of other classes
    if rows.rows > ESTIMATED_ROWS:
        rows = rows.take(np.linspace(0, rows.rows - 1, ESTIMATED_ROWS).round().astype(np.int64))
    scores = domain_scores(reference.inputs, rows.inputs, max_rows=RATIO_ROWS, folds=RATIO_FOLDS, importance=False)
    return estimator.estimate(rows, scores=scores)


def _is_finite(told: dict[str, Any]) -> bool:
    return all(math.isfinite(value) for value in told.values() if isinstance(value, float))
