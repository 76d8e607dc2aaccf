"""Search experiments: filter and order as one query."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from perennial.errors import Invalid
from perennial.tracking.records import experiment_tags, experiments
from perennial.tracking.search.conditions import number_condition, page_token, read_offset, text_condition, there_is
from perennial.tracking.search.grammar import Comparison, parse_filter, parse_order

__all__ = ["EXPERIMENT_PAGE", "experiment_query"]

EXPERIMENT_PAGE = 50_000

_ENTITIES: Mapping[str, str] = {
    **dict.fromkeys(("attribute", "attributes", "attr", "experiment"), "attribute"),
    **dict.fromkeys(("tag", "tags"), "tag"),
}
_e = experiments.c
_TIMES = {"creation_time": _e.created, "last_update_time": _e.updated}


def experiment_query(
    filter: str, order_by: list[str], view: str, limit: int, token: str, dialect: str
) -> tuple[sa.Select[int], Callable[[int], str | None]]:
    """A query for the numbers of experiments, one more than asked for, and what makes the next page's token.

    Raises:
        Invalid: The filter, an order or the token cannot be read.
    """
    offset = read_offset(token)
    query = sa.select(_e.id)
    if view != "all":
        query = query.where(_e.lifecycle == view)
    for number, term in enumerate(parse_filter(filter, _ENTITIES, "attribute")):
        query = query.where(_condition(term, dialect, number))
    orders: list[Any] = []
    keys: set[str] = set()
    for order in parse_order(order_by, _ENTITIES, "attribute"):
        column = {**_TIMES, "name": _e.name, "experiment_id": _e.id}.get(order.key)
        if column is None or order.entity != "attribute":
            raise Invalid(f"Invalid order_by key '{order.key}' specified", where="order_by")
        keys.add(order.key)
        orders.append(column.asc() if order.ascending else column.desc())
    if not keys & {"creation_time", "experiment_id", "name"}:
        orders.append(_e.created.desc())
    if "experiment_id" not in keys:
        orders.append(_e.id.desc())
    query = query.order_by(*orders).limit(limit + 1).offset(offset)
    return query, lambda found: page_token(offset + limit) if found > limit else None


def _condition(term: Comparison, dialect: str, number: int) -> sa.ColumnElement[bool]:
    if term.entity == "tag":
        tag = experiment_tags.c
        same = (tag.experiment == _e.id, tag.key == term.key)
        if term.operator in ("IS NULL", "IS NOT NULL"):
            present = there_is(*same, number=number)
            return ~present if term.operator == "IS NULL" else present
        return there_is(*same, text_condition(tag.value, term, dialect), number=number)
    if term.key in _TIMES:
        return number_condition(_TIMES[term.key] // 1000, term)
    if term.key == "name":
        return text_condition(_e.name, term, dialect)
    if term.key == "experiment_id":
        text = sa.cast(_e.id, sa.Text)
        return text_condition(text, term, dialect, allowed=("=", "!=", "IN", "NOT IN"))
    raise Invalid(
        f"Invalid attribute key '{term.key}' specified", where="filter", remedy="name, creation_time, tags.KEY, ..."
    )
