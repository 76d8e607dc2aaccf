"""Several processes write, one owner takes up: every row once, every row accounted for, whatever was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from perennial.capture.predictions import Predictions
from perennial.serve.answer import Flag
from perennial.serve.frames import Layout, OldShadowed, Predicted, encode, row_ids
from perennial.serve.segments import BLOCK, SegmentWriter, segments_in
from perennial.store.files import LocalFiles
from perennial.types import Micros

from .conftest import DAY, House


def sums(house: House) -> tuple[int, int, int, int]:
    told = house.predictions.accounts()
    assert told.received == told.stored + told.dropped + told.pending
    return told.received, told.stored, told.dropped, told.lost_at_most


def test_segments_of_several_processes_are_taken_up_while_they_are_written(house: House) -> None:
    other = house.more()
    made: list[str] = []
    for turn in range(3):
        made += house.predict(1.0 + turn) + other.answer(2.0, 3.0)
        assert house.predictions.ingest().predictions == 3
    assert sorted(house.reader.predictions(endpoint="wage")["id"]) == sorted(made)
    accounts = house.predictions.accounts()
    assert (accounts.segments, accounts.open, accounts.cut) == (2, 2, 0)
    assert sums(house) == (9, 9, 0, 0)


def test_P3_what_was_dropped_is_told_by_whoever_ends(house: House) -> None:
    house.predict(1.0, 2.0)
    house.front.writer.issue(3, Micros(50 * DAY))
    house.front.writer.drop(2)
    house.front.writer.close(dropped=1)
    house.predictions.ingest()
    assert sums(house) == (5, 2, 3, 0)
    assert house.predictions.accounts().open == 0


WRITES = """
import sys
from pathlib import Path
from perennial.clock import SystemClock
from perennial.serve.frames import Answered, encode
from perennial.serve.segments import SegmentWriter
from perennial.store.files import LocalFiles
writer = SegmentWriter(Path(sys.argv[1]), LocalFiles(), worker=7)
clock = SystemClock()
layout = writer.layout("wage", ["person", "x"], key=0)
while True:
    at = clock.now()
    made = writer.issue(2, at)
    lost = writer.issue(1, at)
    frame = Answered(id=made, at=at, layout=layout, key=made, request="", status=200, versions=1, arms="live",
                     rows=[["p", 1.0], ["q", 2.0]], values=[1.0, 2.0])
    writer.append(encode(frame), rows=2)
    writer.drop(1)
    print(made, flush=True)
