"""What is written down of a prediction, from its declaration to the commands: policies, labels, persons' answers."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import pytest

from perennial.serve.segments import segments_in
from perennial.store.objects import ObjectStore

from .conftest import Answer, Project, Quick, until

SECRETS = {"person": "zaphod-beeblebrox-42", "email": "hidden-address@example.org", "note": "never-written-note"}
ROW = {**SECRETS, "a": 3.0, "b": 2.0}  # the truth is 8
CHANGES = (
    ("from perennial import Loop", "from perennial import Loop, guard"),
    ('target="y")', 'target="y", key="person")'),
    ("n % 5})", "n % 5, **{name: [f'{name} {i}' for i in n] for name in ('person', 'email', 'note')}})"),
    ('* pl.col("b"))', '* pl.col("b")).drop("email", "note")'),
    ("retrain.never())", "retrain.never())\nloop.guard(guard.range(action='abstain', columns=['a']))"),
    ("retrain.never())", "retrain.never())\nloop.capture(person='hash', email='mask', note='drop')"),
)
FAR = 1000.0  # an `a` that no training row comes near


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A loop that keeps three columns back and asks a person about numbers that it never saw."""
    project = Quick(tmp_path_factory.mktemp("captured"))
    project.write(*CHANGES)
    project.done("run")
    project.done("approve", "line@1")
    project.up()
    try:
        project.answer("line", ROW)
        yield project
    finally:
        project.end()


def ask_with_key(project: Project, body: bytes, key: str) -> Answer:
    address = urlsplit(project.told["serving"])
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=project.patience_s)
    try:
        connection.request("POST", "/predict/line", body, {"Idempotency-Key": key})
        response = connection.getresponse()
        return Answer(response.status, response.read())
    finally:
        connection.close()


def found(project: Project, prediction_id: str) -> Any:
    return project.done("log", "--prediction", prediction_id)


def labelled(project: Project, prediction_id: str) -> list[tuple[Any, str]]:
    """What was told of it; the owner takes up what came to the service every moment."""
    return [(label["value"], label["source"]) for label in found(project, prediction_id)["labels"]]


def test_what_a_loop_keeps_back_is_in_no_file_of_the_workspace_but_its_kind(captured: Project) -> None:
    """Every byte of segments, tables and records is looked through, compressed tables by their values."""
    answer = captured.answer("line", ROW)
    assert answer["prediction"] == pytest.approx(8), "the model is given the true values"
    told = found(captured, answer["id"])
    assert (told["input"]["a"], told["input"]["note"], told["input"]["email"]) == (3.0, None, "<text 16-31>")
    assert len(told["input"]["person"]) == 32
    assert (told["entity"], told["policy"]) == (
        told["input"]["person"], {"person": "hash", "email": "mask", "note": "drop"},
    )  # fmt: skip
    segments = b"".join(path.read_bytes() for path in segments_in(captured.home / "serving" / "segments"))
    assert all(shown.encode() in segments for shown in (answer["id"], told["input"]["person"], "<text 16-31>"))
    ids: set[str] = set()
    with ObjectStore(captured.home / "objects") as objects:
        for digest in objects.digests():
            data = objects.get(digest)
            if data.startswith(b"PAR1"):
                frame = pl.read_parquet(data)
                ids.update(frame["id"] if "input.a" in frame.columns else ())
                data = frame.write_json().encode()
            assert not [secret for secret in SECRETS.values() if secret.encode() in data]
    assert answer["id"] in ids, "the tables of predictions were looked through, too"
    for path in captured.home.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert not [secret for secret in SECRETS.values() if secret.encode() in data], path


def test_a_repeated_request_does_not_give_away_what_was_dropped(captured: Project) -> None:
    """The digest that tells a repetition from another request is keyed: trying all notes there could be finds none."""
    body = json.dumps({"records": [ROW]}).encode()
    first, again = (ask_with_key(captured, body, "the same") for _ in range(2))
    assert (first.status, again.status) == (200, 200)
    assert first.json["predictions"][0]["id"] == again.json["predictions"][0]["id"]
    other = ask_with_key(captured, json.dumps({"records": [ROW | {"note": "another"}]}).encode(), "the same")
    assert (other.status, "used for another request" in other.json["message"]) == (409, True)
    guessed = blake2b(body, digest_size=16).hexdigest().encode()
    for path in segments_in(captured.home / "serving" / "segments"):
        assert guessed not in path.read_bytes()


def test_labels_that_clients_send_join_by_id_and_by_the_entity_whose_column_is_hashed(captured: Project) -> None:
    one, other = captured.answer("line", ROW | {"person": "f1"}), captured.answer("line", ROW | {"person": "f2"})
    labels = {"labels": [{"id": one["id"], "label": 8.5}, {"entity": "f2", "label": 9.5}]}
    sent = captured.ask("/feedback/line", labels)
    assert (sent.status, sent.json["accepted"]) == (202, 2)
    until(lambda: labelled(captured, one["id"]) == [(8.5, "service")], "the label by id")
    until(lambda: labelled(captured, other["id"]) == [(9.5, "service")], "the label by entity")


