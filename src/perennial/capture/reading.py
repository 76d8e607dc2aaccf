"""Predictions as frames, for those who judge them: rows of a span of time with shadow answers and labels.

Reads the catalogue through `Predictions` (the owner's or a remote one) and the objects themselves. A view of a moment
never contains what came at that moment or later, so that a decision does not depend on what else was under way.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

import msgspec
import polars as pl

from perennial.capture.finding import again
from perennial.capture.predictions import Chunk, Kind, LabelRow
from perennial.capture.tables import INPUT, JSON, PREDICTED, SHADOWED, input_names, number, read_table, stack, text
from perennial.models.rows import to_frame
from perennial.models.signature import Field, Signature
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

        Columns: those of `tables.PREDICTED` and of the requests (see there); `shadow_prediction`, `shadow_value`,
        `shadow_error`, `shadow_latency_us` of the shadow version, null while it has not answered; `label`,
        `label_value`, `label_at`, `label_seq`, `label_revision` of the latest label that came before `until`, null
        without one.
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
        """The request columns of these rows, with the types of the signature.

        What was not written down as it came is missing here: see `not_kept`.
        """
        rows = frame.with_row_index("_row")
        old = rows.filter(pl.col("input").is_not_null())
        new = rows.filter(pl.col("input").is_null())
        parts = [(new["_row"], to_frame(signature, cast(Any, _columns(new, signature))))] if new.height else []
        if old.height:
            parts.append((old["_row"], to_frame(signature, msgspec.json.decode(f"[{','.join(old['input'])}]"))))
        if not parts:
            return to_frame(signature, [])
        order = pl.concat([at for at, _ in parts])
        return pl.concat([part for _, part in parts]).select(pl.all().gather(order.arg_sort()))

    def requests(self, frame: pl.DataFrame) -> list[dict[str, Any]]:
        """The requests of these rows as JSON values, without the columns that a row does not have."""
        found: list[dict[str, Any]] = [{} for _ in range(frame.height)]
        for name in frame.columns:
            if name.startswith((INPUT, JSON)):
                is_json = name.startswith(JSON)
                short = name[len(JSON if is_json else INPUT) :]
                for request, value in zip(found, frame[name], strict=True):
                    if value is not None:
                        request[short] = msgspec.json.decode(value) if is_json else value
        for at, told in enumerate(frame["input"]):
            if told is not None:
                found[at] = msgspec.json.decode(told)
        return found

    def not_kept(self, frame: pl.DataFrame) -> set[str]:
        """Columns that are masked, hashed or dropped in any of these rows: not to be compared with other rows."""
        policies = frame["policy"].drop_nulls().unique()
        return {name for policy in policies for name in msgspec.json.decode(policy, type=dict[str, str])}

    def _rows(self, endpoint: str, kind: Kind, since: int | None, until: int | None) -> pl.DataFrame:
        schema = PREDICTED if kind == "prediction" else SHADOWED
        within = pl.lit(True) if since is None else pl.col("at") >= since
        within = within if until is None else within & (pl.col("at") < until)

        def look() -> list[pl.DataFrame]:
            found = self._predictions.chunks(endpoint=endpoint, kind=kind, since=since, until=until)
            return [read_table(self._objects.get(Digest(chunk.digest)), schema, where=within) for chunk in found]

        tables = again(look)
        return stack(tables) if tables else pl.DataFrame(schema=schema)

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


def _columns(rows: pl.DataFrame, signature: Signature) -> dict[str, pl.Series]:
    """The required columns of rows that have them as columns, in the types that `to_frame` expects."""
    known = input_names(rows)
    found: dict[str, pl.Series] = {}
    for field in signature.inputs:
        if field.required:
            found[field.name] = (
                _column(rows, field) if field.name in known else pl.Series([None] * rows.height, dtype=pl.Null)
            )
    return found


def _column(rows: pl.DataFrame, field: Field) -> pl.Series:
    column = rows[INPUT + field.name] if INPUT + field.name in rows.columns else None
    if JSON + field.name in rows.columns:
        values = [None if value is None else msgspec.json.decode(value) for value in rows[JSON + field.name]]
        if column is not None:
            values = [plain if value is None else value for value, plain in zip(values, column, strict=True)]
        column = pl.Series(values, strict=False)
    assert column is not None
    if "policy" in rows.columns and rows["policy"].null_count() < rows.height:
        is_kept = [policy is None or field.name not in msgspec.json.decode(policy) for policy in rows["policy"]]
        column = pl.select(pl.when(pl.Series(is_kept)).then(column)).to_series()
    return column
