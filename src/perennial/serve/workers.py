"""The service's side of a worker process: start it, queue rows for it, replace it when it dies or hangs.

One model version has one `Worker`. It sends one message at a time and puts every request that waits meanwhile into the
next one, so a batch forms under load and costs nothing when idle. Requests in flight when the process dies are sent
once more, each alone, so that one that kills its worker takes no neighbour with it. All methods belong to the event
loop's thread.
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
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from perennial.errors import Unavailable
from perennial.models.sandbox import environment
from perennial.serve.frames import Output, Row
from perennial.serve.worker import LENGTH, Duty, Hello, framed

__all__ = ["Crashed", "Deadline", "Worker"]

BATCH_ROWS = 1024  # rows of several requests put together; one request may be larger
QUEUE_ROWS = 20_000  # waiting rows beyond which a request is refused at once
START_S = 120.0  # to load, and to give the golden answers
BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # before the n-th start after a death, until it lives for STEADY_S
STEADY_S = 60.0
LINGER_S = 0.2  # for the last words of a process that ended
CRASHES = 3  # within CRASH_WINDOW_S: others take over where there are others
CRASH_WINDOW_S = 300.0

log = logging.getLogger("perennial.serve")


class Deadline(Unavailable):
    """The model did not answer in time."""


class Crashed(Unavailable):
    """The worker process died, and again when the request was repeated alone."""


@dataclass(eq=False, slots=True)
class _Job:
    rows: list[Row]
    alone: bool
    future: asyncio.Future[list[Output]]
    sent: float = 0.0
    is_retried: bool = False
    timer: asyncio.TimerHandle | None = field(default=None)

    def settle(self, outcome: list[Output] | Exception) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self.future.done():
            return
        if isinstance(outcome, Exception):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


class Worker:
    """One model version, kept warm.

    `is_ready`: a warm process waits for rows. `was_ready`: there once was one. `problem`: why the latest start failed.
    `is_broken`: it died so often of late that another version should answer, where there is one.
    """

    def __init__(self, duty: Duty, name: str, changed: Callable[[], None]) -> None:
        self.name = name
        self.problem: str | None = None
        self.is_ready = False
        self.was_ready = False
        self._duty = duty
        self._changed = changed
        self._process: _Process | None = None
        self._waiting: deque[_Job] = deque()
        self._waiting_rows = 0
        self._sent: list[_Job] = []
        self._deaths: deque[float] = deque(maxlen=CRASHES)
        self._fast_deaths = 0
        self._is_stopping = False
        self._idle = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._start()

    @property
    def is_broken(self) -> bool:
        return len(self._deaths) == CRASHES and self._deaths[0] > time.monotonic() - CRASH_WINDOW_S

    @property
    def pid(self) -> int | None:
        return self._process.popen.pid if self._process else None

    def answer(self, rows: list[Row], timeout_s: float, *, alone: bool = False) -> asyncio.Future[list[Output]]:
        """Answer these rows; `alone` keeps them apart from other requests.

        Raises (the future or the call):
            Deadline: Not answered in time; a process that hangs was replaced.
            Crashed: The process died twice over this request.
            Unavailable: The queue is full, or no process was ready in time.
        """
        if self._waiting and self._waiting_rows + len(rows) > QUEUE_ROWS:
            raise Unavailable(f"{self.name} has {self._waiting_rows} rows waiting", remedy="try again in a moment")
        job = _Job(rows, alone, self._loop.create_future())
        job.timer = self._loop.call_later(timeout_s, self._expire, job, timeout_s)
        self._waiting.append(job)
        self._waiting_rows += len(rows)
        if not self._sent:
            self._send()
        return job.future

    async def stop(self) -> None:
        """Answer what was asked, then end the process."""
        self._is_stopping = True
        while self._waiting or self._sent:
            self._idle.clear()
            await self._idle.wait()
        self.close()

    def close(self) -> None:
        """End the process; what waits is left without an answer."""
        self._is_stopping = True
        if self._process is not None:
            self._process.end()

    def _start(self) -> None:
        if self._is_stopping and not self._waiting:
            return
        try:
            self._process = _Process(self._duty, self)
        except OSError as error:  # no memory or no processes left
            self.problem = f"no worker process can be started: {error}"
            log.error("%s: %s", self.name, self.problem)
            self._loop.call_later(BACKOFF_S[-1], self._start)

    def on_hello(self, hello: Hello) -> None:
        self.problem = hello.problem
        if hello.problem is None:
            self.is_ready = self.was_ready = True
            self._send()
        else:
            log.error("%s %s", self.name, hello.problem)
        self._changed()

    def on_answers(self, answers: list[Output]) -> None:
        start = 0
        sent, self._sent = self._sent, []
        for job in sent:
            end = start + len(job.rows)
            job.settle(answers[start:end])
            start = end
        self._send()

    def on_death(self, process: _Process, lived_s: float) -> None:
        if process is not self._process:
            return
        self._process = None
        if process.is_warm and self.problem is None:
            self._deaths.append(time.monotonic())
        elif self.problem is None:
            self.problem = "its worker process died while starting"
        self.is_ready = False
        self._fast_deaths = 0 if lived_s > STEADY_S else self._fast_deaths + 1
        sent, self._sent = self._sent, []
        for job in reversed(sent):
            if job.is_retried:
                job.settle(
                    Crashed(f"the worker of {self.name} died twice over this request", remedy="try again in a moment")
                )
            else:
                job.is_retried = job.alone = True
                self._waiting.appendleft(job)
                self._waiting_rows += len(job.rows)
        if self._is_stopping and not self._waiting:
            self._idle.set()
            return
        wait_s = BACKOFF_S[min(self._fast_deaths - 1, len(BACKOFF_S) - 1)] if self._fast_deaths else 0.0
        log.warning("worker %d of %s ended; the next one starts in %.1f s", process.popen.pid, self.name, wait_s)
        self._loop.call_later(wait_s, self._start)
        self._changed()

    def _send(self) -> None:
        """Send the next message, if the process is idle and somebody waits."""
        if not self.is_ready or self._process is None:
            return
        batch: list[_Job] = []
        rows = 0
        while self._waiting:
            job = self._waiting[0]
            if job.future.done():  # expired
                self._forget_waiting(job)
                continue
            if batch and (job.alone or batch[0].alone or rows + len(job.rows) > BATCH_ROWS):
                break
            self._forget_waiting(job)
            batch.append(job)
            rows += len(job.rows)
        if not batch:
            self._idle.set()
            return
        now = time.monotonic()
        for job in batch:
            job.sent = now
        self._sent = batch
        self._process.send(framed(batch[0].rows if len(batch) == 1 else [row for job in batch for row in job.rows]))

    def _forget_waiting(self, job: _Job) -> None:
        self._waiting.popleft()
        self._waiting_rows -= len(job.rows)

    def _expire(self, job: _Job, timeout_s: float) -> None:
        if job not in self._sent:
            job.settle(Unavailable(f"{self.name} is not ready", remedy="try again in a moment"))
            return
        job.settle(
            Deadline(
                f"{self.name} did not answer within {timeout_s:g} s", remedy="send fewer rows, or look into the model"
            )
        )
        # It hangs if it had at least half of the time for itself; a request that mostly waited proves nothing.
        if time.monotonic() - job.sent >= timeout_s / 2 and self._process is not None:
            self._sent.remove(job)
            log.error("%s hangs: its worker %d is replaced", self.name, self._process.popen.pid)
            self.is_ready = False
            self._process.kill()


class _Process(asyncio.Protocol):
    """One worker process and the socket to it."""

    def __init__(self, duty: Duty, owner: Worker) -> None:
        self._owner = owner
        self._started = time.monotonic()
        self._received = bytearray()
        self.is_warm = False
        self._hello = msgspec.msgpack.Decoder(Hello)
        self._answers = msgspec.msgpack.Decoder(list[dict[str, Any]])
        self._transport: asyncio.Transport | None = None
        ours, theirs = socket.socketpair()
        with theirs:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "perennial.serve.worker", msgspec.json.encode(duty).decode(),
                 str(theirs.fileno())],
                stdin=subprocess.PIPE,
                stdout=2,
                pass_fds=(theirs.fileno(),),
                env=environment(os.environ),
            )  # fmt: skip
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(START_S, self._too_slow)
        self._connecting = loop.create_task(loop.create_unix_connection(lambda: self, sock=ours))
        threading.Thread(target=self._await_end, args=(loop,), daemon=True).start()

    def send(self, message: bytes) -> None:
        cast("asyncio.Transport", self._transport).write(message)

    def end(self) -> None:
        """Let it see the end of its input, upon which it ends itself."""
        if self.popen.stdin is not None:
            self.popen.stdin.close()

    def kill(self) -> None:
        self.popen.kill()

    def _await_end(self, loop: asyncio.AbstractEventLoop) -> None:
        # The end of the socket tells of a death after everything that was sent, but children of the model's own may
        # hold it open; so the end of the process closes it a moment later.
        self.popen.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed: we are ending, too
            loop.call_soon_threadsafe(loop.call_later, LINGER_S, self._hang_up)

    def _hang_up(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _too_slow(self) -> None:
        self._owner.problem = f"was not warm after {START_S:g} s"
        self.kill()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        while len(received) >= LENGTH.size:
            end = LENGTH.size + LENGTH.unpack_from(received)[0]
            if len(received) < end:
                return
            message = bytes(received[LENGTH.size : end])
            del received[:end]
            if self.is_warm:
                self._owner.on_answers(self._answers.decode(message))
            else:
                self._timer.cancel()
                self.is_warm = True
                self._owner.on_hello(self._hello.decode(message))

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self.end()
        self.popen.kill()
        self._owner.on_death(self, time.monotonic() - self._started)
