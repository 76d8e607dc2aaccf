"""Predictions as frames, for those who judge them: rows of a span of time with shadow answers and labels.

Reads the catalogue through `Predictions` (the owner's or a remote one) and the objects themselves. A view of a moment
never contains what came at that moment or later, so that a decision does not depend on what else was under way.
"""

from __future__ import annotations

from typing import Protocol

import msgspec
import polars as pl

from perennial.capture.predictions import Chunk, Kind, LabelRow
from perennial.capture.tables import PREDICTED, SHADOWED, number, read_table, text
from perennial.models.rows import to_frame
from perennial.models.signature import Signature
from perennial.store.objects import ObjectStore
from perennial.types import Digest

__all__ = ["Catalogue", "PredictionReader"]

PAGE = 10_000  # labels asked for at once


class Catalogue(Protocol):
    """What of `Predictions` is needed here."""

    def chunks(
        self, *, endpoint: str, kind: Kind = "prediction", since: int | None = None, until: int | None = None
    ) -> list[Chunk]: ...
    def labels_between(
        self,
        *,
        endpoint: str,
        after_seq: int = 0,
        before: int | None = None,
        limit: int = PAGE,
        first_id: str = "",
        last_id: str = "~",
    ) -> list[LabelRow]: ...


class PredictionReader:
    """Frames of one workspace's predictions."""

    def __init__(self, objects: ObjectStore, predictions: Catalogue) -> None:
        self._objects = objects
        self._predictions = predictions

    def predictions(self, *, endpoint: str, since: int | None = None, until: int | None = None) -> pl.DataFrame:
        """One row per prediction with since <= at < until, ordered by (at, key, row, id).

        Columns: those of `tables.PREDICTED`; `shadow_prediction`, `shadow_value`, `shadow_error`, `shadow_latency_us`
        of the shadow version, null while it has not answered; `label`, `label_value`, `label_at`, `label_seq`,
        `label_revision` of the latest label that came before `until`, null without one.
        """
        made = self._rows(endpoint, "prediction", since, until)
        shadow = self._rows(endpoint, "shadow", since, until).select(
            "id",
            "version",
            shadow_prediction="prediction",
            shadow_value="value",
            shadow_error="error",
            shadow_latency_us="latency_us",
        )
        joined = made.join(shadow, left_on=["id", "shadow_version"], right_on=["id", "version"], how="left")
        return joined.join(self._labels(endpoint, made, until), on="id", how="left").sort("at", "key", "row", "id")

    def inputs(self, frame: pl.DataFrame, signature: Signature) -> pl.DataFrame:
        """The request columns of these rows, with the types of the signature."""
        return to_frame(signature, msgspec.json.decode(f"[{','.join(frame['input'])}]"))

    def _rows(self, endpoint: str, kind: Kind, since: int | None, until: int | None) -> pl.DataFrame:
        found = self._predictions.chunks(endpoint=endpoint, kind=kind, since=since, until=until)
        tables = [read_table(self._objects.get(Digest(chunk.digest))) for chunk in found]
        table = pl.concat(tables) if tables else pl.DataFrame(schema=PREDICTED if kind == "prediction" else SHADOWED)
        if since is not None:
            table = table.filter(pl.col("at") >= since)
        return table if until is None else table.filter(pl.col("at") < until)

    def _labels(self, endpoint: str, made: pl.DataFrame, before: int | None) -> pl.DataFrame:
        latest: dict[str, LabelRow] = {}
        after = 0
        first, last = (str(made["id"].min()), str(made["id"].max())) if made.height else ("~", "")
        while page := self._predictions.labels_between(
            endpoint=endpoint, after_seq=after, before=before, limit=PAGE, first_id=first, last_id=last
        ):
            after = page[-1].seq
            latest.update((label.prediction_id, label) for label in page)
            if len(page) < PAGE:
                break
        rows = [
            {
                "id": label.prediction_id,
                "label": text(label.value),
                "label_value": number(label.value),
                "label_at": label.at,
                "label_seq": label.seq,
                "label_revision": label.revision,
            }
            for label in latest.values()
        ]
        schema = {
            "id": pl.String,
            "label": pl.String,
            "label_value": pl.Float64,
            "label_at": pl.Int64,
            "label_seq": pl.Int64,
            "label_revision": pl.Int64,
        }
        return pl.DataFrame(rows, schema=schema)
