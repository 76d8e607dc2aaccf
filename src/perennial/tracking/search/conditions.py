"""Comparisons as bound SQL conditions that mean the same on SQLite and PostgreSQL."""

from __future__ import annotations

import base64
import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from perennial.errors import Invalid
from perennial.store.decoding import ready
from perennial.tracking.search.grammar import Comparison

__all__ = [
    "NUMBERS",
    "TEXTS",
    "checked_offset",
    "number_condition",
    "page_token",
    "read_offset",
    "read_token",
    "text_condition",
    "there_is",
]

T = TypeVar("T")

_ORDERING: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
NUMBERS = tuple(_ORDERING)
TEXTS = ("=", "!=", "LIKE", "ILIKE")
MAX_WEIGHED = 8  # terms of a filter
MAX_GLOB = 50_000  # bytes: SQLite's own limit
_GLOB = {"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"}


def text_condition(
    column: sa.ColumnElement[Any], term: Comparison, dialect: str, *, allowed: tuple[str, ...] = TEXTS
) -> sa.ColumnElement[bool]:
    """A condition on a column of text.

    Raises:
        Invalid: The comparison is not among the allowed ones, or its value is no quoted text.
    """
    _check(term, allowed)
    if term.operator in ("IN", "NOT IN"):
        assert isinstance(term.value, tuple)
        return column.in_(term.value) if term.operator == "IN" else column.not_in(term.value)
    if term.operator in ("IS NULL", "IS NOT NULL"):
        return column.is_(None) if term.operator == "IS NULL" else column.is_not(None)
    if not isinstance(term.value, str):
        raise Invalid(
            f"Expected a quoted string value for {term.entity} '{term.key}', got {term.value}",
            where="filter",
            remedy="put single quotes around the text",
        )
    if term.operator in ("LIKE", "ILIKE"):
        return _like(column, term.value, dialect, with_case=term.operator == "LIKE")
    return _ORDERING[term.operator](column, term.value)


def number_condition(column: sa.ColumnElement[Any], term: Comparison) -> sa.ColumnElement[bool]:
    """A condition on a column of numbers.

    Raises:
        Invalid: The comparison is not one of numbers, or its value is none.
    """
    _check(term, NUMBERS)
    if not isinstance(term.value, int | float):
        raise Invalid(
            f"Expected numeric value type for {term.entity} '{term.key}'. Found {term.value!r}",
            where="filter",
            remedy="write the number without quotes",
        )
    return _ORDERING[term.operator](column, term.value)


def there_is(*conditions: sa.ColumnElement[bool], number: int = 0) -> sa.ColumnElement[bool]:
    """Whether another table has a row like this, for the term of this number in a filter.

    What comes late in a long filter is looked up row by row: weighing a hundred such terms against each other takes
    PostgreSQL's planner most of a minute.
    """
    found = sa.select(sa.literal_column("1")).where(*conditions)
    return (found.offset(0) if number >= MAX_WEIGHED else found).exists()


def _check(term: Comparison, allowed: tuple[str, ...]) -> None:
    if term.operator not in allowed:
        raise Invalid(
            f"Invalid comparator '{term.operator}' for {term.entity} '{term.key}'",
            where="filter",
            remedy=f"use one of {', '.join(allowed)}",
        )


def _like(column: sa.ColumnElement[Any], pattern: str, dialect: str, *, with_case: bool) -> sa.ColumnElement[bool]:
    if dialect == "sqlite":
        if not with_case and pattern.isascii():
            return column.op("LIKE")(pattern)
        # SQLite's LIKE knows no case of A to Z, and any of other letters; GLOB takes all as they are, with other signs.
        glob = "".join(_GLOB.get(sign) or (sign if with_case else _either(sign)) for sign in pattern)
        if len(glob.encode()) > MAX_GLOB:
            raise Invalid("a pattern of a filter is too long", where="filter", remedy="shorten it")
        return column.op("GLOB")(glob)
    # A backslash is a letter like any other.
    safe = pattern.replace("\\", "\\\\")
    return column.like(safe, escape="\\") if with_case else column.ilike(safe, escape="\\")


def _either(sign: str) -> str:
    """A sign in both cases, as GLOB writes that either will do."""
    same = sorted(
        {found for found in (sign, sign.lower(), sign.upper(), sign.title()) if found.lower() == sign.lower()}
    )
    return f"[{''.join(same)}]" if len(same) > 1 else sign


def page_token(value: Any) -> str:
    """An opaque text for where the next page begins."""
    return base64.urlsafe_b64encode(msgspec.json.encode(value)).decode()


def read_offset(token: str) -> int:
    """How many rows come before the page that this token asks for.

    Raises:
        Invalid: The text is no token of a search.
    """
    return checked_offset(read_token(token, int)) if token else 0


def checked_offset(offset: int) -> int:
    """Raises:
    Invalid: No search has answered with this.
    """
    if not 0 <= offset < 2**31:
        raise Invalid("Invalid page token", where="page_token", remedy="use next_page_token as it was answered")
    return offset


def read_token(token: str, kind: type[T]) -> T:
    """What `page_token` was given.

    Raises:
        Invalid: The text did not come from it.
    """
    try:
        if len(token) > 2_000:
            raise ValueError("too long")
        return msgspec.json.decode(base64.b64decode(token, altchars=b"-_", validate=True), type=ready(kind))
    except (ValueError, msgspec.MsgspecError) as error:
        remedy = "use next_page_token as it was answered"
        raise Invalid("Invalid page token", where="page_token", remedy=remedy) from error
