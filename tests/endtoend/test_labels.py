"""Labels for predictions that were made, and the way back from one prediction to everything behind it."""

from __future__ import annotations

from typing import Any

from .conftest import ROW, Project


def imported(served: Project, name: str, *rows: tuple[str, object]) -> Any:
    file = served.folder / f"{name}.csv"
    file.write_text("prediction_id,label\n" + "".join(f"{id_},{value}\n" for id_, value in rows))
    return served.perennial("label", "import", file.name, "--endpoint", "line", "--json")


def test_labels_come_late_twice_and_corrected(served: Project) -> None:
    id_ = served.answer("line", ROW)["id"]
    assert imported(served, "first", (id_, 8.5)).json == {"accepted": 1, "revised": 0, "repeated": 0}
    assert imported(served, "first", (id_, 8.5)).json == {"accepted": 0, "revised": 0, "repeated": 1}
    assert imported(served, "second", (id_, 9.5)).json == {"accepted": 1, "revised": 1, "repeated": 0}
    assert imported(served, "first", (id_, 8.5)).json == {"accepted": 1, "revised": 1, "repeated": 0}, "taken back"
    labels = served.done("log", "--why", id_)["prediction"]["labels"]
    assert [label["value"] for label in labels] == [8.5, 9.5, 8.5]


def test_a_label_for_an_unknown_prediction_is_2_and_none_of_its_file_is_taken(served: Project) -> None:
    id_ = served.answer("line", ROW)["id"]
    said = imported(served, "unknown", (id_, 8.5), ("not-a-prediction", 8.5))
    assert said.code == 2
    assert "there is no prediction 'not-a-prediction' of endpoint 'line'" in said.err
    assert "where: labels[1]" in said.err
    assert "to go on: use the id that came with the prediction" in said.err
    assert said.json["error"]["error"] == "NotFound"
    assert served.done("log", "--why", id_)["prediction"]["labels"] == []


def test_labels_that_cannot_be_true_values_are_2_with_the_remedy(served: Project) -> None:
    id_ = served.answer("line", ROW)["id"]
    for name, value, says in (("text", "abc", "the model predicts a number"), ("inf", "inf", "NaN or infinite")):
        said = imported(served, name, (id_, value))
        assert (said.code, says in said.err, "to go on" in said.err) == (2, True, True), said.err
    missing = served.perennial("label", "import", "nowhere.csv", "--endpoint", "line")
    assert (missing.code, "there is no such file" in missing.err, "to go on" in missing.err) == (2, True, True)
    assert served.done("log", "--why", id_)["prediction"]["labels"] == []


def test_why_leads_from_a_prediction_to_version_run_code_data_and_approval(served: Project) -> None:
    answer = served.answer("line", ROW)
    found = served.done("log", "--why", answer["id"])
    assert found["prediction"]["input"] == ROW
    assert found["prediction"]["prediction"] == answer["prediction"]
    version = served.done("models", "show", "line@1")
    assert version.pop("lineage")["run"]["id"] == version["run_id"]
    assert found["version"] == version
    assert version["decided_by"]
    assert found["run"] == served.done("runs", "show", version["run_id"])
    assert found["run"]["bundle"] == version["bundle"]
    assert {**found["data"], "tags": []} == served.done("data", "show", "line.rows@1")
    assert [event["kind"] for event in found["events"]] == ["model.registered", "model.approved"]
    told = served.perennial("log", "--why", answer["id"]).out
    for part in ("line@1", version["run_id"], version["bundle"][:12], "line.rows version 1", "decided by"):
        assert part in told


def test_why_of_a_prediction_that_was_not_made_is_2(served: Project) -> None:
    said = served.perennial("log", "--why", "nothing")
    assert (said.code, "there is no prediction 'nothing'" in said.err) == (2, True)


def test_what_is_asked_is_compared_with_what_was_trained_on(served: Project) -> None:
    for a in range(7):
        served.answer("line", {"a": float(a), "b": 2.0})
    found = served.perennial("data", "skew", "line", "--json")
    assert found.json["lost"] == ["y"]
    assert found.json["requests"] >= 7
    assert {column["column"] for column in found.json["drift"]} == {"a", "b"}
