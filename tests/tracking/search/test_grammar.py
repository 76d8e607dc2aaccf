"""The filter language: what is written is what is read, and what cannot be read is refused, whatever it is."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.errors import Invalid
from perennial.tracking.search.grammar import MAX_ORDERS, Comparison, Order, parse_filter, parse_order

ENTITIES = {"metrics": "metric", "metric": "metric", "tags": "tag", "attributes": "attribute"}
PIECES = st.sampled_from((
    "metrics", "tags", ".", "a", "`", '"', "'", "=", "!=", "<", "LIKE", "IN", "NOT", "IS", "NULL", "AND", "OR", "(",
    ")", ",", " ", "1", "1e9", "-", "+", "\n", "\0", "\ud800", "ä", ";", "\\", "desc", "ASC",
))  # fmt: skip
ANYTHING = st.text() | st.lists(PIECES, max_size=20).map("".join) | st.lists(PIECES, max_size=20).map(" ".join)


def read(text: str) -> list[Comparison]:
    return parse_filter(text, ENTITIES, "attribute")


@given(text=ANYTHING)
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    try:
        terms = read(text)
    except Invalid as error:
        error.what.encode()  # half a character of the text is not told back
        return
    for term in terms:
        assert term.entity in {"metric", "tag", "attribute"}
        assert read(shown(term)) == [term]


@given(text=ANYTHING)
def test_any_text_is_an_order_or_refused(text: str) -> None:
    try:
        (order,) = parse_order([text], ENTITIES, "attribute")
    except Invalid:
        return
    assert order.entity in {"metric", "tag", "attribute"}


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0`"), min_size=1, max_size=12)
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0'"), max_size=12)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TERMS = (
    st.builds(Comparison, st.just("metric"), NAMES, st.sampled_from(("=", "!=", "<", "<=", ">", ">=")), NUMBERS)
    | st.builds(Comparison, st.just("tag"), NAMES, st.sampled_from(("=", "!=", "LIKE", "ILIKE")), WORDS)
    | st.builds(Comparison, st.just("tag"), NAMES, st.sampled_from(("IS NULL", "IS NOT NULL")), st.none())
    | st.builds(
        Comparison,
        st.just("attribute"),
        NAMES,
        st.sampled_from(("IN", "NOT IN")),
        st.lists(WORDS, min_size=1, max_size=4).map(tuple),
    )
)


def shown(term: Comparison) -> str:
    """A term as it may be written."""
    value = term.value
    told = (
        ""
        if value is None
        else f"({', '.join(map(quoted, value))})"
        if isinstance(value, tuple)
        else quoted(value)
        if isinstance(value, str)
        else "1e999"
        if value == math.inf
        else "-1e999"
        if value == -math.inf
        else repr(value)
    )
    key = f'"{term.key}"' if "`" in term.key else f"`{term.key}`"
    return f"{term.entity if term.entity == 'metric' else term.entity + 's'}.{key} {term.operator} {told}"


def quoted(text: str) -> str:
    return f'"{text}"' if "'" in text else f"'{text}'"


@given(terms=st.lists(TERMS, max_size=5), joint=st.sampled_from((" AND ", " and ", "\nAnd\t")))
def test_a_filter_that_is_written_is_read_as_it_was_meant(terms: list[Comparison], joint: str) -> None:
    assert read(joint.join(map(shown, terms))) == terms


@pytest.mark.parametrize(
    "text, entity, key, operator, value",
    [
        ("metrics.loss<0.5", "metric", "loss", "<", 0.5),
        ("METRICS.`val loss` >= -1e-3", "metric", "val loss", ">=", -0.001),
        ('tags."mlflow.user" ilike "%a\'b%"', "tag", "mlflow.user", "ILIKE", "%a'b%"),
        ("tags.a.b.c = 'x'", "tag", "a.b.c", "=", "x"),
        ("status = 'FINISHED'", "attribute", "status", "=", "FINISHED"),
        ("tags.a <> 'x'", "tag", "a", "!=", "x"),
        ("tags.a == 'x'", "tag", "a", "=", "x"),
        ("tags.and = 'and'", "tag", "and", "=", "and"),
        ("tags.like like 'like'", "tag", "like", "LIKE", "like"),
        ("tags.a is  not\nnull", "tag", "a", "IS NOT NULL", None),
        ("run_id not in ( 'a','b' )", "attribute", "run_id", "NOT IN", ("a", "b")),
        ("metrics.1 = 1", "metric", "1", "=", 1.0),
        ("metrics.a = .5", "metric", "a", "=", 0.5),
        ("metrics.a = 1e999", "metric", "a", "=", math.inf),
        ("tags.a = ' AND b = '", "tag", "a", "=", " AND b = "),
        ("tags.a = '\\'", "tag", "a", "=", "\\"),
    ],
)
def test_what_can_be_written(text: str, entity: str, key: str, operator: str, value: Any) -> None:
    assert read(text) == [Comparison(entity, key, operator, value)]


@pytest.mark.parametrize(
    "text",
    [
        "tags.a = 'x' OR tags.b = 'y'", "NOT tags.a = 'x'", "(tags.a = 'x')", "tags.a = 'x' AND", "AND tags.a = 'x'",
        "tags.a = 'x' tags.b = 'y'", "tags.a = 'x' AND AND tags.b = 'y'", "tags.a", "tags.a =", "= 'x'", "'x' = 'y'",
        "tags.a = x", "tags.a = `x`", "tags. = 'x'", ".a = 'x'", "tags..a = 'x'", "other.a = 'x'", "tags.a = 'x",
        "tags.a = 'x''", "tags.`a = 'x'", "tags.a IN 'x'", "tags.a IN ()", "tags.a IN ('x',)", "tags.a IN ('x'",
        "tags.a IN (1)", "tags.a IS 'x'", "tags.a IS NOT 'x'", "tags.a NOT LIKE 'x'", "tags.a NOT NULL",
        "tags.a BETWEEN 1 AND 2", "metrics.a = 1_000", "metrics.a = 0x10", "metrics.a = 1 = 1", "metrics.a = NaN",
        "metrics.a = - 1", "metrics.a === 1", "tags.a = 'x';", "tags.a = 'x' -- y", "tags.a = 'x\0'",
        "tags.`\0` = 'x'", "tags.a IN ('\0')", "tags.a = '\ud800'",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        read(text)


@pytest.mark.parametrize("text", [None, "", " ", "\n\t"])
def test_no_filter_has_no_terms(text: str | None) -> None:
    assert parse_filter(text, ENTITIES, "attribute") == []


@pytest.mark.parametrize(
    "text, order",
    [
        ("metrics.loss", Order("metric", "loss", True)),
        ("metrics.loss  desc ", Order("metric", "loss", False)),
        ("tags.`a desc` ASC", Order("tag", "a desc", True)),
        ("tags.desc", Order("tag", "desc", True)),
        ("desc", Order("attribute", "desc", True)),
        ("desc desc", Order("attribute", "desc", False)),
        ("start_time\nDESC", Order("attribute", "start_time", False)),
    ],
)
def test_an_order_is_a_key_and_a_way(text: str, order: Order) -> None:
    assert parse_order([text], ENTITIES, "attribute") == [order]


@pytest.mark.parametrize(
    "text", ["", " ", "tags.a b", "tags.a DESC ASC", "tags.a DESC, tags.b", "tags.`a desc`b", "o.a", "tags."]
)
def test_what_is_no_order_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_order([text], ENTITIES, "attribute")


def test_C14_C18_length_is_bounded_before_anything_is_looked_for() -> None:
    for text in ("a" * 10_001, "tags.a" + " " * 1_000_000 + "b", "`" * 1_000_001, "desc " * 1_000_000):
        with pytest.raises(Invalid, match="characters"):
            parse_order([text + "x"], ENTITIES, "attribute")
        with pytest.raises(Invalid, match="characters"):
            read(text + "x")
    with pytest.raises(Invalid, match="100 terms"):
        read(" AND ".join(["tags.a = 'x'"] * 101))
    with pytest.raises(Invalid, match="1000 values"):
        read("run_id IN (" + ",".join(["'a'"] * 1_001) + ")")
    with pytest.raises(Invalid, match="keys to order by"):
        parse_order(["tags.a"] * (MAX_ORDERS + 1), ENTITIES, "attribute")
