"""Small tables become large ones exactly once, and what is old or taken up goes, with what is told of it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa
from polars.testing import assert_frame_equal

from perennial.capture import tending
from perennial.capture.labels import LabelIn
from perennial.capture.predictions import Predictions
from perennial.capture.records import labels, queue
from perennial.capture.tending import FAN_IN
from perennial.config import Settings
from perennial.errors import NotFound, StoreError
from perennial.serve.answer import Flag
from perennial.serve.segments import newest, segments_in
from perennial.store import failpoints
from perennial.store.gc import collect_garbage
from perennial.store.objects import ObjectStore
from perennial.store.records import Records
from perennial.types import Micros

from .conftest import DAY, Front, House


def fill(house: House, chunks: int, **told: Any) -> list[str]:
    made: list[str] = []
    for number in range(chunks):
        made += house.predict(float(number), None, at=(50 + number) * DAY, **told)
        house.predictions.ingest()
    return made


def seen(house: House, predictions: Predictions | None = None) -> pl.DataFrame:
    reader = house.reader if predictions is None else type(house.reader)(house.objects, predictions)
    return reader.predictions(endpoint="wage")


def test_small_tables_of_one_kind_become_one_with_the_same_rows(house: House) -> None:
    made = fill(house, FAN_IN, shadow_version=2)
    for first in made[::2]:
        house.front.shadow(first, 1.0, 2.0)
        house.predictions.ingest()
    house.predict(1.0, endpoint="flower")
    before, counts = seen(house), house.predictions.counts(endpoint="wage")
    told = house.predictions.tend()
    assert (told.merged, told.into) == (2 * FAN_IN, 2)
    (chunk,) = house.predictions.chunks(endpoint="wage")
    assert (chunk.rows, chunk.errors, chunk.shadowed) == (2 * FAN_IN, FAN_IN, 2 * FAN_IN)
    assert (chunk.first_id, chunk.last_id, chunk.min_at) == (min(made), max(made), 50 * DAY)
    assert_frame_equal(seen(house), before)
    assert house.predictions.counts(endpoint="wage") == counts
    assert house.predictions.find(prediction_id=made[5]).error == "raised"
    assert house.predictions.label(endpoint="wage", labels=[LabelIn(prediction_id=made[0], value=1.0)]).accepted == 1
    assert house.predictions.tend().merged == 0


def test_tables_grow_by_tiers_so_that_no_row_is_written_anew_often(house: House) -> None:
    written: dict[str, int] = {}
    for number in range(FAN_IN**2):
        house.predict(float(number), at=(50 * DAY) + number)
        house.predictions.ingest()
        for _ in range(2):
            written |= {chunk.digest: chunk.rows for chunk in house.predictions.chunks(endpoint="wage")}
            house.predictions.tend()
    written |= {chunk.digest: chunk.rows for chunk in house.predictions.chunks(endpoint="wage")}
    assert [chunk.rows for chunk in house.predictions.chunks(endpoint="wage")] == [FAN_IN**2]
    # Each row thrice: alone, with 7 others, with all; but the last 8 do not stay together for long enough to be seen.
    assert sum(written.values()) == 3 * FAN_IN**2 - FAN_IN


def test_columns_whose_types_changed_become_json_and_keep_their_values(house: House) -> None:
    values: list[Any] = [1, 2.5, "three", None, True, [1.0, 2.0], {"a": 1}, 8]
    for value in values:
        house.predict(1.0, rows=[["p", value]])
        house.predictions.ingest()
    assert house.predictions.tend().merged == FAN_IN
    frame = seen(house)
    assert [row.get("x") for row in house.reader.requests(frame)] == values


def test_tables_of_another_layout_or_policy_stay_apart(house: House) -> None:
    for number in range(FAN_IN):
        house.predict(1.0, policy={"x": "hash"} if number % 2 else None)
        house.predictions.ingest()
    assert house.predictions.tend().merged == 0


@pytest.mark.parametrize(
    "fault", ["objects.pack.appended=error@1", "capture.merging=error@1", "records.committing=error@1"]
)
def test_a_merge_that_fails_anywhere_changes_nothing_and_is_done_the_next_time(house: House, fault: str) -> None:
    fill(house, FAN_IN)
    before = seen(house)
    failpoints.arm(fault)
    with pytest.raises((StoreError, OSError)):
        house.predictions.tend()
    failpoints.arm("")
    path = house.records.path
    house.records.close()
    house.records = Records.open(f"sqlite:///{path}", clock=house.clock)
    house.objects.close()
    house.objects = ObjectStore(house.folder.parents[1] / "objects")
    again = Predictions(house.records, house.objects, house.folder)
    assert_frame_equal(seen(house, again), before)
    assert again.tend().merged == FAN_IN
    assert_frame_equal(seen(house, again), before)


def test_readers_see_every_row_once_while_tables_are_merged_and_freed(house: House) -> None:
    made = fill(house, FAN_IN)
    problems: list[object] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            found = seen(house)["id"].to_list()
            if sorted(found) != sorted(made):
                problems.append(found)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        house.predictions.tend()
        collect_garbage(house.records, house.objects)
    finally:
        stop.set()
        reader.join()
    assert problems == []
    assert len(seen(house)) == len(made)


def test_large_tables_are_left_as_they_are(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tending, "MAX_ROWS", 8)
    fill(house, FAN_IN)
    house.predictions.tend()
    assert [chunk.rows for chunk in house.predictions.chunks(endpoint="wage")] == [8, 2, 2, 2, 2]
    assert house.predictions.tend().merged == 0


def test_segments_go_when_they_are_taken_up_and_the_service_will_not_read_them(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = house.predict(1.0)
    for _ in range(3):
        house.front.writer.close()
        house.front = house.more()
        made += house.predict(2.0)
    assert house.predictions.tend().deleted_segments == 0, "nothing is taken up yet"
    house.predictions.ingest()
    size = segments_in(house.folder)[-1].stat().st_size
    monkeypatch.setattr(tending, "newest", lambda paths: newest(paths, 2 * size + 100))
    assert house.predictions.tend().deleted_segments == 2
    assert [path.stem for path in segments_in(house.folder)] == ["000003", "000004"]
    accounts = house.predictions.accounts()
    assert (accounts.received, accounts.stored, accounts.segments) == (4, 4, 4), "they are accounted for as before"
    assert seen(house).height == 4
    house.front = house.more()
    assert segments_in(house.folder)[-1].stem == "000005", "no number comes twice"


def test_a_segment_that_is_written_or_not_taken_up_is_never_deleted(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tending, "newest", lambda paths: paths[-1:])
    house.predict(1.0)
    other = house.more()
    other.answer(2.0)
    house.predictions.ingest()
    other.writer.close()
    house.more().answer(3.0)
    assert house.predictions.tend().deleted_segments == 0
    house.predictions.ingest()
    assert house.predictions.tend().deleted_segments == 1
    assert [path.stem for path in segments_in(house.folder)] == ["000001", "000003"]


@pytest.fixture
def short(tmp_path: Path) -> Any:
    house = House(tmp_path, Settings(keep_predictions_days=30, origin={"keep_predictions_days": "a test"}))
    yield house
    house.close()


def test_what_is_older_than_is_kept_goes_with_its_labels_and_questions_and_leaves_an_event(short: House) -> None:
    flags = [[Flag(guard="unforeseen", action="abstain")]]
    (old,) = short.predict(1.0, at=60 * DAY, flags=flags)
    (edge,) = short.predict(2.0, at=69 * DAY)
    (new,) = short.predict(3.0, at=80 * DAY)
    short.predictions.ingest()
    for name in (old, edge, new):
        short.label(**{name: 5.0})
    told = short.predictions.tend()
    assert told.expired_rows == 0, "one table holds all three; what is old is cut out of it"
    assert seen(short)["id"].to_list() == [new]
    with pytest.raises(NotFound):
        short.predictions.find(prediction_id=old)
    short.clock.advance(11 * 86_400)
    assert short.predictions.tend().expired_rows == 1
    assert seen(short).height == 0
    (event,) = short.records.read(
        lambda c: c.execute(sa.text("SELECT kind, subject FROM events WHERE kind = 'predictions.expired'")).all()
    )
    assert event.subject == "endpoint/wage"
    assert short.records.read(lambda c: c.execute(sa.select(sa.func.count()).select_from(labels)).scalar()) == 0
    assert short.records.read(lambda c: c.execute(sa.select(sa.func.count()).select_from(queue)).scalar()) == 0
    assert short.predictions.accounts().stored == 3


def test_nothing_goes_in_simulated_time_unless_it_is_asked_for(house: House) -> None:
    fill(house, 1)
    house.clock.advance(20 * 365 * 86_400)
    assert house.predictions.tend().expired_rows == 0
    assert seen(house).height == 2


def test_a_front_that_begins_while_segments_are_deleted_gets_a_number_of_its_own(house: House) -> None:
    front = Front(house.folder, 9)
    house.fronts.append(front)
    assert front.writer.issue(1, Micros(1))[12:18] == "000002"
