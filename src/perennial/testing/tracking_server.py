"""A real server over an empty workspace in a private temporary folder, which can be emptied again within milliseconds.

`python -m perennial.testing.tracking_server --port 5577 --token T` is for suites that expect an empty server before
each test. It is the stack that `perennial up` starts, with one address more: POST /testing/reset swaps in a fresh
workspace. The token may do what the owner of a workspace may do.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from perennial.api.auth import Auth
from perennial.api.server import app_of
from perennial.clock import SystemClock
from perennial.config import Settings
from perennial.store.files import LocalFiles
from perennial.store.workspace_folder import create_folder
from perennial.workspace import Owned

__all__ = ["RESET", "Emptied", "main"]

RESET = "/testing/reset"


class Emptied:
    """An application that serves one workspace after the other; each is a copy of the same pristine one."""

    def __init__(self, root: Path, token: str, settings: Settings | None = None) -> None:
        self._root = root
        self._settings = settings or Settings()
        self._auth = Auth(token=token, cookie="perennial_testing")
        self._lock = threading.Lock()
        self._count = 0
        self._pristine = self._migrated()
        self._former: Owned | None = None
        self._owned, self._app = self._fresh()

    @property
    def owned(self) -> Owned:
        """The workspace that is served now."""
        return self._owned

    def reset(self) -> None:
        """Serve an empty workspace from now on.

        The one before stays open until the next reset, for requests that are still on their way through it.
        """
        with self._lock:
            owned, app = self._fresh()
            former, self._former = self._former, self._owned
            self._owned, self._app = owned, app
        if former is not None:
            former.workspace.close()

    def close(self) -> None:
        """Let go of what is open."""
        with self._lock:
            for owned in (self._former, self._owned):
                if owned is not None:
                    owned.workspace.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == RESET and scope["method"] == "POST":
            await run_in_threadpool(self.reset)
            await PlainTextResponse("empty")(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _migrated(self) -> bytes:
        folder = create_folder(self._root / "pristine", now=SystemClock().now())
        Owned(folder, self._settings).workspace.close()
        return folder.records.read_bytes()

    def _fresh(self) -> tuple[Owned, ASGIApp]:
        self._count += 1
        folder = create_folder(self._root / str(self._count), now=SystemClock().now())
        LocalFiles().write_atomic(folder.records, self._pristine)
        owned = Owned(folder, self._settings)
        return owned, app_of(owned, self._auth)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m perennial.testing.tracking_server", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="on loopback; 0 takes a free one, which is printed")
    parser.add_argument("--token", required=True, help="whoever shows it may do everything")
    options = parser.parse_args(argv)
    os.umask(0o077)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    listening = socket.create_server(("127.0.0.1", options.port))
    with tempfile.TemporaryDirectory(prefix="perennial-testing-") as folder:
        app = Emptied(Path(folder), options.token)
        config = uvicorn.Config(
            app, lifespan="off", log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=2
        )
        sys.stdout.write(f"http://127.0.0.1:{listening.getsockname()[1]}\n")
        sys.stdout.flush()
        try:
            uvicorn.Server(config).run(sockets=[listening])
        finally:
            app.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
