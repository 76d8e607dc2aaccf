"""A prediction that a guard leaves to a person: it waits, is answered once, is told to the caller and is the label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from perennial.capture.records import queue
from perennial.errors import Conflict, Invalid, NotFound, StoreError
from perennial.serve.answer import Flag
from perennial.serve.feeding import ANSWER_LASTS_US, answer_path, read_answer
from perennial.store import failpoints
from perennial.store.actor import acting
from perennial.store.events import Events

from .conftest import DAY, House

ASK = Flag(guard="unforeseen", action="abstain", says="nothing like it was in training (p = 0.0004)")
FLAG = Flag(guard="range", action="flag", column="x", says="12 is above 9")


def abstain(house: House, **told: Any) -> str:
    """Three rows, of which the second is left to a person."""
    ids = house.predict(
        "setosa", None, "virginica", endpoint="flower", classes=["setosa", "virginica"], errors=None, at=99 * DAY,
        flags=[[FLAG], [FLAG, ASK], []], **told,
    )  # fmt: skip
    return ids[1]


def test_a_row_on_which_a_guard_abstains_waits_for_a_person(house: House) -> None:
    name = abstain(house)
    house.predictions.ingest()
    (asked,) = house.predictions.waiting(endpoint="flower")
    assert (asked.id, asked.endpoint, asked.guard, asked.classes) == (
        name,
        "flower",
        "unforeseen",
        ["setosa", "virginica"],
    )
    assert (asked.says, asked.at, asked.value, asked.is_expired) == (ASK.says, 99 * DAY, None, False)
    assert house.predictions.counts(endpoint="flower").waiting == 1
    assert house.predictions.waiting(endpoint="wage") == []
    found = house.predictions.find(prediction_id=name)
    assert (found.prediction, found.error, found.question) == (None, None, asked)


def test_a_persons_answer_is_told_to_the_caller_kept_and_is_the_label(house: House) -> None:
    name = abstain(house)
    serving = house.folder.parent
    assert read_answer(serving, name) is None
    with acting("maria", "here"):
        said = house.predictions.answer(prediction_id=name, value="virginica", comment="narrow petals")
    assert (said.value, said.comment, said.answered) == ("virginica", "narrow petals", house.clock.now())
    assert said.by == "maria via here"
    told = read_answer(serving, name)
    assert told is not None
    assert (told.id, told.endpoint, told.value, told.by) == (name, "flower", "virginica", said.by)
    assert (told.comment, told.at) == ("narrow petals", house.clock.now())
    found = house.predictions.find(prediction_id=name)
    assert [(label.value, label.source) for label in found.labels] == [("virginica", "person")]
    assert house.predictions.waiting(endpoint="flower") == []
    assert house.predictions.waiting(endpoint="flower", answered=True) == [said]
    events = Events(house.records)
    assert [event.kind for event in events.list(subject="endpoint/flower")] == ["prediction.answered"]
    assert events.verify() == []


def test_F14_an_answer_may_be_sent_again_and_not_be_changed(house: House) -> None:
    name = abstain(house)
    first = house.predictions.answer(prediction_id=name, value="setosa")
    assert house.predictions.answer(prediction_id=name, value="setosa") == first
    with pytest.raises(Conflict, match="was answered by"):
        house.predictions.answer(prediction_id=name, value="virginica")
    assert len(Events(house.records).list(subject="endpoint/flower")) == 1


@pytest.mark.parametrize(
    "classes, value, said",
    [([1, 2], "2", 2), (["1", "2"], 2, "2"), ([True, False], "True", True), (None, 7.5, 7.5), ([1.5, 2], 2, 2)],
)
def test_a_label_is_known_by_its_text(house: House, classes: list[Any] | None, value: Any, said: Any) -> None:
    (name,) = house.predict(None, classes=classes, errors=None, flags=[[ASK]], at=99 * DAY)
    answered = house.predictions.answer(prediction_id=name, value=value)
    assert (answered.value, type(answered.value)) == (said, type(said))


@pytest.mark.parametrize("value", ["rose", 3, float("nan"), True])
def test_what_is_no_label_of_the_endpoint_is_refused(house: House, value: Any) -> None:
    name = abstain(house)
    with pytest.raises(Invalid, match=r"no label of|finite"):
        house.predictions.answer(prediction_id=name, value=value)
    assert read_answer(house.folder.parent, name) is None


@pytest.mark.parametrize("name", ["0" * 26, "../../spec", "", "0001017df8000000010000000é"])
def test_only_what_was_asked_can_be_answered(house: House, name: str) -> None:
    abstain(house)
    with pytest.raises(NotFound, match="no person was asked"):
        house.predictions.answer(prediction_id=name, value="setosa")
    assert read_answer(house.folder.parent, name) is None
    assert answer_path(house.folder.parent, "../../spec") is None


def test_an_answer_whose_file_was_not_written_is_told_at_the_next_look(house: House) -> None:
    name = abstain(house)
    house.predictions.ingest()
    failpoints.arm("files.atomic.synced=error@1")
    with pytest.raises((StoreError, OSError)):
        house.predictions.answer(prediction_id=name, value="setosa")
    failpoints.arm("")
    assert read_answer(house.folder.parent, name) is None
    house.predictions.tend()
    told = read_answer(house.folder.parent, name)
    assert told is not None
    assert told.value == "setosa"


def test_an_answer_can_be_asked_for_and_a_question_waits_for_thirty_days(house: House) -> None:
    name, other = abstain(house), abstain(house)
    house.predictions.answer(prediction_id=name, value="setosa")
    house.clock.advance(ANSWER_LASTS_US / 1e6 - 86_400 * 2)
    house.predictions.tend()
    assert read_answer(house.folder.parent, name) is not None
    assert [asked.id for asked in house.predictions.waiting(endpoint="flower")] == [other]
    house.clock.advance(86_400 * 3)
    house.predictions.tend()
    assert read_answer(house.folder.parent, name) is None
    assert house.predictions.waiting(endpoint="flower") == []
    assert house.predictions.counts(endpoint="flower").waiting == 0
    question = house.predictions.find(prediction_id=other).question
    assert question is not None
    assert question.is_expired
    assert house.predictions.find(prediction_id=name).label == "setosa"


def test_questions_are_taken_up_with_their_segment_and_once(house: House) -> None:
    for _ in range(3):
        abstain(house)
        for _ in range(2):
            house.predictions.ingest()
    count = sa.select(sa.func.count()).select_from(queue)
    assert house.records.read(lambda c: c.execute(count).scalar()) == 3


def test_the_answers_are_for_their_user_alone(house: House) -> None:
    name = abstain(house)
    house.predictions.answer(prediction_id=name, value="setosa")
    path = answer_path(house.folder.parent, name)
    assert isinstance(path, Path)
    assert path.stat().st_mode & 0o777 == 0o600
