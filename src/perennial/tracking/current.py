"""Which run a piece of code belongs to: that of the innermost block, or of the loop whose step runs."""

from __future__ import annotations

import os
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING

from perennial.errors import NotFound

if TYPE_CHECKING:
    from perennial.tracking.active import ActiveRun

__all__ = ["current_run", "enter", "leave"]

_inside: ContextVar[tuple[ActiveRun, ...]] = ContextVar("perennial_runs", default=())
_lock = threading.Lock()
_everywhere: list[ActiveRun] = []


def current_run() -> ActiveRun:
    """The run that goes on here: of the innermost `with ws.runs.start(...)`, or of the loop while a step runs.

    A thread without a run of its own has that of the process, when there is exactly one.

    Raises:
        NotFound: No run goes on here.
    """
    inside = _inside.get()
    if inside:
        return inside[-1]
    with _lock:
        if len(_everywhere) == 1:
            return _everywhere[0]
        several = len(_everywhere)
    if several:
        says = f"{several} runs go on in this process, none of them in this thread"
        raise NotFound(says, remedy="hand the run to the thread, or copy its context (contextvars.copy_context)")
    raise NotFound(
        "no run goes on here",
        remedy="call it in a step of a loop, or in: with perennial.open() as ws, ws.runs.start(EXPERIMENT) as run:",
    )


def enter(run: ActiveRun) -> None:
    """From here on, in this context, it is the current one."""
    _inside.set((*_inside.get(), run))
    with _lock:
        _everywhere.append(run)


def leave(run: ActiveRun) -> None:
    """The one before is the current one again."""
    _inside.set(tuple(other for other in _inside.get() if other is not run))
    with _lock:
        if run in _everywhere:
            _everywhere.remove(run)


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
