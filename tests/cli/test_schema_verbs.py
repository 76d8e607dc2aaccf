"""`perennial data schema`: from a table to a file to a decision, and out again."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Literal

import polars as pl
import pytest
from msgspec.structs import replace

from perennial.api.connect import open
from perennial.data.forms.toml import from_toml, to_toml
from perennial.data.schema import Column, Schema, Violation

from .conftest import Perennial

WAGES = Schema(
    columns=[
        Column(name="person", type="int64", unique=True),
        Column(name="wage", type="float64", nullable=True, at_least=0.0),
        Column(name="state", type="string", categories=["CA", "NY"]),
    ]
)
LESS = replace(WAGES, columns=WAGES.columns[:2])


@pytest.fixture
def wages(project: Path) -> None:
    """A workspace with a schema."""
    with open() as ws:
        ws.schemas.propose(name="wages", schema=WAGES, dataset_version=1)


@pytest.fixture
def waiting(wages: None) -> None:
    """Another one that new data propose."""
    with open() as ws:
        ws.schemas.propose(name="wages", schema=LESS, dataset_version=2)


def test_from_a_table_to_a_schema_that_holds(perennial: Perennial, project: Path) -> None:
    pl.DataFrame({"person": [1, 2, 3], "wage": [1.5, None, 2.5]}).write_parquet(project / "wages.parquet")
    inferred = perennial("data", "schema", "infer", "wages.parquet")
    assert inferred.code == 0
    assert [column.type for column in from_toml(inferred.out).columns] == ["int64", "float64"]
    assert not (project / ".perennial").exists(), "looking makes no workspace"
    saved = perennial("data", "schema", "infer", "wages.parquet", "--save", "wages")
    assert saved.code == 0
    assert "schema 1 of wages is accepted, by rule: first schema" in saved.out
    assert perennial("data", "schema", "show", "wages", "--toml").out == to_toml(from_toml(inferred.out), name="wages")


@pytest.mark.usefixtures("wages")
def test_a_schema_is_shown_short_whole_and_as_json(perennial: Perennial) -> None:
    short = perennial("data", "schema", "show", "wages").out
    assert short.startswith("schema 1 of wages: accepted by rule: first schema, ")
    assert 'state = { type = "string", categories = ["CA", "NY"] }' in short
    assert "#   nullable" not in short
    assert from_toml(perennial("data", "schema", "show", "wages", "--toml").out) == WAGES
    assert perennial("data", "schema", "show", "wages", "--json").json["state"] == "accepted"
    assert perennial("data", "schema", "--json", "show", "wages").json["version"] == 1


@pytest.mark.usefixtures("wages")
def test_an_edit_is_a_reviewable_diff_then_a_proposal_then_a_decision(perennial: Perennial, project: Path) -> None:
    file = project / "wages.toml"
    file.write_text(to_toml(WAGES).replace('"CA", "NY"', '"CA", "NY", "TX"').replace("unique = true", "unique = false"))
    dry = perennial("data", "schema", "edit", "wages", "wages.toml", "--dry-run")
    assert dry.out.splitlines() == [
        "breaking: what relies on the schema before may fail",
        "  ~ person: repeats values, had none twice",
        "compatible:",
        "  ~ state: 1 more categories: 'TX'",
    ]
    assert len(perennial("data", "schema", "list", "wages", "--json").json) == 1, "a dry run proposes nothing"
    told = perennial("data", "schema", "edit", "wages", "wages.toml")
    assert told.out.splitlines()[-1] == (
        "schema 2 of wages is proposed, and waits: perennial data schema accept wages 2"
    )
    assert perennial("data", "schema", "diff", "wages").out.splitlines()[1:] == dry.out.splitlines()
    assert "is accepted, by " in perennial("data", "schema", "accept", "wages").out
    back = perennial("data", "schema", "diff", "wages", "2", "1", "--json").json
    assert [(change["column"], change["breaking"]) for change in back["changes"]] == [
        ("person", False),
        ("state", False),
    ]
    listed = perennial("data", "schema", "list", "wages").out.splitlines()
    assert listed[1].split()[:5] == ["wages", "2", "accepted", "2", "1"]


@pytest.mark.usefixtures("wages")
def test_an_edit_from_standard_input_is_accepted_at_once_when_asked(
    perennial: Perennial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(to_toml(LESS)))
    told = perennial("data", "schema", "set", "wages", "-", "--accept", "--json")
    assert (told.code, told.json["schema"]["state"], told.json["changes"][0]["mark"]) == (0, "accepted", "-")
    assert [event["kind"] for event in perennial("log", "--json").json][-2:] == ["schema.proposed", "schema.decided"]


@pytest.mark.usefixtures("wages")
def test_the_same_schema_again_is_no_difference(perennial: Perennial, project: Path) -> None:
    (project / "same.toml").write_text(to_toml(WAGES))
    told = perennial("data", "schema", "edit", "wages", "same.toml", "--json").json
    assert (told["changes"], told["schema"]["version"]) == ([], 1)


@pytest.mark.usefixtures("waiting")
def test_a_rejected_proposal_does_not_hold(perennial: Perennial) -> None:
    assert perennial("data", "schema", "reject", "wages", "2", "--json").json["state"] == "rejected"
    assert perennial("data", "schema", "show", "wages", "--json").json["version"] == 1
    late = perennial("data", "schema", "accept", "wages", "2")
    assert late.code == 2
    assert "is rejected by" in late.err


@pytest.mark.usefixtures("waiting")
def test_status_says_that_a_schema_waits_and_how_to_settle_it(perennial: Perennial) -> None:
    [need] = perennial("status", "--json").json["needs"]
    assert (need["kind"], need["subject"]) == ("schema", "wages")
    assert need["says"] == "wages@2 proposes schema 2: 1 change, 1 breaking"
    assert need["command"] == "perennial data schema diff wages, then accept or reject"
    perennial("data", "schema", "accept", "wages", "2")
    assert "nothing needs a person" in perennial("status").out


@pytest.mark.usefixtures("waiting")
def test_status_names_a_draft_once_until_it_is_accepted_or_newer_data_are(perennial: Perennial) -> None:
    def commit(version: int, state: Literal["draft", "accepted"]) -> None:
        lost = Violation(column="state", kind="lost", severity="error", says="column 'state' is gone")
        digest = f"{version}" * 64
        with open() as ws:
            ws.datasets.commit(
                name="wages", logical=digest, manifest=digest, rows=1, schema=LESS, state=state, violations=[lost]
            )

    commit(1, "accepted")
    commit(2, "draft")
    [need] = perennial("status", "--json").json["needs"]
    assert (need["kind"], need["subject"], need["says"]) == (
        "draft", "wages@2", "is a draft: column 'state' is gone",
    )  # fmt: skip
    assert need["command"].startswith("perennial data accept wages@2")
    commit(3, "accepted")
    assert [need["kind"] for need in perennial("status", "--json").json["needs"]] == ["schema"]


@pytest.mark.usefixtures("wages")
def test_a_slip_in_the_file_names_the_line_and_proposes_nothing(perennial: Perennial, project: Path) -> None:
    (project / "wages.toml").write_text(to_toml(WAGES).replace("at_least", "at_lest"))
    said = perennial("data", "schema", "edit", "wages", "wages.toml")
    assert said.code == 2
    assert "columns.wage.at_lest" in said.err
    assert "did you mean 'at_least'?" in said.err
    assert len(perennial("data", "schema", "list", "--json").json) == 1


@pytest.mark.usefixtures("wages")
@pytest.mark.parametrize("form", ["toml", "json-schema", "pandera"])
def test_what_is_exported_can_be_imported(form: str, perennial: Perennial, project: Path) -> None:
    (project / "file").write_text(perennial("data", "schema", "export", "wages", "--as", form).out)
    told = perennial("data", "schema", "import", "other", "file", "--from", form, "--json").json
    assert [column["name"] for column in told["schema"]["schema"]["columns"]] == ["person", "wage", "state"]
    assert told["lost"] == []


def test_a_schema_of_tfdv_is_imported_and_what_is_lost_is_told(perennial: Perennial, project: Path) -> None:
    (project / "schema.pbtxt").write_text(
        'feature { name: "fare" type: FLOAT presence { min_fraction: 1 min_count: 1 } annotation { tag: "x" } }'
    )
    said = perennial("data", "schema", "import", "taxi", "schema.pbtxt", "--from", "tfdv")
    assert said.code == 0
    assert "not taken over: feature 'fare': annotation (line 1)" in said.err
    assert "the first schema of taxi: 1 column" in said.out


@pytest.mark.usefixtures("wages")
@pytest.mark.parametrize(
    "words, says",
    [
        (["show", "nothing"], "perennial data schema infer nothing --save nothing"),
        (["show", "wages", "--version", "9"], "no schema 9"),
        (["diff", "wages"], "waits for a decision"),
        (["accept", "wages"], "waits for a decision"),
        (["edit", "wages", "nothing.toml"], "cannot be read"),
        (["edit", "wages", "latin"], "not UTF-8"),
        (["import", "wages", "text", "--from", "json-schema"], "not JSON"),
        (["import", "wages", "text", "--from", "pandera"], "not pandera's YAML"),
        (["import", "wages", "text", "--from", "tfdv"], "line 1"),
    ],
)
def test_what_cannot_be_done_is_2_and_says_why(
    words: list[str], says: str, perennial: Perennial, project: Path
) -> None:
    (project / "latin").write_bytes(b"\xff")
    (project / "text").write_text("a b c")
    said = perennial("data", "schema", *words)
    assert said.code == 2
    assert says in said.err


@pytest.mark.usefixtures("waiting")
def test_with_two_that_wait_the_version_has_to_be_named(perennial: Perennial, project: Path) -> None:
    (project / "more.toml").write_text(to_toml(replace(WAGES, min_rows=5)))
    perennial("data", "schema", "edit", "wages", "more.toml")
    assert "schemas 2 and 3 of 'wages' wait" in perennial("data", "schema", "accept", "wages").err


def test_a_dry_run_makes_no_workspace(perennial: Perennial, project: Path) -> None:
    (project / "wages.toml").write_text(to_toml(WAGES))
    assert perennial("data", "schema", "edit", "wages", "wages.toml", "--dry-run").code == 2
    assert not (project / ".perennial").exists()


@pytest.mark.usefixtures("wages")
def test_json_schema_is_exported_for_an_environment(perennial: Perennial, project: Path) -> None:
    (project / "a.toml").write_text(to_toml(WAGES).replace("at_least = 0.0", 'absent_in = ["serving"]'))
    perennial("data", "schema", "edit", "wages", "a.toml", "--accept")
    for environment, required in (("serving", ["person", "state"]), ("training", ["person", "wage", "state"])):
        said = perennial("data", "schema", "export", "wages", "--as", "json-schema", "--environment", environment)
        assert json.loads(said.out)["required"] == required
