"""Who acts, and through which way in; every event is stamped with it.

`api` and `cli` set it for the duration of a request or command. Without it the operating-system user acts through the
library. Whether that person may do so is not decided here.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache

__all__ = ["Actor", "acting", "current_actor", "system_user"]


@dataclass(frozen=True)
class Actor:
    """A person (or the part of Perennial that acts for one) and the way in that was used."""

    person: str
    origin: str

    def __str__(self) -> str:
        return f"{self.person} via {self.origin}"


_actor: ContextVar[Actor | None] = ContextVar("perennial_actor", default=None)


def current_actor() -> Actor:
    return _actor.get() or Actor(system_user(), "library")


@contextmanager
def acting(person: str, origin: str) -> Generator[Actor]:
    """Everything done inside is done by `person` through `origin` (cli, api, page, reconciler, ...)."""
    token = _actor.set(Actor(person, origin))
    try:
        yield current_actor()
    finally:
        _actor.reset(token)


@cache
def system_user() -> str:
    """The login name of the user that runs this process; from the system, never from the environment."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run under a number that has no name
        return f"uid-{os.getuid()}"
