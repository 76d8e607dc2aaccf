"""Labels: the truth about predictions, which comes late, twice, or in contradiction.

A label is a revision. The same value again changes nothing; another value is the next revision and counts from then on.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
import sqlalchemy as sa

from perennial.capture.ingest import Ingest
from perennial.capture.records import chunks, labels, next_seq
from perennial.capture.tables import read_table, text
from perennial.errors import Invalid, NotFound
from perennial.store.objects import ObjectStore
from perennial.store.records import Records, Transaction
from perennial.types import Digest

__all__ = ["LabelIn", "LabelReport", "LabelRow", "LabelValue", "Labels", "unknown"]

CACHED_CHUNKS = 64  # whose ids are kept at hand for the labels that follow
LabelValue: TypeAlias = "bool | int | float | str"


class LabelIn(msgspec.Struct, frozen=True, kw_only=True):
    """The truth about one prediction."""

    prediction_id: str
    value: LabelValue


class LabelReport(msgspec.Struct, frozen=True, kw_only=True):
    """`accepted` are new or changed, `revised` those of them that changed, `repeated` were known with this value."""

    accepted: int
    revised: int
    repeated: int


class LabelRow(msgspec.Struct, frozen=True, kw_only=True):
    """One revision of a label; `seq` grows with every revision of all endpoints."""

    seq: int
    prediction_id: str
    revision: int
    value: LabelValue
    at: int


class Labels:
    """Labels of all endpoints. Safe for concurrent use."""

    def __init__(self, records: Records, objects: ObjectStore, ingest: Ingest) -> None:
        self._records = records
        self._objects = objects
        self._ingest = ingest
        self._known: OrderedDict[str, Mapping[str, str | None]] = OrderedDict()

    def add(self, endpoint: str, given: Sequence[LabelIn], key: str) -> LabelReport:
        """All of these or, when one is wrong, none; see `Predictions.label`."""
        self._check(endpoint, given)

        def change(tx: Transaction) -> bytes:
            return msgspec.json.encode(_insert(tx, endpoint, given))

        if not key:
            return msgspec.json.decode(self._records.write(change), type=LabelReport)
        request = msgspec.json.encode([endpoint, given])
        told = self._records.once(f"label:{key}", "predictions.label", change, request=request)
        return msgspec.json.decode(told, type=LabelReport)

    def between(
        self, endpoint: str, *, after_seq: int, before: int | None, limit: int, first_id: str, last_id: str
    ) -> list[LabelRow]:
        """See `Predictions.labels_between`."""
        query = (
            sa.select(labels)
            .where(labels.c.endpoint == endpoint, labels.c.seq > after_seq)
            .where(labels.c.prediction_id >= first_id, labels.c.prediction_id <= last_id)
            .order_by(labels.c.seq)
            .limit(limit)
        )
        query = query if before is None else query.where(labels.c.at < before)
        return [_label(row) for row in self._records.read(lambda c: c.execute(query).mappings().all())]

    def _check(self, endpoint: str, given: Sequence[LabelIn]) -> None:
        ids = [label.prediction_id for label in given]
        kinds = self._kinds(endpoint, ids)
        if any(name not in kinds for name in ids):
            self._ingest.run()  # it may be a moment old
            kinds = self._kinds(endpoint, ids)
        for at, label in enumerate(given):
            where = f"labels[{at}]"
            if label.prediction_id not in kinds:
                raise unknown(label.prediction_id, endpoint, where)
            if isinstance(label.value, float) and label.value - label.value != 0.0:
                raise Invalid(f"{label.value} is not a finite number", where=f"{where}.value", remedy="leave it away")
            expected, kind = kinds[label.prediction_id], _kind(label.value)
            if expected is not None and kind != expected:
                what = f"the label of {label.prediction_id} is {kind}, the model predicts {expected}"
                raise Invalid(what, where=f"{where}.value", remedy=f"send {expected}")

    def _kinds(self, endpoint: str, ids: list[str]) -> dict[str, str | None]:
        """Those of the ids that this endpoint predicted, with the kind of value that was predicted."""
        if not ids:
            return {}
        query = sa.select(chunks.c.digest).where(
            chunks.c.endpoint == endpoint, chunks.c.kind == "prediction",
            chunks.c.first_id <= max(ids), chunks.c.last_id >= min(ids),
        )  # fmt: skip
        found: dict[str, str | None] = {}
        for digest in self._records.read(lambda c: c.execute(query).scalars().all()):
            known = self._known.get(digest)
            if known is None:
                table = read_table(self._objects.get(Digest(digest)), ["id", "prediction"])
                known = {
                    name: _kind(None if value is None else msgspec.json.decode(value))
                    for name, value in table.iter_rows()
                }
                self._known[digest] = known
                if len(self._known) > CACHED_CHUNKS:
                    self._known.popitem(last=False)
            found.update((name, known[name]) for name in ids if name in known)
        return found


def _insert(tx: Transaction, endpoint: str, given: Sequence[LabelIn]) -> LabelReport:
    latest: dict[str, tuple[int, bytes]] = {}
    ids = [label.prediction_id for label in given]
    for start in range(0, len(ids), 500):  # SQLite takes so many parameters with ease
        query = (
            sa.select(labels.c.prediction_id, labels.c.revision, labels.c.value)
            .where(labels.c.prediction_id.in_(ids[start : start + 500]))
            .order_by(labels.c.revision)
        )
        latest.update((row[0], (row[1], bytes(row[2]))) for row in tx.connection.execute(query))
    seq = next_seq(tx, labels)
    rows: list[dict[str, Any]] = []
    revised = 0
    for label in given:
        value = (text(label.value) or "").encode()
        revision, known = latest.get(label.prediction_id, (0, None))
        if known == value:
            continue
        revised += known is not None
        latest[label.prediction_id] = (revision + 1, value)
        rows.append(
            {
                "seq": seq + len(rows), "endpoint": endpoint, "prediction_id": label.prediction_id,
                "revision": revision + 1, "value": value, "at": tx.now,
            }
        )  # fmt: skip
    if rows:
        tx.connection.execute(sa.insert(labels), rows)
    return LabelReport(accepted=len(rows), revised=revised, repeated=len(given) - len(rows))


def _label(row: Mapping[Any, Any]) -> LabelRow:
    values = {name: row[name] for name in LabelRow.__struct_fields__ if name != "value"}
    return LabelRow(**values, value=msgspec.json.decode(row["value"]))


def _kind(value: object) -> str | None:
    """What kind of value this is, in words; None for a prediction that failed."""
    if value is None:
        return None
    return "true or false" if isinstance(value, bool) else "text" if isinstance(value, str) else "a number"


def unknown(prediction_id: str, endpoint: str = "", where: str = "") -> NotFound:
    of = f" of endpoint {endpoint!r}" if endpoint else ""
    return NotFound(
        f"there is no prediction {prediction_id!r}{of}", where=where, remedy="use the id that came with the prediction"
    )
