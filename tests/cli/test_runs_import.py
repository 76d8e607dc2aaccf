"""`perennial runs import` says what came, what did not, and its exit code says whether all is well."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perennial.cli.main import main
from tests.tracking.importing.mlflow_database import Database

RUN, OTHER = "a" * 32, "b" * 32


@pytest.fixture
def foreign(tmp_path: Path) -> Database:
    database = Database(tmp_path / "mlflow.db")
    database.experiment(1, "digits")
    database.run(RUN)
    database.point(RUN, "loss", 0.5)
    return database


def test_a_store_is_imported_and_its_runs_are_listed(
    foreign: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = str(tmp_path / "home")
    assert main(["runs", "import", str(foreign.path), "--home", home, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["runs"] == 1
    assert not Path(home).exists()

    assert main(["runs", "import", str(foreign.path), "--home", home]) == 0
    assert "1 runs (1 added)" in capsys.readouterr().out
    assert main(["runs", "import", str(foreign.path), "--home", home, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outcomes"] == {"runs": {"same": 1}}
    assert main(["runs", "list", "--home", home, "--json"]) == 0
    assert [run["id"] for run in json.loads(capsys.readouterr().out)] == [RUN]


def test_P5_a_damaged_run_is_named_and_the_exit_code_says_so(
    foreign: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign.run(OTHER, status="EXPLODED")
    assert main(["runs", "import", str(foreign.path), "--home", str(tmp_path / "home")]) == 1
    told = capsys.readouterr().out
    assert "1 problem; everything else is here:" in told
    assert f"run {OTHER}: its status is 'EXPLODED'" in told
