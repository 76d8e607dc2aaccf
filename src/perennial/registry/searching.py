"""Search registered models and their versions in MLflow's filter language, a page at a time.

A page begins behind the last row of the one before, so that what is registered meanwhile shifts nothing. Prompts are
models with a certain tag to MLflow; they are left out unless the filter asks for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from perennial.errors import Invalid
from perennial.registry.names import PROMPT_TAG
from perennial.registry.reading import shown_source
from perennial.registry.records import model_tags, models, version_tags, versions
from perennial.tracking.search.conditions import (
    NUMBERS,
    TEXTS,
    number_condition,
    page_token,
    read_token,
    text_condition,
    there_is,
)
from perennial.tracking.search.grammar import Comparison, parse_filter, parse_order

__all__ = ["MAX_MODELS", "MAX_VERSIONS", "Page", "search_models", "search_versions"]

MAX_MODELS = 1_000  # in one answer
MAX_VERSIONS = 200_000
MS = 1_000  # clients count milliseconds, and see ties where their clock has them
_ENTITIES = {
    "attribute": "attribute",
    "attributes": "attribute",
    "attr": "attribute",
    "tag": "tag",
    "tags": "tag",
}
_DEFAULT_VERSION_ORDER = ["last_updated_timestamp DESC", "name ASC", "version_number DESC"]

Column = sa.ColumnElement[Any]


@dataclass(frozen=True)
class Page:
    """The rows of one page, and the token of the next one; empty on the last."""

    rows: Sequence[sa.Row[Any]]
    next_page_token: str


@dataclass(frozen=True)
class _Key:
    column: Column
    ascending: bool
    kind: type


@dataclass(frozen=True)
class _Kind:
    """What differs between models and versions."""

    table: sa.Table
    tags: sa.Table
    same: Column  # a row and its tag
    texts: Mapping[str, tuple[Column, tuple[str, ...]]]
    numbers: Mapping[str, Column]
    orders: Mapping[str, tuple[str, Column, type]]  # word -> what it means: its name, column and type


def search_models(
    connection: sa.Connection, *, filter: str, order_by: Sequence[str], max_results: int, page_token: str
) -> Page:
    """One page of models.

    Raises:
        Invalid: The filter, order, number or token cannot be read.
    """
    _check_number(max_results, MAX_MODELS)
    kind = _models()
    return _page(connection, kind, _keys(kind, order_by, ["name"]), filter, max_results, page_token)


def search_versions(
    connection: sa.Connection, *, filter: str, order_by: Sequence[str], max_results: int, page_token: str
) -> Page:
    """One page of versions.

    Raises:
        Invalid: The filter, order, number or token cannot be read.
    """
    _check_number(max_results, MAX_VERSIONS)
    kind = _versions()
    keys = _keys(kind, order_by or _DEFAULT_VERSION_ORDER, ["name", "version_number DESC"])
    return _page(connection, kind, keys, filter, max_results, page_token, versions.c.removed.is_(None))


def _models() -> _Kind:
    updated = ("updated", models.c.updated // MS, int)
    return _Kind(
        table=models,
        tags=model_tags,
        same=model_tags.c.name == models.c.name,
        texts={"name": (models.c.name, (*TEXTS, "IN", "NOT IN"))},
        numbers={},
        orders={
            "name": ("name", models.c.name, str),
            "timestamp": updated,
            "last_updated_timestamp": updated,
        },
    )


def _versions() -> _Kind:
    created, updated = versions.c.at // MS, versions.c.updated // MS
    return _Kind(
        table=versions,
        tags=version_tags,
        same=(version_tags.c.name == versions.c.name) & (version_tags.c.version == versions.c.version),
        texts={
            "name": (versions.c.name, (*TEXTS, "IN", "NOT IN")),
            "run_id": (sa.func.coalesce(versions.c.run_id, ""), (*TEXTS, "IN", "NOT IN")),
            "source_path": (shown_source(), TEXTS),
        },
        numbers={
            "version_number": versions.c.version,
            "creation_timestamp": created,
            "last_updated_timestamp": updated,
        },
        orders={
            "name": ("name", versions.c.name, str),
            "version_number": ("version_number", versions.c.version, int),
            "creation_timestamp": ("creation_timestamp", created, int),
            "last_updated_timestamp": ("last_updated_timestamp", updated, int),
        },
    )


def _check_number(max_results: int, most: int) -> None:
    if max_results < 1:
        raise Invalid(f"Invalid value for max_results. It must be a positive integer, but got {max_results}")
    if max_results > most:
        raise Invalid(
            f"Invalid value for request parameter max_results. It must be at most {most}, but got value {max_results}"
        )


def _conditions(kind: _Kind, text: str, dialect: str) -> list[sa.ColumnElement[bool]]:
    terms = parse_filter(text, _ENTITIES, "attribute")
    found = [_condition(kind, term, dialect, at) for at, term in enumerate(terms) if not _is_about_prompts(term)]
    prompts = [term for term in terms if _is_about_prompts(term)]
    if prompts and _asks_for_prompts(prompts[0]):
        found += [_condition(kind, term, dialect, at) for at, term in enumerate(prompts)]
    else:  # also what lacks the tag, unlike with any other tag
        is_prompt = (model_tags.c.key == PROMPT_TAG) & (model_tags.c.value == "true")
        found.append(kind.table.c.name.not_in(sa.select(model_tags.c.name).where(is_prompt)))
    return found


def _is_about_prompts(term: Comparison) -> bool:
    return term.entity == "tag" and term.key == PROMPT_TAG


def _asks_for_prompts(term: Comparison) -> bool:
    value = term.value.lower() if isinstance(term.value, str) else ""
    return (term.operator, value) in {("=", "true"), ("!=", "false")}


def _condition(kind: _Kind, term: Comparison, dialect: str, number: int) -> sa.ColumnElement[bool]:
    if term.entity == "tag":
        value = text_condition(kind.tags.c.value, term, dialect)
        return there_is(kind.same, kind.tags.c.key == term.key, value, number=number)
    if term.key in kind.texts:
        column, allowed = kind.texts[term.key]
        return text_condition(column, term, dialect, allowed=allowed)
    if term.key in kind.numbers:
        if term.operator not in NUMBERS:
            raise Invalid(f"Invalid comparator for attribute {term.key}: {term.operator}", where="filter")
        return number_condition(kind.numbers[term.key], term)
    known = ", ".join((*kind.texts, *kind.numbers))
    raise Invalid(f"Invalid attribute key '{term.key}' specified. Valid keys are {known}", where="filter")


def _keys(kind: _Kind, order_by: Sequence[str], last: Sequence[str]) -> list[_Key]:
    """What to sort by, ending with what no two rows share."""
    keys: dict[str, _Key] = {}
    asked = parse_order(order_by, _ENTITIES, "attribute")
    for order in asked:
        if order.entity != "attribute" or order.key not in kind.orders:
            known = ", ".join(kind.orders)
            raise Invalid(
                f"Invalid order by key '{order.key}' specified. Valid keys are {known}",
                where="order_by",
            )
        name, column, type_ = kind.orders[order.key]
        if name in keys:
            raise Invalid(f"`order_by` contains duplicate fields: {list(order_by)}", where="order_by")
        keys[name] = _Key(column, order.ascending, type_)
    for order in parse_order(last, _ENTITIES, "attribute"):
        name, column, type_ = kind.orders[order.key]
        keys.setdefault(name, _Key(column, order.ascending, type_))
    return list(keys.values())


def _page(
    connection: sa.Connection,
    kind: _Kind,
    keys: Sequence[_Key],
    text: str,
    max_results: int,
    token: str,
    *more: sa.ColumnElement[bool],
) -> Page:
    labels = [key.column.label(f"sorted_{number}") for number, key in enumerate(keys)]
    rowid = kind.table.primary_key.columns
    chosen = sa.select(*rowid, *labels).where(*_conditions(kind, text, connection.dialect.name), *more)
    if token:
        chosen = chosen.where(_behind(keys, read_token(token, list[str | int])))
    chosen = chosen.order_by(*_ways(keys, [key.column for key in keys])).limit(max_results + 1)
    # What is sorted is narrow; the rest of a row is looked up for one page only.
    found = chosen.subquery()
    last = list(found.c)[-len(keys) :]
    same = [column == found.c[column.key] for column in rowid]
    query = sa.select(kind.table, *last).join(found, sa.and_(*same)).order_by(*_ways(keys, last))
    rows = connection.execute(query).all()
    if len(rows) <= max_results:
        return Page(rows, "")
    rows = rows[:max_results]
    return Page(rows, page_token(list(rows[-1][-len(keys) :])))


def _ways(keys: Sequence[_Key], columns: Sequence[Column]) -> list[sa.ColumnElement[Any]]:
    return [column.asc() if key.ascending else column.desc() for key, column in zip(keys, columns, strict=True)]


def _behind(keys: Sequence[_Key], values: Sequence[str | int]) -> sa.ColumnElement[bool]:
    """The rows that are sorted behind one with these values."""
    if len(values) != len(keys) or any(type(value) is not key.kind for key, value in zip(keys, values, strict=True)):
        raise Invalid("Invalid page token", where="page_token", remedy="use it with the order it was answered for")
    if any("\0" in value if isinstance(value, str) else abs(value) >= 2**63 for value in values):
        raise Invalid("Invalid page token", where="page_token", remedy="use next_page_token as it was answered")
    ways: list[sa.ColumnElement[bool]] = []
    for number, (key, value) in enumerate(zip(keys, values, strict=True)):
        same = [before.column == given for before, given in zip(keys[:number], values, strict=False)]
        ways.append(sa.and_(*same, key.column > value if key.ascending else key.column < value))
    return sa.or_(*ways)
