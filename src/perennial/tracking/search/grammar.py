"""Read filters and orders of MLflow's search language. Text in, plain values out; knows no tables.

    metrics.loss < 0.5 AND tags."mlflow.user" ILIKE 'ada%' AND attributes.run_id IN ('a', 'b')
    metrics.`val loss` DESC

One expression is comparisons joined by AND: there is no OR, NOT or grouping. The scanner is one regular expression
without nested repetition, so its time is linear in a text of bounded length (C14, C18).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perennial.errors import Invalid
from perennial.tracking.names import is_unicode

__all__ = ["MAX_ORDERS", "Comparison", "Order", "parse_filter", "parse_order"]

MAX_CHARACTERS = 10_000
MAX_TERMS = 100
MAX_LIST = 1_000  # values of one IN
# A build of SQLite (3.40.1) crashes the whole process when it sorts a join by 64 terms or more; a metric takes three.
MAX_ORDERS = 20

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>[+-]?(?:\d+(?:\.\d*)?|(?<![\w`"])\.\d+)(?:[eE][+-]?\d+)?)(?![\w.\[])
    | (?P<string>'[^']*')
    | (?P<quoted>`[^`]*`|"[^"]*")
    | (?P<operator><=|>=|!=|<>|==|=|<|>)
    | (?P<mark>[(),.])
    | (?P<word>[^\s`"'()<>=!,.]+)
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Comparison:
    """One term. `operator` is upper case: = != < <= > >= LIKE ILIKE IN, NOT IN, IS NULL, IS NOT NULL.

    `value` is a text for a quoted value, a number for a bare one, a list of texts for IN, None for IS.
    """

    entity: str
    key: str
    operator: str
    value: str | float | tuple[str, ...] | None


@dataclass(frozen=True)
class Order:
    """One key to sort by."""

    entity: str
    key: str
    ascending: bool


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int


def parse_filter(text: str | None, entities: Mapping[str, str], default: str) -> list[Comparison]:
    """The comparisons of a filter; none for an empty one.

    Args:
        text: The filter.
        entities: How entities may be called, in lower case -> their name.
        default: The entity of a key without one.

    Raises:
        Invalid: It is no filter; says what is wrong and where.
    """
    if text is None or not text.strip():
        return []
    return _Reader(text, entities, default).filter()


def parse_order(texts: Sequence[str], entities: Mapping[str, str], default: str) -> list[Order]:
    """What to sort by.

    Raises:
        Invalid: A text is no key with ASC, DESC or nothing behind it.
    """
    if len(texts) > MAX_ORDERS:
        raise Invalid(f"{len(texts)} keys to order by", where="order_by", remedy=f"at most {MAX_ORDERS}")
    orders: list[Order] = []
    for text in texts:
        what, way = _split_order(text.strip())
        if not what:
            raise Invalid(f"Invalid order_by clause '{text}'", where="order_by", remedy="for example metrics.loss DESC")
        reader = _Reader(what, entities, default, whole="order_by")
        entity, key = reader.identifier()
        if reader.peek() is not None:
            raise Invalid(f"Invalid order_by clause '{text}'", where="order_by", remedy="for example metrics.loss DESC")
        orders.append(Order(entity, key, way == "asc"))
    return orders


def _split_order(text: str) -> tuple[str, str]:
    """The key and asc or desc."""
    what, *way = text.rsplit(maxsplit=1) or [""]
    return (what, way[0].lower()) if way and way[0].lower() in ("asc", "desc") else (text, "asc")


class _Reader:
    def __init__(self, text: str, entities: Mapping[str, str], default: str, *, whole: str = "filter") -> None:
        if len(text) > MAX_CHARACTERS:
            raise Invalid(f"a {whole} of {len(text)} characters", where=whole, remedy=f"at most {MAX_CHARACTERS}")
        if "\0" in text or not is_unicode(text):  # no database keeps it
            raise Invalid(f"Invalid {whole}: it holds a NUL or half a character", where=whole, remedy="send Unicode")
        self._text = text
        self._whole = whole
        self._entities = entities
        self._default = default
        self._tokens = self._scan()
        self._next = 0

    def _scan(self) -> list[_Token]:
        tokens: list[_Token] = []
        at, end = 0, len(self._text.rstrip())
        while at < end:
            found = _TOKEN.match(self._text, at)
            if found is None or found.lastgroup is None:
                raise self._wrong("cannot be read", at)
            tokens.append(_Token(found.lastgroup, found[found.lastgroup], found.start(found.lastgroup)))
            at = found.end()
        return tokens

    def _wrong(self, says: str, at: int) -> Invalid:
        shown = self._text[at : at + 40].strip() or "the end"
        name = "filter string" if self._whole == "filter" else "order_by clause"
        return Invalid(
            f"Invalid {name}: {says} at {shown!r}",
            where=self._whole,
            remedy="comparisons joined by AND, for example metrics.loss < 0.5 AND tags.team = 'a'",
        )

    def peek(self) -> _Token | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _take(self) -> _Token:
        token = self.peek()
        if token is None:
            raise self._wrong("something is missing", len(self._text))
        self._next += 1
        return token

    def _is_word(self, *words: str) -> bool:
        token = self.peek()
        return token is not None and token.kind == "word" and token.text.upper() in words

    def filter(self) -> list[Comparison]:
        terms = [self._comparison()]
        while (token := self.peek()) is not None:
            if not self._is_word("AND"):
                raise self._wrong("only comparisons joined by AND are supported,", token.at)
            self._take()
            if len(terms) >= MAX_TERMS:
                raise Invalid(f"a filter of more than {MAX_TERMS} terms", where="filter")
            terms.append(self._comparison())
        return terms

    def identifier(self) -> tuple[str, str]:
        """`entity.key`, or a key alone. A key runs on over dots; quotes take everything."""
        parts: list[str] = []
        start = self.peek()
        while True:
            token = self._take()
            if token.kind not in ("word", "quoted", "number"):
                raise self._wrong("a key is expected", token.at)
            parts.append(token.text[1:-1] if token.kind == "quoted" else token.text)
            following = self.peek()
            if following is None or following.text != "." or following.kind != "mark":
                break
            self._take()
        first = parts[0].lower()
        assert start is not None
        if len(parts) == 1:
            return self._default, parts[0]
        if first not in self._entities:
            known = ", ".join(sorted(set(self._entities.values())))
            raise Invalid(
                f"Invalid entity type '{parts[0]}'. Valid entity types are {known}",
                where=self._whole,
                remedy="write entity.key, with quotes around a key that has dots or spaces",
            )
        return self._entities[first], ".".join(parts[1:])

    def _comparison(self) -> Comparison:
        entity, key = self.identifier()
        token = self._take()
        if token.kind == "operator":
            operator = {"<>": "!=", "==": "="}.get(token.text, token.text)
            return Comparison(entity, key, operator, self._value())
        word = token.text.upper() if token.kind == "word" else ""
        if word in ("LIKE", "ILIKE"):
            return Comparison(entity, key, word, self._value())
        if word == "NOT" and self._is_word("IN"):
            self._take()
            return Comparison(entity, key, "NOT IN", self._list())
        if word == "IN":
            return Comparison(entity, key, "IN", self._list())
        if word == "IS":
            negated = self._is_word("NOT")
            if negated:
                self._take()
            if self._is_word("NULL"):
                self._take()
                return Comparison(entity, key, "IS NOT NULL" if negated else "IS NULL", None)
        raise self._wrong("a comparison is expected", token.at)

    def _value(self) -> str | float:
        token = self._take()
        if token.kind == "number":
            return float(token.text)
        if token.kind in ("string", "quoted") and token.text[0] != "`":
            return token.text[1:-1]
        raise self._wrong("a number or a quoted text is expected", token.at)

    def _list(self) -> tuple[str, ...]:
        opening = self._take()
        values: list[str] = []
        if opening.text != "(":
            raise self._wrong("a list in parentheses is expected", opening.at)
        while True:
            token = self._take()
            if token.kind not in ("string", "quoted") or token.text[0] == "`":
                raise self._wrong("a quoted text is expected in the list", token.at)
            values.append(token.text[1:-1])
            if len(values) > MAX_LIST:
                raise Invalid(f"a list of more than {MAX_LIST} values", where="filter")
            token = self._take()
            if token.text == ")":
                return tuple(values)
            if token.text != ",":
                raise self._wrong("a comma or a closing parenthesis is expected", token.at)
