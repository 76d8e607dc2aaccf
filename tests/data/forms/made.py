"""Schemas of every kind, for properties that must hold for all of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from perennial.data.schema import Check, Column, Dependency, Order, Schema

__all__ = ["schemas", "texts"]

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
names = st.one_of(st.from_regex(r"[a-z][a-z_0-9]{0,9}", fullmatch=True), texts.filter(bool))
shares = st.floats(0, 1)
severities = st.sampled_from(["error", "warning"])
WORDS_OF_SQL = {"as", "at", "by", "end", "in", "is", "no", "not", "null", "of", "on", "or", "to", "and", "any", "all"}
PATTERNS = [r"\d{5}", r"[a-z]+", "it's|\\w", "", r"[^\W\d]*", '"quoted"']


@st.composite
def columns(draw: Callable[[Any], Any], name: str) -> Column:
    type_ = draw(
        st.sampled_from(["float64", "int64", "bool", "string", "binary", "datetime", "date", "list<item: bool>"])
    )
    bounds: dict[str, Any] = {}
    if type_ in ("float64", "int64", "datetime", "date"):
        for low, high in (("minimum", "maximum"), ("at_least", "at_most")):
            ends = draw(st.none() | _ends(type_))
            bounds |= dict(zip((low, high), ends, strict=True)) if ends else {}
    is_text = type_ == "string"
    return Column(
        name=name,
        type=type_,
        nullable=draw(st.booleans()),
        presence=draw(st.none() | shares),
        missing=draw(st.none() | st.lists(texts, max_size=2)) if is_text else None,
        categories=draw(st.none() | st.lists(texts, min_size=1, max_size=5, unique=True)) if is_text else None,
        coverage=draw(st.just(1.0) | shares),
        patterns=draw(st.none() | st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=2)) if is_text else None,
        unique=draw(st.booleans()),
        absent_in=draw(st.just([]) | st.lists(st.sampled_from(["serving", "training", "x y"]), unique=True)),
        severity=draw(severities),
        drift_limit=draw(st.none() | shares),
        skew_limit=draw(st.none() | shares),
        **bounds,
    )


def _ends(type_: str) -> st.SearchStrategy[tuple[Any, Any]]:
    ends: st.SearchStrategy[Any] = {
        "float64": st.floats(allow_nan=False, allow_infinity=False),
        "int64": st.integers(-(2**53), 2**53).map(float),
        "date": st.dates(),
        "datetime": st.datetimes(timezones=st.just(dt.UTC)),
    }[type_]
    both = st.tuples(ends, ends).map(sorted)
    return both.map(lambda two: tuple(end if isinstance(end, float) else end.isoformat() for end in two))


@st.composite
def schemas(draw: Callable[[Any], Any]) -> Schema:
    """A sound schema with any of what a schema may say."""
    known = draw(st.lists(names, min_size=1, max_size=5, unique=True))
    plain = [name for name in known if name.isascii() and name.isidentifier() and name.lower() not in WORDS_OF_SQL]
    pairs = st.lists(st.sampled_from(known), min_size=2, max_size=2, unique=True) if len(known) > 1 else st.nothing()
    lists = st.lists(pairs, max_size=2) if len(known) > 1 else st.just([])
    return Schema(
        columns=[draw(columns(name)) for name in known],
        keys=draw(st.lists(st.lists(st.sampled_from(known), min_size=1, unique=True), max_size=2)),
        dependencies=[
            Dependency(determinants=[a], dependent=b, holds=draw(shares), severity=draw(severities))
            for a, b in draw(lists)
        ],
        orders=[
            Order(lower=a, upper=b, strict=draw(st.booleans()), holds=draw(shares), severity=draw(severities))
            for a, b in draw(lists)
        ],
        checks=[
            Check(
                name=name,
                where=f"{draw(st.sampled_from(plain or ['1']))} IS NOT NULL",
                says=draw(texts),
                severity=draw(severities),
            )
            for name in draw(st.lists(texts.filter(bool), max_size=2, unique=True))
        ],
        min_rows=draw(st.integers(0, 10**6)),
        bad_rows=draw(st.sampled_from(["warn", "quarantine", "stop"])),
        accept_by_rule=draw(st.sampled_from(["compatible", "none", "all"])),
    )
