"""A workspace that is owned and served within this process, on a free port of loopback."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp

from perennial.api.auth import Auth
from perennial.api.server import app_of
from perennial.config import Settings
from perennial.store.workspace_folder import WorkspaceFolder, create_folder
from perennial.types import Micros
from perennial.workspace import Owned
from tests.store.new_records import with_records


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Served:
    owned: Owned
    auth: Auth
    app: ASGIApp
    port: int

    @property
    def token(self) -> str:
        assert self.owned.lock.info is not None
        return self.owned.lock.info.token

    @property
    def folder(self) -> WorkspaceFolder:
        return self.owned.workspace.folder

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            given = {"host": f"127.0.0.1:{self.port}"} | dict(headers or {})
            if body is not None:
                given.setdefault("content-length", str(len(body)))
            for name, value in given.items():
                if value:
                    connection.putheader(name, value)
            connection.endheaders()
            if body:
                connection.send(body)
            response = connection.getresponse()
            told = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, told, response.read())
        finally:
            connection.close()

    def call(self, operation: str, arguments: Any = None, **headers: str) -> Answer:
        given = {"content-type": "application/json", "authorization": f"Bearer {self.token}"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        body = arguments if isinstance(arguments, bytes) else json.dumps(arguments or {}).encode()
        return self.ask("POST", "/api/" + operation.replace(".", "/"), body, given)

    def log_in(self, person: str = "Ada") -> str:
        """The cookie header of a person who opened a one-time link."""
        return f"{self.auth.cookie}={self.auth.log_in(self.auth.new_link(), person)}"


@contextmanager
def serving(folder: Path, settings: Settings | None = None) -> Generator[Served]:
    """Own the workspace in this folder, made when missing, and answer for it."""
    settings = settings or Settings()
    place = create_folder(folder, now=Micros(0))
    owned = Owned(place if settings.records else with_records(place), settings)
    assert owned.lock.info is not None
    auth = Auth(
        token=owned.lock.info.token,
        cookie="perennial_test",
        require_token=owned.workspace.settings.require_token,
    )
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    app = app_of(owned, auth)
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([listening],))
    owned.lock.publish(f"http://127.0.0.1:{port}")
    thread.start()
    try:
        yield Served(owned, auth, app, port)
    finally:
        server.should_exit = True
        thread.join(10)
        owned.workspace.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One for all tests of a module, which leave it as it is."""
    with serving(tmp_path_factory.mktemp("served") / ".perennial") as one:
        yield one


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Served]:
    """One for this test alone."""
    with serving(tmp_path / ".perennial") as one:
        yield one


@pytest.fixture
def served_with(tmp_path: Path) -> Iterator[Callable[[Settings], Served]]:
    """Makes one with settings of its own."""
    with ExitStack() as stack:
        yield lambda settings: stack.enter_context(serving(tmp_path / ".perennial", settings))
