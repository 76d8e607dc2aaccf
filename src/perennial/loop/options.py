"""Check the options of requirements, stages and triggers where they are written.

Each function gives the value as it is stored, or a LoopError that names the user's line and what would be right.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable

from perennial.clock import parse_duration
from perennial.errors import LoopError
from perennial.loop.place import place

__all__ = ["choice", "count", "did_you_mean", "flag", "number", "seconds", "text"]


def number(
    option: str, value: object, *, above: float = -math.inf, least: float = -math.inf, most: float = math.inf
) -> float:
    """A finite number, above `above`, at least `least` and at most `most`."""
    if isinstance(value, int | float) and not isinstance(value, bool) and above < value and least <= value <= most:
        return _finite(option, float(value))
    bounds = [f"above {above:g}"] if above > -math.inf else []
    bounds += [f"at least {least:g}"] if least > -math.inf else []
    bounds += [f"at most {most:g}"] if most < math.inf else []
    raise _wrong(option, value, " and ".join(["a number", *bounds]) if bounds else "a finite number")


def count(option: str, value: object, *, least: int = 1) -> int:
    """A whole number of things."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    raise _wrong(option, value, f"a whole number of at least {least}")


def seconds(option: str, value: object, *, least: float = 0.0) -> float:
    """A duration such as "30d", in seconds."""
    try:
        duration = parse_duration(value) if isinstance(value, str) else math.nan
    except ValueError:
        duration = math.nan
    if math.isfinite(duration) and duration >= least:
        return duration
    raise _wrong(option, value, 'a duration such as "30d", "12h" or "90s"' + (" above zero" if least else ""))


def text(option: str, value: object) -> str:
    """Some text."""
    if isinstance(value, str) and value.strip():
        return value
    raise _wrong(option, value, "a name")


def flag(option: str, value: object) -> bool:
    """True or False."""
    if isinstance(value, bool):
        return value
    raise _wrong(option, value, "True or False")


def choice(option: str, value: object, known: Collection[str]) -> str:
    """One of a few words."""
    if isinstance(value, str) and value in known:
        return value
    raise LoopError(f"{option} cannot be {value!r}", where=place(), remedy=did_you_mean(value, known))


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """The remedy for a word that is not known: the nearest one, or all there are.

    >>> did_you_mean("surey", ["survey", "model"])
    "did you mean 'survey'?"
    """
    names = list(known)
    close = difflib.get_close_matches(str(word), names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"use one of {', '.join(map(repr, names))}" if names else ""


def _finite(option: str, value: float) -> float:
    if math.isfinite(value):
        return value
    raise _wrong(option, value, "a finite number")


def _wrong(option: str, value: object, expected: str) -> LoopError:
    return LoopError(f"{option} cannot be {value!r}", where=place(), remedy=f"give {expected}")
