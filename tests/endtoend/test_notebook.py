"""`perennial.open()`: the same workspace in a Python session, alone and beside `perennial up`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import perennial

from .conftest import ROW, Project, Quick


def test_open_gives_models_runs_and_data_as_the_commands_show_them(
    quick: Quick, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick.write()
    quick.done("run")
    version = quick.done("models", "show", "line@1")
    monkeypatch.delenv("PERENNIAL_HOME", raising=False)
    monkeypatch.chdir(quick.folder)
    with perennial.open() as ws:
        assert {"models", "runs", "data", "endpoints"} <= set(dir(ws))
        assert str(quick.home) in repr(ws)
        assert [(found.name, found.version) for found in ws.models.list()] == [("line", 1)]
        run = ws.runs.get(run_id=version["run_id"])
        assert run.bundle == version["bundle"]
        assert "test/rmse" in run.metrics
        assert ws.datasets.get(name="line.rows").rows == 200
        with pytest.raises(AttributeError, match="it has data, runs, system, events, datasets"):
            _ = ws.modles
    assert quick.done("status")["needs"][0]["command"] == "perennial approve line@1", "closed, others may own it"


def test_a_session_beside_up_sees_the_same_and_disturbs_nothing(served: Project) -> None:
    code = (
        "import perennial\n"
        "with perennial.open() as ws:\n"
        "    print(ws.endpoints.get(name='line').live, ws.models.get(name='line', alias='live').version)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=served.folder, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["1", "1"]
    assert served.answer("line", ROW)["version"] == 1


def test_a_session_makes_a_workspace_where_there_is_none(tmp_path: Path) -> None:
    with perennial.open(tmp_path / "home") as ws:
        assert ws.models.list() == []
    assert (tmp_path / "home" / "workspace.json").exists()
