"""Keep a few child processes running until told to stop.

Children start in order, each when the one before it is ready, and stop in the opposite order. One that ends is started
again, after a pause that doubles while it keeps ending soon. A child gets an open pipe as its standard input, so that
it notices the death of this process (see `parent`), and writes to a log file of its own. Knows nothing of what the
children do.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from perennial.errors import ConfigError, Failure, PerennialError
from perennial.store.files import LocalFiles

__all__ = ["Child", "Tree"]

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
STEADY_S = 30.0  # a child that ran this long starts anew without a pause
MAX_LOG_BYTES = 10 * 1024 * 1024  # at a start a longer log becomes the one old log that is kept


@dataclass(frozen=True)
class Child:
    """One process to keep: an argument list, how it is seen to be ready (by its process id), how long it may take."""

    name: str
    argv: Sequence[str]
    ready: Callable[[int], bool]
    ready_within_s: float = 30.0
    stop_within_s: float = 20.0
    descriptors: tuple[int, ...] = ()
    environment: Mapping[str, str] | None = None


@dataclass
class _Running:
    child: Child
    process: subprocess.Popen[bytes]
    since: float
    pause_s: float


class Tree:
    """Runs children; `changed` is told the process ids whenever one starts. Use from one thread, `stop` from any."""

    def __init__(self, children: Sequence[Child], logs: Path, changed: Callable[[Mapping[str, int]], None]) -> None:
        self._children = children
        self._logs = logs
        self._changed = changed
        self._running: dict[str, _Running] = {}
        self._news: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()  # a signal handler may put
        self._due: dict[str, tuple[float, float]] = {}  # when to start it anew, and the pause after that
        self._stopping = threading.Event()

    def start(self, *, patience_s: float = 0.0) -> None:
        """Start all children, in order; one that ends at once is tried again for so long.

        Raises:
            ConfigError: A child says that it was started wrongly (exit code 2); its last words are in the message.
            Failure: A child did not get ready.
        """
        for child in self._children:
            if self._stopping.is_set():
                return
            ends = time.monotonic() + patience_s
            while True:
                self._start(child, 0.0)
                try:
                    self._wait_ready(child)
                    break
                except PerennialError:
                    if time.monotonic() > ends or self._running[child.name].process.poll() is None:
                        raise
                    time.sleep(FIRST_PAUSE_S)

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping.is_set()

    def watch(self) -> None:
        """Start anew whatever ends, until `stop` is called."""
        while not self._stopping.is_set():
            self._tend(3600.0)

    def stop(self) -> None:
        """Ask `watch` to return; may be called by a signal handler."""
        self._stopping.set()
        self._news.put(("", 0))

    def end(self) -> None:
        """Stop all children in the opposite order of their start: ask, wait, and kill what does not go."""
        for held in reversed(list(self._running.values())):
            process = held.process
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(held.child.stop_within_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin is not None:
                process.stdin.close()
        self._running.clear()

    def _tend(self, wait_s: float, *, but: Child | None = None) -> None:
        """Hear of one child that ended, or wait so long; start what is due. `but` is started by who waits for it."""
        soonest = min((at - time.monotonic() for at, _ in self._due.values()), default=wait_s)
        try:
            name, pid = self._news.get(timeout=max(min(soonest, wait_s), 0.0))
        except queue.Empty:
            pass
        else:
            held = self._running.get(name)
            if held is not None and held.process.pid == pid and held.child is not but:
                steady = time.monotonic() - held.since > STEADY_S
                pause = 0.0 if steady else held.pause_s
                self._due[name] = (time.monotonic() + pause, min(max(pause * 2, FIRST_PAUSE_S), LONGEST_PAUSE_S))
        now = time.monotonic()
        for child in self._children:
            if child.name in self._due and self._due[child.name][0] <= now and not self._stopping.is_set():
                self._start(child, self._due.pop(child.name)[1])

    def _start(self, child: Child, pause_s: float) -> None:
        log = self._logs / f"{child.name}.log"
        files = LocalFiles()
        if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
            files.publish(log, log.with_suffix(".log.1"))
        with files.append(log, mode=0o600) as out:
            process = subprocess.Popen(
                list(child.argv),
                stdin=subprocess.PIPE,
                stdout=out.descriptor,
                stderr=out.descriptor,
                pass_fds=child.descriptors,
                env=None if child.environment is None else {**os.environ, **child.environment},
                process_group=0,  # Ctrl-C reaches this process alone, which then stops the others in order
            )
        before = self._running.get(child.name)
        if before is not None and before.process.stdin is not None:
            before.process.stdin.close()
        self._running[child.name] = _Running(child, process, time.monotonic(), pause_s)
        threading.Thread(target=self._report_end, args=(child.name, process), daemon=True).start()
        self._changed({name: held.process.pid for name, held in self._running.items()})

    def _report_end(self, name: str, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self._news.put((name, process.pid))

    def _wait_ready(self, child: Child) -> None:
        process = self._running[child.name].process
        ends = time.monotonic() + child.ready_within_s
        while not child.ready(process.pid):
            if process.poll() is not None or self._stopping.is_set():
                break
            if time.monotonic() > ends:
                raise Failure(
                    f"{child.name} was not ready within {child.ready_within_s:.0f} s", where=str(self._log_of(child))
                )
            self._tend(0.02, but=child)  # the others may be killed meanwhile, and this one may need them
        if process.poll() is not None and not self._stopping.is_set():
            kind = ConfigError if process.returncode == 2 else Failure
            raise kind(f"{child.name} ended at once: {self._last_words(child)}", where=str(self._log_of(child)))

    def _log_of(self, child: Child) -> Path:
        return self._logs / f"{child.name}.log"

    def _last_words(self, child: Child) -> str:
        lines = self._log_of(child).read_text(errors="replace").strip().splitlines()
        return "\n".join(lines[-5:]) or "it said nothing"
