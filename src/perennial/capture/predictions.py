"""The service `predictions`: what was predicted, what was true, how much there is, and each one found again."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import polars as pl
import sqlalchemy as sa

from perennial.capture import searching
from perennial.capture.accounting import Accounts, accounts_of, segment_rows
from perennial.capture.asking import Asking, Question
from perennial.capture.feedback import KEYS_LAST_US, Feedback, FeedbackCounts, feedback_counts
from perennial.capture.finding import Finder, again
from perennial.capture.ingest import Ingest, IngestReport
from perennial.capture.labels import LabelIn, LabelReport, LabelRow, Labels, LabelValue, unknown
from perennial.capture.records import chunks, labels, queue
from perennial.capture.searching import Listed
from perennial.capture.tables import INPUT, JSON, PREDICTED, SHADOWED, read_table
from perennial.capture.tending import DAY_US, Tending, TendReport
from perennial.config import Settings
from perennial.serve.feeding import ANSWER_LASTS_US
from perennial.store.files import LocalFiles
from perennial.store.objects import ObjectStore
from perennial.store.records import Records
from perennial.types import Digest

__all__ = [
    "Accounts",
    "Chunk",
    "Counts",
    "Found",
    "IngestReport",
    "Kind",
    "LabelIn",
    "LabelReport",
    "LabelRow",
    "Listed",
    "Predictions",
    "Question",
    "TendReport",
]

Kind = Literal["prediction", "shadow"]


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A Parquet object with predictions or shadow answers of one endpoint."""

    seq: int
    endpoint: str
    kind: Kind
    digest: str
    first_id: str
    last_id: str
    min_at: int
    max_at: int
    rows: int
    errors: int
    shadowed: int


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of one endpoint. `labelled` are predictions with a label, `revisions` all labels that ever came.

    `waiting`: a person is asked for so many. `feedback`: what became of the labels that clients sent to the service.
    """

    endpoint: str
    predictions: int
    errors: int
    shadow_answers: int
    shadow_pending: int
    labelled: int
    revisions: int
    latest_prediction_at: int | None
    latest_label_at: int | None
    latest_label_seq: int
    waiting: int = 0
    feedback: FeedbackCounts = FeedbackCounts()


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one prediction. `label` is the latest of `labels`.

    Attributes:
        input: As it was written down: see `policy`.
        policy: Columns that are not as they came: mask, hash, drop.
        flags: Guards that fired on it.
        interval: Of a regression, [low, high]; `label_set` likewise of a classification.
        source: The protocol that it came by.
        question: Where a guard left it to a person: what waits, or the answer.
    """

    id: str
    endpoint: str
    key: str
    at: int
    version: int
    arm: str
    status: int
    entity: Any
    input: dict[str, Any]
    prediction: Any
    probabilities: dict[str, float] | None
    error: str | None
    latency_us: int
    shadow_version: int | None
    shadow_prediction: Any
    labels: list[LabelRow]
    flags: list[dict[str, Any]] = []
    interval: list[float | None] | None = None
    label_set: list[Any] | None = None
    source: str | None = None
    policy: dict[str, str] = {}
    question: Question | None = None

    @property
    def label(self) -> LabelValue | None:
        return self.labels[-1].value if self.labels else None


