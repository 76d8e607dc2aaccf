"""Commands run in this process, in a project folder of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from perennial.cli.main import main


@dataclass
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Perennial = Callable[..., Said]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one."""
    monkeypatch.delenv("PERENNIAL_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def perennial(project: Path, capsys: pytest.CaptureFixture[str]) -> Perennial:
    """Runs a command there."""

    def run(*words: str) -> Said:
        capsys.readouterr()
        try:
            code = main(words)
        except SystemExit as end:  # argparse ends the process when the words make no sense
            code = end.code if isinstance(end.code, int) else 1
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run


@pytest.fixture
def candidate(project: Path) -> None:
    """A workspace with a candidate that passed, and one that was refused."""
    from perennial.api.connect import open
    from perennial.clock import SystemClock
    from perennial.models.facts.verdict import Verdict
    from perennial.store.workspace_folder import create_folder
    from tests.store.new_records import with_records

    sentence = "rmse at most 0.5"
    with_records(create_folder(project / ".perennial", now=SystemClock().now()))
    with open() as ws:
        for passed, says in ((True, "0.43"), (False, "0.61")):
            verdict = Verdict(
                kind="metric", sentence=sentence, passed=passed, says=says, evidence={"rmse": float(says)}
            )
            package = ws.objects.put(b'{"format":1,"files":{},"kind":"sklearn"}')
            ws.models.register(name="salary", package=package, origin="loop", verdicts=[verdict])
