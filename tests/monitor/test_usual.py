"""A weekday that was always so is usual; what changed on it, or changes slowly, is not."""

from __future__ import annotations

import numpy as np
import polars as pl

from perennial.monitor.profiling.profiles import Profiler, WindowProfile
from perennial.monitor.sample import Sample, sample_of
from perennial.monitor.watching.usual import Usual, calendar_of
from perennial.monitor.windows import DAY, WEEK, Window

MONDAY = int(np.datetime64("2021-03-01", "us").astype(np.int64))
ROWS = 800


def rows_of(day: int, shift: float, *, rows: int = ROWS) -> Sample:
    draw = np.random.default_rng(day)
    at = np.sort(MONDAY + day * DAY + draw.integers(0, DAY, rows))
    return sample_of(
        pl.DataFrame({"load": draw.normal(shift, 1.0, rows), "other": draw.normal(0.0, 1.0, rows), "at": at}),
        time="at",
    )


def profile_of(profiler: Profiler, day: int, shift: float) -> WindowProfile:
    return profiler.profile(rows_of(day, shift), window=Window(MONDAY + day * DAY, MONDAY + (day + 1) * DAY))


def is_weekend(day: int) -> bool:
    return day % 7 >= 5


def test_a_held_out_reference_with_its_calendar_explains_weekends_at_once() -> None:
    whole = pl.concat(
        [
            rows_of(day, 1.0 if is_weekend(day) else 0.0, rows=300).inputs.with_columns(
                at=pl.Series(rows_of(day, 0.0, rows=300).at)
            )
            for day in range(28)
        ]
    )
    reference = sample_of(whole, time="at")
    profiler = Profiler.of_reference(reference)
    usual = Usual(profiler=profiler, calendar=calendar_of(profiler, reference), since=MONDAY + 28 * DAY)
    saturday = profile_of(profiler, 33, 1.0)
    assert "load" in usual.explained(saturday, tolerance=0.05).columns
    wednesday = profile_of(profiler, 30, 1.0)  # as on weekends, and it is none
    assert list(usual.explained(wednesday, tolerance=0.05).columns) == ["other"]


def test_rows_of_a_few_days_hold_no_calendar() -> None:
    few = rows_of(0, 0.0)
    assert calendar_of(Profiler.of_reference(few), few) is None


def test_former_windows_of_the_weekday_explain_it_and_the_last_days_say_what_changed_now() -> None:
    profiler = Profiler.of_reference(rows_of(99, 0.0))
    former = [profile_of(profiler, day, 1.0 if day == 5 else 0.0) for day in range(12)]
    usual = Usual(profiler=profiler, former=former, since=MONDAY)
    told = usual.explained(profile_of(profiler, 12, 1.0), tolerance=0.05)
    assert "as former windows of the same weekday" in told.columns["load"]
    assert told.changed_now == ["load"]
    assert "load" not in usual.explained(profile_of(profiler, 12, 2.0), tolerance=0.05).columns


def test_a_slow_drift_is_not_made_usual_by_following_it() -> None:
    """Each week like the one before, and after half a year far from the first weeks."""
    profiler = Profiler.of_reference(rows_of(99, 0.0))
    former = [profile_of(profiler, day, day * 0.01) for day in range(0, 200, 7)]
    usual = Usual(profiler=profiler, former=former, since=MONDAY)
    now = profile_of(profiler, 203, 2.03)
    assert "load" not in usual.explained(now, tolerance=0.05).columns
    assert usual.since + 8 * WEEK < MONDAY + 203 * DAY
