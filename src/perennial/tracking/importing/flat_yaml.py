r"""Read the small YAML files that MLflow writes: `key: value` lines, and mappings or lists of values one level down.

That is all of YAML that its files hold, so that no YAML library is needed and nothing in a file can make an object.
Anything else is refused, with its line.

>>> read("a: 1\nb: 'it''s'\nc: null\nd:\n  e: \"x\\ty\"\nf: []\ng:\n- h\n")
{'a': 1, 'b': "it's", 'c': None, 'd': {'e': 'x\ty'}, 'f': {}, 'g': ['h']}
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Held", "NotFlat", "Value", "read"]

Value = str | int | float | bool | None
Held = Value | dict[str, Value] | list[Value]
_KEY = re.compile(
    r"""(?P<indent>\ *)
    (?: (?P<plain> [^\s'"#&*!|>%@`\[\]{},?:-] [^:#]*? | -[^\s:#][^:#]*? )
      | '(?P<single> (?:[^']|'')* )'
      | "(?P<double> (?:[^"\\]|\\.)* )" )
    \ *: (?: \ (?P<value>.*) | )
    | (?P<inset>\ *) (?P<dash>-)\ (?P<item>
        (?:(?:[^:#'"\s]|:\S)(?:[^:#]|:\S)*)? | '(?:[^']|'')*' | "(?:[^"\\]|\\.)*" )""",
    re.S | re.X,
)
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+][0-9]+)?")
_WORDS: dict[str, Value] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_OTHER_BREAKS = re.compile("[ \t]*([\u2028\u2029])[ \t]*")
_ESCAPES = {
    "0": "\0", "a": "\a", "b": "\b", "t": "\t", "\t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "e": "\x1b",
    " ": " ", '"': '"', "/": "/", "\\": "\\", "N": "\x85", "_": "\xa0", "L": "\u2028", "P": "\u2029",
}  # fmt: skip
_DIGITS = {"x": 2, "u": 4, "U": 8}


class NotFlat(ValueError):
    """The text is not of the shape that is read here; names the line."""


class _Entry(NamedTuple):
    line: int
    indent: int
    key: str
    value: str  # with the lines that continue it
    is_item: bool  # of a list


def read(text: str) -> dict[str, Held]:
    """The mapping in this text.

    Raises:
        NotFlat: It holds more than keys with plain or quoted values.
    """
    found: dict[str, Held] = {}
    last, is_open = "", False  # the key whose value is still to come
    for entry in _entries(text):
        if entry.indent or entry.is_item:
            inner = found.get(last)
            if not is_open or isinstance(inner, dict if entry.is_item else list):
                raise NotFlat(f"line {entry.line}: this does not belong below the line before")
            if entry.is_item:
                found[last] = [*(inner if isinstance(inner, list) else []), _value(entry)]
            else:
                found[last] = {**(inner if isinstance(inner, dict) else {}), entry.key: _value(entry)}
            continue
        if entry.key in found:
            raise NotFlat(f"line {entry.line}: the key {entry.key!r} is there twice")
        last, is_open = entry.key, entry.value == ""
        found[last] = {} if entry.value in ("[]", "{}") else _value(entry)
    return found


def _entries(text: str) -> Iterator[_Entry]:
    """Keys with their values; a quoted value goes on until its quote ends, a plain one over what is indented deeper."""
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        line, start = lines[at], at + 1
        at += 1
        if not line.strip(" \t") or line.startswith("#") or line.rstrip(" \t") == "---":
            continue
        match = _KEY.fullmatch(line)
        if match is None:
            raise NotFlat(f"line {start}: this is no `key: value`: {line[:60]!r}")
        is_item = match["dash"] is not None
        indent = len(match["inset"] if is_item else match["indent"])
        value = (match["item"] if is_item else match["value"] or "").strip(" \t")
        is_quoted = value[:1] in ("'", '"')
        held = [value]
        while at < len(lines) and (not _is_closed(held) if is_quoted else value != "" and _goes_on(lines, at, indent)):
            held.append(lines[at])
            at += 1
        joined = "\n".join(held) if is_quoted else "\n".join(held).rstrip(" \t\n")
        yield _Entry(start, indent, "" if is_item else _key(match, start), joined, is_item)


def _key(match: re.Match[str], line: int) -> str:
    if match["single"] is not None:
        return match["single"].replace("''", "'")
    return _unescaped(match["double"], line) if match["double"] is not None else match["plain"]


def _goes_on(lines: list[str], at: int, indent: int) -> bool:
    while at < len(lines) and not lines[at].strip(" \t"):
        at += 1
    return at < len(lines) and len(lines[at]) - len(lines[at].lstrip(" ")) > indent


def _is_closed(held: list[str]) -> bool:
    text = "\n".join(held)
    if text[0] == "'":
        return len(text) > 1 and text[1:].replace("''", "").endswith("'")
    return re.fullmatch(r'"(?:[^"\\]|\\.)*"\s*', text, re.S) is not None


def _value(entry: _Entry) -> Value:
    text = entry.value
    if text[:1] == "'":
        if not _is_closed([text]):
            raise NotFlat(f"line {entry.line}: the quote does not end")
        return _folded(text[1:-1]).replace("''", "'")
    if text[:1] == '"':
        if not _is_closed([text]):
            raise NotFlat(f"line {entry.line}: the quote does not end")
        return _unescaped(_folded(text.rstrip()[1:-1], may_escape=True), entry.line)
    if text[:1] in "&*!|>%@`[{" and text:
        raise NotFlat(f"line {entry.line}: {text[:20]!r} is more than a plain value")
    if " #" in text or ": " in text or text.endswith(":"):
        raise NotFlat(f"line {entry.line}: {text[:60]!r} is not a plain value")
    text = _folded(text)
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text.replace("_", ""))
    return float(text.replace("_", "")) if _FLOAT.fullmatch(text) else text


def _folded(text: str, *, may_escape: bool = False) -> str:
    """Lines of one value joined: one break is a space, more of them are one break fewer, an escaped one is nothing."""
    first, *rest = text.split("\n")
    joined, empty = first if not rest or (may_escape and _goes_on_at_once(first)) else first.rstrip(" \t"), 0
    for number, line in enumerate(rest, 1 - len(rest)):
        part = line.lstrip(" \t") if number == 0 or (may_escape and _goes_on_at_once(line)) else line.strip(" \t")
        if not part and number < 0:
            empty += 1
            continue
        breaks = "\n" * empty
        joined = (
            joined[:-1] + breaks + part if may_escape and _goes_on_at_once(joined) else joined + (breaks or " ") + part
        )
        empty = 0
    return _OTHER_BREAKS.sub(r"\1", joined)


def _goes_on_at_once(line: str) -> bool:
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _unescaped(text: str, line: int) -> str:
    def one(match: re.Match[str]) -> str:
        sign = match[1]
        if sign in _ESCAPES:
            return _ESCAPES[sign]
        if sign[0] in _DIGITS and len(sign) == 1 + _DIGITS[sign[0]]:
            return chr(int(sign[1:], 16))
        raise NotFlat(f"line {line}: the escape \\{sign} is none")

    pattern = r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)"
    joined = re.sub(pattern, one, text, flags=re.S)
    try:  # two halves of one character, as JSON's escapes have them
        return joined.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError as error:
        raise NotFlat(f"line {line}: half a character") from error