class Predictions:
    """Predictions and labels of a workspace. Safe for concurrent use."""

    def __init__(
        self, records: Records, objects: ObjectStore, segments: Path, settings: Settings | None = None
    ) -> None:
        """`segments` is the folder into which the prediction service writes."""
        settings, files = settings or Settings(), LocalFiles()
        # What is replayed in simulated time is years old from the start: there nothing goes unless that is asked for.
        is_kept = records.clock.is_simulated and "keep_predictions_days" not in settings.origin
        keep_us = 0 if is_kept else settings.keep_predictions_days * DAY_US
        self._records = records
        self._objects = objects
        self._finder = Finder(records, objects)
        self._feedback = Feedback(records, self._finder)
        self._ingest = Ingest(records, objects, segments, self._feedback)
        self._labels = Labels(records, self._finder, segments.parent, self._ingest.run)
        self._asking = Asking(records, files, segments.parent)
        self._tending = Tending(records, objects, files, segments, keep_us=keep_us)
        self._tending_now = threading.Lock()

    def ingest(self) -> IngestReport:
        """Take up what the service wrote since the last time.

        Raises:
            StoreError: An object or record could not be written; what was taken up before that stays.
        """
        return self._ingest.run()

    def tend(self) -> TendReport:
        """Merge small chunks, delete what is older than the setting keep_predictions_days and segments taken up.

        Raises:
            StoreError: An object or record could not be written; what was done before that stays.
        """
        with self._tending_now:
            self._asking.publish()
            self._asking.tidy()
            self._feedback.forget(self._records.clock.now() - KEYS_LAST_US)
            return self._tending.run()

    def accounts(self) -> Accounts:
        """What became of every row that the prediction service gave an id to; all endpoints together."""
        return self._records.read(lambda c: accounts_of(segment_rows(c)))

    def search(
        self,
        *,
        endpoint: str,
        since: int | None = None,
        until: int | None = None,
        version: int | None = None,
        flagged: bool = False,
        limit: int = 50,
    ) -> list[Listed]:
        """The newest predictions with since <= at < until (microseconds), newest first.

        Args:
            endpoint: Whose predictions.
            since: None: from the first one on.
            until: None: to the last one.
            version: Only those that this version answered.
            flagged: Only those on which a guard fired.
            limit: At most so many, 1 to 1000.

        Raises:
            Invalid: The limit is out of bounds.
        """
        return searching.search(
            self._records, self._objects, endpoint=endpoint, since=since, until=until, version=version,
            flagged=flagged, limit=limit,
        )  # fmt: skip

    def waiting(self, *, endpoint: str, answered: bool = False, limit: int = 100) -> list[Question]:
        """Predictions that a person is asked for, oldest first; or, when asked so, the newest answers."""
        return self._asking.waiting(endpoint=endpoint, answered=answered, limit=limit)

    def answer(self, *, prediction_id: str, value: LabelValue, comment: str = "") -> Question:
        """Say what a guard left to a person; the caller who polls for it gets this, and it is the label, too.

        Args:
            prediction_id: Of the question.
            value: A number or a label; the text of a label will do.
            comment: Why, for the record and the caller.

        Raises:
            NotFound: Nobody was asked about this prediction.
            Invalid: The value is no label of this endpoint, or not finite.
            Conflict: It was answered, and differently.
        """
        if self._asking.get(prediction_id) is None:
            self._ingest.run()  # it may be a moment old
        return self._asking.answer(prediction_id, value, comment)

    def label(self, *, endpoint: str, labels: list[LabelIn], key: str = "") -> LabelReport:
        """Tell the truth about predictions of an endpoint: all of these or, when one is wrong, none.

        Args:
            endpoint: Whose predictions they are.
            labels: Prediction ids, or entities by the endpoint's own key, and values.
            key: Of this call; repeated with the same key it counts once, also when other labels came in between.

        Raises:
            NotFound: A prediction is unknown; names it.
            Invalid: A value is not of the kind that the model predicts, or not finite.
            Conflict: The key was used for other labels.
        """
        return self._labels.add(endpoint, labels, key)

    def labels_between(
        self,
        *,
        endpoint: str,
        after_seq: int = 0,
        before: int | None = None,
        limit: int = 10_000,
        first_id: str = "",
        last_id: str = "~",
    ) -> list[LabelRow]:
        """Revisions of labels in the order in which they came, those with seq > `after_seq` and at < `before`."""
        return self._labels.between(
            endpoint, after_seq=after_seq, before=before, limit=limit, first_id=first_id, last_id=last_id
        )

    def chunks(
        self, *, endpoint: str, kind: Kind = "prediction", since: int | None = None, until: int | None = None
    ) -> list[Chunk]:
        """Objects with rows of this kind in [since, until), oldest first; they may hold rows outside of it, too."""
        query = sa.select(chunks).where(chunks.c.endpoint == endpoint, chunks.c.kind == kind)
        query = query if since is None else query.where(chunks.c.max_at >= since)
        query = query if until is None else query.where(chunks.c.min_at < until)
        query = query.order_by(chunks.c.min_at, chunks.c.seq)
        return [_chunk(row) for row in self._records.read(lambda c: c.execute(query).mappings().all())]

    def counts(self, *, endpoint: str) -> Counts:
        """How much there is of one endpoint; zeros for one that never predicted."""

        def read(connection: sa.Connection) -> Counts:
            total = sa.func.coalesce
            kinds = {
                row.kind: row
                for row in connection.execute(
                    sa.select(
                        chunks.c.kind,
                        sa.func.sum(chunks.c.rows).label("rows"),
                        sa.func.sum(chunks.c.errors).label("errors"),
                        sa.func.sum(chunks.c.shadowed).label("shadowed"),
                        sa.func.max(chunks.c.max_at).label("latest"),
                    )
                    .where(chunks.c.endpoint == endpoint)
                    .group_by(chunks.c.kind)
                )
            }
            told = connection.execute(
                sa.select(
                    sa.func.count(sa.distinct(labels.c.prediction_id)).label("labelled"),
                    sa.func.count().label("revisions"),
                    sa.func.max(labels.c.at).label("latest"),
                    total(sa.func.max(labels.c.seq), 0).label("seq"),
                ).where(labels.c.endpoint == endpoint)
            ).one()
            oldest = self._records.clock.now() - ANSWER_LASTS_US
            open_ = sa.select(sa.func.count()).where(
                queue.c.endpoint == endpoint, queue.c.answered.is_(None), queue.c.at >= oldest
            )
            made, shadow = kinds.get("prediction"), kinds.get("shadow")
            answers = int(shadow.rows) if shadow else 0
            return Counts(
                endpoint=endpoint,
                predictions=int(made.rows) if made else 0,
                errors=int(made.errors) if made else 0,
                shadow_answers=answers,
                shadow_pending=(int(made.shadowed) if made else 0) - answers,
                labelled=told.labelled,
                revisions=told.revisions,
                latest_prediction_at=made.latest if made else None,
                latest_label_at=told.latest,
                latest_label_seq=told.seq,
                waiting=connection.execute(open_).scalar_one(),
                feedback=feedback_counts(connection, endpoint),
            )

        return self._records.read(read)

    def find(self, *, prediction_id: str) -> Found:
        """One prediction with its shadow answer and labels.

        Raises:
            NotFound: There is no such prediction.
        """
        row = self._row(prediction_id, "prediction")
        if row is None:
            self._ingest.run()  # it may be a moment old
            row = self._row(prediction_id, "prediction")
        if row is None:
            raise unknown(prediction_id)
        chunk, values = row
        shadow = self._row(prediction_id, "shadow")
        revisions = self.labels_between(endpoint=chunk.endpoint, first_id=prediction_id, last_id=prediction_id)
        parsed = {name: _parsed(values[name]) for name in ("entity", "prediction", "probabilities", "label_set")}
        plain = {name: values[name] for name in _PLAIN}
        has_interval = values["low"] is not None or values["high"] is not None
        return Found(
            endpoint=chunk.endpoint,
            input=_input(values),
            labels=revisions,
            shadow_prediction=_parsed(shadow[1]["prediction"]) if shadow else None,
            flags=_parsed(values["flags"]) or [],
            interval=[_finite(values["low"]), _finite(values["high"])] if has_interval else None,
            policy=_parsed(values["policy"]) or {},
            question=self._asking.get(prediction_id),
            **plain,
            **parsed,
        )

    def _row(self, prediction_id: str, kind: Kind) -> tuple[Chunk, dict[str, Any]] | None:
        query = sa.select(chunks).where(
            chunks.c.kind == kind, chunks.c.first_id <= prediction_id, chunks.c.last_id >= prediction_id
        )
        schema = PREDICTED if kind == "prediction" else SHADOWED

        def look() -> tuple[Chunk, dict[str, Any]] | None:
            for found in self._records.read(lambda c: c.execute(query).mappings().all()):
                chunk = _chunk(found)
                table = read_table(self._objects.get(Digest(chunk.digest)), schema, where=pl.col("id") == prediction_id)
                if table.height:
                    return chunk, table.row(0, named=True)
            return None

        return again(look)


_PLAIN = ("id", "key", "at", "version", "arm", "status", "error", "latency_us", "shadow_version", "source")


def _input(values: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of the request as they were written down."""
    if values["input"] is not None:
        return msgspec.json.decode(values["input"])
    plain = {name[len(INPUT) :]: value for name, value in values.items() if name.startswith(INPUT)}
    return plain | {name[len(JSON) :]: _parsed(value) for name, value in values.items() if name.startswith(JSON)}


def _chunk(row: Mapping[Any, Any]) -> Chunk:
    return Chunk(**{name: row[name] for name in Chunk.__struct_fields__})


def _finite(bound: float | None) -> float | None:
    """An end of an interval as the client saw it: null where nothing less holds."""
    return bound if bound is not None and math.isfinite(bound) else None


def _parsed(value: str | None) -> Any:
    return None if value is None else msgspec.json.decode(value)
