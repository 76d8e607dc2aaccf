"""F15, F16: labels that clients send to the service: late, early, unknown, contradictory, repeated, in any order."""

from __future__ import annotations

import random

import pytest

from perennial.capture.feedback import FEEDBACK_WAITS_US, KEYS_LAST_US
from perennial.capture.predictions import LabelIn
from perennial.errors import Invalid, NotFound
from perennial.serve.privacy import Privacy, workspace_secret
from perennial.store.files import LocalFiles

from .conftest import DAY, House


def became(house: House) -> dict[str, int]:
    counts = house.predictions.counts(endpoint="wage").feedback
    return {name: count for name in counts.__struct_fields__ if (count := getattr(counts, name))}


def test_F16_a_label_that_comes_before_its_prediction_is_taken_up_waits_and_is_joined(house: House) -> None:
    """The answer's process and the label's are two; here the answer is written down after the label was read."""
    early, late = house.more(), house.more()
    first = late.writer.issue(1, house.clock.now())
    early.feed(7.0, key="k", at=house.clock.now(), prediction=first)
    assert house.predictions.ingest().feedback == 1
    assert became(house) == {"waiting": 1}
    late.answer(6.0, id=first)
    house.predictions.ingest()
    assert became(house) == {"joined": 1}
    found = house.predictions.find(prediction_id=first)
    assert [(label.value, label.source) for label in found.labels] == [(7, "service")]


def test_F16_a_label_of_no_prediction_is_counted_as_unknown_after_a_day(house: House) -> None:
    house.front.feed(1.0, key="k", at=house.clock.now(), prediction="0" * 26)
    house.predictions.ingest()
    assert became(house) == {"waiting": 1}
    house.clock.advance(FEEDBACK_WAITS_US / 1e6 + 1)
    house.predictions.ingest()
    assert became(house) == {"unknown": 1}


@pytest.mark.parametrize("value", ["text", True, None, float("inf"), [1.0]])
def test_F16_what_is_no_label_of_this_model_is_refused_and_told(house: House, value: object) -> None:
    (a,) = house.predict(1.0)
    house.front.feed(value, key="k", at=house.clock.now(), prediction=a)
    house.predictions.ingest()
    assert became(house) == {"refused": 1}
    assert house.predictions.counts(endpoint="wage").revisions == 0


def test_F14_a_key_counts_once_also_with_another_value(house: House) -> None:
    (a,) = house.predict(1.0)
    other = house.more()
    for front, value in ((house.front, 5.0), (house.front, 5.0), (other, 6.0)):
        front.feed(value, key="the same", at=house.clock.now(), prediction=a)
        house.predictions.ingest()
    assert house.predictions.find(prediction_id=a).label == 5
    assert became(house) == {"joined": 1}


def test_a_label_by_the_entity_is_about_its_latest_prediction_before_it(house: House) -> None:
    other = house.more()
    (first,) = house.predict(1.0, at=10 * DAY, entities=["ann"])
    (second,) = other.answer(2.0, at=20 * DAY, entities=["ann"])
    (third,) = house.predict(3.0, at=30 * DAY, entities=["ann"])
    house.predict(4.0, at=25 * DAY, entities=["bob"])
    house.predictions.ingest()
    for at, value in ((15, 1.5), (29, 2.5), (5, 0.5)):
        house.front.feed(value, key=f"at {at}", at=at * DAY, entity='"ann"')
    house.front.feed(9.0, key="who", at=90 * DAY, entity='"carl"')
    house.predictions.ingest()
    labels = {name: house.predictions.find(prediction_id=name).label for name in (first, second, third)}
    assert labels == {first: 1.5, second: 2.5, third: None}
    assert became(house) == {"joined": 2, "unknown": 2}, "carl is not known, and ann was not before day 10"


def test_a_label_by_the_entity_finds_a_prediction_that_was_written_but_not_yet_taken_up(house: House) -> None:
    """The label's segment is read before the answer's, as the first of two."""
    other = house.more()
    house.front.feed(5.0, key="k", at=60 * DAY, entity='"ann"')
    (name,) = other.answer(4.0, at=50 * DAY, entities=["ann"])
    house.predictions.ingest()
    assert house.predictions.find(prediction_id=name).label == 5


