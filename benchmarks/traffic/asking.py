"""Start a load generator and hear what it measured."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["Asking", "ask"]

HERE = Path(__file__).parent
END_S = 120.0  # beyond what the load itself takes


class Asking:
    """A generator at work. A context manager that ends it."""

    def __init__(self, wanted: Mapping[str, Any]) -> None:
        self._wanted = wanted
        self._process = subprocess.Popen(
            [sys.executable, "-m", "traffic"],
            cwd=HERE.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        json.dump(wanted, self._process.stdin)
        self._process.stdin.close()
        self._process.stdin = None  # it is told everything; `communicate` would flush it again

    def begun(self) -> Self:
        """Wait for its first request."""
        assert self._process.stderr is not None
        if self._process.stderr.readline() != "begun\n":
            self.result()
        return self

    def stop(self) -> dict[str, Any]:
        """Let it ask no more, and hear what it measured until then."""
        self._process.send_signal(signal.SIGTERM)
        return self.result()

    def result(self) -> dict[str, Any]:
        """What came of it, when it is over.

        Raises:
            SystemExit: The generator itself failed.
        """
        out, error = self._process.communicate(timeout=self._wanted.get("seconds", 0) + END_S)
        if self._process.returncode:
            raise SystemExit(f"the load generator failed: {error[-2000:]}")
        return json.loads(out)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()


def ask(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Load a service and wait for the end of it."""
    with Asking(wanted) as asking:
        return asking.result()
