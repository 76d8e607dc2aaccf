"""Labels that clients sent to the prediction service: kept when a segment is taken up, joined as soon as they can be.

A label names a prediction by its id, or an entity by its own key: then it is about the latest prediction of that
entity that was asked for before the label came. What can happen to one:

    joined      it is the label of a prediction from now on, or changes it: of labels that contradict each other the one
                that came last counts, in whichever order they were taken up.
    repeated    the prediction has this label already; or the same key came before, also with another value: then only
                the first one counts.
    superseded  a label that came later was taken up earlier; this one is kept here and changes nothing.
    waiting     its prediction is not taken up yet; looked for again with all that is taken up during a day.
    unknown     there is no such prediction, or none of this entity before the label came.
    refused     it is no label of this prediction: of another kind than what the model predicts, or not finite.

Nothing is lost without a trace: each label has a record with what became of it for as long as its key is remembered.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from perennial.capture.finding import Finder
from perennial.capture.kinds import kind_of, kinds_agree
from perennial.capture.labels import NewLabel, insert_labels
from perennial.capture.records import chunks, feedback, next_seq
from perennial.capture.tables import text
from perennial.serve.frames import Fed
from perennial.store.records import Records, Transaction

__all__ = ["FEEDBACK_WAITS_US", "KEYS_LAST_US", "Feedback", "FeedbackCounts", "feedback_counts", "keep"]

FEEDBACK_WAITS_US = 86_400_000_000  # for its prediction to be taken up; that takes seconds, unless the owner was away
KEYS_LAST_US = 7 * 86_400_000_000  # how long what became of a label is remembered, and its key
PAGE = 10_000


class FeedbackCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Labels that came to the service for one endpoint in the last week, by what became of them."""

    waiting: int = 0
    joined: int = 0
    repeated: int = 0
    superseded: int = 0
    unknown: int = 0
    refused: int = 0


def feedback_counts(connection: sa.Connection, endpoint: str) -> FeedbackCounts:
    query = sa.select(feedback.c.state, sa.func.count()).where(feedback.c.endpoint == endpoint)
    return FeedbackCounts(**{row[0]: row[1] for row in connection.execute(query.group_by(feedback.c.state))})


