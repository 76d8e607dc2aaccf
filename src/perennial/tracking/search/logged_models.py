"""Search logged models: filter, datasets and order as one query."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from perennial.errors import Invalid
from perennial.tracking.records import logged_model_metrics, logged_model_params, logged_model_tags, logged_models
from perennial.tracking.search.conditions import (
    TEXTS,
    checked_offset,
    number_condition,
    page_token,
    read_token,
    text_condition,
    there_is,
)
from perennial.tracking.search.grammar import MAX_ORDERS, Comparison, parse_filter

__all__ = ["DatasetFilter", "ModelOrder", "logged_model_query"]

MAX_EXPERIMENTS = 1_000
MAX_DATASETS = 100

_ENTITIES: Mapping[str, str] = {
    **dict.fromkeys(("attribute", "attributes", "attr"), "attribute"),
    **dict.fromkeys(("metric", "metrics"), "metric"),
    **dict.fromkeys(("param", "params", "parameter", "parameters"), "parameter"),
    **dict.fromkeys(("tag", "tags"), "tag"),
}
_m, _v = logged_models.c, logged_model_metrics.c
_TIMES: Mapping[str, Any] = {
    "creation_timestamp": _m.created,
    "creation_time": _m.created,
    "creation_timestamp_ms": _m.created,
    "last_updated_timestamp": _m.updated,
    "last_updated_time": _m.updated,
    "last_updated_timestamp_ms": _m.updated,
}
_TEXTS: Mapping[str, Any] = {
    "name": _m.name,
    "model_id": _m.id,
    "model_type": _m.type,
    "status": _m.status,
    "source_run_id": _m.run,
}
_SETS = (*TEXTS, "IN", "NOT IN")


class DatasetFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Only metrics that were measured on this dataset count."""

    dataset_name: str
    dataset_digest: str = ""


class ModelOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One key to sort by: an attribute, or `metrics.KEY`, there perhaps on one dataset."""

    field_name: str
    ascending: bool = True
    dataset_name: str = ""
    dataset_digest: str = ""


def logged_model_query(
    experiments: Sequence[int],
    filter: str,
    datasets: Sequence[DatasetFilter],
    order_by: Sequence[ModelOrder],
    limit: int,
    token: str,
    dialect: str,
) -> tuple[sa.Select[str], Callable[[int], str | None]]:
    """A query for the ids of logged models, one more than asked for, and what makes the next page's token.

    Raises:
        Invalid: The filter, an order or the token cannot be read.
    """
    for name, given, most in (
        ("experiment_ids", experiments, MAX_EXPERIMENTS),
        ("datasets", datasets, MAX_DATASETS),
        ("order_by", order_by, MAX_ORDERS),
    ):
        if len(given) > most:
            raise Invalid(f"{len(given)} {name} in one search", where=name, remedy=f"at most {most}")
    # A token belongs to its question.
    asked = [list(experiments), filter, msgspec.to_builtins(order_by)]
    offset = 0
    if token:
        first, before = read_token(token, tuple[int, Any])
        offset = checked_offset(first)
        if before != asked:
            raise Invalid("The page token belongs to another search", where="page_token", remedy="search anew")
    query = sa.select(_m.id).where(_m.deleted.is_(None), _m.experiment.in_(list(experiments)))
    on_datasets = [
        (_v.dataset == d.dataset_name) & (_v.digest == d.dataset_digest)
        if d.dataset_digest
        else _v.dataset == d.dataset_name
        for d in datasets
    ]
    has_metric = False
    for number, term in enumerate(parse_filter(filter, _ENTITIES, "attribute")):
        if term.entity == "metric":
            has_metric = True
            measured = [_v.model == _m.id, _v.key == term.key, _number(term)]
            there = [sa.or_(*on_datasets)] if on_datasets else []
            query = query.where(there_is(*measured, *there, number=number))
        else:
            query = query.where(_condition(term, dialect, number))
    if on_datasets and not has_metric:
        query = query.where(sa.exists().where(_v.model == _m.id, sa.or_(*on_datasets)))
    orders: list[Any] = []
    is_by_time = False
    for order in order_by:
        is_by_time = is_by_time or order.field_name in _TIMES
        orders += _order(order)
    if not is_by_time:
        orders.append(_m.created.desc())
    query = query.order_by(*orders, _m.id).limit(limit + 1).offset(offset)
    return query, lambda found: page_token((offset + limit, asked)) if found > limit else None


def _number(term: Comparison) -> sa.ColumnElement[bool]:
    number = number_condition(_v.value, term)
    return sa.or_(_v.is_nan == 1, number) if term.operator == "!=" else sa.and_(_v.is_nan == 0, number)


def _condition(term: Comparison, dialect: str, number: int) -> sa.ColumnElement[bool]:
    if term.entity == "attribute":
        if term.key in _TIMES:
            return number_condition(_TIMES[term.key] // 1000, term)
        if term.key not in _TEXTS:
            known = ", ".join(sorted({*_TEXTS, *_TIMES}))
            raise Invalid(f"Invalid attribute key '{term.key}' specified", where="filter", remedy=f"one of {known}")
        return text_condition(_TEXTS[term.key], term, dialect, allowed=_SETS)
    table = (logged_model_params if term.entity == "parameter" else logged_model_tags).c
    same = (table.model == _m.id, table.key == term.key)
    return there_is(*same, text_condition(table.value, term, dialect, allowed=_SETS), number=number)


def _order(order: ModelOrder) -> list[Any]:
    entity, dot, key = order.field_name.partition(".")
    if not dot:
        column = {**_TEXTS, **_TIMES}.get(order.field_name)
        if column is None:
            raise Invalid(f"Invalid order by field name: {order.field_name}", where="order_by")
        return [column.is_(None), column.asc() if order.ascending else column.desc()]
    if entity != "metrics":
        raise Invalid(f"Invalid order by field name: {order.field_name}. Only metrics are supported.", where="order_by")
    newest = (
        sa.select(_v.value)
        .where(_v.model == _m.id, _v.key == key, _v.is_nan == 0)
        .order_by(_v.at.desc(), _v.step.desc())
        .limit(1)
    )
    if order.dataset_name:
        newest = newest.where(_v.dataset == order.dataset_name)
    if order.dataset_digest:
        newest = newest.where(_v.digest == order.dataset_digest)
    value = newest.correlate(logged_models).scalar_subquery()
    return [value.is_(None), value.asc() if order.ascending else value.desc()]
