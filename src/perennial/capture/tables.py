"""Frames of a segment as Parquet, one row per predicted row.

Values whose type differs between models (entity, input, prediction, probabilities, label) are JSON text; whole numbers
are written without a fraction, so that equal values are equal text. `value` is the same as a number, where it is one.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import msgspec
import polars as pl

from perennial.serve.frames import Predicted, Shadowed, row_ids

__all__ = ["PREDICTED", "SHADOWED", "number", "predicted_table", "read_table", "shadowed_table", "text", "to_parquet"]

_ANSWER: dict[str, Any] = {
    "prediction": pl.String,
    "value": pl.Float64,
    "probabilities": pl.String,
    "error": pl.String,
    "latency_us": pl.Int64,
}
PREDICTED: dict[str, Any] = {
    "id": pl.String,
    "key": pl.String,
    "row": pl.Int32,
    "at": pl.Int64,
    "status": pl.Int32,
    "version": pl.Int64,
    "arm": pl.String,
    "entity": pl.String,
    "input": pl.String,
    **_ANSWER,
    "shadow_version": pl.Int64,
}
SHADOWED: dict[str, Any] = {"id": pl.String, "at": pl.Int64, "version": pl.Int64, **_ANSWER}

_encoder = msgspec.json.Encoder(order="deterministic")


def text(value: object) -> str | None:
    """A value as JSON; None for None.

    >>> text(3.0), text("a"), text(None)
    ('3', '"a"', None)
    """
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return _encoder.encode(value).decode()


def number(value: object) -> float | None:
    """The value as a number, where it is one; true and false are not."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def predicted_table(frames: Iterable[Predicted]) -> pl.DataFrame:
    rows = [
        {
            "id": row_id,
            "key": frame.key,
            "row": row,
            "at": frame.at,
            "status": frame.status,
            "version": frame.versions[row],
            "arm": frame.arms[row],
            "entity": text(frame.entities[row]) if frame.entities else None,
            "input": text(frame.inputs[row]),
            **_answer(frame.outputs[row], frame.latency_us),
            "shadow_version": frame.shadow_version,
        }
        for frame in frames
        for row, row_id in enumerate(row_ids(frame.id, len(frame.outputs)))
    ]
    return pl.DataFrame(rows, schema=PREDICTED)


def shadowed_table(frames: Iterable[Shadowed]) -> pl.DataFrame:
    rows = [
        {"id": row_id, "at": frame.at, "version": frame.version, **_answer(output, frame.latency_us)}
        for frame in frames
        for row_id, output in zip(row_ids(frame.id, len(frame.outputs)), frame.outputs, strict=True)
    ]
    return pl.DataFrame(rows, schema=SHADOWED)


def to_parquet(table: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    return buffer.getvalue()


def read_table(data: bytes, columns: list[str] | None = None) -> pl.DataFrame:
    return pl.read_parquet(io.BytesIO(data), columns=columns)


def _answer(output: dict[str, Any], latency_us: int) -> dict[str, Any]:
    prediction = output["prediction"]
    return {
        "prediction": text(prediction),
        "value": number(prediction),
        "probabilities": text(output.get("probabilities")),
        "error": output.get("error"),
        "latency_us": latency_us,
    }