@pytest.mark.parametrize(
    "body, says, where",
    [
        ({"labels": [{"id": "no id", "label": 1.0}]}, "is no id of a prediction", "labels[0].id"),
        ({"labels": [{"label": 1.0}]}, "either an id or an entity", "labels[0]"),
        ({"labels": []}, "", "labels"),
        ({"labels": [{"entity": "f1", "label": [1]}]}, "", "labels[0].label"),
        (b"{", "not JSON", ""),
    ],
)
def test_a_label_that_says_nothing_is_a_4xx_that_points_at_it(
    body: object, says: str, where: str, captured: Project
) -> None:
    answer = captured.ask("/feedback/line", body)
    assert answer.status in (400, 422)
    assert says in answer.json["message"]
    assert answer.json.get("where", "") == where


def test_labels_in_a_file_join_by_the_entities_own_key(captured: Project) -> None:
    answer = captured.answer("line", ROW | {"person": "filed"})
    file = captured.folder / "truth.csv"
    file.write_text("who,truth\nfiled,8.25\n")
    words = ("label", "import", file.name, "--endpoint", "line", "--entity", "who", "--label", "truth")
    assert captured.done(*words) == {"accepted": 1, "revised": 0, "repeated": 0}
    assert captured.done(*words) == {"accepted": 0, "revised": 0, "repeated": 1}
    assert labelled(captured, answer["id"]) == [(8.25, "")]
    file.write_text("who,truth\nnobody,8.25\n")
    said = captured.perennial(*words)
    assert (said.code, "nobody" in said.err, "to go on" in said.err) == (2, True, True), said.err


def test_a_prediction_left_to_a_person_is_answered_by_one_and_told_to_the_caller(captured: Project) -> None:
    answer = captured.ask("/predict/line", {"records": [ROW | {"a": FAR, "person": "far"}]})
    assert answer.status == 200
    row = answer.json["predictions"][0]
    assert row["prediction"] is None
    assert [(flag["guard"], flag["action"]) for flag in row["flags"]] == [("range", "abstain")]
    waiting = captured.ask(f"/answers/{row['id']}", method="GET")
    assert (waiting.status, waiting.json["status"]) == (202, "waiting")
    until(lambda: row["id"] in {one["id"] for one in captured.done("endpoints", "queue", "line")}, "the question")
    listed = captured.perennial("endpoints", "queue", "line").out
    assert row["id"] in listed
    assert "any value" in listed
    said = captured.done("endpoints", "answer", row["id"], "1994.5", "--comment", "measured")
    assert (said["value"], said["comment"]) == (1994.5, "measured")
    told = captured.ask(f"/answers/{row['id']}", method="GET")
    assert (told.status, told.json["status"], told.json["value"], told.json["comment"]) == (
        200, "answered", 1994.5, "measured",
    )  # fmt: skip
    assert told.json["by"] == said["by"] != ""
    assert row["id"] not in {one["id"] for one in captured.done("endpoints", "queue", "line")}
    assert [one["id"] for one in captured.done("endpoints", "queue", "line", "--answered")] == [row["id"]]
    assert labelled(captured, row["id"]) == [(1994.5, "person")]
    other = captured.perennial("endpoints", "answer", row["id"], "7")
    assert (other.code != 0, "was answered by" in other.err) == (True, True), other.err
    words = captured.perennial("log", "--prediction", row["id"]).out
    for part in ("guard range: abstain a", "note = None  (drop)", "left to a person by range: 1994.5", "label 1994"):
        assert part in words


def test_what_became_of_every_row_is_told_and_the_newest_are_listed(captured: Project) -> None:
    row = captured.answer("line", ROW)
    flagged = captured.ask("/predict/line", {"records": [ROW | {"a": FAR}]}).json["predictions"][0]
    until(
        lambda: flagged["id"] in {one["id"] for one in captured.done("endpoints", "predictions", "line")}, "both rows"
    )
    newest = captured.done("endpoints", "predictions", "line", "--limit", "2")
    assert [one["id"] for one in newest] == sorted((one["id"] for one in newest), reverse=True)
    ids = {one["id"] for one in captured.done("endpoints", "predictions", "line", "--limit", "1000")}
    assert {row["id"], flagged["id"]} <= ids
    for words, is_left, is_answered in ((("--flagged",), True, False), (("--version", "1"), False, True)):
        only = {one["id"] for one in captured.done("endpoints", "predictions", "line", "--limit", "1000", *words)}
        assert (flagged["id"] in only, row["id"] in only) == (is_left, is_answered), "no version answered what was left"
    assert captured.done("endpoints", "predictions", "line", "--until", "2001-01-01") == []
    told = captured.done("endpoints", "captured")
    accounts = told["accounts"]
    assert accounts["received"] == accounts["stored"] + accounts["dropped"] + accounts["pending"]
    assert accounts["stored"] >= len(ids)
    (line,) = told["endpoints"]
    assert line["waiting"] >= 1
    words = captured.perennial("endpoints", "captured").out
    assert "received = " in words
    assert "wait for a person" in words
