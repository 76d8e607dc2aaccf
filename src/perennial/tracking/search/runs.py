"""Search runs: filter and order as one query over the newest metrics, parameters, tags, datasets and attributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from perennial.errors import Invalid
from perennial.tracking.records import experiments, inputs, metrics_latest, params, runs, tags
from perennial.tracking.search.conditions import (
    TEXTS,
    number_condition,
    page_token,
    read_offset,
    text_condition,
    there_is,
)
from perennial.tracking.search.grammar import Comparison, Order, parse_filter, parse_order

__all__ = ["NAME_TAG", "run_query"]

NAME_TAG = "mlflow.runName"  # another way to speak of a run's name
MAX_JOINED = 16  # metrics of a filter that are joined, which is fast; SQLite joins 64 tables at most

_ENTITIES: Mapping[str, str] = {
    **dict.fromkeys(("attribute", "attributes", "attr", "run"), "attribute"),
    **dict.fromkeys(("metric", "metrics"), "metric"),
    **dict.fromkeys(("param", "params", "parameter", "parameters"), "parameter"),
    **dict.fromkeys(("tag", "tags"), "tag"),
    **dict.fromkeys(("dataset", "datasets"), "dataset"),
}
_r = runs.c
_ROOT = sa.case(
    (experiments.c.artifact_location != "", sa.func.rtrim(experiments.c.artifact_location, "/")),
    else_="mlflow-artifacts:/" + sa.cast(_r.experiment, sa.Text),
)
_TEXT_ATTRIBUTES: Mapping[str, Any] = {
    "run_id": _r.id,
    "run_name": _r.name,
    "Run name": _r.name,
    "run name": _r.name,
    "name": _r.name,
    "user_id": _r.person,
    "user": _r.person,
    "status": sa.func.upper(_r.status),
    "kind": _r.kind,
    "artifact_uri": _ROOT + "/" + _r.id + "/artifacts",
}
_TIMES: Mapping[str, Any] = {
    "start_time": _r.started,
    "created": _r.started,
    "Created": _r.started,
    "end_time": _r.ended,
}
_NAMES = ("run_name", "Run name", "run name", "name")
_SETS = (*TEXTS, "IN", "NOT IN")
_IS = ("IS NULL", "IS NOT NULL")


def run_query(
    numbers: Sequence[int],
    filter: str,
    order_by: Sequence[str],
    view: str,
    limit: int,
    token: str,
    dialect: str,
) -> tuple[sa.Select[str], Callable[[int], str | None]]:
    """A query for the ids of runs of these experiments, one more than asked for, and what makes the next page's token.

    Raises:
        Invalid: The filter, an order or the token cannot be read.
    """
    offset = read_offset(token)
    query = sa.select(_r.id)
    source: Any = runs
    conditions: list[sa.ColumnElement[bool]] = [_r.experiment.in_(list(numbers))]
    if view != "all":
        conditions.append(_r.lifecycle == view)
    filtered: dict[str, Any] = {}  # metric -> its joined table, which an order by the same metric uses too
    for number, term in enumerate(parse_filter(filter, _ENTITIES, "attribute")):
        if term.entity == "metric" and (term.key in filtered or len(filtered) < MAX_JOINED):
            source, latest = _joined(source, term.key, numbers, filtered)
            conditions += [_metric_condition(latest, term), latest.c.run.is_not(None)]
        else:
            conditions.append(_condition(term, dialect, number))
    inner = set(filtered)
    orders: list[Any] = []
    for order in parse_order(order_by, _ENTITIES, "attribute"):
        source, made = _order(source, order, numbers, filtered, inner)
        orders += made
    if any("artifact_location" in str(part) for part in (*conditions, *orders)):
        source = source.join(experiments, experiments.c.id == _r.experiment)
    query = query.select_from(source).where(*conditions).order_by(*orders, _r.started.desc(), _r.id)
    return query.limit(limit + 1).offset(offset), lambda found: page_token(offset + limit) if found > limit else None


def _joined(source: Any, key: str, numbers: Sequence[int], held: dict[str, Any], *, outer: bool = False) -> Any:
    if key in held:
        return source, held[key]
    latest = metrics_latest.alias(f"m{len(held)}")
    # The experiment stands in the table too, so that its index by value serves a search within one.
    match = (latest.c.run == _r.id) & (latest.c.key == key)
    if len(numbers) == 1:
        match &= latest.c.experiment == numbers[0]
    held[key] = latest
    return source.join(latest, match, isouter=outer), latest


def _metric_condition(latest: Any, term: Comparison) -> sa.ColumnElement[bool]:
    number = number_condition(latest.c.value, term)  # says what is wrong with it
    if term.operator == "!=":  # NaN is unlike every number, and neither less nor more
        return sa.or_(latest.c.is_nan == 1, number)
    return sa.and_(latest.c.is_nan == 0, number)


def _condition(term: Comparison, dialect: str, number: int) -> sa.ColumnElement[bool]:
    if term.entity == "tag" and term.key == NAME_TAG:
        term = Comparison("attribute", "run_name", term.operator, term.value)
    if term.entity == "attribute":
        return _attribute_condition(term, dialect)
    if term.entity == "dataset":
        return _dataset_condition(term, dialect, number)
    if term.entity == "metric":
        latest = metrics_latest.c
        same = (latest.run == _r.id, latest.key == term.key)
        return there_is(*same, _metric_condition(metrics_latest, term), number=number)
    table = (params if term.entity == "parameter" else tags).c
    same = (table.run == _r.id, table.key == term.key)
    if term.operator in _IS:
        present = there_is(*same, number=number)
        return ~present if term.operator == "IS NULL" else present
    return there_is(*same, text_condition(table.value, term, dialect), number=number)


def _attribute_condition(term: Comparison, dialect: str) -> sa.ColumnElement[bool]:
    if term.key in _TIMES:
        return number_condition(_TIMES[term.key] // 1000, term)
    column = _TEXT_ATTRIBUTES.get(term.key)
    if column is None:
        known = ", ".join(sorted({*_TEXT_ATTRIBUTES, *_TIMES} - {"Run name", "run name", "Created"}))
        raise Invalid(f"Invalid attribute key '{term.key}' specified", where="filter", remedy=f"use one of {known}")
    allowed = _SETS if term.key == "run_id" else (*TEXTS, *_IS)
    if term.key in _NAMES:  # an empty name is a missing one
        if term.operator in _IS:
            return _r.name == "" if term.operator == "IS NULL" else _r.name != ""
        return sa.and_(_r.name != "", text_condition(column, term, dialect))
    return text_condition(column, term, dialect, allowed=allowed)


def _dataset_condition(term: Comparison, dialect: str, number: int) -> sa.ColumnElement[bool]:
    column = {"name": inputs.c.dataset, "digest": inputs.c.digest, "context": inputs.c.context}.get(term.key)
    if column is None:
        raise Invalid(
            f"Invalid dataset key '{term.key}' specified", where="filter", remedy="use name, digest or context"
        )
    return there_is(inputs.c.run == _r.id, text_condition(column, term, dialect, allowed=_SETS), number=number)


def _order(
    source: Any, order: Order, numbers: Sequence[int], held: dict[str, Any], inner: set[str]
) -> tuple[Any, list[Any]]:
    """What to sort by: missing values last in both directions, NaN just before them."""
    if order.entity == "metric":
        source, latest = _joined(source, order.key, numbers, held, outer=True)
        value = latest.c.value.asc() if order.ascending else latest.c.value.desc()
        missing = [] if order.key in inner else [latest.c.run.is_(None)]
        return source, [*missing, latest.c.is_nan, value]
    if order.entity == "tag" and order.key == NAME_TAG:
        order = Order("attribute", "run_name", order.ascending)
    if order.entity == "attribute":
        column = {**_TEXT_ATTRIBUTES, **_TIMES}.get(order.key)
        if column is None:
            raise Invalid(f"Invalid order_by key '{order.key}' specified", where="order_by")
        way = column.asc() if order.ascending else column.desc()
        missing = {"end_time": column.is_(None)} | dict.fromkeys(_NAMES, _r.name == "")
        return source, [missing[order.key], way] if order.key in missing else [way]
    if order.entity == "dataset":
        raise Invalid(
            "Invalid order_by entity 'dataset'", where="order_by", remedy="order by metrics, params, tags, ..."
        )
    table = (params if order.entity == "parameter" else tags).alias()
    source = source.join(table, (table.c.run == _r.id) & (table.c.key == order.key), isouter=True)
    way = table.c.value.asc() if order.ascending else table.c.value.desc()
    return source, [table.c.value.is_(None), way]
