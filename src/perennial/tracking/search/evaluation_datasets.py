"""Search evaluation datasets: filter and order as one query."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from perennial.errors import Invalid
from perennial.tracking.records import evaluation_dataset_experiments, evaluation_dataset_tags, evaluation_datasets
from perennial.tracking.search.conditions import number_condition, page_token, read_offset, text_condition, there_is
from perennial.tracking.search.grammar import Comparison, parse_filter, parse_order

__all__ = ["evaluation_dataset_query"]

_ENTITIES: Mapping[str, str] = {
    **dict.fromkeys(("attribute", "attributes", "attr", "dataset"), "attribute"),
    **dict.fromkeys(("tag", "tags"), "tag"),
}
_d = evaluation_datasets.c
_TIMES: Mapping[str, Any] = {"created_time": _d.created, "last_update_time": _d.updated}
_TEXTS: Mapping[str, Any] = {"name": _d.name, "created_by": _d.created_by, "last_updated_by": _d.updated_by}


def evaluation_dataset_query(
    experiments: Sequence[int], filter: str, order_by: Sequence[str], limit: int, token: str, dialect: str
) -> tuple[sa.Select[str], Callable[[int], str | None]]:
    """A query for the ids of evaluation datasets, one more than asked for, and what makes the next page's token.

    Without experiments those of all, and of none.

    Raises:
        Invalid: The filter, an order or the token cannot be read.
    """
    offset = read_offset(token)
    query = sa.select(_d.id)
    if experiments:
        used = evaluation_dataset_experiments.c
        query = query.where(sa.exists().where(used.dataset == _d.id, used.experiment.in_(list(experiments))))
    for number, term in enumerate(parse_filter(filter, _ENTITIES, "attribute")):
        query = query.where(_condition(term, dialect, number))
    orders: list[Any] = []
    keys: set[str] = set()
    for order in parse_order(order_by, _ENTITIES, "attribute"):
        column = {**_TIMES, "name": _d.name}.get(order.key)
        if column is None or order.entity != "attribute":
            raise Invalid(
                f"Invalid order_by key '{order.key}' specified",
                where="order_by",
                remedy="one of name, created_time, last_update_time",
            )
        keys.add(order.key)
        orders.append(column.asc() if order.ascending else column.desc())
    if not keys:
        orders.append(_d.created.desc())
    query = query.order_by(*orders, _d.id.desc()).limit(limit + 1).offset(offset)
    return query, lambda found: page_token(offset + limit) if found > limit else None


def _condition(term: Comparison, dialect: str, number: int) -> sa.ColumnElement[bool]:
    if term.entity == "tag":
        tag = evaluation_dataset_tags.c
        same = (tag.dataset == _d.id, tag.key == term.key)
        return there_is(*same, text_condition(tag.value, term, dialect), number=number)
    if term.key in _TIMES:
        return number_condition(_TIMES[term.key] // 1000, term)
    if term.key in _TEXTS:
        return text_condition(_TEXTS[term.key], term, dialect)
    known = ", ".join(sorted({*_TEXTS, *_TIMES}))
    raise Invalid(f"Invalid attribute key '{term.key}' specified", where="filter", remedy=f"one of {known}, tags.KEY")
