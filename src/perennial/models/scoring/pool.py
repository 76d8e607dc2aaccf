"""Worker processes that score pieces of a table, each with its own copy of the model; answers come back in order.

A piece goes to the process whose turn it is, and only a few are under way at a time, so memory does not grow with the
table. What a process dies of is told; one that does not answer a piece in time is ended.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.ipc as ipc

from perennial.errors import UserCodeError, error_named
from perennial.models.sandbox import environment
from perennial.models.scoring.worker import Duty, Hello
from perennial.store.decoding import ready

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Pool"]

TIMEOUT_S = 3600.0  # for one piece; a model that hangs must not wait for ever
AHEAD = 2  # pieces of each process that are under way


class _Process:
    """One worker, asked by one thread of its own."""

    def __init__(self, duty: Duty) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "perennial.models.scoring.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(os.environ),
        )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._in, self._out = self._child.stdin, self._child.stdout
        self._writer: Any = None
        self._reader: Any = None
        self.thread = ThreadPoolExecutor(1, "scoring")
        self._in.write(msgspec.json.encode(duty) + b"\n")
        self._in.flush()

    def hello(self) -> Hello:
        """What it says once the model is loaded."""
        line = self._out.readline()
        if not line:
            raise self._ended()
        told = msgspec.json.decode(line, type=ready(Hello))
        if told.error is not None:
            raise error_named(told.error)(told.what, where=told.where, remedy=told.remedy)
        return told

    def ask(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        try:
            if self._writer is None:
                self._writer = ipc.new_stream(self._in, batch.schema)
            self._writer.write_batch(batch)
            self._in.flush()
            if self._reader is None:
                self._reader = ipc.open_stream(self._out)
            return self._reader.read_next_batch()
        except (OSError, StopIteration, pa.ArrowInvalid) as error:
            raise self._ended() from error

    def kill(self) -> None:
        """It shall not answer any more."""
        self._child.kill()

    def close(self) -> None:
        """End it, and wait until it is gone."""
        self.thread.shutdown()
        try:
            self._in.close()  # which tells it that there is no more
        except BrokenPipeError:
            pass  # it is gone already, and what it was not told does not matter
        while self._out.read(1 << 16):
            pass  # the end of its stream: who closed at once would break the pipe under its last words
        self._out.close()
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def _ended(self) -> UserCodeError:
        code = self._child.wait()
        return UserCodeError(
            f"a process that held the model ended with {code} while rows were asked",
            remedy="what it wrote before its end stands above; try fewer processes if memory ran out",
        )


class Pool:
    """Use as a context manager.

    Attributes:
        form: How the model is asked: "compiled" or "native".
        columns: Name and type of each column of its answers.
    """

    def __init__(self, duty: Duty, processes: int) -> None:
        self._processes = [_Process(duty) for _ in range(processes)]
        try:
            told = [process.hello() for process in self._processes]
        except BaseException:
            self._end(kill=True)
            raise
        self.form, self.columns = told[0].form, told[0].columns

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end(kill=kind is not None)

    def answers(self, pieces: Iterable[tuple[pa.RecordBatch, pa.Table]]) -> Iterator[tuple[pa.RecordBatch, pa.Table]]:
        """The answers to each piece, in order, beside what came with it.

        Args:
            pieces: The model's input columns, and any table that belongs to them.

        Raises:
            UserCodeError: A process ended, or a piece took longer than an hour.
        """
        waiting: deque[tuple[_Process, Future[pa.RecordBatch], pa.Table]] = deque()
        for count, (asked, beside) in enumerate(pieces):
            process = self._processes[count % len(self._processes)]
            waiting.append((process, process.thread.submit(process.ask, asked), beside))
            if len(waiting) >= AHEAD * len(self._processes):
                yield _settled(*waiting.popleft())
        while waiting:
            yield _settled(*waiting.popleft())

    def _end(self, *, kill: bool) -> None:
        for process in self._processes:
            if kill:
                process.kill()
            process.close()


def _settled(process: _Process, future: Future[pa.RecordBatch], beside: pa.Table) -> tuple[pa.RecordBatch, pa.Table]:
    try:
        return future.result(TIMEOUT_S), beside
    except TimeoutError:
        process.kill()
        raise UserCodeError(f"the model did not answer {beside.num_rows} rows in {TIMEOUT_S:g} s") from None