def keep(tx: Transaction, fed: Sequence[Fed], segment: str, start: int) -> None:
    """Take labels up within the transaction of their segment's range; a key that is known counts once."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for number, frame in enumerate(fed):
        key = frame.key or f"{segment}:{start}:{number}"
        value = text(frame.value)
        rows.setdefault(
            (frame.endpoint, key),
            {
                "endpoint": frame.endpoint, "key": key, "prediction_id": frame.prediction, "entity": frame.entity,
                "value": (value or "null").encode(), "told": frame.at, "state": "waiting", "says": "",
            },
        )  # fmt: skip
    keys = [key for _, key in rows]
    for at in range(0, len(keys), 500):  # SQLite takes so many parameters with ease
        query = sa.select(feedback.c.endpoint, feedback.c.key).where(feedback.c.key.in_(keys[at : at + 500]))
        for endpoint, key in tx.connection.execute(query).all():
            rows.pop((endpoint, key), None)
    if rows:
        seq = next_seq(tx, feedback)
        tx.connection.execute(sa.insert(feedback), [{"seq": seq + i, **row} for i, row in enumerate(rows.values())])


class Feedback:
    """Joins what waits. Safe for concurrent use."""

    def __init__(self, records: Records, finder: Finder) -> None:
        self._records = records
        self._finder = finder
        self._lock = threading.Lock()
        self._tried = 0  # labels up to this number were looked for ...
        self._looked = 0  # ... in all chunks up to this one

    def resolve(self) -> None:
        """Join all that can be joined now."""
        with self._lock:
            newest = self._records.read(_newest)
            after = 0
            last = self._tried
            while page := self._records.read(lambda c, after=after: _waiting(c, after)):
                after = page[-1]["seq"]
                last = max(last, after)
                by_endpoint: defaultdict[str, list[Mapping[Any, Any]]] = defaultdict(list)
                for row in page:
                    by_endpoint[row["endpoint"]].append(row)
                for endpoint, rows in by_endpoint.items():
                    self._join(endpoint, rows)
                if len(page) < PAGE:
                    break
            self._tried, self._looked = last, newest

    def forget(self, before: int) -> None:
        """Let go of what became of labels that came before this moment."""
        done = (feedback.c.told < before) & (feedback.c.state != "waiting")
        if self._records.read(lambda c: c.execute(sa.select(feedback.c.seq).where(done).limit(1)).first()):
            self._records.write(lambda tx: tx.connection.execute(sa.delete(feedback).where(done)))

    def _join(self, endpoint: str, rows: list[Mapping[Any, Any]]) -> None:
        kinds: dict[str, str | None] = {}
        for since, ids in (
            (0, [row["prediction_id"] for row in rows if row["seq"] > self._tried]),
            (self._looked, [row["prediction_id"] for row in rows if row["seq"] <= self._tried]),
        ):
            kinds |= self._finder.kinds(endpoint, [name for name in ids if name is not None], after=since)
        entities = [(row["entity"], row["told"]) for row in rows if row["prediction_id"] is None]
        latest = self._finder.latest(endpoint, entities)
        kinds |= dict(latest.values())
        now = self._records.clock.now()
        found: list[tuple[Mapping[Any, Any], str, str, str | None]] = []  # with state, what it says, and the prediction
        for row in sorted(rows, key=lambda row: (row["told"], row["key"])):
            name = row["prediction_id"]
            if name is None:
                name = latest.get((row["entity"], row["told"]), (None, None))[0]
                if name is None:
                    found.append((row, "unknown", "no prediction of this entity before it came", None))
                    continue
            elif name not in kinds:
                if now - row["told"] > FEEDBACK_WAITS_US:
                    found.append((row, "unknown", "no such prediction", name))
                continue
            value = msgspec.json.decode(row["value"])
            if value is None or not isinstance(value, (bool, int, float, str)):
                found.append((row, "refused", "it is no number, label, true or false", name))
            elif not kinds_agree(kinds[name], value):
                found.append((row, "refused", f"it is {kind_of(value)}, the model predicts {kinds[name]}", name))
            else:
                found.append((row, "joined", "", name))
        if found:
            self._records.write(lambda tx: _settle(tx, endpoint, found))


def _settle(tx: Transaction, endpoint: str, found: list[tuple[Mapping[Any, Any], str, str, str | None]]) -> None:
    given = [
        NewLabel(prediction_id=str(name), value=bytes(row["value"]), told=row["told"], source="service")
        for row, state, _, name in found
        if state == "joined"
    ]
    became = iter(insert_labels(tx, endpoint, given))
    rows = [
        {
            "of": row["seq"], "state": _BECAME[next(became)] if state == "joined" else state, "says": says,
            "prediction_id": name,
        }
        for row, state, says, name in found
    ]  # fmt: skip
    change = sa.update(feedback).where(feedback.c.seq == sa.bindparam("of"), feedback.c.state == "waiting")
    values = {name: sa.bindparam(name) for name in ("state", "says", "prediction_id")}
    tx.connection.execute(change.values(values), rows)


_BECAME = {"new": "joined", "revised": "joined", "repeated": "repeated", "superseded": "superseded"}


def _newest(connection: sa.Connection) -> int:
    return connection.execute(sa.select(sa.func.max(chunks.c.seq))).scalar() or 0


def _waiting(connection: sa.Connection, after: int) -> Sequence[Mapping[Any, Any]]:
    query = sa.select(feedback).where(feedback.c.state == "waiting", feedback.c.seq > after)
    return connection.execute(query.order_by(feedback.c.seq).limit(PAGE)).mappings().all()
