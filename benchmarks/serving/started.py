"""A peer's process, from its start to its end."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from service import memory_of
from traffic.asking import ask
from traffic.samples import Checker, render
from traffic.wire import Connection, response_in

from serving.models import Model
from serving.services import SILENT, Start

__all__ = ["NotReady", "Started", "first_answer"]

READY_S = 120.0
END_S = 8.0


class NotReady(Exception):
    """It ended, or did not answer in time."""


class Started:
    """A context manager: starts it, waits for its first right answer, ends it and all that it started."""

    def __init__(self, start: Start, model: Model, folder: Path) -> None:
        self._start = start
        self._folder = folder
        self.load = start.load(model)
        self.ready_s = 0.0

    def __enter__(self) -> Self:
        bin_folder = str(Path(self._start.words[0]).parent)
        variables = {k: v for k, v in os.environ.items() if not k.startswith(("PERENNIAL_", "PYTHON", "OMP_"))}
        variables |= SILENT | {"PATH": f"{bin_folder}:{os.environ['PATH']}"} | dict(self._start.variables)
        self._log = (self._folder / "log").open("wb")
        began = time.perf_counter()
        self._process = subprocess.Popen(
            self._start.words, cwd=self._folder, env=variables, stdin=subprocess.DEVNULL, stdout=self._log,
            stderr=self._log, start_new_session=True,
        )  # fmt: skip
        try:
            first_answer(self.load, self._said_dead)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.ready_s = time.perf_counter() - began
        return self

    def _said_dead(self) -> None:
        if self._process.poll() is not None:
            raise NotReady(f"it ended with {self._process.returncode}: {self._said()}")

    def _said(self) -> str:
        self._log.flush()
        return (self._folder / "log").read_text(errors="replace")[-800:]

    def ask(self, clients: int, seconds: float) -> dict[str, Any]:
        return ask(self.load | {"clients": clients, "seconds": seconds})

    def memory(self) -> dict[str, Any]:
        return memory_of(self._process.pid)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        tree: list[psutil.Process] = []
        if self._process.poll() is None:
            root = psutil.Process(self._process.pid)
            tree = [root, *root.children(recursive=True)]
            self._process.terminate()
            psutil.wait_procs(tree, timeout=END_S)
        for process in tree:
            if process.is_running():
                process.kill()
        self._process.wait()
        self._log.close()


def first_answer(load: dict[str, Any], check_alive: Any, seconds: float = READY_S) -> None:
    """Ask for one prediction again and again until it is right.

    Raises:
        NotReady: It did not come in time, or the process is gone (`check_alive` says so).
    """
    one = load | {"bodies": load["bodies"][:1]}
    request, checker = render(one)[0], Checker(one)
    ends = time.monotonic() + seconds
    said = "nothing"
    while time.monotonic() < ends:
        check_alive()
        try:
            said = _asked(one, request, checker)
        except OSError as error:
            said = str(error)
        if not said:
            return
        time.sleep(0.01)
    raise NotReady(f"no right answer after {seconds:g} s: {said}")


def _asked(load: dict[str, Any], request: bytes, checker: Checker) -> str:
    """Empty, or what is wrong with the answer."""
    connection = Connection(load["host"], load["port"])
    try:
        connection.send(request)
        connection._sock.settimeout(10.0)
        buffer = b""
        while (got := response_in(buffer)) is None:
            came = connection.receive()
            if not came:
                return "closed"
            buffer += came
    finally:
        connection.close()
    if got.status != 200:
        return f"{got.status} {got.body[:300]!r}"
    is_right, _ = checker.check(0, got.body)
    return "" if is_right else checker.example
