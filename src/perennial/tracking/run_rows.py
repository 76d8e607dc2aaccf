"""What a run's parameters, tags and points must be, and how they are written within a transaction."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from perennial.errors import Invalid, TooLarge
from perennial.store.prepared import Prepared, upserting
from perennial.store.records import Transaction
from perennial.tracking import records as tables
from perennial.tracking.metric_log import Entry
from perennial.tracking.names import MAX_PARAM, checked_key, checked_pairs
from perennial.tracking.points import Point
from perennial.tracking.run import MetricPoint
from perennial.tracking.search.runs import NAME_TAG

__all__ = ["entry_of", "put_params", "put_tags"]

MAX_BATCH = 1_000  # points in one call
INT64 = 2**63

_PARAMS, _TAGS = upserting(tables.params), upserting(tables.tags)
_p = tables.params.c
_PARAM = Prepared(
    sa.select(_p.value).where(_p.run == sa.bindparam("run"), _p.key == sa.bindparam("key")), ("run", "key")
)
_ALL_PARAMS = Prepared(sa.select(_p.key, _p.value).where(_p.run == sa.bindparam("run")), ("run",))


def entry_of(run_id: str, metrics: Sequence[MetricPoint]) -> Entry:
    """Points as they are stored.

    Raises:
        Invalid: A key, step or time cannot be stored; names it.
        TooLarge: They are more than 1,000.
    """
    if len(metrics) > MAX_BATCH:
        raise TooLarge(f"{len(metrics)} points in one call", remedy=f"send at most {MAX_BATCH} at a time")
    points: dict[str, list[Point]] = {}
    for number, point in enumerate(metrics):
        held = points.get(point.key)
        if held is None:
            held = points[checked_key(point.key, f"metrics[{number}].key")] = []
        if not (-INT64 <= point.step < INT64 and 0 <= point.at < INT64):
            raise Invalid(
                f"metrics[{number}]: step and at must be whole numbers of 64 bits, at not negative",
            )
        held.append(Point(point.at, point.step, float(point.value)))
    return Entry(run_id, points)


def put_params(tx: Transaction, run_id: str, given: dict[str, str]) -> None:
    """Write parameters; one that is there already may only be said again."""
    pairs = checked_pairs("params", given, MAX_PARAM)
    known = dict(_ALL_PARAMS.rows(tx.connection, run_id) if len(pairs) > 2 else _some_params(tx, run_id, pairs))
    for key, value in pairs:
        if known.get(key, value) != value:
            raise Invalid(
                "Changing param values is not allowed. "
                f"Param with key='{key}' was already logged with value='{known[key]}' for run ID='{run_id}'. "
                f"Attempted logging new value '{value}'.",
                remedy="parameters are written once; use a tag for what changes",
            )
    _PARAMS.many(tx.connection, [(run_id, key, value) for key, value in pairs])


def _some_params(tx: Transaction, run_id: str, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    found = ((key, _PARAM.row(tx.connection, run_id, key)) for key, _ in pairs)
    return [(key, row[0]) for key, row in found if row is not None]


def put_tags(tx: Transaction, run_id: str, pairs: Sequence[tuple[str, str]]) -> None:
    """Set checked tags; the one that names the run does so."""
    for key, value in pairs:
        if key == NAME_TAG:
            tx.connection.execute(sa.update(tables.runs).where(tables.runs.c.id == run_id).values(name=value))
    _TAGS.many(tx.connection, [(run_id, key, value) for key, value in pairs if key != NAME_TAG])
