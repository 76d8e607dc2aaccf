"""Interpreters that have MLflow, each from an environment of its own, and servers for them: MLflow's and ours."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}
ENVIRONMENTS = Path(os.environ.get("PERENNIAL_MLFLOW_ENVIRONMENTS", Path(__file__).parents[2] / ".venv"))
START_S, SCRIPT_S = 120.0, 600.0

# Scripts of another interpreter, which has what they import.
collect_ignore = ["calls.py", "conformance.py", "refusals.py", "toolkits.py"]
collect_ignore_glob = ["client/*"]


@dataclass(frozen=True)
class Client:
    """An interpreter with MLflow."""

    python: Path
    environment: dict[str, str] = field(default_factory=dict[str, str])

    def run(self, script: str, *arguments: str, token: str = "") -> subprocess.CompletedProcess[str]:
        """Run a script that lies here, without a way out to the network."""
        told = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        told |= {"PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1", "no_proxy": "127.0.0.1"}
        told |= dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
        told |= {"MLFLOW_TRACKING_TOKEN": token} if token else {}
        words = [self.python, Path(__file__).with_name(script), *arguments]
        return subprocess.run(words, env=told, capture_output=True, text=True, timeout=SCRIPT_S, check=False)

    def calls(self, uri: str, out: Path, *sections: str, token: str = "") -> list[dict[str, Any]]:
        """What a server answers to the calls; a call that must work and was refused is in there too."""
        done = self.run("calls.py", uri, str(out), *sections, token=token)
        assert out.exists(), done.stdout + done.stderr
        return json.loads(out.read_text())


def _client(name: str) -> Client:
    python = ENVIRONMENTS / name / "bin" / "python"
    if not python.exists():
        reason = f"the environment {name} is missing; make .venv/{name}/.done installs it"
        pytest.fail(reason) if IN_CI and name != "mlflow-toolkits" else pytest.skip(reason)
    return Client(python)


@pytest.fixture(scope="session")
def newest() -> Client:
    """The newest client that installs."""
    return _client("mlflow-newest")


@pytest.fixture(scope="session")
def oldest() -> Client:
    """Client 3.12."""
    return _client("mlflow-3.12")


@pytest.fixture(scope="session")
def toolkits() -> Client:
    """The newest client with PyTorch and Keras, which only `make mlflow-toolkits` installs."""
    return _client("mlflow-toolkits")


@dataclass(frozen=True)
class Server:
    uri: str
    token: str = ""


@pytest.fixture(scope="module")
def ours() -> Iterator[Server]:
    """Our server over an empty workspace; a token that may do everything."""
    token = secrets.token_hex(16)

    def words(port: int) -> list[str | Path]:
        return [sys.executable, "-m", "perennial.testing.tracking_server", "--port", str(port), "--token", token]

    with _serving(words, dict(os.environ)) as uri:
        yield Server(uri, token)


@pytest.fixture
def emptied(ours: Server) -> Server:
    """The same, with nothing in it."""
    urllib.request.urlopen(urllib.request.Request(f"{ours.uri}/testing/reset", b"", method="POST"), timeout=120).close()
    return ours


@pytest.fixture
def theirs(newest: Client, tmp_path: Path) -> Iterator[Server]:
    """MLflow's own server, of the newest version, with nothing in it."""

    def words(port: int) -> list[str | Path]:
        store = f"sqlite:///{tmp_path}/mlflow.db"
        options = ["--workers", "1", "--port", str(port), "--backend-store-uri", store]
        return [
            newest.python,
            "-m",
            "mlflow",
            "server",
            *options,
            "--artifacts-destination",
            str(tmp_path / "artifacts"),
        ]

    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    path = f"{newest.python.parent}{os.pathsep}{os.environ['PATH']}"  # it starts uvicorn by its name
    with _serving(words, dict(os.environ) | quiet | {"PATH": path}) as uri:
        yield Server(uri)


@contextmanager
def _serving(words: Callable[[int], list[str | Path]], environment: dict[str, str]) -> Generator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(words(port), env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            if not _answers(uri, server):
                log.seek(0)
                pytest.fail(f"the server did not start:\n{log.read()}")
            yield uri
        finally:
            _end(server)


def _end(server: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _answers(uri: str, server: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{uri}/health", timeout=5).close()
            return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    return False
