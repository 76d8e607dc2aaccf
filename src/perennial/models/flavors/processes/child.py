"""A process of another language that answers messages: started within a bound, asked within a bound, gone with us.

A message is its length (4 bytes, little-endian) and its bytes. Messages go to the child's standard input. Answers come
over a pipe of their own, whose number is the child's last argument, so that nothing that its code prints gets between
them; an answer begins with one byte, 0 for an answer and 1 for the text of an error. The first message is the model.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import struct
import subprocess
import time
import weakref
from collections.abc import Mapping, Sequence

from perennial.errors import TooLarge, UserCodeError

__all__ = ["ANSWER_S", "START_S", "Child"]

START_S = 20.0  # RELIABILITY 9: a worker that is not warm by then is not coming
ANSWER_S = 60.0  # one message; whoever asks has a shorter bound of their own
MAX_BYTES = 2**31 - 1  # what the length of a message can say, R's integer included
TAIL_BYTES = 4096  # of what it printed last: told when it ends without an answer
_CHUNK = 1 << 20
_LENGTH = struct.Struct("<i")

# Waits for the end of its input and then ends the child with all that it started. The other end of that pipe is ours
# alone, so it closes whenever and however we end, also by SIGKILL; a line says that the child has ended already.
_GUARD = 'read -r line || kill -s KILL -- "-$1"'

log = logging.getLogger(__name__)


class Child:
    """One process, started again when it is asked after it ended. Not safe for concurrent use.

    A message that finds the process dead, or ends it while it is read, starts it anew and is sent once more. A process
    that ends or hangs while it answers is an error of this message; the next one starts it anew.
    """

    def __init__(
        self,
        command: Sequence[str],
        greeting: bytes,
        *,
        name: str,
        environment: Mapping[str, str] | None = None,
        start_s: float = START_S,
        answer_s: float = ANSWER_S,
    ) -> None:
        self.name = name
        self._command = list(command)
        self._greeting = greeting
        self._environment = {"OMP_NUM_THREADS": "1", **os.environ, **(environment or {})}
        self._start_s, self._answer_s = start_s, answer_s
        self._running: _Running | None = None
        self.hello = self._start()

    @property
    def pid(self) -> int | None:
        """Of the process, while it runs."""
        return None if self._running is None or self._running.ended else self._running.process.pid

    def ask(self, message: bytes) -> bytes:
        """The answer to a message.

        Raises:
            UserCodeError: What the child says went wrong; or it ended, or did not answer in time.
        """
        running = self._running
        if running is not None and not running.ended:
            try:
                return self._exchange(running, message, self._answer_s)
            except BrokenPipeError:
                log.warning("%s had ended; it is started again", self.name)
        self._start()
        assert self._running is not None
        try:
            return self._exchange(self._running, message, self._answer_s)
        except BrokenPipeError as error:
            raise self._lost(self._running, "while it was asked") from error

    def close(self) -> None:
        """End the process; the next message would start it again."""
        if self._running is not None:
            self._running.end()
            self._running = None

    def _start(self) -> bytes:
        self.close()
        self._running = running = _Running(self._command, self._environment)
        try:
            return self._exchange(running, self._greeting, self._start_s)
        except BrokenPipeError as error:
            raise self._lost(running, "at its start") from error
        except BaseException:
            self.close()
            raise

    def _exchange(self, running: _Running, message: bytes, timeout_s: float) -> bytes:
        if len(message) > MAX_BYTES:
            raise TooLarge(f"{self.name} is sent at most 2 GiB at once", remedy="send fewer rows, or a smaller model")
        try:
            answer = running.exchange(_LENGTH.pack(len(message)) + message, time.monotonic() + timeout_s)
        except TimeoutError:
            self.close()
            raise UserCodeError(
                f"{self.name} did not answer within {timeout_s:g} s",
                remedy="send fewer rows, or look into the model; its process was ended and starts with the next rows",
            ) from None
        except EOFError:
            raise self._lost(running, "while it answered") from None
        except BrokenPipeError:
            raise
        except BaseException:  # an interrupted exchange leaves half a message in the pipes
            self.close()
            raise
        if answer[0]:
            raise UserCodeError(f"{self.name}: {answer[1:].decode(errors='replace').strip()}")
        return bytes(memoryview(answer)[1:])

    def _lost(self, running: _Running, when: str) -> UserCodeError:
        code = running.end(patience_s=5.0)
        self._running = None
        how = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
        said = bytes(running.said[-TAIL_BYTES:]).decode(errors="replace").strip()
        return UserCodeError(
            f"{self.name} ended {when}: {how}" + (f"\n{said}" if said else ""),
            remedy="look into the model; the process starts again with the next rows",
        )


class _Running:
    """A started process with its pipes and its guard; ended when it is forgotten."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.answers, theirs = os.pipe()
        try:
            # A session of its own: what the terminal or a supervisor sends to our group is for us to act upon, and
            # all that the child starts ends with its group.
            self.process = subprocess.Popen(
                [*command, str(theirs)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs,),
                env=environment,
                start_new_session=True,
            )
        except BaseException:
            os.close(self.answers)
            raise
        finally:
            os.close(theirs)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.requests, self.output = self.process.stdin.fileno(), self.process.stdout.fileno()
        for descriptor in (self.requests, self.answers, self.output):
            os.set_blocking(descriptor, False)
        guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "sh", str(self.process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.said = bytearray()
        self._poll = select.poll()
        self._poll.register(self.answers, select.POLLIN)
        self._poll.register(self.output, select.POLLIN)
        self._finalizer = weakref.finalize(self, _end, self.process, guard, self.answers)

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def end(self, *, patience_s: float = 0.0) -> int:
        """End it and everything it started; its exit code, which is its own if it ends by itself meanwhile."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience_s)
        if self._finalizer.alive:
            self._hear()
        self._finalizer()
        return self.process.returncode

    def exchange(self, message: bytes, deadline: float) -> bytearray:
        """Send a message, receive its answer.

        Raises:
            BrokenPipeError: It ended before it had read the message. EOFError: Before it had answered. TimeoutError.
        """
        rest = memoryview(message)
        received = bytearray()
        with contextlib.suppress(BlockingIOError):
            rest = rest[os.write(self.requests, rest) :]
        if rest:
            self._poll.register(self.requests, select.POLLOUT)
        try:
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                for descriptor, _ in self._poll.poll(left * 1000):
                    if descriptor == self.requests:
                        rest = rest[os.write(self.requests, rest) :]
                        if not rest:
                            self._poll.unregister(self.requests)
                    elif descriptor == self.output:
                        if not self._hear():
                            self._poll.unregister(self.output)
                    elif not self._receive(received):
                        raise BrokenPipeError if rest else EOFError
                if len(received) >= 4 and len(received) - 4 >= _LENGTH.unpack_from(received)[0]:
                    del received[:4]
                    return received
        finally:
            if rest:
                self._poll.unregister(self.requests)

    def _receive(self, received: bytearray) -> bool:
        """Take what has been answered; False at the end of the pipe."""
        with contextlib.suppress(BlockingIOError):
            chunk = os.read(self.answers, _CHUNK)
            received += chunk
            return bool(chunk)
        return True

    def _hear(self) -> bool:
        """Take what was printed, keep the last of it; False at the end of the pipe."""
        with contextlib.suppress(BlockingIOError):
            chunk = os.read(self.output, _CHUNK)
            if chunk:
                log.debug("process %d: %s", self.process.pid, chunk.decode(errors="replace").rstrip())
            self.said += chunk
            del self.said[:-TAIL_BYTES]
            return bool(chunk)
        return True


def _end(process: subprocess.Popen[bytes], guard: subprocess.Popen[bytes], answers: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # the group is empty; macOS says so by the second
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    os.close(answers)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    if guard.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            guard.stdin.write(b"\n")
            guard.stdin.close()
    guard.wait()
