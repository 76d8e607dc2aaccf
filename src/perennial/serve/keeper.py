"""The parent's side of a model worker: start it, hear that it is warm, replace it when it dies or hangs.

The address where the fronts ask is the parent's, and stays when the process is replaced: who asks meanwhile waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from perennial.models.accelerator import without_accelerators
from perennial.models.sandbox import environment
from perennial.serve.orders import Channel, Duty, Hello
from perennial.store.decoding import ready
from perennial.store.files import LocalFiles

__all__ = ["Keeper"]

START_S = 120.0  # to load, and to give the golden answers
BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # before the n-th start after a death, until it lives for STEADY_S
STEADY_S = 60.0
LINGER_S = 0.2  # for the last words of a process that ended
CRASHES = 3  # within CRASH_WINDOW_S: others take over where there are others
CRASH_WINDOW_S = 300.0

log = logging.getLogger("perennial.serve")
_hello = msgspec.msgpack.Decoder(ready(Hello))


class Keeper:
    """One model version, kept warm.

    Attributes:
        address: Where the fronts ask it.
        is_ready: A warm process is there; `was_ready`: there once was one.
        problem: Why the latest start failed.
        lost: What an accelerator said that failed it; since then it answers on the CPU, if it may.
    """

    def __init__(
        self, duty: Duty, name: str, address: Path, changed: Callable[[], None], *, falls_back: bool = True
    ) -> None:
        self.name = name
        self.lost = ""
        self.falls_back = falls_back
        self.address = str(address)
        self.problem: str | None = None
        self.is_ready = False
        self.was_ready = False
        self._duty = duty
        self._changed = changed
        self._process: _Process | None = None
        self._deaths: deque[float] = deque(maxlen=CRASHES)
        self._fast_deaths = 0
        self._is_stopping = False
        self._loop = asyncio.get_running_loop()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.address)
        self._listener.listen(256)
        self._start()

    @property
    def is_broken(self) -> bool:
        """It died so often of late that another version should answer, where there is one."""
        return len(self._deaths) == CRASHES and self._deaths[0] > time.monotonic() - CRASH_WINDOW_S

    @property
    def pid(self) -> int | None:
        return self._process.popen.pid if self._process else None

    def kill(self, pid: int) -> None:
        """Replace the process, if it is still this one (0 is any)."""
        if self._process is not None and pid in (0, self._process.popen.pid):
            self.is_ready = False
            self._process.popen.kill()
            self._changed()

    def close(self) -> None:
        """End the process for good."""
        self._is_stopping = True
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            LocalFiles().remove(Path(self.address))
        if self._process is not None:
            self._process.end()

    def _start(self) -> None:
        if self._is_stopping:
            return
        try:
            self._process = _Process(self._duty, self._listener, self)
        except OSError as error:  # no memory or no processes left
            self.problem = f"no worker process can be started: {error}"
            log.error("%s: %s", self.name, self.problem)
            self._loop.call_later(BACKOFF_S[-1], self._start)

    def on_hello(self, hello: Hello) -> None:
        if hello.lost:
            self.lost = hello.lost
            self.is_ready = False
            then = "the next process answers on the CPU" if self.falls_back else "the next process tries it again"
            log.error("%s: its accelerator failed, %s: %s", self.name, then, hello.lost)
            self._changed()
            return
        self.problem = hello.problem
        if hello.problem is None:
            self.is_ready = self.was_ready = True
        else:
            log.error("%s %s", self.name, hello.problem)
        self._changed()

    def on_death(self, process: _Process, lived_s: float) -> None:
        if process is not self._process:
            return
        self._process = None
        if process.is_warm and self.problem is None:
            self._deaths.append(time.monotonic())
        elif self.problem is None:
            self.problem = process.lost or "its worker process died while starting"
        self.is_ready = False
        self._fast_deaths = 0 if lived_s > STEADY_S else self._fast_deaths + 1
        if self._is_stopping:
            return
        wait_s = BACKOFF_S[min(self._fast_deaths - 1, len(BACKOFF_S) - 1)] if self._fast_deaths else 0.0
        log.warning("worker %d of %s ended; the next one starts in %.1f s", process.popen.pid, self.name, wait_s)
        self._loop.call_later(wait_s, self._start)
        self._changed()


class _Process:
    """One worker process, and the socket on which it says hello."""

    def __init__(self, duty: Duty, listener: socket.socket, owner: Keeper) -> None:
        self._owner = owner
        self._started = time.monotonic()
        self.is_warm = False
        self.lost = ""
        ours, theirs = socket.socketpair()
        around = environment(os.environ)
        if owner.lost and owner.falls_back:
            around = without_accelerators(around)
        with theirs:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "perennial.serve.worker", msgspec.json.encode(duty).decode(),
                 str(theirs.fileno()), str(listener.fileno())],
                stdin=subprocess.PIPE,
                stdout=2,
                pass_fds=(theirs.fileno(), listener.fileno()),
                env=around,
            )  # fmt: skip
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(START_S, self._too_slow)
        self._channel = Channel(_hello, self._on_hello, self._on_end)
        self._connecting = loop.create_task(loop.create_unix_connection(lambda: self._channel, sock=ours))
        threading.Thread(target=self._await_end, args=(loop,), daemon=True).start()

    def end(self) -> None:
        """Let it see the end of its input, upon which it ends itself."""
        if self.popen.stdin is not None:
            self.popen.stdin.close()

    def _await_end(self, loop: asyncio.AbstractEventLoop) -> None:
        # The end of the socket tells of a death after everything that was sent, but children of the model's own may
        # hold it open; so the end of the process closes it a moment later.
        self.popen.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed: we are ending, too
            loop.call_soon_threadsafe(loop.call_later, LINGER_S, self._channel.close)

    def _too_slow(self) -> None:
        self._owner.problem = f"was not warm after {START_S:g} s"
        self.popen.kill()

    def _on_hello(self, hello: Hello) -> None:
        self._timer.cancel()
        self.lost = hello.lost
        self.is_warm = self.is_warm or not hello.lost
        self._owner.on_hello(hello)

    def _on_end(self) -> None:
        self._timer.cancel()
        self.end()
        self.popen.kill()
        self._owner.on_death(self, time.monotonic() - self._started)
