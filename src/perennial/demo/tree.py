"""A real `perennial up`, kept running from outside as a service manager would, and its prediction service over HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from perennial.errors import Failure, Unavailable, error_named
from perennial.serve.spec import read_status
from perennial.store.files import LocalFiles
from perennial.store.workspace_folder import WorkspaceFolder

__all__ = ["Client", "Up"]

STOP_S = 30.0
POLL_S = 0.05
WRONG_USAGE = 2  # an exit code that another start would not mend
PATIENCE_S = 60.0  # a service that was killed is back in two seconds; a busy machine may take longer


class Up:
    """`perennial up` on a project, started again whenever it dies, as a service manager would. A context manager."""

    def __init__(self, project: Path, folder: WorkspaceFolder) -> None:
        self._project = project
        self._folder = folder
        self._stopping = threading.Event()
        self._problem: Failure | None = None
        self._keeper = threading.Thread(target=self._keep, name="demo-up", daemon=True)

    def check(self) -> None:
        """Raise what keeps it from running.

        Raises:
            Failure: It refuses to start; names its log.
        """
        if self._problem is not None:
            raise self._problem

    def __enter__(self) -> Up:
        self._keeper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._keeper.join()

    def _keep(self) -> None:
        while not self._stopping.is_set():
            process = self._start()
            while process.poll() is None and not self._stopping.wait(POLL_S):
                pass
            if process.poll() is None:
                _end(process)
            elif process.returncode == WRONG_USAGE:
                what = "perennial up refuses to start"
                self._problem = Failure(what, where=str(self._log), remedy="its last lines say why")
                return

    def _start(self) -> subprocess.Popen[bytes]:
        with LocalFiles().append(self._log, mode=0o600) as log:
            return subprocess.Popen(
                [sys.executable, "-m", "perennial", "up", "--port", "0", "--serving-port", "0", "--grpc-port", "-1"],
                cwd=self._project,
                stdin=subprocess.DEVNULL,
                stdout=log.descriptor,
                stderr=log.descriptor,
            )

    @property
    def _log(self) -> Path:
        return self._folder.logs / "up.log"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, wait, and kill it if it does not go."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Client:
    """Asks the prediction service, again with the same key until it has answered, wherever it listens by then."""

    def __init__(self, folder: WorkspaceFolder, up: Up) -> None:
        self._folder = folder
        self._up = up
        self._held: HTTPConnection | None = None

    def predict(self, endpoint: str, records: Sequence[Mapping[str, Any]], key: str) -> list[dict[str, Any]]:
        """The answers to these records.

        Raises:
            Mistake: The service refuses the request.
            Unavailable: No answer within the patience.
        """
        body = json.dumps({"records": records}).encode()
        headers = {"content-type": "application/json", "idempotency-key": key}
        ends, wait = time.monotonic() + PATIENCE_S, 0.01
        while True:
            try:
                connection = self._connection()
                connection.request("POST", f"/predict/{endpoint}", body, headers)
                response = connection.getresponse()
                status, answer = response.status, response.read()
            except (OSError, HTTPException, Unavailable) as error:
                self.close()
                if time.monotonic() > ends:
                    raise Unavailable("the prediction service does not answer", where=str(error)) from error
            else:
                if status == 200:
                    return json.loads(answer)["predictions"]
                if status < 500 and status != 404:  # 404 until the first version is live
                    told = json.loads(answer)
                    raise error_named("Invalid")(told["message"], where=f"HTTP {status}")
                if time.monotonic() > ends:
                    raise Unavailable("the prediction service has no answer", where=answer.decode(errors="replace"))
            self._up.check()
            time.sleep(wait)
            wait = min(wait * 2, 0.25)

    def close(self) -> None:
        """Let go of the connection."""
        if self._held is not None:
            self._held.close()
            self._held = None

    def _connection(self) -> HTTPConnection:
        if self._held is None:
            status = read_status(self._folder.serving_status)
            if status is None:
                raise Unavailable("the prediction service has not started yet")
            address = urlsplit(status.address)
            self._held = HTTPConnection(address.hostname or "127.0.0.1", address.port or 80, timeout=PATIENCE_S)
        return self._held
