"""Predictions that a guard left to a person: who waits, what a person says, and how the caller gets to know it.

A row on which a guard abstained is a question. A person answers it once: the answer is a record and an event of the
audit chain, the label of that prediction, and a file from which the prediction service tells whoever asks for it. The
record comes first; the file is written after it, again and again until it is there, so neither is ever without the
other for long. An answer can be asked for, and a question waits, for 30 days.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from perennial.capture.labels import LabelValue, NewLabel, insert_labels
from perennial.capture.records import queue
from perennial.capture.tables import text
from perennial.errors import Conflict, Invalid, NotFound
from perennial.serve.feeding import ANSWER_LASTS_US, ANSWERS, PersonsAnswer, answer_path
from perennial.serve.frames import Answered, Layout, row_ids
from perennial.store.actor import current_actor
from perennial.store.files import Files
from perennial.store.records import Records, Transaction

__all__ = ["Asking", "Question", "enqueue", "questions"]

ABSTAINED = "abstain"  # the action of a guard that leaves a row to a person


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A prediction that a person is asked for, and the answer when there is one.

    Attributes:
        id: Of the prediction; `perennial log --prediction ID` shows what was asked.
        at: When it was asked for, in microseconds.
        guard: Which guard left it to a person, and `says` why.
        classes: The labels to choose from; None where any number or label may be the answer.
        value: What the person said, `by` whom and when (`answered`).
        is_expired: Nobody answered in time, and nobody waits any more.
    """

    id: str
    endpoint: str
    at: int
    guard: str
    says: str = ""
    classes: list[LabelValue] | None = None
    value: LabelValue | None = None
    comment: str = ""
    by: str | None = None
    answered: int | None = None
    is_expired: bool = False


def questions(layout: Layout, frames: Iterable[Answered]) -> list[Question]:
    """The rows of these requests that wait for a person."""
    found: list[Question] = []
    for frame in frames:
        if frame.flags is None:
            continue
        for name, flags in zip(row_ids(frame.id, len(frame.values)), frame.flags, strict=True):
            flag = next((flag for flag in flags if flag.action == ABSTAINED), None)
            if flag is not None:
                says = flag.says or (f"column {flag.column}" if flag.column else "")
                found.append(
                    Question(
                        id=name, endpoint=layout.endpoint, at=frame.at, guard=flag.guard, says=says,
                        classes=layout.classes,
                    )
                )  # fmt: skip
    return found


def enqueue(tx: Transaction, asked: Sequence[Question]) -> None:
    """Let these wait, within the transaction that takes their segment's range up."""
    if asked:
        rows = [
            {
                "id": one.id, "endpoint": one.endpoint, "at": one.at, "guard": one.guard, "says": one.says,
                "classes": None if one.classes is None else msgspec.json.encode(one.classes),
                "value": None, "comment": "", "by": None, "answered": None, "is_published": False,
            }
            for one in asked
        ]  # fmt: skip
        tx.connection.execute(sa.insert(queue), rows)


