"""Protocol buffers' text format: nested messages, repeated fields, quoted texts, words, numbers, comments.

    feature { name: "fare" type: FLOAT float_domain { min: 0.0 } }

A message remembers which of its fields were asked for, so that what nobody asked for can be told. Written after the
language's specification (protobuf.dev, text format); no definition (.proto) is needed to read it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias, TypeVar, cast

from perennial.errors import Invalid

__all__ = ["Message", "Word", "parse"]

T = TypeVar("T")
MAX_DEPTH = 100  # protobuf's own limit


class Word(str):
    """A value without quotes: the name of an enum's value, true, inf."""

    __slots__ = ()


Value: TypeAlias = "Message | str | int | float"


class Field(NamedTuple):
    """One field as it stands there."""

    name: str
    value: Value
    line: int


class Message:
    """The fields between two braces, in order. `line` is where it begins."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.fields: list[Field] = []
        self._asked: set[str] = set()

    def texts(self, name: str) -> list[str]:
        """The values of a repeated text."""
        return [_fitting(field, str, "a text in quotes") for field in self._all(name)]

    def text(self, name: str) -> str | None:
        """The value of a text; None when it is not there."""
        return self._last(name, self.texts(name))

    def words(self, name: str) -> list[str]:
        """Values that stand without quotes."""
        return [_fitting(field, Word, "a word without quotes") for field in self._all(name)]

    def word(self, name: str) -> str | None:
        """The name of an enum's value, or true and false."""
        return self._last(name, self.words(name))

    def number(self, name: str) -> float | None:
        """A whole number as int, any other as float; inf and nan are what they are."""
        return self._last(name, [_number(field) for field in self._all(name)])

    def messages(self, name: str) -> list[Message]:
        """The nested messages of this name."""
        return [_fitting(field, Message, "fields in { }") for field in self._all(name)]

    def message(self, name: str) -> Message | None:
        """The nested message of this name; None when it is not there."""
        return self._last(name, self.messages(name))

    def unasked(self) -> Iterator[tuple[str, int]]:
        """Dotted names and lines of all fields, here and below, that nobody asked for."""
        for field in self.fields:
            if field.name not in self._asked:
                yield field.name, field.line
            elif isinstance(field.value, Message):
                yield from ((f"{field.name}.{name}", line) for name, line in field.value.unasked())

    def _all(self, name: str) -> list[Field]:
        self._asked.add(name)
        return [field for field in self.fields if field.name == name]

    def _last(self, name: str, values: list[T]) -> T | None:
        if len(values) > 1:
            line = [field.line for field in self.fields if field.name == name][1]
            raise Invalid(f"{name} is there twice", where=f"line {line}", remedy="keep one of them")
        return values[0] if values else None


def parse(text: str) -> Message:
    """The message that this text describes.

    Raises:
        Invalid: Not of this format; names the line.
    """
    reader = _Reader(text)
    message = Message(1)
    reader.fields(message, "", 0)
    return message


