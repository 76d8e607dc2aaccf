"""Start commands and servers, and end what was started: each by its own process id."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

HERE = Path(__file__).parent
PYTHON = sys.executable
_INSTALLED = Path(PYTHON).with_name("perennial")
PERENNIAL = [str(_INSTALLED)] if _INSTALLED.exists() else [PYTHON, "-m", "perennial"]
READY_S = 60.0
END_S = 30.0


def environment(**more: str) -> dict[str, str]:
    """This process's, without what would change what is measured, and with the package of this checkout."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PERENNIAL_", "PYTHON", "OMP_", "POLARS_"))}
    return kept | {"PYTHONPATH": str(HERE.parent / "src")} | more


def command(words: Sequence[str], folder: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; a failed one ends the benchmark, with what it said."""
    done = subprocess.run(
        words, cwd=folder, env=environment(**more), capture_output=True, text=True, timeout=600, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: exit code {done.returncode}\n{done.stderr[-2000:]}{done.stdout[-2000:]}")
    return done


class Server:
    """A process that says in one line of JSON on standard output that it is ready. A context manager."""

    def __init__(self, words: Sequence[str], folder: Path) -> None:
        self._words = words
        self._folder = folder
        self.told: Mapping[str, Any] = {}
        self.start_s = 0.0

    def __enter__(self) -> Self:
        began = time.perf_counter()
        self._process = subprocess.Popen(
            self._words,
            cwd=self._folder,
            env=environment(PYTHONUNBUFFERED="1"),  # the line is wanted when it is written
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        self.start_s = time.perf_counter() - began
        if not line:
            raise SystemExit(f"{' '.join(self._words)} ended with {self._process.wait()} instead of getting ready")
        self.told = json.loads(line)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdout is not None
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def memory_mb(self) -> dict[str, float]:
        """Proportional memory of each process below, by what it runs."""
        root = psutil.Process(self._process.pid)
        used: dict[str, float] = {}
        for process in (root, *root.children(recursive=True)):
            words = process.cmdline()
            name = words[words.index("-m") + 1] if "-m" in words else "up"
            used[name] = used.get(name, 0.0) + process.memory_full_info().pss / 2**20
        return used


def up(project: Path) -> Server:
    """`perennial up` on this project, at free ports."""
    return Server([*PERENNIAL, "up", "--json", "--port", "0", "--serving-port", "0"], project)


def load(request: Mapping[str, Any]) -> dict[str, Any]:
    """What `load.py` measured, in a process of its own."""
    done = subprocess.run(
        [PYTHON, str(HERE / "load.py")],
        input=json.dumps(request),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"load.py: {done.stderr[-2000:]}")
    told = json.loads(done.stdout)
    if told["failed"]:
        raise SystemExit(f"{told['failed']} requests to {request['path']} were not answered 200: {told['said']}")
    return told
