"""Many who log at once, on either database, and an owner that is killed meanwhile: what was acknowledged is there."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

import perennial
from perennial.store.owner import find_owner

from .conftest import Project, until

WRITERS = 8


class Writer(threading.Thread):
    """One client that logs points of a metric of its own, one at a time, until it is told to stop.

    Like MLflow's client it sends a point again when no answer came; `sent` counts the points, `refused` what was
    answered in another way than 200.
    """

    def __init__(self, address: str, run: str, number: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        parts = urlsplit(address)
        self._host, self._port = parts.hostname or "", parts.port
        self._run = run
        self.key = f"w{number}"
        self._stop_it = stop
        self.sent = 0
        self.refused: list[str] = []
        self._connection = self._new()

    def _new(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._host, self._port, timeout=60)

    def run(self) -> None:
        while not self._stop_it.is_set():
            point = {"run_id": self._run, "key": self.key, "value": self.sent / 2, "timestamp": 1, "step": self.sent}
            while True:
                try:
                    self._connection.request(
                        "POST",
                        "/api/2.0/mlflow/runs/log-metric",
                        json.dumps(point),
                        {"Content-Type": "application/json"},
                    )
                    answer = self._connection.getresponse()
                    said = answer.read()
                except (OSError, http.client.HTTPException):
                    self._connection.close()
                    self._connection = self._new()
                    continue
                if answer.status != 200:
                    self.refused.append(f"{answer.status} {said[:200]!r}")
                break
            self.sent += 1
        self._connection.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def project(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    if request.param == "postgresql":
        url = request.getfixturevalue("pg_database").replace("postgresql+psycopg", "postgresql")
        (tmp_path / "pyproject.toml").write_text(f'[tool.perennial]\nrecords = "{url}"\n')
    monkeypatch.chdir(tmp_path)
    one = Project(tmp_path)
    one.up()
    yield one
    one.end()


def logged(project: Project, seconds: float, meanwhile: object = None) -> list[Writer]:
    """What eight writers did in this time, or until `meanwhile` has returned."""
    with perennial.open(project.home) as ws:
        run = ws.runs.start(loop="load").id
    stop = threading.Event()
    writers = [Writer(project.told["address"], run, number, stop) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    if callable(meanwhile):
        meanwhile()
    else:
        stop.wait(seconds)
    stop.set()
    for writer in writers:
        writer.join(90)
    with perennial.open(project.home) as ws:
        for writer in writers:
            steps: list[int] = []
            token = ""
            while True:
                page = ws.runs.history(run_id=run, key=writer.key, limit=10_000, page_token=token)
                steps += page.step
                if page.next_page_token is None:
                    break
                token = page.next_page_token
            assert steps == list(range(writer.sent)), f"{writer.key}: {len(steps)} of {writer.sent}"
    return writers


def many(project: Project, seconds: float) -> None:
    writers = logged(project, seconds)
    assert [writer.refused for writer in writers] == [[]] * WRITERS
    assert min(writer.sent for writer in writers) > 0
    print(f"{sum(writer.sent for writer in writers) / seconds:.0f} points a second")


def test_F10_eight_writers_over_http_get_no_error_and_each_point_is_there_once(project: Project) -> None:
    many(project, 1.0)


@pytest.mark.long
def test_F10_eight_writers_for_a_minute(project: Project) -> None:
    many(project, 60.0)


def killed(project: Project, times: int) -> None:
    def kill() -> None:
        for number in range(times):
            until(lambda: answers(project.told["address"]), "an answer")
            owner = until(lambda: find_owner(project.home), "an owner")
            time.sleep(0.05 * (number % 5))  # at another moment of its work each time
            os.kill(owner.pid, signal.SIGKILL)
            until(lambda gone=owner.pid: not psutil.pid_exists(gone), "the end of the owner")

    with perennial.open(project.home) as ws, ws.runs.start("spooled", system=False, code=False) as run:
        stop, count = threading.Event(), [0]

        def log() -> None:
            while not stop.is_set():
                run.log(loss=float(count[0]), step=count[0])
                count[0] += 1
                time.sleep(0.0005)

        logger = threading.Thread(target=log)
        logger.start()
        try:
            logged(project, 0.0, kill)
        finally:
            stop.set()
            logger.join()
    with perennial.open(project.home) as ws:
        steps: list[int] = []
        token = ""
        while True:
            page = ws.runs.history(run_id=run.id, key="loss", limit=10_000, page_token=token)
            steps += page.step
            if page.next_page_token is None:
                break
            token = page.next_page_token
    assert steps == list(range(count[0]))


def answers(address: str) -> bool:
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@pytest.mark.parametrize("project", ["sqlite"], indirect=True)
def test_P1_F01_F32_an_owner_that_is_killed_under_load_keeps_what_it_acknowledged(project: Project) -> None:
    killed(project, 3)


@pytest.mark.long
@pytest.mark.parametrize("project", ["sqlite"], indirect=True)
def test_P1_F01_F32_an_owner_that_is_killed_a_hundred_times(project: Project) -> None:
    killed(project, 100)
