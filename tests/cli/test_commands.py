"""What each command does, prints and ends with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial.api.connect import open
from perennial.cli.main import COMMANDS, parser_of
from perennial.cli.output import table
from perennial.store.owner import OwnerLock
from perennial.types import Micros

from .conftest import Perennial


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_json(command: str, perennial: Perennial) -> None:
    said = perennial(command, "--help")
    assert said.code == 0
    parsers = [parser_of(command)]
    for action in parsers[0]._actions:
        parsers += getattr(action, "choices", None).values() if hasattr(action, "_parser_class") else []  # type: ignore[union-attr]
    assert any("--json" in parser.format_help() for parser in parsers)


def test_the_overview_names_every_command(perennial: Perennial) -> None:
    said = perennial()
    assert said.code == 0
    assert all(command in said.out for command in COMMANDS)


@pytest.mark.parametrize("words", [["explode"], ["up", "--port", "x"], ["models"], ["models", "explode"], ["approve"]])
def test_words_that_make_no_sense_are_2(words: list[str], perennial: Perennial) -> None:
    said = perennial(*words)
    assert (said.code, said.out) == (2, "")
    assert "usage" in said.err


@pytest.mark.parametrize(
    "words", [["status"], ["models", "list"], ["log"], ["verify"], ["down"], ["approve", "salary"]]
)
def test_without_a_workspace_a_command_makes_none_and_says_how_to(
    words: list[str], perennial: Perennial, project: Path
) -> None:
    said = perennial(*words)
    assert (said.code, said.out) == (2, "")
    assert "perennial run" in said.err
    assert list(project.iterdir()) == []


def test_errors_are_json_with_json(perennial: Perennial) -> None:
    told = perennial("status", "--json").json["error"]
    assert told["error"] == "NotFound"
    assert told["remedy"]


@pytest.mark.usefixtures("candidate")
def test_status_says_what_needs_a_person_and_how_to_settle_it(perennial: Perennial) -> None:
    said = perennial("status")
    assert said.code == 0
    assert "perennial approve salary@1" in said.out
    assert "salary@2" not in said.out, "a refused one waits for nobody"
    assert [need["kind"] for need in perennial("status", "--json").json["needs"]] == ["approval"]


@pytest.mark.usefixtures("candidate")
def test_approving_is_recorded_by_name_and_once(perennial: Perennial) -> None:
    said = perennial("approve", "salary", "--comment", "fine", "--json")
    assert (said.code, said.json["version"], said.json["state"], said.json["comment"]) == (0, 1, "approved", "fine")
    assert perennial("approve", "salary@1").code == 0, "again changes nothing"
    assert perennial("log").out.count("model.approved") == 1
    assert "via cli" in perennial("log").out


@pytest.mark.usefixtures("candidate")
def test_a_version_that_failed_a_requirement_is_1_and_names_the_evidence(perennial: Perennial) -> None:
    said = perennial("approve", "salary@2")
    assert said.code == 1
    assert "0.61" in said.err


@pytest.mark.usefixtures("candidate")
def test_rejecting_and_what_is_not_there(perennial: Perennial) -> None:
    assert perennial("reject", "salary", "--comment", "worse").code == 0
    assert perennial("models", "show", "salary@1", "--json").json["state"] == "rejected"
    assert perennial("approve", "salary@1").code == 2
    assert perennial("approve", "salary").code == 2
    assert perennial("approve", "nothing@1").code == 2
    assert perennial("approve", "salary@x").code == 2
    assert perennial("rollback", "salary").code == 2


@pytest.mark.usefixtures("candidate")
def test_models_are_listed_and_shown_with_their_verdicts(perennial: Perennial) -> None:
    listed = perennial("models", "list")
    assert [line.split()[0] for line in listed.out.splitlines()] == ["model", "salary@1", "salary@2"]
    assert "FAILED  rmse at most 0.5: 0.61" in perennial("models", "show", "salary").out
    assert [version["version"] for version in perennial("models", "list", "salary", "--json").json] == [1, 2]


@pytest.mark.usefixtures("candidate")
def test_the_log_is_the_time_line_newest_last(perennial: Perennial) -> None:
    perennial("approve", "salary@1")
    kinds = [event["kind"] for event in perennial("log", "--json").json]
    assert kinds == ["model.registered", "model.refused", "model.approved"]
    assert [event["seq"] for event in perennial("log", "--limit", "1", "--json").json] == [3]
    assert len(perennial("log", "model/salary/1", "--json").json) == 2
    assert perennial("log", "--why", "nothing").code == 2


@pytest.mark.usefixtures("candidate")
def test_empty_lists_say_what_fills_them(perennial: Perennial) -> None:
    for noun in ("data", "runs"):
        said = perennial(noun, "list")
        assert said.code == 0
        assert "perennial run" in said.out
        assert perennial(noun, "list", "--json").json == []
    assert perennial("endpoints", "status").code == 0


@pytest.mark.usefixtures("candidate")
def test_the_status_of_endpoints_says_who_is_stopped_and_who_is_left_alone(perennial: Perennial, project: Path) -> None:
    from perennial.api.connect import open

    with open() as ws:
        signature = ws.objects.put(b'{"task": "regression"}')
        package = ws.objects.put(json.dumps({"format": 1, "files": {"signature.json": [signature, 1]}}).encode())
        made = ws.models.register(name="salary", package=package, origin="loop")
    assert perennial("approve", f"salary@{made.version}").code == 0
    assert perennial("deploy", f"salary@{made.version}").code == 0
    said = perennial("endpoints", "status").out.splitlines()
    assert (said[0].split()[-1], said[1].split()[-1]) == ("answers", "yes")
    status = {"revision": 1, "seen": 1, "pid": 1, "address": "", "ready": True, "received": 0, "stored": 0}
    status |= {"dropped": 0, "pending": 0, "shadow_pending": 0}
    broken = {"live": 1, "broken": ["live"], "breakers": {"live": "open"}}
    path = project / ".perennial" / "serving" / "status.json"
    path.write_text(json.dumps(status | {"endpoints": {"salary": broken}}))
    assert perennial("endpoints", "status").out.splitlines()[1].endswith("live: breaker open")
    (told,) = perennial("endpoints", "status", "--json").json
    assert told["running"]["breakers"] == {"live": "open"}
    assert perennial("endpoints", "stop", "salary", "--reason", "the prices are wrong").code == 0
    assert perennial("endpoints", "status").out.splitlines()[1].endswith("stopped: the prices are wrong")


def test_init_writes_a_template_and_never_over_anything(perennial: Perennial, project: Path) -> None:
    templates = perennial("init", "--list", "--json").json["templates"]
    assert "salary" in templates
    said = perennial("init", "fresh", "--json")
    assert said.code == 0
    assert (project / "fresh" / "loop.py").is_file()
    before = (project / "fresh" / "loop.py").read_text()
    (project / "fresh" / "loop.py").write_text(before + "# mine\n")
    again = perennial("init", "fresh")
    assert again.code == 2
    assert "here already" in again.err
    assert "loop.py" in again.err
    assert (project / "fresh" / "loop.py").read_text().endswith("# mine\n")
    assert perennial("init", "other", "--template", "nothing").code == 2
    assert not (project / "other").exists()


@pytest.mark.usefixtures("candidate")
def test_F34_backup_restore_and_verify(perennial: Perennial, project: Path) -> None:
    assert perennial("verify").code == 0
    assert perennial("backup", "copy").code == 0
    assert perennial("backup", "copy").code == 2, "there is something already"
    assert perennial("restore", "copy").code == 2, "there is a workspace already"
    assert perennial("restore", "copy", "--home", "again").code == 0
    assert perennial("verify", "--home", "again", "--json").json["sound"]
    listed = [perennial("models", "list", "--home", home, "--json").json for home in (".perennial", "again")]
    assert listed[0] == listed[1]


@pytest.mark.usefixtures("candidate")
def test_verify_says_no_when_a_byte_changed(perennial: Perennial, project: Path) -> None:
    with open() as ws:
        ws.objects.put(b"something worth keeping" * 10)
    for pack in (project / ".perennial" / "objects" / "packs").iterdir():
        data = bytearray(pack.read_bytes())
        if data:
            data[len(data) // 2] ^= 1
            pack.write_bytes(data)
    said = perennial("verify")
    assert said.code == 1
    assert "damaged" in said.out


@pytest.mark.usefixtures("candidate")
def test_doctor_looks_at_everything_and_tells_settings_with_their_origin(
    perennial: Perennial, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERENNIAL_PORT", "5555")
    said = perennial("doctor", "--json")
    assert said.code == 0, said.out
    whats = [finding["what"] for finding in said.json["findings"]]
    assert whats == [
        "perennial", "python", "sqlite", "workspace", "disk", "permissions", "owner", "processes", "predictions",
        "records",
    ]  # fmt: skip
    port = next(setting for setting in said.json["settings"] if setting["name"] == "port")
    assert (port["value"], port["unit"], port["origin"]) == (5555, "port", "PERENNIAL_PORT")
    (project / ".perennial").chmod(0o777)
    assert perennial("doctor").code == 1
    assert "chmod go-w" in perennial("doctor").out


def test_F09_doctor_names_the_build_of_sqlite(perennial: Perennial) -> None:
    import sqlite3

    assert f"sqlite: {sqlite3.sqlite_version}" in perennial("doctor").out


def test_doctor_without_a_workspace_is_1_and_says_how_to_make_one(perennial: Perennial) -> None:
    said = perennial("doctor")
    assert said.code == 1
    assert "perennial run" in said.out


def test_F12_a_setting_that_makes_no_sense_is_2(perennial: Perennial, project: Path) -> None:
    (project / "pyproject.toml").write_text("[tool.perennial]\ncolour = 3\n")
    said = perennial("status")
    assert said.code == 2
    assert "colour" in said.err


@pytest.mark.usefixtures("candidate")
@pytest.mark.parametrize(
    "name, text, says",
    [
        ("labels.txt", "x", "cannot read .txt"),
        ("labels.csv", "a,b\n1,2\n", "there is no column 'prediction_id'"),
        ("labels.csv", "prediction_id,label\n1,\n", "1 of 1 rows have no prediction_id or no label"),
        ("labels.csv", "prediction_id,label\n1,2\n", "1"),
        ("labels.parquet", "nonsense", "cannot read the table"),
    ],
)
def test_labels_that_cannot_be_taken_are_2_and_nothing_is_stored(
    name: str, text: str, says: str, perennial: Perennial, project: Path
) -> None:
    (project / name).write_text(text)
    said = perennial("label", "import", name, "--endpoint", "salary")
    assert said.code == 2
    assert says in said.err
    assert perennial("label", "import", "missing.csv", "--endpoint", "salary").code == 2


def test_a_table_has_aligned_columns_and_one_line_for_each_row() -> None:
    rows = [{"a": 1.23456789, "b": "two\nlines"}, {"a": None, "b": ""}]
    assert list(table(rows, {"a": "first", "b": "second"})) == ["first    second", "1.23457  two lines", "-        -"]


@pytest.fixture
def owned(project: Path) -> Iterator[None]:
    """A workspace that a process which does not listen has open."""
    with open():
        pass
    with OwnerLock(project / ".perennial") as lock:
        lock.acquire(now=Micros(0))
        yield


@pytest.mark.usefixtures("owned")
def test_a_workspace_that_somebody_has_open_without_listening_is_2_and_named(
    perennial: Perennial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perennial.api.connect.PATIENCE_S", 0.1)
    said = perennial("models", "list")
    assert said.code == 2
    assert "does not listen" in said.err
    assert json.loads(perennial("doctor", "--json").out)["findings"][6]["what"] == "owner"
