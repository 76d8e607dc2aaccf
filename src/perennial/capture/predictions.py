"""The service `predictions`: what was predicted, what was true, how much there is, and each one found again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from perennial.capture.ingest import Ingest, IngestReport
from perennial.capture.labels import LabelIn, LabelReport, LabelRow, Labels, LabelValue, unknown
from perennial.capture.records import chunks, labels
from perennial.capture.tables import read_table
from perennial.store.objects import ObjectStore
from perennial.store.records import Records
from perennial.types import Digest

__all__ = ["Chunk", "Counts", "Found", "IngestReport", "Kind", "LabelIn", "LabelReport", "LabelRow", "Predictions"]

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
    """Rows of one endpoint. `labelled` are predictions with a label, `revisions` all labels that ever came."""

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


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one prediction. `label` is the latest of `labels`."""

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

    @property
    def label(self) -> LabelValue | None:
        return self.labels[-1].value if self.labels else None


class Predictions:
    """Predictions and labels of a workspace. Safe for concurrent use."""

    def __init__(self, records: Records, objects: ObjectStore, segments: Path) -> None:
        """`segments` is the folder into which the prediction service writes."""
        self._records = records
        self._objects = objects
        self._ingest = Ingest(records, objects, segments)
        self._labels = Labels(records, objects, self._ingest)

    def ingest(self) -> IngestReport:
        """Take up what the service wrote since the last time.

        Raises:
            StoreError: An object or record could not be written; what was taken up before that stays.
        """
        return self._ingest.run()

    def label(self, *, endpoint: str, labels: list[LabelIn], key: str = "") -> LabelReport:
        """Tell the truth about predictions of an endpoint: all of these or, when one is wrong, none.

        Args:
            endpoint: Whose predictions they are.
            labels: Prediction ids and values.
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
        parsed = {name: _parsed(values[name]) for name in ("entity", "input", "prediction", "probabilities")}
        return Found(
            endpoint=chunk.endpoint,
            labels=revisions,
            shadow_prediction=_parsed(shadow[1]["prediction"]) if shadow else None,
            **{name: value for name, value in values.items() if name not in parsed and name not in ("row", "value")},
            **parsed,
        )

    def _row(self, prediction_id: str, kind: Kind) -> tuple[Chunk, dict[str, Any]] | None:
        query = sa.select(chunks).where(
            chunks.c.kind == kind, chunks.c.first_id <= prediction_id, chunks.c.last_id >= prediction_id
        )
        for found in self._records.read(lambda c: c.execute(query).mappings().all()):
            chunk = _chunk(found)
            table = read_table(self._objects.get(Digest(chunk.digest)))
            rows = table.filter(table["id"] == prediction_id).to_dicts()
            if rows:
                return chunk, rows[0]
        return None


def _chunk(row: Mapping[Any, Any]) -> Chunk:
    return Chunk(**{name: row[name] for name in Chunk.__struct_fields__})


def _parsed(value: str | None) -> Any:
    return None if value is None else msgspec.json.decode(value)
