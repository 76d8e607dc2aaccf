"""The parent's side of the fronts: start them, talk to them, replace one that dies."""

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
from collections.abc import Callable
from typing import Any

import msgspec

from perennial.models.sandbox import environment
from perennial.serve.orders import Channel, Config, Report, ToFront, framed, to_parent

__all__ = ["FrontProcess"]

BACKOFF_S = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)
STEADY_S = 10.0

log = logging.getLogger("perennial.serve")


class FrontProcess:
    """One front, kept running.

    Attributes:
        number: Which of the fronts.
        pid: Of the process; 0 while there is none.
        loaded: What it was told to load, and is done with: None, or why that failed.
        is_routed: It knows how endpoints answer, and takes connections.
        accepts: Set when it does take them, also those of a front before it.
        left: What it left to the next one, when it retires.
        report: The latest of this process.
    """

    def __init__(
        self, config: Config, listener: socket.socket, heard: Callable[[FrontProcess, Any], None],
        began: Callable[[FrontProcess], None],
    ) -> None:  # fmt: skip
        self.number = config.front
        self.pid = 0
        self.loaded: dict[str, str | None] = {}
        self.is_routed = False
        self.report: Report | None = None
        self.told_routes: bytes = b""
        self.accepts = asyncio.Event()
        self.left: set[str] = set()
        self._config = config
        self._listener = listener
        self._heard = heard
        self._began = began
        self._loop = asyncio.get_running_loop()
        self._channel: Channel | None = None
        self._popen: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._fast_deaths = 0
        self._is_ending = False
        self.ended = asyncio.Event()
        self.start()

    @property
    def is_alive(self) -> bool:
        return self._popen is not None

    def send(self, order: ToFront) -> None:
        if self._channel is not None:
            self._channel.write(framed(order))

    def stop(self) -> None:
        """Do not replace it when it ends."""
        self._is_ending = True
        if self._popen is None:
            self.ended.set()

    def kill(self) -> None:
        if self._popen is not None:
            self._popen.kill()

    def start(self) -> None:
        if self._is_ending:
            self.ended.set()
            return
        self._started = time.monotonic()
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                popen = subprocess.Popen(
                    [sys.executable, "-m", "perennial.serve.front", msgspec.json.encode(self._config).decode(),
                     str(self._listener.fileno()), str(theirs.fileno())],
                    stdin=subprocess.PIPE,
                    pass_fds=(theirs.fileno(), self._listener.fileno()),
                    env=environment(os.environ),
                )  # fmt: skip
        except OSError as error:  # no memory or no processes left
            ours.close()
            log.error("front %d cannot be started: %s", self.number, error)
            self._loop.call_later(BACKOFF_S[-1], self.start)
            return
        self._popen = popen
        self.pid = popen.pid
        channel = Channel(to_parent, lambda message: self._heard(self, message), lambda: None)
        self._channel = channel
        self._connecting = self._loop.create_task(self._loop.create_unix_connection(lambda: channel, sock=ours))
        threading.Thread(target=self._await_end, args=(popen,), daemon=True).start()
        self._began(self)

    def _await_end(self, popen: subprocess.Popen[bytes]) -> None:
        popen.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed: we are ending, too
            self._loop.call_soon_threadsafe(self._on_end, popen.returncode)

    def _on_end(self, code: int) -> None:
        popen, self._popen, self.pid = self._popen, None, 0
        if popen is not None and popen.stdin is not None:
            popen.stdin.close()
        if self._channel is not None:
            # What it said last is still to be read.
            self._loop.call_later(0.05, self._channel.close)
            self._channel = None
        self.loaded = {}
        self.is_routed = False
        self.told_routes = b""
        if self._is_ending:
            self._loop.call_later(0.05, self.ended.set)
            return
        # The next one finds nobody who would leave it anything.
        self._config = msgspec.structs.replace(self._config, takes_over=False)
        lived = time.monotonic() - self._started
        self._fast_deaths = 0 if lived > STEADY_S else self._fast_deaths + 1
        wait_s = BACKOFF_S[min(self._fast_deaths, len(BACKOFF_S) - 1)]
        log.error("front %d ended with code %d; the next one starts in %.1f s", self.number, code, wait_s)
        self._heard(self, None)
        self._loop.call_later(wait_s, self.start)
