"""The README's code runs as it stands, and its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from perennial.api import connect
from perennial.cli.main import COMMANDS
from perennial.demo.world import World
from perennial.renew.training import run_loop

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_loop_in_the_readme_trains_a_candidate(tmp_path: Path) -> None:
    loop, _ = blocks("python")
    (tmp_path / "loop.py").write_text(loop)
    (tmp_path / "data").mkdir()
    World(0).first_rows().write_parquet(tmp_path / "data" / "first.parquet")
    with connect.open(tmp_path / ".perennial") as ws:
        outcome = run_loop(ws, tmp_path, None, lambda _: None)
    assert (outcome.name, outcome.version, outcome.state) == ("salary", 1, "candidate")


def test_the_logging_in_the_readme_is_there_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, logging = blocks("python")
    monkeypatch.chdir(tmp_path)
    exec(compile(logging, "README.md", "exec"), {})
    with connect.open() as ws:
        (run,) = ws.runs.list(loop="first")
    assert {key: run.metrics[key].value for key in ("loss", "acc")} == {"loss": 0.5, "acc": 0.9}
    assert (run.status, run.params) == ("finished", {"depth": "3"})


def test_each_command_in_the_readme_exists() -> None:
    named = re.findall(r"^perennial (\w+)", "\n".join(blocks("sh")), re.MULTILINE)
    assert len(named) >= 6
    assert set(named) <= set(COMMANDS)