"""


def test_F01_after_kill_9_each_answered_row_is_there_once_and_the_largest_loss_is_known(house: House) -> None:
    """The child prints an id after its frame is written, as an answer leaves; a third of its ids it drops."""
    answered: list[str] = []
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", WRITES, str(house.folder)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            answered += row_ids(child.stdout.readline().strip(), 2)
            end = time.monotonic() + 0.3
            while time.monotonic() < end:
                answered += row_ids(child.stdout.readline().strip(), 2)
                house.predictions.ingest()
            os.kill(child.pid, signal.SIGKILL)
            answered += [name for line in child.stdout if len(line) == 27 for name in row_ids(line.strip(), 2)]
    house.predictions.ingest()
    stored = house.reader.predictions(endpoint="wage")["id"]
    assert stored.n_unique() == stored.len()
    assert set(answered) <= set(stored)
    received, kept, dropped, lost = sums(house)
    accounts = house.predictions.accounts()
    assert (kept, accounts.cut) == (stored.len(), 3)
    really = sum(1 for _ in range(kept // 2))  # one of three ids was never written
    # Blocks double while they are used up quickly: three and a half times of what was used may have been reserved.
    assert really <= lost == dropped <= 3 * kept + 4 * really + 3 * 3 * BLOCK
    assert received == kept + dropped
    assert house.predictions.ingest().predictions == 0
    assert sums(house) == (received, kept, dropped, lost)


def test_a_segment_that_was_cut_is_told_though_nothing_came_since_it_was_read(house: House) -> None:
    house.predict(1.0)
    house.predictions.ingest()
    assert sums(house) == (1, 1, 0, 0)
    house.front.kill()
    house.predictions.ingest()
    assert sums(house) == (BLOCK, 1, BLOCK - 1, BLOCK - 1)


def test_rows_of_a_full_segment_that_were_written_into_the_next_one_are_not_lost(house: House) -> None:
    """Ids of the first segment, frames in the second, and a kill: the sum of both tells what is gone."""
    writer = house.front.writer
    house.predict(1.0)
    pending = writer.issue(10, Micros(50 * DAY))
    writer._end += 100 * 1024 * 1024  # as if it were full; the file itself is not touched
    house.predict(*[float(i) for i in range(10)], id=pending)
    house.predictions.ingest()
    assert len(segments_in(house.folder)) == 2
    house.front.kill()
    house.predictions.ingest()
    received, stored, dropped, lost = sums(house)
    assert (stored, dropped) == (11, lost)
    # `predict` asked for ten ids of its own in vain; and all of the second segment's block may have been given out.
    assert received == 21 + BLOCK


def test_P3_rows_whose_frames_were_damaged_count_as_lost(house: House) -> None:
    for value in (1.0, 2.0, 3.0):
        house.predict(value)
    house.front.writer.close()
    path = segments_in(house.folder)[0]
    data = bytearray(path.read_bytes())
    data[data.rindex(b"plain", 0, data.rindex(b"plain"))] ^= 1
    path.write_bytes(data)
    assert house.predictions.ingest().damaged == 1
    assert sums(house) == (3, 2, 1, 1)


def test_frames_whose_layout_was_damaged_are_counted_and_do_not_stop_the_others(house: House) -> None:
    house.predict(1.0, endpoint="flower")
    house.predict(2.0)
    path = segments_in(house.folder)[0]
    data = bytearray(path.read_bytes())
    data[data.index(b"flower")] ^= 1
    path.write_bytes(data)
    told = house.predictions.ingest()
    assert (told.predictions, told.damaged) == (1, 2), "the layout, and the row that needs it"
    assert house.predictions.counts(endpoint="wage").predictions == 1


def test_an_owner_that_begins_anew_knows_the_layouts_of_segments_it_read_before(house: House, tmp_path: Path) -> None:
    house.predict(1.0, names=["person", "x"], policy={"person": "hash"})
    house.predictions.ingest()
    again = Predictions(house.records, house.objects, house.folder)
    house.predict(2.0, names=["person", "x"], policy={"person": "hash"})
    assert again.ingest().predictions == 1
    assert house.reader.predictions(endpoint="wage")["value"].to_list() == [1.0, 2.0]


def test_a_folder_that_was_brought_back_from_a_backup_may_use_a_number_again(house: House) -> None:
    house.predict(1.0)
    house.predict(2.0)
    house.predictions.ingest()
    house.front.writer.close()
    segments_in(house.folder)[0].unlink()
    house.front = house.more()
    assert segments_in(house.folder)[0].stem == "000001"
    ids = [name for value in (3.0, 4.0, 5.0) for name in house.predict(value, at=60 * DAY)]
    assert house.predictions.ingest().predictions == 3
    assert house.predictions.find(prediction_id=ids[0]).prediction == 3.0


def old_frame(first: str, *values: Any, shadow: int | None = None) -> Predicted:
    return Predicted(
        id=first, key=first, endpoint="wage", at=50 * DAY, latency_us=5, shadow_version=shadow,
        outputs=[{"prediction": value, "probabilities": {"a": 0.5}} for value in values], versions=[1] * len(values),
        arms=["live"] * len(values), entities=[f"p{i}" for i in range(len(values))],
        inputs=[{"x": float(i), "job": "cook"} for i in range(len(values))],
    )  # fmt: skip


def test_segments_of_before_there_were_layouts_are_read_for_ever(house: House) -> None:
    """Bytes as the releases before wrote them, beside a new segment; both are one history."""
    writer = SegmentWriter(house.folder, LocalFiles())
    first = writer.issue(2, Micros(50 * DAY))
    writer.append(encode(old_frame(first, 1.0, "a", shadow=2)))
    outputs = [{"prediction": 5.0}, {"prediction": None, "error": "raised"}]
    writer.append(encode(OldShadowed(id=first, endpoint="wage", at=50 * DAY, version=2, outputs=outputs, latency_us=7)))
    writer.close()
    house.predict(3.0)
    report = house.predictions.ingest()
    assert (report.predictions, report.shadows) == (3, 2)
    frame = house.reader.predictions(endpoint="wage")
    assert frame["prediction"].to_list() == ["3", "1", '"a"']
    assert frame["shadow_value"].to_list() == [None, 5.0, None]
    assert frame["source"].to_list() == ["plain", None, None]
    assert house.reader.requests(frame) == [
        {"person": "p0", "x": 0.0}, {"x": 0.0, "job": "cook"}, {"x": 1.0, "job": "cook"},
    ]  # fmt: skip
    found = house.predictions.find(prediction_id=row_ids(first, 2)[1])
    assert (found.prediction, found.input, found.probabilities) == ("a", {"x": 1.0, "job": "cook"}, {"a": 0.5})
    assert (found.flags, found.interval, found.policy) == ([], None, {})


def test_everything_that_an_answer_says_is_found_again(house: House) -> None:
    flags = [[Flag(guard="range", action="fill", column="x", says="-1 is below 0")], []]
    ids = house.predict(
        "setosa", "virginica", endpoint="flower", classes=["setosa", "virginica"],
        probabilities=[[0.9, 0.1], [0.25, 0.75]], flags=flags, sets=[["setosa"], ["setosa", "virginica"]],
        versions=[3, 4], arms=["live", "canary"], latency_us=123, source="kserve 2", policy={"x": "drop"},
        rows=[["p", None], ["q", None]],
    )  # fmt: skip
    low = house.predict(2.5, intervals=[[1.5, 3.5]])
    one, two = (house.predictions.find(prediction_id=name) for name in ids)
    assert one.probabilities == {"setosa": 0.9, "virginica": 0.1}
    assert one.flags == [{"guard": "range", "action": "fill", "column": "x", "says": "-1 is below 0"}]
    assert (one.label_set, two.label_set) == (["setosa"], ["setosa", "virginica"])
    assert (two.version, two.arm, two.flags, two.source, two.latency_us) == (4, "canary", [], "kserve 2", 123)
    assert (one.policy, one.input, one.interval) == ({"x": "drop"}, {"person": "p", "x": None}, None)
    assert house.predictions.find(prediction_id=low[0]).interval == [1.5, 3.5]
    found = house.predictions.search(endpoint="flower", version=4)
    assert [row.id for row in found] == [ids[1]]
    assert [row.id for row in house.predictions.search(endpoint="flower", flagged=True)] == [ids[0]]


def test_the_newest_of_a_span_are_listed_over_many_tables(house: House) -> None:
    made = {}
    for day in (10, 30, 20, 40, 15):
        (made[day],) = house.predict(float(day), at=day * DAY)
        house.predictions.ingest()
    found = house.predictions.search(endpoint="wage", since=15 * DAY, until=40 * DAY, limit=2)
    assert [row.id for row in found] == [made[30], made[20]]
    assert [row.id for row in house.predictions.search(endpoint="wage", limit=3)] == [made[40], made[30], made[20]]


@pytest.mark.parametrize("number", [0, 5])
def test_a_layout_is_read_by_its_number(house: House, number: int) -> None:
    for i in range(number):
        house.front.writer.append(encode(Layout(number=50 + i, endpoint="other", names=["y"])))
    (name,) = house.predict(1.0)
    assert house.predictions.find(prediction_id=name).input == {"person": "p0", "x": 0.0}
