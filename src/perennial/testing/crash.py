"""Run work in a child process that is killed at a failpoint, and learn what it had acknowledged before.

The child is forked, so a sweep over many failpoints takes seconds; fork only from a process without other threads that
hold locks.
"""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from perennial.store import failpoints

__all__ = ["Outcome", "run_in_child"]

Acknowledge = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What the child told. `hits` is empty when it was killed."""

    was_killed: bool
    acknowledged: list[str]
    hits: dict[str, int]


def run_in_child(work: Callable[[Acknowledge], None], armed: str) -> Outcome:
    """Fork, arm the failpoints there, and work; `work` calls its argument after each step that it was promised.

    Raises:
        AssertionError: The work failed by itself; holds its traceback.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        status = 1
        try:
            failpoints.arm(armed)
            work(lambda text: _tell(writer, "ack", text))
            for name, times in failpoints.hits().items():
                _tell(writer, "hit", f"{name} {times}")
            status = 0
        except BaseException:  # noqa: BLE001  # the child's boundary: the parent raises it
            _tell(writer, "bad", traceback.format_exc().replace("\n", "\\n"))
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as told:
        lines = [line.rstrip("\n").split(" ", 1) for line in told]
    _, status = os.waitpid(child, 0)
    bad = [text for kind, text in lines if kind == "bad"]
    assert not bad, bad[0].replace("\\n", "\n")
    hits = dict(text.rsplit(" ", 1) for kind, text in lines if kind == "hit")
    return Outcome(
        was_killed=os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL,
        acknowledged=[text for kind, text in lines if kind == "ack"],
        hits={name: int(times) for name, times in hits.items()},
    )


def _tell(writer: int, kind: str, text: str) -> None:
    os.write(writer, f"{kind} {text}\n".encode())  # one write of less than a page: whole or not at all
