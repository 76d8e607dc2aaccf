"""A user's project in a folder: commands, `perennial up` in the background, plain HTTP.

A command is a process of its own where the process is the point; else it runs in this one, which has imported already
what a new process would spend most of its time on.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import pytest

from perennial.cli.main import main

COMMAND = (sys.executable, "-m", "perennial")
# A user's: what is compiled once stays compiled, or each of these many processes would do it again.
ENVIRONMENT = {
    name: os.environ[name] for name in os.environ if name not in ("PERENNIAL_HOME", "PYTHONDONTWRITEBYTECODE")
}
PATIENCE_S = 180.0  # the machine may be busy; nothing waits longer than it needs
ROW = {"a": 3.0, "b": 2.0}  # a row of the loop below, for which the truth is 8

# A loop that needs no library of models, so that a turn of it takes a moment.
LOOP = '''\
"""A line through the points."""

import numpy as np
import polars as pl

from perennial import Loop, require, retrain

loop = Loop("line", target="y")


class Line:
    def __init__(self, X, y):
        self.weights = np.linalg.lstsq(self.design(X), np.asarray(y), rcond=None)[0]

    def predict(self, X):
        return self.design(X) @ self.weights

    def design(self, X):
        return np.column_stack([np.ones(len(X)), np.asarray(X, dtype=float)])


@loop.collect
def rows():
    n = np.arange(200)
    return pl.DataFrame({"a": n % 7 * 1.0, "b": n % 5 * 1.0, "y": n % 7 * 2.0 + n % 5})


@loop.step
def kept(rows):
    return rows.filter(pl.col("a") >= 0)


@loop.features
def features(kept):
    return kept.with_columns(ab=pl.col("a") * pl.col("b"))


@loop.train
def model(X, y, *, power: float = 1.0):
    return Line(X, y)


loop.require(require.better_than_baseline("rmse"))
loop.retrain(retrain.never())
'''


def until(claim: Callable[[], Any], what: str = "it", *, within_s: float = PATIENCE_S) -> Any:
    """Wait until this is true; what it gave."""
    ends = time.monotonic() + within_s
    while not (found := claim()):
        assert time.monotonic() < ends, f"{what} did not become true in {within_s:.0f} s"
        time.sleep(0.05)
    return found


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Answer:
    """What the service answered."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Project:
    """A folder with a `loop.py`, and what its user does there."""

    patience_s = PATIENCE_S  # for a command, an answer, an end; more where it trains on real data or starts a toolkit

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / ".perennial"
        self.told: dict[str, Any] = {}
        self._up: subprocess.Popen[str] | None = None

    def perennial(self, *words: str, **environment: str) -> Said:
        """Run a command here."""
        return self.process(*words, **environment)

    def process(self, *words: str, **environment: str) -> Said:
        """Run a command here as a process of its own, as a person does."""
        done = subprocess.run(
            [*COMMAND, *words],
            cwd=self.folder,
            env=ENVIRONMENT | environment,
            capture_output=True,
            text=True,
            timeout=self.patience_s,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def done(self, *words: str, **environment: str) -> Any:
        """Run a command that must succeed; its result, from --json."""
        said = self.perennial(*words, "--json", **environment)
        assert said.code == 0, said.err
        return said.json

    def write(self, *changes: tuple[str, str], loop: str = LOOP) -> str:
        """Write `loop.py` with these changes to the text; what it is then."""
        for before, after in changes:
            assert before in loop, f"the loop has no {before!r}"
            loop = loop.replace(before, after)
        (self.folder / "loop.py").write_text(loop)
        return loop

    def up(self) -> dict[str, Any]:
        """Start `perennial up` on free ports."""
        with (self.folder / "up.err").open("ab") as err:
            self._up = subprocess.Popen(
                [*COMMAND, "up", "--json", "--port", "0", "--serving-port", "0"],
                cwd=self.folder,
                env=ENVIRONMENT,
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
            )
        assert self._up.stdout is not None
        line = self._up.stdout.readline()
        assert line, (self.folder / "up.err").read_text()
        self.told = json.loads(line)
        return self.told

    @property
    def is_up(self) -> bool:
        """Whether it was started and not yet stopped."""
        return self._up is not None

    def end(self, *, interrupt: bool = True) -> int | None:
        """Stop it as Ctrl-C does, or wait for it to end by itself; its exit code."""
        if self._up is None:
            return None
        assert self._up.stdout is not None
        if interrupt and self._up.poll() is None:
            self._up.send_signal(signal.SIGINT)
        code = self._up.wait(self.patience_s)
        self._up.stdout.close()
        self._up = None
        return code

    def ask(self, path: str, body: object = None, *, method: str = "POST") -> Answer:
        """A request to the prediction service; what is not bytes is sent as JSON."""
        address = urlsplit(self.told["serving"])
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=self.patience_s)
        sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        try:
            connection.request(method, path, sent, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return Answer(answer.status, answer.read())
        finally:
            connection.close()

    def answer(self, endpoint: str, row: dict[str, Any], version: int | None = None) -> dict[str, Any]:
        """The answer for one row, as soon as the endpoint gives one, by this version if one is named."""

        def answered() -> dict[str, Any] | None:
            answer = self.ask(f"/predict/{endpoint}", {"records": [row]})
            if answer.status != 200:
                return None
            found = answer.json["predictions"][0]
            return found if version in (None, found["version"]) else None

        return until(answered, f"an answer of {endpoint} version {version}", within_s=self.patience_s)


class Quick(Project):
    """A project whose commands run in this process, but for `up`: the same results without a start each time."""

    def perennial(self, *words: str, **environment: str) -> Said:
        if words[0] == "up":
            return self.process(*words, **environment)
        out, err = io.StringIO(), io.StringIO()
        with (
            chdir(self.folder),
            patch.dict(os.environ, ENVIRONMENT | environment, clear=True),
            warnings.catch_warnings(record=True, action="default"),  # a new process would print them
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            code = main(words)
        return Said(code, out.getvalue(), err.getvalue())


SERVED = pytest.StashKey[Quick]()


@pytest.fixture(scope="session")
def once_served(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Quick]:
    """The little loop: trained, and its version approved."""
    project = Quick(tmp_path_factory.mktemp("served"))
    project.write()
    project.done("run")
    project.done("approve", "line@1")
    pytestconfig.stash[SERVED] = project
    yield project
    project.end()


@pytest.fixture
def served(once_served: Quick) -> Quick:
    """The little loop, up and answering; the tests of a session share it and leave it as it is."""
    if not once_served.is_up:
        once_served.up()
        once_served.answer("line", ROW)
    return once_served


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """What is shared here does not stay up through the tests of other folders: also idle it takes processor time."""
    project = item.config.stash.get(SERVED, None)
    if project is not None and (nextitem is None or nextitem.path.parent != Path(__file__).parent):
        project.end()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The little loop with a version that passed; whatever a module did to it, all bytes and records stay sound."""
    project = Quick(tmp_path_factory.mktemp("trained"))
    project.write()
    assert project.done("run")["state"] == "candidate"
    yield project
    assert project.done("verify")["sound"]


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Quick]:
    """An empty folder whose commands run in this process."""
    one = Quick(tmp_path)
    yield one
    one.end()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """An empty folder."""
    one = Project(tmp_path)
    yield one
    one.end()
