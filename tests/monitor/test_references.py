"""References of a window: like with like, and honest about how many rows they are worth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from perennial.errors import Invalid
from perennial.monitor.profiling.profiles import Profiler, compare
from perennial.monitor.profiling.references import CalendarCounts, matched_windows, rolling, usual_shifts
from perennial.monitor.sample import Sample, sample_of
from perennial.monitor.windows import DAY, HOUR, WEEK, Window, calendar_cells, periods
from tests.monitor.profiling import bikes, with_inputs

MONDAY = int(np.datetime64("2021-03-01", "us").astype(np.int64))


def hourly(days: int, *, seed: int, start: int = MONDAY, weights: tuple[float, float] = (1.0, 1.0)) -> Sample:
    """Sixty rows an hour by day, sixty by night (times weights); a column that is small by night and large by day."""
    draw = np.random.default_rng(seed)
    hours = np.arange(days * 24)
    is_day = (hours % 24 >= 8) & (hours % 24 < 20)
    per_hour = np.round(60 * np.where(is_day, weights[0], weights[1])).astype(np.int64)
    at = np.repeat(start + hours * HOUR, per_hour)
    load = draw.normal(np.where(np.repeat(is_day, per_hour), 100.0, 10.0), 5.0)
    return sample_of(pl.DataFrame({"load": load, "at": at}), time="at")


def test_another_mix_of_hours_is_no_shift_of_a_matched_reference() -> None:
    reference = hourly(28, seed=0)
    profiler = Profiler.of_reference(reference)
    whole, calendar = profiler.profile(reference), CalendarCounts.of(profiler, reference)
    by_night = profiler.profile(hourly(7, seed=1, start=MONDAY + 28 * DAY, weights=(0.2, 1.8)))
    assert [one.column for one in compare(profiler, whole, by_night).shifted] == ["load"]
    matched = calendar.matched(by_night)
    assert matched.level == "season, weekday and hour"
    assert compare(profiler, matched.profile, by_night).shifted == []
    assert matched.profile.rows < whole.rows  # weights cost rows
    assert matched.profile.columns["load"].rows == pytest.approx(matched.profile.rows)


def test_a_shift_within_the_hours_is_still_found() -> None:
    reference = hourly(28, seed=0)
    profiler = Profiler.of_reference(reference)
    moved = hourly(7, seed=1, start=MONDAY + 28 * DAY, weights=(0.2, 1.8))
    moved = sample_of(moved.inputs.with_columns(pl.col("load") + 3.0, at=pl.Series(moved.at)), time="at")
    current = profiler.profile(moved)
    matched = CalendarCounts.of(profiler, reference).matched(current)
    assert [one.column for one in compare(profiler, matched.profile, current).shifted] == ["load"]


def test_false_alarms_keep_their_level_on_a_matched_reference() -> None:
    """At tolerance 0 the test of re-weighted rows rejects about alpha of the windows, as with rows of their own."""
    shifted = 0
    for seed in range(60):
        reference = hourly(7, seed=1_000 + seed)
        profiler = Profiler.of_reference(reference)
        current = profiler.profile(hourly(7, seed=5_000 + seed, weights=(0.4, 1.6)))
        matched = CalendarCounts.of(profiler, reference).matched(current).profile
        shifted += compare(profiler, matched, current, tolerance=0.0).columns["load"].decision == "shifted"
    assert shifted <= 9  # of 60 at 5 %: 3 expected, 10 or more once in 1,400 runs; matching by hour takes noise out


def test_cells_are_made_coarser_where_the_reference_is_too_small_and_it_is_said() -> None:
    reference = hourly(3, seed=0)  # Monday to Wednesday
    profiler = Profiler.of_reference(reference)
    calendar = CalendarCounts.of(profiler, reference)
    friday = profiler.profile(hourly(1, seed=1, start=MONDAY + 4 * DAY))
    assert calendar.matched(friday).level == "season, working day or weekend, and hour"
    sunday = profiler.profile(hourly(1, seed=1, start=MONDAY + 6 * DAY))
    assert calendar.matched(sunday).level == "season and hour"
    autumn = profiler.profile(hourly(1, seed=1, start=MONDAY + 202 * DAY))  # a Sunday in September
    assert calendar.matched(autumn).level == "hour"
    assert "same hour" in calendar.matched(autumn).says
    untimed = profiler.profile(sample_of(reference.inputs))
    assert calendar.matched(untimed).level == "nothing"
    assert "no times" in calendar.matched(untimed).says


def test_P3_calendar_counts_add_up() -> None:
    whole = hourly(9, seed=3)
    profiler = Profiler.of_reference(whole)
    rows = np.random.default_rng(0).permutation(whole.rows)
    one, other = (CalendarCounts.of(profiler, whole.take(part)) for part in np.split(rows, [5_000]))
    both, all_ = one + other, CalendarCounts.of(profiler, whole)
    assert (both.cells == all_.cells).all()
    assert (both.rows == all_.rows).all()
    assert (both.counts["load"] == all_.counts["load"]).all()
    assert all_.counts["load"].sum(axis=0).tolist() == profiler.profile(whole).columns["load"].counts.tolist()


def test_a_calendar_reference_needs_times() -> None:
    sample = sample_of(pl.DataFrame({"x": [1.0]}))
    with pytest.raises(Invalid, match="event times"):
        CalendarCounts.of(Profiler.of_reference(sample), sample)


def test_rolling_takes_the_newest_sound_windows_before(shared_data: Path) -> None:
    sample = bikes(shared_data)
    assert sample.at is not None
    profiler = Profiler.of_reference(sample)
    weeks = periods(sample.at, "week", int(sample.at[-1]))[:6]
    former = [profiler.profile(sample.take(inside(sample, week)), window=week) for week in weeks]
    found = rolling(former, windows=2, before=weeks[5].start, skip=[weeks[4]])
    assert found is not None
    assert found.rows == former[3].rows + former[2].rows
    assert found.window == Window(weeks[2].start, weeks[3].end)
    assert rolling(former, before=weeks[0].start) is None


def test_matched_windows_share_weekday_hour_and_season(shared_data: Path) -> None:
    sample = bikes(shared_data)
    assert sample.at is not None
    profiler = Profiler.of_reference(sample)
    days = periods(sample.at, "day", int(sample.at[-1]))[:400]
    former = [profiler.profile(sample.take(inside(sample, day)), window=day) for day in days]
    window = Window(days[-1].end, days[-1].end + DAY)
    found = matched_windows(former, window, min_rows=200)
    assert found is not None
    assert found.calendar is not None
    cells = np.flatnonzero(found.calendar)
    start = int(calendar_cells(np.array([window.start]))[0])
    assert set(cells // 24) == {start // 24}
    alike = [day for day in days if (window.start - day.start) % WEEK == 0]
    assert 200 <= found.rows < 24 * len(alike)
    assert matched_windows(former, window, min_rows=10**6) is None
    assert matched_windows(former, window, min_rows=1_000).rows > found.rows  # the season is given up first


def test_what_a_column_does_every_week_is_tolerated_and_more_is_not(shared_data: Path) -> None:
    """Weather of weeks against the year before: learned on its weeks, tried on those of the next."""
    sample = bikes(shared_data)
    assert sample.at is not None
    turn = int(np.datetime64("2012-01-01", "us").astype(np.int64))
    before = sample.take(sample.at < turn)
    profiler = Profiler.of_reference(before)
    whole = profiler.profile(before)
    weeks = periods(sample.at, "week", int(sample.at[-1]), min_rows=100)
    profiles = [profiler.profile(sample.take(inside(sample, week)), window=week) for week in weeks]
    learned = [one for one in profiles if one.window is not None and one.window.end <= turn]
    tried = [one for one in profiles if one.window is not None and one.window.start >= turn]
    tolerances = usual_shifts(learned)
    assert all(value >= 0.05 for value in tolerances.values())
    assert tolerances["temp"] > 1.0
    assert tolerances["hr"] == 0.05  # every week has every hour
    plain = sum(bool(compare(profiler, whole, one).shifted) for one in tried)
    usual = sum(bool(compare(profiler, whole, one, tolerances=tolerances).shifted) for one in tried)
    assert plain == len(tried) >= 51
    assert usual <= 5
    broken = sample.take(inside(sample, weeks[70]))
    no_wind = with_inputs(broken, broken.inputs.with_columns(windspeed=pl.lit(0.0)))
    found = compare(profiler, whole, profiler.profile(no_wind), tolerances=tolerances)
    assert "windspeed" in [one.column for one in found.shifted]
    with pytest.raises(Invalid, match="at least 5"):
        usual_shifts(learned[:4])


def inside(sample: Sample, window: Window) -> np.ndarray:
    assert sample.at is not None
    return (sample.at >= window.start) & (sample.at < window.end)
