"""What is learned from past batches notices what goes wrong with the next one, and leaves sound ones alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from perennial.data.history.batches import judge_newest
from perennial.data.history.corruptions import corruptions
from perennial.data.history.guard import Guard, judge, learn
from perennial.data.history.metrics import BatchMetrics, measure
from perennial.data.scan import scan
from perennial.errors import DataError

ROWS, BATCHES = 500, 20


def measured(batches: Sequence[pl.DataFrame]) -> list[BatchMetrics]:
    found: list[BatchMetrics] = []
    for batch in batches:
        found.append(measure(batch, found[-1] if found else None))
    return found


@pytest.fixture(scope="module")
def people(shared_data: Path) -> list[pl.DataFrame]:
    frame = pl.read_csv(shared_data / "adult_census" / "adult_train.csv.gz", null_values="?")
    frame = frame.sample(fraction=1.0, shuffle=True, seed=1)
    return [frame.slice(start, ROWS) for start in range(0, 60 * ROWS, ROWS)]


@pytest.fixture(scope="module")
def history(people: list[pl.DataFrame]) -> list[BatchMetrics]:
    return measured(people[:BATCHES])


@pytest.fixture(scope="module")
def guard(people: list[pl.DataFrame], history: list[BatchMetrics]) -> Guard:
    return learn(history, last=people[BATCHES - 1], before_last=people[BATCHES - 2])


def test_the_bounds_keep_to_the_budget_together(guard: Guard) -> None:
    assert sum(bound.rate for bound in guard.bounds) == pytest.approx(guard.budget)
    assert any(bound.is_chosen for bound in guard.bounds)
    assert len(guard.noticed) > 10 * len(guard.missed)


def test_sound_batches_are_left_alone(people: list[pl.DataFrame], history: list[BatchMetrics], guard: Guard) -> None:
    alarms = [judge(guard, measure(batch, history[-1])) for batch in people[BATCHES:]]
    assert sum(map(bool, alarms)) <= 1  # of 40, at a budget of 0.001 each


def test_corruptions_of_the_next_batch_are_noticed(
    people: list[pl.DataFrame], history: list[BatchMetrics], guard: Guard
) -> None:
    noticed: dict[str, list[bool]] = {}
    for broken in corruptions(people[BATCHES], before=people[BATCHES - 1], seed=7):
        noticed.setdefault(broken.kind, []).append(bool(judge(guard, measure(broken.batch, history[-1]))))
    shares = {kind: sum(found) / len(found) for kind, found in noticed.items()}
    faint = shares.pop("5% missing")  # of columns of which some are missing in every batch
    assert shares == dict.fromkeys(shares, 1.0)
    assert faint > 0.7
    assert shares.keys() >= {
        "cut off after 90%",
        "loaded twice",
        "stale copy",
        "x 10",
        "swapped",
        "categories remapped",
    }


def test_a_shifted_time_zone_is_noticed(shared_data: Path) -> None:
    hours = pl.read_csv(shared_data / "bike_sharing" / "hour.csv.gz", try_parse_dates=True)
    hours = hours.with_columns(at=pl.col("dteday").cast(pl.Datetime("us")) + pl.duration(hours=pl.col("hr")))
    busy = hours.filter(pl.col("cnt") > 200).select("at", "cnt")
    batches = [busy.slice(start, 200) for start in range(400, 26 * 200, 200)]
    found = measured(batches[:-1])
    guard = learn(found, last=batches[-2], before_last=batches[-3])
    shifted = next(broken for broken in corruptions(batches[-1]) if broken.kind.startswith("times shifted"))
    assert not judge(guard, measure(batches[-1], found[-1]))
    assert any("hour of at" in unusual.metric for unusual in judge(guard, measure(shifted.batch, found[-1])))


def test_the_newest_of_a_row_of_files_is_judged(tmp_path: Path, people: list[pl.DataFrame]) -> None:
    batches = people[:12]
    batches[-1] = batches[-1].with_columns(pl.col("hours_per_week") * 60)
    for place, batch in enumerate(batches):
        batch.write_parquet(tmp_path / f"{place:02}.parquet")
    files = sorted(tmp_path.iterdir())
    guard, found = judge_newest([scan(path) for path in files])
    assert guard.batches == 11
    assert "hours_per_week" in found[0].metric
    assert judge_newest([scan(path) for path in files[:-1]])[1] == []


def test_seven_batches_are_too_few(history: list[BatchMetrics]) -> None:
    with pytest.raises(DataError, match=r"7 batches (.|\n)*too few(.|\n)*collect 1 more"):
        learn(history[:7])


def test_an_empty_batch_is_unusual(people: list[pl.DataFrame], history: list[BatchMetrics], guard: Guard) -> None:
    assert judge(guard, measure(people[0].head(0), history[-1]))[0].metric == "log rows"
