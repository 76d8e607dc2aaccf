"""Labels: the truth about predictions, which comes late, twice, or in contradiction.

A label is a revision. The same value again changes nothing; another value is the next revision and counts from then
on, unless what it would replace came later: of labels that contradict each other the last one counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec
import sqlalchemy as sa

from perennial.capture.finding import Finder
from perennial.capture.kinds import kind_of, kinds_agree
from perennial.capture.records import labels, next_seq
from perennial.capture.tables import text
from perennial.errors import Invalid, NotFound
from perennial.serve.privacy import KEY_FILE, hashed
from perennial.store.decoding import ready
from perennial.store.records import Records, Transaction

__all__ = ["LabelIn", "LabelReport", "LabelRow", "LabelValue", "Labels", "NewLabel", "insert_labels", "unknown"]

LabelValue: TypeAlias = bool | int | float | str
Became = Literal["new", "revised", "repeated", "superseded"]


class LabelIn(msgspec.Struct, frozen=True, kw_only=True):
    """The truth about one prediction, named by its id or by the `entity` that it is about.

    Of an entity, by the value of the endpoint's key column, the latest prediction counts that was asked for at `at`
    (microseconds; None: now) or before.
    """

    prediction_id: str = ""
    entity: LabelValue | None = None
    at: int | None = None
    value: LabelValue


class LabelReport(msgspec.Struct, frozen=True, kw_only=True):
    """`accepted` are new or changed, `revised` those of them that changed, `repeated` were known with this value."""

    accepted: int
    revised: int
    repeated: int


class LabelRow(msgspec.Struct, frozen=True, kw_only=True):
    """One revision of a label; `seq` grows with every revision of all endpoints.

    `source`: "service" where a client sent it there, "person" where it is a person's answer, else empty.
    """

    seq: int
    prediction_id: str
    revision: int
    value: LabelValue
    at: int
    source: str = ""


class NewLabel(NamedTuple):
    """A label that was checked; `value` is JSON, `told` when it came, in microseconds."""

    prediction_id: str
    value: bytes
    told: int
    source: str = ""


class Labels:
    """Labels of all endpoints. Safe for concurrent use."""

    def __init__(self, records: Records, finder: Finder, serving: Path, take_up: Callable[[], object]) -> None:
        """`serving` is the folder of the prediction service; `take_up` makes visible what it wrote lately."""
        self._records = records
        self._finder = finder
        self._key = serving / KEY_FILE
        self._take_up = take_up

    def add(self, endpoint: str, given: Sequence[LabelIn], key: str) -> LabelReport:
        """All of these or, when one is wrong, none; see `Predictions.label`."""
        ids = self._check(endpoint, given)

        def change(tx: Transaction) -> bytes:
            new = [
                NewLabel(name, (text(label.value) or "").encode(), tx.now)
                for name, label in zip(ids, given, strict=True)
            ]
            became = insert_labels(tx, endpoint, new)
            revised = became.count("revised")
            accepted = revised + became.count("new")
            report = LabelReport(accepted=accepted, revised=revised, repeated=len(given) - accepted)
            return msgspec.json.encode(report)

        if not key:
            return msgspec.json.decode(self._records.write(change), type=ready(LabelReport))
        request = msgspec.json.encode([endpoint, given])
        told = self._records.once(f"label:{key}", "predictions.label", change, request=request)
        return msgspec.json.decode(told, type=ready(LabelReport))

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

    def _check(self, endpoint: str, given: Sequence[LabelIn]) -> list[str]:
        """The prediction that each is about."""
        for at, label in enumerate(given):
            where = f"labels[{at}]"
            if bool(label.prediction_id) == (label.entity is not None):
                raise Invalid("a label names a prediction or an entity", where=where, remedy="give one of the two")
            if isinstance(label.value, float) and label.value - label.value != 0.0:
                raise Invalid(f"{label.value} is not a finite number", where=f"{where}.value", remedy="leave it away")
        found = self._find(endpoint, given)
        if len(found) < len(given):
            self._take_up()  # it may be a moment old
            found = self._find(endpoint, given)
        ids: list[str] = []
        for at, label in enumerate(given):
            where = f"labels[{at}]"
            if at not in found:
                raise unknown(label.prediction_id or str(label.entity), endpoint, where)
            name, expected = found[at]
            if not kinds_agree(expected, label.value):
                what = f"the label of {name} is {kind_of(label.value)}, the model predicts {expected}"
                raise Invalid(what, where=f"{where}.value", remedy=f"send {expected}")
            ids.append(name)
        return ids

    def _find(self, endpoint: str, given: Sequence[LabelIn]) -> dict[int, tuple[str, str | None]]:
        """The prediction of each label that has one, and the kind of its value."""
        kinds = self._finder.kinds(endpoint, [label.prediction_id for label in given if label.prediction_id])
        found = {
            at: (label.prediction_id, kinds[label.prediction_id])
            for at, label in enumerate(given)
            if label.prediction_id in kinds
        }
        secret = self._key.read_bytes() if self._key.exists() else None
        now = self._records.clock.now()
        asked: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
        for at, label in enumerate(given):
            if label.entity is not None:
                moment = now if label.at is None else label.at
                asked[text(label.entity) or "", moment].append(at)
                if secret is not None:  # of endpoints that keep the key as a hash only
                    asked[text(hashed(label.entity, secret)) or "", moment].append(at)
        for key, (name, kind) in self._finder.latest(endpoint, list(asked)).items():
            found |= dict.fromkeys(asked[key], (name, kind))
        return found


def insert_labels(tx: Transaction, endpoint: str, given: Sequence[NewLabel]) -> list[Became]:
    """Add labels in this order; says of each what became of it.

    What was told before the label that counts now is superseded: then nothing is changed, so that the order in which
    labels are taken up does not matter.
    """
    latest: dict[str, tuple[int, bytes, int]] = {}
    ids = [label.prediction_id for label in given]
    for start in range(0, len(ids), 500):  # SQLite takes so many parameters with ease
        query = (
            sa.select(labels.c.prediction_id, labels.c.revision, labels.c.value, labels.c.told, labels.c.at)
            .where(labels.c.prediction_id.in_(ids[start : start + 500]))
            .order_by(labels.c.revision)
        )
        for row in tx.connection.execute(query):
            latest[row.prediction_id] = row.revision, bytes(row.value), row.at if row.told is None else row.told
    seq = next_seq(tx, labels)
    rows: list[dict[str, Any]] = []
    confirmed: dict[tuple[str, int], int] = {}
    became: list[Became] = []
    for label in given:
        revision, known, told = latest.get(label.prediction_id, (0, None, 0))
        if known == label.value:
            became.append("repeated")
            if label.told > told:
                latest[label.prediction_id] = revision, label.value, label.told
                confirmed[label.prediction_id, revision] = label.told
            continue
        if known is not None and label.told < told:
            became.append("superseded")
            continue
        became.append("new" if known is None else "revised")
        latest[label.prediction_id] = revision + 1, label.value, label.told
        rows.append(
            {
                "seq": seq + len(rows), "endpoint": endpoint, "prediction_id": label.prediction_id,
                "revision": revision + 1, "value": label.value, "at": tx.now, "told": label.told,
                "source": label.source,
            }
        )  # fmt: skip
    if rows:
        tx.connection.execute(sa.insert(labels), rows)
    if confirmed:  # said again later than anything that may contradict it and is taken up after this
        change = sa.update(labels).values(told=sa.bindparam("said")).where(
            labels.c.prediction_id == sa.bindparam("of"), labels.c.revision == sa.bindparam("number")
        )  # fmt: skip
        said = [{"of": of, "number": number, "said": told} for (of, number), told in confirmed.items()]
        tx.connection.execute(change, said)
    return became


def _label(row: Mapping[Any, Any]) -> LabelRow:
    values = {name: row[name] for name in LabelRow.__struct_fields__ if name != "value"}
    return LabelRow(**values, value=msgspec.json.decode(row["value"]))


def unknown(prediction_id: str, endpoint: str = "", where: str = "") -> NotFound:
    of = f" of endpoint {endpoint!r}" if endpoint else ""
    return NotFound(
        f"there is no prediction {prediction_id!r}{of}", where=where, remedy="use the id that came with the prediction"
    )
