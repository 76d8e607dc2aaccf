"""What tests of runs that a program logs to share: an owner beside them, programs, and what was kept."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from perennial.api import connect
from perennial.config import Settings
from perennial.store.workspace_folder import WorkspaceFolder
from perennial.workspace import Workspace

QUIET: dict[str, Any] = {"code": False, "system": False}


@contextmanager
def served(folder: WorkspaceFolder) -> Iterator[subprocess.Popen[bytes]]:
    """An owner in a process of its own; killed at the end, as owners are."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(100)
        words = ["--workspace", str(folder.root), "--descriptor", str(listening.fileno()), "--die-with-parent"]
        owner = subprocess.Popen(
            [sys.executable, "-m", "perennial.api.server", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[listening.fileno()],
        )
    try:
        yield owner
    finally:
        owner.kill()
        owner.wait()
        assert owner.stdin is not None
        owner.stdin.close()


def joined(folder: WorkspaceFolder, patience_s: float = 120.0, settings: Settings | None = None) -> Workspace:
    return connect.join(folder, patience_s=patience_s, settings=settings or Settings())


def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "this did not come about"
        time.sleep(0.01)


def values(ws: Workspace, run_id: str, key: str) -> list[float]:
    """All values of a metric, by step."""
    found: list[tuple[int, float]] = []
    token = ""
    while True:
        page = ws.runs.history(run_id=run_id, key=key, limit=50_000, page_token=token)
        found += zip(page.step, map(float, page.value), strict=True)
        token = page.next_page_token or ""
        if not token:
            return [value for _, value in sorted(found)]


def run_script(code: str, *words: object, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, timeout=120, **more
    )
