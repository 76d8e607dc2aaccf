"""Windows of real tables with one bug each, and sound ones: what `check_quality` names, misses and makes up.

    python benchmarks/broken_windows.py [CASES]

For each kind of bug CASES windows (100 by default) are drawn by a seed, broken in a column that the seed chooses, and
checked. Named: the issue is of the right kind and column. Found: some issue is told. Beside: issues that are not of the
bug. Sound windows are drawn as the reference is (the budget is for these), or are the weeks of another year.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

DATA = Path(__file__).parents[2] / "shared" / "data"
WINDOW = 1_000  # people in a window
Broken = tuple[Any, str | None, str]  # the sample, the column that should be named, the kind


@dataclass
class Tally:
    cases: int = 0
    named: int = 0
    found: int = 0
    beside: int = 0


def adult_cases(cases: int) -> Iterator[tuple[str, int, int]]:
    """Bug, (right, found, beside) of each case, on people."""
    from perennial.monitor.profiling.profiles import Profiler
    from perennial.monitor.quality.check import check_quality
    from perennial.monitor.sample import sample_of

    frame = pl.read_csv(DATA / "adult_census" / "adult_train.csv.gz", null_values="?").drop("income")
    for seed in range(cases):
        draw = np.random.default_rng(seed)
        order = draw.permutation(frame.height)
        reference, window, other = (
            frame[order[a:b]] for a, b in ((0, 20_000), (20_000, 20_000 + WINDOW), (25_000, 25_000 + WINDOW))
        )
        profiler = Profiler.of_reference(sample_of(reference))
        counted = profiler.profile(sample_of(reference))
        former = [profiler.profile(sample_of(other))]
        for bug, broken, kind, column in adult_bugs(window, other, draw):
            issues = check_quality(profiler, counted, profiler.profile(sample_of(broken)), former=former)
            yield from judged(f"people: {bug}", issues, kind, column)


def adult_bugs(
    window: pl.DataFrame, other: pl.DataFrame, draw: np.random.Generator
) -> Iterator[tuple[str, pl.DataFrame, str | None, str | None]]:
    numbers = ["age", "fnlwgt", "education_num", "capital_gain", "capital_loss", "hours_per_week"]
    texts = ["workclass", "education", "marital_status", "occupation", "relationship", "race", "sex", "native_country"]

    def any_of(names: list[str], size: int = 1) -> list[str]:
        return [str(name) for name in draw.choice(names, size, replace=False)]

    def lost(name: str, share: float) -> pl.DataFrame:
        gone = pl.Series(draw.random(window.height) < share)
        return window.with_columns(pl.when(gone).then(None).otherwise(pl.col(name)).alias(name))

    yield "sound", window, None, None
    (name,) = any_of(numbers + texts)
    yield "5 % missing", lost(name, 0.05), "missing", name
    yield "20 % missing", lost(name, 0.2), "missing", name
    for factor in (10.0, 100.0, 1000.0):
        (name,) = any_of(numbers)
        yield f"x {factor:g}", window.with_columns(pl.col(name) * factor), "unit_scale", name
    one, two = any_of(numbers, 2)
    pair = ", ".join(sorted((one, two), key=window.columns.index))
    yield "numbers swapped", window.rename({one: two, two: one}), "swapped_columns", pair
    one, two = any_of(texts, 2)
    pair = ", ".join(sorted((one, two), key=window.columns.index))
    yield "texts swapped", window.rename({one: two, two: one}), "swapped_columns", pair
    (name,) = any_of(numbers + texts)
    fixed = window[name].drop_nulls().mode().sort()[0]
    yield "constant", window.with_columns(pl.lit(fixed).alias(name)), "constant", name
    (name,) = any_of(texts)
    yield "categories renamed", window.with_columns(pl.col(name).str.to_uppercase()), "unseen_category", name
    some = pl.Series(draw.random(window.height) < 0.03)
    (name,) = any_of(texts)
    new = pl.when(some).then(pl.lit("new")).otherwise(pl.col(name)).alias(name)
    yield "a new category, 3 %", window.with_columns(new), "unseen_category", name
    (name,) = any_of(numbers)
    out = pl.when(some).then(-1).otherwise(pl.col(name)).alias(name)
    yield "-1 for missing, 3 %", window.with_columns(out), "out_of_range", name
    (name,) = any_of(numbers)
    yield "numbers as text", window.with_columns(pl.col(name).cast(pl.String)), "type_changed", name
    (name,) = any_of(numbers + texts)
    yield "column lost", window.drop(name), "absent_column", name
    yield "loaded twice", pl.concat([window, window]), "duplicates", None
    yield "20 % loaded twice", pl.concat([window, window.head(WINDOW // 5)]), "duplicates", None
    yield "stale copy", other.sample(fraction=1.0, shuffle=True, seed=1), "stale_copy", None


def bike_cases() -> Iterator[tuple[str, int, int]]:
    """The same for weeks of 2012 beside the year 2011: every week is a case."""
    from perennial.monitor.profiling.profiles import Profiler
    from perennial.monitor.quality.check import check_quality
    from perennial.monitor.sample import Sample, sample_of
    from perennial.monitor.windows import DAY, Window, periods

    frame = pl.read_csv(DATA / "bike_sharing" / "hour.csv.gz", try_parse_dates=True)
    at = (pl.col("dteday").cast(pl.Datetime("us")) + pl.duration(hours=pl.col("hr"))).alias("at")
    timed = frame.with_columns(at).drop("dteday", "instant", "casual", "registered", "yr")
    sample = sample_of(timed, target="cnt", time="at")
    assert sample.at is not None
    turn = int(np.datetime64("2012-01-01", "us").astype(np.int64))
    reference = sample.take(sample.at < turn)
    profiler = Profiler.of_reference(reference)
    counted = profiler.profile(reference)
    former: list[Any] = []
    weeks = [week for week in periods(sample.at, "week", int(sample.at[-1])) if week.start >= turn]

    def rows_of(window: Window) -> Sample:
        assert sample.at is not None
        return sample.take((sample.at >= window.start) & (sample.at < window.end))

    for index, week in enumerate(weeks):
        rows = rows_of(week)
        sound = profiler.profile(rows, window=week)
        draw = np.random.default_rng(index)
        for bug, broken, kind, column in bike_bugs(rows, draw):
            window = profiler.profile(broken, window=week)
            yield from judged(f"bikes: {bug}", check_quality(profiler, counted, window, former=former), kind, column)
        cut = profiler.profile(rows_of(Window(week.start, week.start + 4 * DAY)), window=week)
        yield from judged("bikes: cut off after 4 days", check_quality(profiler, counted, cut), "truncated", None)
        if former:
            old = rows_of(weeks[index - 1])
            assert old.at is not None
            copied = profiler.profile(replace(old, at=old.at + week.start - weeks[index - 1].start), window=week)
            issues = check_quality(profiler, counted, copied, former=former)
            yield from judged("bikes: stale copy", issues, "stale_copy", None)
        former.append(sound)


def bike_bugs(rows: Any, draw: np.random.Generator) -> Iterator[tuple[str, Any, str | None, str | None]]:
    table = rows.inputs

    def broken(expression: pl.Expr) -> Any:
        return replace(rows, inputs=table.with_columns(expression))

    yield "sound (weeks of the next year)", rows, None, None
    gone = pl.Series(draw.random(table.height) < 0.1)
    yield "10 % missing", broken(pl.when(gone).then(None).otherwise(pl.col("hum")).alias("hum")), "missing", "hum"
    yield "temperature x 10", broken(pl.col("temp") * 10), "unit_scale", "temp"
    yield "wind x 100", broken(pl.col("windspeed") * 100), "unit_scale", "windspeed"
    swapped = table.rename({"hum": "windspeed", "windspeed": "hum"})
    yield "humidity and wind swapped", replace(rows, inputs=swapped), "swapped_columns", "hum, windspeed"
    felt = table.rename({"temp": "atemp", "atemp": "temp"})
    yield "air and felt temperature swapped", replace(rows, inputs=felt), "swapped_columns", "temp, atemp"
    yield "constant", broken(pl.lit(0.5).alias("hum")), "constant", "hum"
    yield "hour in another zone", broken((pl.col("hr") + 5) % 24), "timezone_shift", "hr"


def judged(bug: str, issues: list[Any], kind: str | None, column: str | None) -> Iterator[tuple[str, int, int]]:
    right = sum(1 for one in issues if (one.kind, one.column) == (kind, column))
    yield bug, right, len(issues)


def table(cases: int) -> str:
    """The counts as Markdown."""
    tallies: dict[str, Tally] = {}
    runs: list[Callable[[], Iterator[tuple[str, int, int]]]] = [lambda: adult_cases(cases), bike_cases]
    for run in runs:
        for bug, right, issues in run():
            tally = tallies.setdefault(bug, Tally())
            tally.cases += 1
            tally.named += right > 0
            tally.found += issues > 0
            tally.beside += issues - right > 0
    lines = ["| window | cases | named as what it is | missed | with an issue beside |", "|---|---|---|---|---|"]
    for bug, tally in tallies.items():
        if "sound" in bug:
            lines.append(f"| {bug} | {tally.cases} | | | {tally.beside} |")
        else:
            missed = tally.cases - tally.found
            lines.append(f"| {bug} | {tally.cases} | {tally.named} | {missed} | {tally.beside} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
    print(table(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
