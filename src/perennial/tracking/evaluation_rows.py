"""The records of an evaluation dataset as rows: put, told a page at a time, dropped, within the service's transactions.

Each row has the next number of its dataset, so that records are told in the order in which they came.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from perennial.store.prepared import upserting
from perennial.store.records import Transaction
from perennial.tracking.evaluation_record import EvaluationRecord, GivenRecord, Source, Written, merged, written
from perennial.tracking.records import evaluation_records

__all__ = ["Prepared", "Put", "drop_records", "prepare", "put_records", "record_page"]

MAX_PAGE_SIZE = 16 << 20  # characters of JSON in one page
_CHUNK = 500  # values of one IN

_PUT = upserting(evaluation_records)
_NAMES = [column.name for column in evaluation_records.columns]
_r = evaluation_records.c


class Prepared(NamedTuple):
    """A record with all of its values as texts, made before the writer is held up."""

    where: str
    given: GivenRecord
    new: Written


class Put(NamedTuple):
    """What putting records did: how many are new, who said to have sent the last, and a text that tells the change."""

    inserted: int
    user: str | None
    change: str


def prepare(given: GivenRecord, where: str) -> Prepared:
    """A record, ready to be put.

    Raises:
        Invalid: A value is nested too deeply. TooLarge: It is too long.
    """
    return Prepared(where, given, written(given, where))


def put_records(tx: Transaction, dataset: str, last: int, records: Sequence[Prepared]) -> Put:
    """Add these records to a dataset whose highest number is `last`; one whose inputs are there is merged.

    Raises:
        TooLarge: One has become too long.
    """
    rows = _known(tx.connection, dataset, [record.new.input_hash for record in records])
    inserted, user = 0, None
    for where, given, new in records:
        user = new.user or user
        row = rows.get(new.input_hash)
        if row is None:
            inserted += 1
            row = {"id": f"dr-{tx.new_id()}", "dataset": dataset, "number": last + inserted}
            row |= {"created": tx.now, "created_by": new.user, "updated_by": new.user}
            values = new
        else:
            values = merged(_values_of(row), given, new, where)
            row["updated_by"] = values.user or row["updated_by"]
        fields = msgspec.structs.asdict(values)
        del fields["user"]
        rows[new.input_hash] = row | fields | {"size": values.size, "updated": tx.now}
    _PUT.many(tx.connection, [tuple(row[name] for name in _NAMES) for row in rows.values()])
    told = ("input_hash", "outputs", "expectations", "tags")
    return Put(inserted, user, json.dumps([[row[name] for name in told] for row in rows.values()]))


def record_page(
    connection: sa.Connection, dataset: str, after: int, limit: int
) -> tuple[list[EvaluationRecord], int | None]:
    """Records behind this number, and the number to go on from, None at the end. Ends early where they are long."""
    sizes = sa.select(_r.number, _r.size).where(_r.dataset == dataset, _r.number > after)
    found = connection.execute(sizes.order_by(_r.number).limit(limit + 1)).all()
    taken, size = 0, 0
    for _, length in found[:limit]:
        size += length
        if taken and size > MAX_PAGE_SIZE:
            break
        taken += 1
    if not taken:
        return [], None
    end: int = found[taken - 1].number
    page = sa.select(evaluation_records).where(_r.dataset == dataset, _r.number > after, _r.number <= end)
    told = [_told(row) for row in connection.execute(page.order_by(_r.number)).mappings()]
    return told, end if taken < len(found) else None


def drop_records(tx: Transaction, dataset: str, ids: Sequence[str]) -> int:
    """Delete these records; how many there were."""
    done = 0
    for start in range(0, len(ids), _CHUNK):
        statement = sa.delete(evaluation_records).where(_r.dataset == dataset, _r.id.in_(ids[start : start + _CHUNK]))
        done += tx.connection.execute(statement).rowcount
    return done


def _known(connection: sa.Connection, dataset: str, hashes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The records with these inputs, by the hash of the inputs."""
    found: dict[str, dict[str, Any]] = {}
    for start in range(0, len(hashes), _CHUNK):
        chunk = hashes[start : start + _CHUNK]
        query = sa.select(evaluation_records).where(_r.dataset == dataset, _r.input_hash.in_(chunk))
        found |= {row["input_hash"]: dict(row) for row in connection.execute(query).mappings()}
    return found


def _values_of(row: dict[str, Any]) -> Written:
    return Written(**{name: row[name] for name in Written.__struct_fields__ if name != "user"}, user=None)


def _told(row: Any) -> EvaluationRecord:
    def value(name: str) -> Any:
        return None if row[name] is None else json.loads(row[name])

    source = Source(source_type=row["source_type"], source_data=value("source_data")) if row["source_type"] else None
    return EvaluationRecord(
        id=row["id"],
        inputs=value("inputs"),
        outputs=value("outputs"),
        expectations=value("expectations"),
        tags=value("tags"),
        source=source,
        created=row["created"],
        created_by=row["created_by"],
        updated=row["updated"],
        updated_by=row["updated_by"],
    )
