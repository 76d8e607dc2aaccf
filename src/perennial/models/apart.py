"""One question to a model in a process of its own, confined like a worker, and what comes back: a reply or an error.

The module that is run reads one request in JSON from its input (`answer_one`). What the model prints goes to the log.
"""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec

from perennial.errors import Corrupt, PerennialError, Refused, UserCodeError
from perennial.models.sandbox import Rules, confine, environment
from perennial.store.decoding import ready

__all__ = ["Confined", "answer_one", "answered_apart"]

TIMEOUT_S = 600.0
_KINDS: dict[str, type[PerennialError]] = {kind.__name__: kind for kind in (Corrupt, Refused, UserCodeError)}


class Confined(Protocol):
    """A request: what is asked of which folder, and how the process that answers is confined."""

    @property
    def folder(self) -> str: ...
    @property
    def rules(self) -> Rules: ...


Reply = TypeVar("Reply", bound=msgspec.Struct)
Request = TypeVar("Request", bound=Confined)


class _Told(msgspec.Struct, frozen=True, kw_only=True):
    """A reply, or the error that came instead."""

    reply: msgspec.Raw = msgspec.Raw(b"null")
    error: str | None = None
    what: str = ""
    where: str = ""
    remedy: str = ""


def answered_apart(module: str, request: Confined, kind: type[Reply]) -> Reply:
    """Run a module on one request; its reply.

    Raises:
        Refused, Corrupt, UserCodeError: As the module says; or its process dies, or takes more than ten minutes.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", module],
            input=msgspec.json.encode(request),
            stdout=subprocess.PIPE,
            env=environment(os.environ),
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UserCodeError(f"the model did not answer in {TIMEOUT_S:g} s", where=request.folder) from error
    if done.returncode != 0 or not done.stdout:
        raise UserCodeError(
            f"the process that loads the model ended with {done.returncode}",
            where=request.folder,
            remedy="what it wrote before its end stands above",
        )
    told = msgspec.json.decode(done.stdout, type=ready(_Told))
    if told.error is not None:
        raise _KINDS.get(told.error, UserCodeError)(told.what, where=told.where, remedy=told.remedy)
    return msgspec.json.decode(told.reply, type=ready(kind))


def answer_one(kind: type[Request], answer: Callable[[Request], msgspec.Struct]) -> None:
    """Be that process: read the request, be confined, answer."""
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=ready(kind))
    confine(request.rules)
    out = os.dup(1)
    os.dup2(2, 1)  # what the model prints is no reply
    try:
        told = _Told(reply=msgspec.Raw(msgspec.json.encode(answer(request))))
    except PerennialError as error:
        told = _Told(error=type(error).__name__, what=error.what, where=error.where, remedy=error.remedy)
    except Exception as error:  # noqa: BLE001  # the boundary of the process: what the model raises is the reply
        traceback.print_exc()
        told = _Told(error="UserCodeError", what=f"the model does not answer: {type(error).__name__}: {error}")
    rest = memoryview(msgspec.json.encode(told))
    while rest:
        rest = rest[os.write(out, rest) :]
