"""A stranger's first hour: the iris template from `init` to `down`, and what must not disturb it."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from .conftest import ROW, Project, Quick, until

FLOWER = {"sepal length (cm)": 6.1, "sepal width (cm)": 2.8, "petal length (cm)": 4.7, "petal width (cm)": 1.2}


def test_a_first_model_lives_from_init_to_down(quick: Quick) -> None:
    """The commands of the way itself are processes, as a person's are; those between only look."""
    written = quick.process("init", "--template", "iris", ".")
    assert (written.code, "next: perennial run" in written.out) == (0, True)
    again = quick.perennial("init", "--template", "iris", ".")
    assert (again.code, "nothing was written" in again.err) == (2, True)

    first = json.loads(quick.process("run", "--json").out)
    assert (first["state"], first["version"], first["is_new"]) == ("candidate", 1, True)
    second = quick.process("run")
    assert second.code == 0
    assert "iris version 1: candidate, as before" in second.out
    assert "ran flowers; unchanged: model" in second.out
    assert second.out.rstrip().endswith("to go on: perennial approve iris@1")
    assert quick.done("check")["passed"] is True

    told = quick.up()
    assert (told["endpoints"], told["needs"]) == ({}, 1)
    early = quick.ask("/predict/iris", {"records": [FLOWER]})
    assert (early.status, "endpoints here: none yet" in early.json["message"]) == (404, True)
    need = json.loads(quick.process("status", "--json").out)["needs"][0]
    assert quick.process(*need["command"].split()[1:]).code == 0
    answer = quick.answer("iris", FLOWER)
    assert answer["prediction"] == "versicolor"
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    assert quick.done("status")["needs"] == []

    file = quick.folder / "loop.py"
    file.write_text(file.read_text().replace("C: float = 1.0", "C: float = 0.1"))
    later = quick.done("run")
    assert (later["version"], later["state"]) == (2, "candidate")
    compared = next(verdict for verdict in later["verdicts"] if verdict["kind"] == "better_than_live")
    assert (compared["passed"], "live version 1" in compared["says"]) == (None, True)
    assert quick.answer("iris", FLOWER)["version"] == 1
    quick.done("approve", "iris")
    newer = quick.answer("iris", FLOWER, version=2)
    assert newer["probabilities"] != answer["probabilities"]

    assert json.loads(quick.process("rollback", "iris", "--json").out)["live"] == 1
    back = quick.answer("iris", FLOWER, version=1)
    assert back["probabilities"] == answer["probabilities"]
    nowhere = quick.perennial("rollback", "iris")
    assert (nowhere.code, "no earlier version" in nowhere.err) == (2, True)
    kinds = [event["kind"] for event in quick.done("log", "--limit", "0")]
    for kind in ("loop.added", "data.committed", "model.registered", "model.approved", "rollout.live"):
        assert kind in kinds
    assert "endpoint.rolled_back" in kinds

    assert "stopped" in quick.process("down").out
    assert quick.end(interrupt=False) == 0
    assert "nothing is up here" in quick.perennial("down").out
    assert quick.done("verify")["sound"]


def test_what_is_live_does_not_change_when_the_work_tree_does(served: Project) -> None:
    before = served.answer("line", ROW)
    loop = (served.folder / "loop.py").read_text()
    try:
        for text in (loop.replace("self.weights\n", "self.weights + 100\n"), "this is not Python", ""):
            (served.folder / "loop.py").write_text(text)
            now = served.answer("line", ROW)
            assert (now["prediction"], now["version"]) == (before["prediction"], before["version"])
        (served.folder / "loop.py").unlink()
        assert served.answer("line", ROW)["prediction"] == before["prediction"]
    finally:
        (served.folder / "loop.py").write_text(loop)
    assert until(lambda: served.done("status")["problems"] == [])


def test_F11_a_second_up_is_2_names_the_first_and_leaves_it_alone(served: Project) -> None:
    said = served.perennial("up", "--port", "0", "--serving-port", "0")
    assert said.code == 2
    assert f"process {served.told['pid']} at {served.told['address']}" in said.err
    assert "to go on: use it, or stop it with: perennial down" in said.err
    assert served.answer("line", ROW)["version"] == 1


@pytest.mark.parametrize("option, other", [("--port", "--serving-port"), ("--serving-port", "--port")])
def test_F12_a_busy_port_is_2_and_named_with_the_option_that_chooses_another(
    option: str, other: str, project: Project
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = project.perennial("up", option, str(port), other, "0", "--json")
    assert said.code == 2
    assert f"port {port} is in use" in said.json["error"]["what"]
    assert option in said.json["error"]["remedy"]
    twice = project.perennial("up", "--port", "5999", "--serving-port", "5999")
    assert (twice.code, "port 5999 cannot be used twice" in twice.err) == (2, True)


@pytest.mark.parametrize(
    "words",
    [
        ("status",), ("doctor",), ("verify",), ("log",), ("log", "model/line/1"), ("models", "list"),
        ("models", "show", "line"), ("runs", "list"), ("data", "list"), ("data", "show", "line.rows@1"),
        ("endpoints", "status"), ("endpoints", "history", "line"), ("init", "--list"), ("check",), ("run",),
    ],
)  # fmt: skip
def test_every_command_answers_in_words_and_with_json_in_json_alone(words: tuple[str, ...], served: Project) -> None:
    said, told = served.perennial(*words), served.perennial(*words, "--json")
    assert (said.code, told.code) == (0, 0), said.err
    assert said.out.strip()
    assert json.loads(told.out) is not None
    assert said.out != told.out


@pytest.mark.parametrize(
    "words, remedy",
    [
        (("approve", "line@9"), "perennial models list"),
        (("approve", "lime"), "perennial models list"),
        (("models", "show", "lime"), "perennial models list"),
        (("data", "show", "rows"), "perennial data list"),
        (("data", "accept", "line.rows"), "perennial data list line.rows"),
        (("runs", "show", "0" * 32), "perennial runs list"),
        (("runs", "log", "0" * 32), "perennial runs list"),
        (("rollback", "lime"), "perennial status"),
        (("deploy", "line@9"), "perennial models list"),
        (("deploy", "model.pkl"), "name a file"),
        (("endpoints", "history", "lime"), "perennial status"),
        (("models", "show", "line@one"), "perennial models list"),
        (("run", "other.py"), "name the file"),
        (("restore", "nowhere", "--home", "elsewhere"), "perennial backup"),
    ],
)
def test_what_is_not_there_is_2_with_how_to_find_it(words: tuple[str, ...], remedy: str, served: Project) -> None:
    said = served.perennial(*words, "--json")
    assert said.code == 2
    assert remedy in said.json["error"]["remedy"]


def test_F34_a_backup_taken_while_it_is_up_restores_to_the_same_workspace(served: Project, tmp_path: Path) -> None:
    version = served.done("models", "show", "line@1")
    served.done("backup", str(tmp_path / "copy"))
    again = served.perennial("backup", str(tmp_path / "copy"))
    assert (again.code, "name a new folder" in again.err) == (2, True)
    home = str(tmp_path / "restored")
    served.done("restore", str(tmp_path / "copy"), "--home", home)
    assert served.done("verify", "--home", home)["sound"]
    assert served.done("models", "show", "line@1", "--home", home) == version
    assert served.done("endpoints", "status", "--home", home)[0]["live"] == 1
