"""`perennial data validate`, `quarantine` and `accept`: what differs, what was kept out, what passes all the same."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from perennial.api.connect import open
from perennial.data.forms.toml import to_toml
from perennial.data.schema import Column, Schema, Violation
from perennial.data.tables import write_table

from .conftest import Perennial

TRIPS = Schema(
    columns=[
        Column(name="fare", type="float64", at_least=0.0, drift_limit=0.1),
        Column(name="how", type="string", categories=["card", "cash"]),
        Column(name="tips", type="float64", absent_in=["serving"]),
    ]
)
GOOD = pl.DataFrame({"fare": [1.0, 2.0], "how": ["card", "cash"], "tips": [0.0, 1.0]})


@pytest.fixture
def files(project: Path) -> Path:
    (project / "trips.toml").write_text(to_toml(TRIPS))
    GOOD.write_csv(project / "good.csv")
    GOOD.with_columns(fare=-pl.col("fare"), how=pl.lit("coin")).write_csv(project / "bad.csv")
    GOOD.drop("tips").write_csv(project / "serving.csv")
    return project


@pytest.mark.usefixtures("files")
def test_a_file_is_checked_against_a_schema_in_a_file(perennial: Perennial, project: Path) -> None:
    good = perennial("data", "validate", "good.csv", "--schema", "trips.toml")
    assert (good.code, good.out.splitlines()[1:]) == (0, ["nothing differs from the schema"])
    bad = perennial("data", "validate", "bad.csv", "--schema", "trips.toml")
    assert bad.code == 1
    assert bad.out.splitlines()[1:] == [
        "error: column 'fare' has 2 values below 0: -1.0 (row 0), -2.0 (row 1)",
        "warning: column 'how' has 1 value never seen in 2 rows: 'coin' (row 0)",
    ]
    assert not (project / ".perennial").exists(), "looking makes no workspace"


@pytest.mark.usefixtures("files")
def test_the_answer_as_json_holds_counts_and_rows(perennial: Perennial) -> None:
    told = perennial("data", "validate", "bad.csv", "--schema", "trips.toml", "--json", "--examples", "1").json
    assert (told["acceptable"], told["rows"], told["environment"]) == (False, 2, "training")
    assert told["violations"][0] | {"says": ""} == {
        "column": "fare",
        "kind": "limit",
        "severity": "error",
        "says": "",
        "count": 2,
        "share": 1.0,
        "rows": [0],
        "values": ["-1.0"],
    }


@pytest.mark.usefixtures("files")
def test_an_environment_may_lack_the_target(perennial: Perennial) -> None:
    words = ("data", "validate", "serving.csv", "--schema", "trips.toml")
    assert perennial(*words, "--environment", "serving").code == 0
    assert "error: column 'tips' is gone" in perennial(*words).out


@pytest.mark.usefixtures("files")
def test_drift_is_measured_against_another_table(perennial: Perennial) -> None:
    GOOD.with_columns(fare=pl.col("fare") + 100).write_csv("later.csv")
    told = perennial("data", "validate", "later.csv", "--schema", "trips.toml", "--against", "good.csv").out
    assert "column 'fare' is 1 from good.csv (Jensen-Shannon), at most 0.1 is expected" in told


@pytest.mark.usefixtures("files")
def test_a_table_without_a_schema_is_wrong_use(perennial: Perennial) -> None:
    told = perennial("data", "validate", "good.csv")
    assert (told.code, "--schema" in told.err) == (2, True)
    assert perennial("data", "validate", "good.csv", "--schema", "none.toml").code == 2


@pytest.fixture
def versions(project: Path) -> None:
    """A version that was accepted and kept rows out, and a draft that proposes another schema."""
    with open() as ws:
        quarantine, _ = write_table(
            pl.DataFrame({"fare": [-1.0], "how": ["card"], "reasons": ["fare is below 0: -1.0"]}).to_arrow(), ws.objects
        )
        for table, state in ((GOOD, "accepted"), (GOOD.rename({"tips": "tip"}), "draft")):
            manifest, logical = write_table(table.to_arrow(), ws.objects)
            schema = Schema(columns=[Column(name=name, type=str(kind).lower()) for name, kind in table.schema.items()])
            version = ws.datasets.commit(
                name="trips",
                manifest=manifest,
                logical=logical,
                rows=2,
                schema=schema,
                state=state,
                quarantine=quarantine if state == "accepted" else None,
                violations=[Violation(column="tips", kind="lost", severity="error", says="gone")],
            )
            shown = TRIPS if state == "accepted" else schema
            ws.schemas.propose(name="trips", schema=shown, dataset_version=version.version)


@pytest.mark.usefixtures("versions")
def test_a_version_is_checked_against_the_accepted_schema(perennial: Perennial) -> None:
    assert perennial("data", "validate", "trips").code == 0
    assert perennial("data", "validate", "trips@2").code == 1


@pytest.mark.usefixtures("versions")
def test_a_draft_is_accepted_with_the_schema_that_it_proposes(perennial: Perennial) -> None:
    told = perennial("data", "accept", "trips@2")
    assert (told.code, len(told.out.splitlines())) == (0, 2)
    assert "schema 2 of trips is accepted, by " in told.out
    assert perennial("data", "validate", "trips@2").code == 0
    again = perennial("data", "accept", "trips@2", "--json")
    assert (again.code, again.json["state"], again.json["accepted_schema"]) == (0, "accepted", None)
    assert perennial("data", "accept", "trips").code == 2


@pytest.mark.usefixtures("versions")
def test_rows_that_were_kept_out_are_shown_and_written(perennial: Perennial, project: Path) -> None:
    told = perennial("data", "quarantine", "trips", "--out", "out.csv")
    assert told.code == 0
    assert told.out.splitlines()[0] == "1 row kept out of trips@1"
    assert "fare is below 0: -1.0" in told.out
    assert pl.read_csv(project / "out.csv").rows() == [(-1.0, "card", "fare is below 0: -1.0")]
    assert perennial("data", "quarantine", "trips@1", "--json").json["shown"][0]["how"] == "card"
    assert perennial("data", "quarantine", "trips@2").out == "no rows were kept out of trips@2\n"
    assert perennial("data", "quarantine", "trips", "--out", "out.doc").code == 2