_TOKEN = re.compile(
    r"""(?P<space>(?:\s|\#[^\n]*)+)
    |(?P<number>-?(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[fF]?)(?![\w.]))
    |(?P<word>-?[A-Za-z_][\w.]*)
    |(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<mark>[{}<>\[\]:;,/])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_LETTERS = {b"a": 7, b"b": 8, b"f": 12, b"n": 10, b"r": 13, b"t": 9, b"v": 11, b"\\": 92, b"'": 39, b'"': 34, b"?": 63}
_CLOSING = {"{": "}", "<": ">"}


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0

    def fields(self, message: Message, closing: str, depth: int) -> None:
        """Read fields into a message, up to and with its closing mark."""
        if depth > MAX_DEPTH:
            raise Invalid(f"messages are nested more than {MAX_DEPTH} deep", where=f"line {self._next.line}")
        while self._next.text != closing or self._next.kind not in ("mark", "end"):
            line = self._next.line
            name = self._name()
            colon = self._skip(":")
            if self._next.text == "[":
                self._skip("[")
                while not self._skip("]"):
                    message.fields.append(Field(name, self._value(depth), line))
                    if not self._skip(",") and self._next.text != "]":
                        raise self._unexpected("a comma or ]")
            elif not colon and self._next.text not in _CLOSING:
                raise self._unexpected(f"a colon after {name!r}")
            else:
                message.fields.append(Field(name, self._value(depth), line))
            if not self._skip(","):
                self._skip(";")
        self._at += 1

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _skip(self, mark: str) -> bool:
        found = self._next.kind == "mark" and self._next.text == mark
        self._at += found
        return found

    def _name(self) -> str:
        if self._skip("["):  # an extension, or the type of an Any
            parts: list[str] = []
            while not self._skip("]"):
                if self._next.kind not in ("word", "mark", "number") or self._next.text in "{}<>[:;,":
                    raise self._unexpected("the name of an extension and ]")
                parts.append(self._next.text)
                self._at += 1
            return f"[{''.join(parts)}]"
        token = self._next
        if token.kind != "word" or token.text.startswith("-"):
            raise self._unexpected("the name of a field")
        self._at += 1
        return token.text

    def _value(self, depth: int) -> Value:
        token = self._next
        if token.kind == "mark" and token.text in _CLOSING:
            self._at += 1
            message = Message(token.line)
            self.fields(message, _CLOSING[token.text], depth + 1)
            return message
        if token.kind == "text":
            parts: list[bytes] = []
            while self._next.kind == "text":  # texts side by side are one
                parts.append(_unescaped(self._next))
                self._at += 1
            try:
                return b"".join(parts).decode()
            except UnicodeDecodeError:
                raise Invalid("a text is not UTF-8", where=f"line {token.line}", remedy="write it in UTF-8") from None
        if token.kind not in ("number", "word"):
            raise self._unexpected("a value")
        self._at += 1
        return _literal(token)

    def _unexpected(self, wanted: str) -> Invalid:
        token = self._next
        found = "the end" if token.kind == "end" else repr(token.text)
        return Invalid(f"{found} where {wanted} belongs", where=f"line {token.line}", remedy="mend the line")


def _tokens(text: str) -> Iterator[_Token]:
    at, line = 0, 1
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise Invalid(
                f"{text[at : at + 20].splitlines()[0]!r} is nothing that protobuf's text format knows",
                where=f"line {line}",
                remedy="mend the line; a text needs its closing quote on the same line",
            )
        if found.lastgroup != "space":
            yield _Token(str(found.lastgroup), found[0], line)
        line += found[0].count("\n")
        at = found.end()
    yield _Token("end", "", line)


def _literal(token: _Token) -> Value:
    if token.kind == "word":
        return Word(token.text)
    digits = token.text.lower().lstrip("-")
    sign = -1 if token.text.startswith("-") else 1
    if digits.startswith("0x"):
        return sign * int(digits, 16)
    if digits.isdecimal():
        octal = len(digits) > 1 and digits.startswith("0")
        try:
            return sign * int(digits, 8 if octal else 10)
        except ValueError:
            raise Invalid(f"{token.text!r} is no octal number", where=f"line {token.line}") from None
    return sign * float(digits.removesuffix("f"))


def _unescaped(token: _Token) -> bytes:
    def byte(found: re.Match[bytes]) -> bytes:
        octal, hexadecimal, short, long, letter = found.groups()
        if octal or hexadecimal:
            return bytes([int(octal or hexadecimal, 8 if octal else 16) & 255])
        if short or long:
            point = int(short or long, 16)
            if point < 0x110000 and not 0xD800 <= point < 0xE000:
                return chr(point).encode()
        elif letter in _LETTERS:
            return bytes([_LETTERS[letter]])
        raise Invalid(f"{found[0].decode(errors='replace')} is no escape", where=f"line {token.line}")

    return _ESCAPE.sub(byte, token.text[1:-1].encode())


def _fitting(field: Field, kind: type[T], says: str) -> T:
    fits = isinstance(field.value, kind) and (kind is not str or not isinstance(field.value, Word))
    if not fits:
        raise Invalid(f"{field.name} is not {says}", where=f"line {field.line}", remedy=f"write {says}")
    return cast(T, field.value)


def _number(field: Field) -> float:
    if isinstance(field.value, Word) and field.value.lower().lstrip("-") in ("inf", "infinity", "nan"):
        return float(field.value)
    if isinstance(field.value, str | Message):
        raise Invalid(f"{field.name} is not a number", where=f"line {field.line}", remedy="write a number")
    return field.value