def test_an_entity_that_is_kept_as_a_hash_is_found_by_its_key(house: House) -> None:
    secret = workspace_secret(house.folder.parent, LocalFiles())
    privacy = Privacy(["person", "x"], {"person": "hash"}, key="person", secret=secret)
    rows = [list(row) for row in privacy.rows([["ann", 1.0]])]
    assert "ann" not in str(rows)
    (name,) = house.predict(1.0, rows=rows, policy=privacy.policy)
    house.front.feed(5.0, key="k", at=60 * DAY, entity=privacy.entity("ann"))
    house.predictions.ingest()
    assert house.predictions.find(prediction_id=name).label == 5
    told = house.predictions.label(endpoint="wage", labels=[LabelIn(entity="ann", value=6.0)])
    assert (told.accepted, told.revised) == (1, 1)
    assert house.predictions.find(prediction_id=name).label == 6
    assert b"ann" not in b"".join(path.read_bytes() for path in house.folder.glob("*"))


def test_labels_by_entity_are_told_to_the_owner_too(house: House) -> None:
    (first,) = house.predict(1.0, at=10 * DAY, entities=["ann"])
    (second,) = house.predict(2.0, at=20 * DAY, entities=["ann"])
    given = [LabelIn(entity="ann", value=1.5, at=11 * DAY), LabelIn(entity="ann", value=2.5)]
    assert house.predictions.label(endpoint="wage", labels=given).accepted == 2
    assert house.predictions.find(prediction_id=first).label == 1.5
    assert house.predictions.find(prediction_id=second).label == 2.5
    with pytest.raises(NotFound, match="nobody"):
        house.predictions.label(endpoint="wage", labels=[LabelIn(entity="nobody", value=1.0)])
    for wrong in (LabelIn(value=1.0), LabelIn(prediction_id=first, entity="ann", value=1.0)):
        with pytest.raises(Invalid, match="a prediction or an entity"):
            house.predictions.label(endpoint="wage", labels=[wrong])


@pytest.mark.parametrize("seed", range(6))
def test_F15_in_whichever_order_labels_are_taken_up_the_one_that_came_last_counts(house: House, seed: int) -> None:
    """Each label goes to one of three processes, some twice; ingests fall anywhere. The oracle sorts them by time."""
    shuffled = random.Random(seed)
    fronts = [house.front, house.more(), house.more()]
    ids = [house.predict(1.0)[0] for _ in range(5)]
    stream = [(ids[shuffled.randrange(5)], 100 * DAY + at, float(shuffled.randrange(4))) for at in range(40)]
    truth = {name: value for name, _, value in stream}
    sent = stream + shuffled.sample(stream, 15)
    shuffled.shuffle(sent)
    for name, at, value in sent:
        shuffled.choice(fronts).feed(value, key=f"{name} {at}", at=at, prediction=name)
        if shuffled.random() < 0.3:
            house.predictions.ingest()
    house.predictions.ingest()
    assert {name: house.predictions.find(prediction_id=name).label for name in truth} == truth
    assert sum(became(house).values()) == 40, "each of them once, with what became of it"
    assert "waiting" not in became(house)
    frame = house.reader.predictions(endpoint="wage")
    assert {
        name: value for name, value in zip(frame["id"], frame["label_value"], strict=True) if value is not None
    } == truth


def test_what_became_of_a_label_is_forgotten_after_a_week_and_the_label_stays(house: House) -> None:
    (a,) = house.predict(1.0)
    house.front.feed(5.0, key="k", at=house.clock.now(), prediction=a)
    house.predictions.ingest()
    house.clock.advance(KEYS_LAST_US / 1e6 + 1)
    house.predictions.tend()
    assert became(house) == {}
    assert house.predictions.find(prediction_id=a).label == 5


def test_thousands_of_labels_are_joined_in_one_go(house: House) -> None:
    ids = [name for _ in range(3) for name in house.predict(*[float(i) for i in range(1000)])]
    for name in ids:
        house.front.feed(1.0, key=f"of {name}", at=house.clock.now(), prediction=name)
    house.predictions.ingest()
    assert became(house) == {"joined": 3000}
    assert house.reader.predictions(endpoint="wage")["label_value"].to_list() == [1.0] * 3000
