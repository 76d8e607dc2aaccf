"""The owner's side: segments are taken up exactly once, labels join late, everything is found again."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest

from perennial.capture.predictions import LabelIn, Predictions
from perennial.capture.reading import PredictionReader
from perennial.errors import Conflict, Invalid, NotFound, StoreError
from perennial.serve.segments import segments_in
from perennial.store import failpoints
from perennial.store.objects import ObjectStore
from perennial.store.records import Records

from .conftest import DAY, House


def test_what_the_service_wrote_is_taken_up_once(house: House) -> None:
    house.predict(1.5, 2.0, None)
    house.predict("a", endpoint="flower")
    first = house.predictions.ingest()
    assert (first.predictions, first.shadows, first.pending_bytes, first.dropped_bytes, first.damaged) == (
        4,
        0,
        0,
        0,
        0,
    )
    assert house.predictions.ingest().predictions == 0
    house.predict(3.0)
    assert house.predictions.ingest().predictions == 1
    counts = house.predictions.counts(endpoint="wage")
    assert (counts.predictions, counts.errors) == (4, 1)
    assert house.predictions.counts(endpoint="flower").predictions == 1
    assert house.predictions.counts(endpoint="nothing").predictions == 0
    frame = house.reader.predictions(endpoint="wage")
    assert frame["prediction"].to_list() == ["1.5", "2", None, "3"]
    assert frame["value"].to_list() == [1.5, 2.0, None, 3.0]
    assert frame["entity"].to_list() == ['"p0"', '"p1"', '"p2"', '"p0"']


@pytest.mark.parametrize(
    "fault", ["objects.pack.appended=error@1", "objects.pack.synced=error@1", "records.committing=error@1"]
)
def test_a_fault_between_object_and_record_loses_and_doubles_nothing(house: House, fault: str) -> None:
    house.predict(1.0, 2.0)
    failpoints.arm(fault)
    with pytest.raises((StoreError, OSError)):
        house.predictions.ingest()
    failpoints.arm("")
    records = house.records.path
    house.records.close()
    house.records = Records.open(f"sqlite:///{records}", clock=house.clock)
    objects = ObjectStore(house.folder.parent / "objects")
    again = Predictions(house.records, objects, house.folder)
    again.ingest()
    assert again.ingest().predictions == 0
    assert again.counts(endpoint="wage").predictions == 2
    assert PredictionReader(objects, again).predictions(endpoint="wage").height == 2


def test_many_threads_that_take_up_at_once_count_once(house: House) -> None:
    for i in range(50):
        house.predict(float(i))
    threads = [threading.Thread(target=house.predictions.ingest) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert house.predictions.counts(endpoint="wage").predictions == 50


def test_P3_a_cut_tail_is_dropped_and_counted_and_one_that_is_being_written_waits(house: House) -> None:
    house.predict(1.0)
    path = segments_in(house.folder)[0]
    with path.open("ab") as file:
        file.write(b"\x50\x00\x00\x00half")
    told = house.predictions.ingest()
    assert (told.predictions, told.pending_bytes, told.dropped_bytes) == (1, 8, 0)
    house.front.kill()
    house.front = house.more()
    house.predict(2.0)
    told = house.predictions.ingest()
    assert (told.predictions, told.pending_bytes, told.dropped_bytes) == (1, 0, 8)
    assert house.predictions.ingest().dropped_bytes == 0, "it is counted once"


def test_a_damaged_frame_is_counted_and_hides_no_other(house: House) -> None:
    house.predict(1.0)
    house.predict(77.0)
    house.predict(3.0)
    path = segments_in(house.folder)[0]
    data = bytearray(path.read_bytes())
    data[data.rindex(b"plain", 0, data.rindex(b"plain"))] ^= 1
    path.write_bytes(data)
    told = house.predictions.ingest()
    assert (told.predictions, told.damaged) == (2, 1)


def test_shadow_answers_join_their_prediction(house: House) -> None:
    first, second = house.predict(1.0, 2.0, shadow_version=2)
    house.predictions.ingest()
    assert house.predictions.counts(endpoint="wage").shadow_pending == 2
    assert house.reader.predictions(endpoint="wage")["shadow_value"].to_list() == [None, None]
    house.front.shadow(first, 1.1, 2.2)
    house.predictions.ingest()
    assert house.predictions.counts(endpoint="wage").shadow_pending == 0
    assert house.reader.predictions(endpoint="wage")["shadow_value"].to_list() == [1.1, 2.2]
    assert house.predictions.find(prediction_id=second).shadow_prediction == 2.2


def test_F16_labels_come_late_twice_and_contradict(house: House) -> None:
    a, b = house.predict(1.0, 2.0)
    assert house.label(**{a: 1.5}) == (1, 0, 0)
    assert house.label(**{a: 1.5, b: 2}) == (1, 0, 1)
    house.clock.advance(86_400)
    assert house.label(**{a: 9.0}) == (1, 1, 0)
    assert house.label(**{a: 9}) == (0, 0, 1)
    counts = house.predictions.counts(endpoint="wage")
    assert (counts.labelled, counts.revisions, counts.latest_label_seq) == (2, 3, 3)
    assert [
        (row.prediction_id, row.revision, row.value) for row in house.predictions.labels_between(endpoint="wage")
    ] == [
        (a, 1, 1.5),
        (b, 1, 2),
        (a, 2, 9),
    ]
    found = house.predictions.find(prediction_id=a)
    assert (found.label, len(found.labels), found.input, found.entity) == (9, 2, {"person": "p0", "x": 0.0}, "p0")
    now = house.reader.predictions(endpoint="wage")
    assert now["label_value"].to_list() == [9.0, 2.0]
    then = house.reader.predictions(endpoint="wage", until=house.clock.now())
    assert then["label_value"].to_list() == [1.5, 2.0], "a label of this moment is not seen by a view of this moment"


def test_F16_an_unknown_prediction_is_named_and_nothing_of_the_call_is_kept(house: House) -> None:
    (a,) = house.predict(1.0)
    (other,) = house.predict(1.0, endpoint="other")
    for unknown in ("0" * 26, "nonsense", other):
        with pytest.raises(NotFound, match=unknown) as told:
            house.label(**{a: 1.0, unknown: 2.0})
        assert told.value.where == "labels[1]"
    assert house.predictions.counts(endpoint="wage").revisions == 0


@pytest.mark.parametrize("value", ["text", True, float("nan"), float("inf")])
def test_a_label_of_another_kind_than_the_prediction_is_refused(house: House, value: Any) -> None:
    (a,) = house.predict(1.0)
    with pytest.raises(Invalid, match=r"the label of|finite"):
        house.label(**{a: value})


def test_F14_a_repeated_call_counts_once_also_after_a_correction(house: House) -> None:
    (a,) = house.predict(1.0)
    labels = [LabelIn(prediction_id=a, value=1.0)]
    first = house.predictions.label(endpoint="wage", labels=labels, key="call 1")
    house.label(**{a: 2.0})
    assert house.predictions.label(endpoint="wage", labels=labels, key="call 1") == first
    assert house.predictions.find(prediction_id=a).label == 2
    with pytest.raises(Conflict):
        house.predictions.label(endpoint="wage", labels=[LabelIn(prediction_id=a, value=3.0)], key="call 1")


def test_a_span_of_time_holds_exactly_its_rows_in_their_order(house: House) -> None:
    for day in (3, 1, 2, 1):
        house.predict(float(day), at=day * DAY)
        house.predictions.ingest()
    frame = house.reader.predictions(endpoint="wage", since=1 * DAY, until=3 * DAY)
    assert frame["value"].to_list() == [1.0, 1.0, 2.0]
    assert [chunk.rows for chunk in house.predictions.chunks(endpoint="wage", since=3 * DAY)] == [1]


def test_an_unknown_prediction_is_not_found_and_a_new_one_is_at_once(house: House) -> None:
    with pytest.raises(NotFound, match="nothing"):
        house.predictions.find(prediction_id="nothing")
    (a,) = house.predict("setosa", at=50 * DAY)
    found = house.predictions.find(prediction_id=a)
    assert (found.prediction, found.version, found.arm, found.at) == ("setosa", 1, "live", 50 * DAY)


def test_an_interval_without_ends_and_an_empty_set_are_answers_and_no_interval_is_none(house: House) -> None:
    """The level of intervals follows those, too: what holds everything misses nothing, what holds nothing misses."""
    ids = house.predict(1.0, 2.0, 3.0, 4.0, intervals=[[None, None], [0.5, None], None, [3.0, 5.0]])
    sets = house.predict("a", "b", "c", endpoint="letters", sets=[[], None, ["c"]])
    house.predictions.ingest()
    rows = house.reader.predictions(endpoint="wage").sort("id")
    assert rows["low"].to_list() == [-math.inf, 0.5, None, 3.0]
    assert rows["high"].to_list() == [math.inf, math.inf, None, 5.0]
    told = [house.predictions.find(prediction_id=id_).interval for id_ in ids]
    assert told == [[None, None], [0.5, None], None, [3.0, 5.0]]
    assert house.reader.predictions(endpoint="letters").sort("id")["label_set"].to_list() == ["[]", None, '["c"]']
    assert [house.predictions.find(prediction_id=id_).label_set for id_ in sets] == [[], None, ["c"]]