class Asking:
    """The queue of one workspace. Safe for concurrent use."""

    def __init__(self, records: Records, files: Files, serving: Path) -> None:
        self._records = records
        self._files = files
        self._serving = serving

    def waiting(self, *, endpoint: str, answered: bool, limit: int) -> list[Question]:
        """Those that wait, oldest first; or those that were answered, newest first."""
        query = sa.select(queue).where(queue.c.endpoint == endpoint)
        if answered:
            query = query.where(queue.c.answered.is_not(None)).order_by(queue.c.answered.desc(), queue.c.id)
        else:
            query = query.where(queue.c.answered.is_(None), queue.c.at >= self._oldest()).order_by(
                queue.c.at, queue.c.id
            )
        return [
            self._question(row) for row in self._records.read(lambda c: c.execute(query.limit(limit)).mappings().all())
        ]

    def get(self, prediction_id: str) -> Question | None:
        query = sa.select(queue).where(queue.c.id == prediction_id)
        row = self._records.read(lambda c: c.execute(query).mappings().first())
        return None if row is None else self._question(row)

    def answer(self, prediction_id: str, value: LabelValue, comment: str) -> Question:
        """See `Predictions.answer`."""

        def change(tx: Transaction) -> Question:
            query = sa.select(queue).where(queue.c.id == prediction_id)
            row = tx.connection.execute(query).mappings().first()
            if row is None:
                remedy = "perennial endpoints queue NAME lists what waits"
                raise NotFound(f"no person was asked for prediction {prediction_id!r}", remedy=remedy)
            asked = self._question(row)
            said = _chosen(asked, value)
            if asked.answered is not None:
                if asked.value == said:
                    return asked
                what = f"prediction {prediction_id} was answered by {asked.by}: {asked.value!r}"
                raise Conflict(what, remedy="what was answered may have been acted upon; give a label instead")
            by = str(current_actor())
            encoded = (text(said) or "").encode()
            tx.connection.execute(
                sa.update(queue)
                .where(queue.c.id == prediction_id)
                .values(value=encoded, comment=comment, by=by, answered=tx.now)
            )
            insert_labels(tx, asked.endpoint, [NewLabel(prediction_id, encoded, tx.now, "person")])
            tx.event(
                "prediction.answered",
                f"endpoint/{asked.endpoint}",
                {"prediction": prediction_id, "value": said, "guard": asked.guard, "comment": comment},
            )
            return self._question(tx.connection.execute(query).mappings().one())

        answered = self._records.write(change)
        self.publish()
        return answered

    def publish(self) -> None:
        """Write the answers that the prediction service cannot tell yet, and take those away whose time is over."""
        query = sa.select(queue).where(queue.c.answered.is_not(None), queue.c.is_published.is_(False))
        rows = self._records.read(lambda c: c.execute(query.limit(1000)).mappings().all())
        for row in rows:
            asked = self._question(row)
            path = answer_path(self._serving, asked.id)
            if path is not None and asked.answered is not None and asked.value is not None:
                self._files.mkdirs(path.parent)
                answer = PersonsAnswer(
                    id=asked.id, endpoint=asked.endpoint, value=asked.value, at=asked.answered, by=asked.by or "",
                    comment=asked.comment,
                )  # fmt: skip
                self._files.write_atomic(path, msgspec.json.encode(answer), mode=0o600)
        if rows:
            done = [row["id"] for row in rows]
            self._records.write(
                lambda tx: tx.connection.execute(sa.update(queue).where(queue.c.id.in_(done)).values(is_published=True))
            )

    def tidy(self) -> None:
        """Take away the files of answers whose time is over; their records stay as long as their predictions."""
        folder = self._serving / ANSWERS
        names = {path.stem for path in folder.glob("*.json")} if folder.is_dir() else set[str]()
        if not names:
            return
        old = sa.select(queue.c.id).where(queue.c.answered < self._oldest(), queue.c.is_published)
        for name in names.intersection(self._records.read(lambda c: c.execute(old).scalars().all())):
            self._files.remove(folder / f"{name}.json")

    def _oldest(self) -> int:
        return self._records.clock.now() - ANSWER_LASTS_US

    def _question(self, row: Mapping[Any, Any]) -> Question:
        decoded: dict[str, Any] = {
            name: None if row[name] is None else msgspec.json.decode(row[name]) for name in ("classes", "value")
        }
        plain: dict[str, Any] = {
            name: row[name] for name in ("id", "endpoint", "at", "guard", "says", "comment", "by", "answered")
        }
        is_expired = row["answered"] is None and row["at"] < self._oldest()
        return Question(**plain, **decoded, is_expired=is_expired)


def _chosen(asked: Question, value: LabelValue) -> LabelValue:
    """The answer as the model would give it: one of the classes, where there are some; "1" stands for the label 1."""
    if isinstance(value, float) and value - value != 0.0:
        raise Invalid(f"{value} is not a finite number", where="value", remedy="give a number or a label")
    if asked.classes is None:
        return value
    for label in asked.classes:
        if type(label) is type(value) and label == value:
            return label
    for label in asked.classes:
        if str(label) == str(value):
            return label
    known = ", ".join(str(label) for label in asked.classes[:20])
    raise Invalid(f"{value!r} is no label of {asked.endpoint}", where="value", remedy=f"choose of {known}")
