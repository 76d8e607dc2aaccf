"""JSON of a client as Python values, where no type says in advance what it must look like.

The quick parser takes what is plain; what it cannot judge (a bare NaN, as Python clients write it, a name that comes
twice) goes to the strict one. A name that comes twice is refused: the two ways in which programs read it differ.
"""

from __future__ import annotations

import json
import re
from typing import Any, cast

import msgspec

from perennial.errors import Invalid

__all__ = ["MAX_DEPTH", "parse", "strictly"]

MAX_DEPTH = 64  # RELIABILITY 9
_LONG = 400  # digits; a number with more is beyond every type
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{}]')


def parse(body: bytes, remedy: str) -> object:
    """The value; NaN is a float that is not a number.

    Raises:
        Invalid: No JSON, nested too deep, or a name comes twice in one object.
    """
    try:
        value: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return strictly(body, remedy)
    # Each name is followed by a colon, so as many colons as names means that no name came twice. Colons in texts make
    # it look as if: then the strict parser tells.
    return value if body.count(b":") == _names(value, 0) else strictly(body, remedy)


def _names(value: object, depth: int) -> int:
    """How many names there are in the objects of this value; lists of plain values are not looked into."""
    if depth > MAX_DEPTH:
        return -1
    if isinstance(value, dict):
        items = cast("dict[str, object]", value)
        return len(items) + sum(_names(item, depth + 1) for item in items.values() if isinstance(item, dict | list))
    if isinstance(value, list):
        many = cast("list[object]", value)
        if many and isinstance(many[0], dict | list):
            return sum(_names(item, depth + 1) for item in many if isinstance(item, dict | list))
    return 0


def strictly(body: bytes, remedy: str) -> object:
    """As `parse`, by the strict parser alone, which finds names that come twice."""
    if _depth(body) > MAX_DEPTH:
        raise Invalid(f"the body is nested deeper than {MAX_DEPTH} levels", remedy=remedy)
    try:
        value: object = json.loads(body.decode(), parse_constant=_constant, parse_int=_whole, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"the body is not JSON: {error}", remedy=remedy) from None
    if b"\\u" in body:
        _refuse_halves(value, "")
    return value


def _refuse_halves(value: object, where: str) -> None:
    """Half a surrogate pair, which JSON can spell and UTF-8 cannot: whatever writes the text on would fail."""
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise Invalid("a text holds half a surrogate pair", where=where or "body", remedy="send valid Unicode")
    elif isinstance(value, dict):
        for name, item in cast("dict[str, object]", value).items():
            _refuse_halves(name, where or "a name")
            _refuse_halves(item, f"{where}.{name}" if where else name)
    elif isinstance(value, list):
        for at, item in enumerate(cast("list[object]", value)):
            _refuse_halves(item, f"{where}[{at}]")


def _depth(body: bytes) -> int:
    deepest = depth = 0
    for token in _TOKEN.finditer(body):
        sign = token[0]
        if sign in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif sign in b"]}":
            depth -= 1
    return deepest


def _constant(word: str) -> float:
    if word != "NaN":
        raise ValueError(f"{word} is not a JSON number")
    return float("nan")


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONG else float(digits)  # infinite: refused as out of range


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise Invalid(f"the name {name!r} comes twice in one object", where=name, remedy="send it once")
            seen.add(name)
    return made
