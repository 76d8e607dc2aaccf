"""Fallbacks: who answers in place of the live version, in the order in which they are named.

The chain is asked where a guard says "fall_back", where the breaker is open, and where the version cannot answer. Every
answer says which link gave it.
"""

from __future__ import annotations

import re

from perennial.errors import LoopError
from perennial.loop.failsafe import Fallback
from perennial.loop.options import number, text
from perennial.loop.place import place

__all__ = ["constant", "person", "previous", "version"]

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}@[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


def previous() -> Fallback:
    """The version that was live before this one."""
    return Fallback("previous", {})


def version(name: str) -> Fallback:
    """A version by name and alias or number, as in "salary_simple@live": it must take what this endpoint is asked."""
    if not _VERSION.fullmatch(text("name", name)):
        remedy = 'give "name@alias" or "name@number", as in "salary_simple@live"'
        raise LoopError(f"{name!r} names no version", where=place(), remedy=remedy)
    return Fallback("version", {"version": name})


def constant(value: float | str | bool | None = None) -> Fallback:
    """Always the same: this value, or the mean of the training rows' target, or their most frequent class."""
    if value is None:
        return Fallback("constant", {})
    if isinstance(value, bool):
        return Fallback("constant", {"value": value})
    return Fallback("constant", {"value": text("value", value) if isinstance(value, str) else number("value", value)})


def person() -> Fallback:
    """Nobody answers now: the row is put to a person, and the caller asks for the answer later."""
    return Fallback("person", {})
