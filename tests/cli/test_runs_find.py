"""The commands that find, hide and erase runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perennial.api import connect
from perennial.cli.main import main
from perennial.tracking.run import MetricPoint


@pytest.fixture
def home(tmp_path: Path) -> Path:
    with connect.open(tmp_path / ".perennial") as ws:
        for number in range(3):
            run = ws.runs.start(loop="pay", name=f"r{number}")
            point = MetricPoint(key="rmse", value=number / 10, at=1)
            ws.runs.log_metrics(run_id=run.id, metrics=[point])
    return tmp_path / ".perennial"


def told(capsys: pytest.CaptureFixture[str], home: Path, *words: str) -> object:
    assert main(["runs", *words, "--home", str(home), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_runs_are_found_hidden_brought_back_and_erased(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [row["name"] for row in told(capsys, home, "experiments")] == ["Default", "pay"]  # type: ignore[attr-defined]
    asked = ("search", "pay", "--filter", "metrics.rmse > 0.05", "--order", "metrics.rmse DESC")
    found = told(capsys, home, *asked)["runs"]  # type: ignore[index]
    assert [run["name"] for run in found] == ["r2", "r1"]
    assert main(["runs", "search", "pay", "--home", str(home)]) == 0
    assert "rmse" in capsys.readouterr().out
    run = found[0]["id"]
    told(capsys, home, "delete", run)
    assert [run["name"] for run in told(capsys, home, *asked)["runs"]] == ["r1"]  # type: ignore[index]
    told(capsys, home, "restore", run)
    told(capsys, home, "delete", run)
    assert told(capsys, home, "gc", "--dry-run") == {"runs": 1, "models": 0, "experiments": 0}
    assert told(capsys, home, "gc", "--older-than", "1") == {"runs": 0, "models": 0, "experiments": 0}
    assert told(capsys, home, "gc") == {"runs": 1, "models": 0, "experiments": 0}
    assert main(["runs", "restore", run, "--home", str(home)]) == 2
    assert "not found" in capsys.readouterr().err


def test_a_filter_that_cannot_be_read_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "search", "pay", "--filter", "rmse <", "--home", str(home)]) == 2
    assert "Invalid filter string" in capsys.readouterr().err
