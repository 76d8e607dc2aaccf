"""The rows that a version was judged on, kept as what later rows are compared with.

Rows that the model was not trained on and that are newer than those: a profile or a calibration of training rows would
flatter the model. At most `MAX_ROWS` of them are kept, taken evenly, as one Parquet object.
"""

from __future__ import annotations

import io
from typing import Any, cast

import msgspec
import numpy as np
import polars as pl

from perennial.monitor.sample import Sample, Task

__all__ = ["MAX_ROWS", "from_parquet", "to_parquet"]

MAX_ROWS = 20_000  # METHODS: the reference of the tests that need rows; counts of it are what windows are held against
_OWN = "perennial"


def to_parquet(sample: Sample) -> bytes:
    """The object to store; at most `MAX_ROWS` rows, in their order."""
    if sample.rows > MAX_ROWS:
        sample = sample.take(np.linspace(0, sample.rows - 1, MAX_ROWS).round().astype(np.int64))
    columns: dict[str, Any] = {f"x.{name}": sample.inputs[name] for name in sample.inputs.columns}
    answers = {"prediction": sample.predictions, "label": sample.labels}
    columns |= {name: series for name, series in answers.items() if series is not None}
    if sample.probs is not None:
        columns |= {f"prob.{place}": sample.probs[:, place] for place in range(sample.probs.shape[1])}
    if sample.at is not None:
        columns["at"] = sample.at
    about = msgspec.json.encode({"task": sample.task, "classes": sample.classes}).decode()
    buffer = io.BytesIO()
    pl.DataFrame(columns).write_parquet(buffer, metadata={_OWN: about})
    return buffer.getvalue()


def from_parquet(data: bytes) -> Sample:
    """What `to_parquet` gave."""
    about: dict[str, Any] = msgspec.json.decode(pl.read_parquet_metadata(io.BytesIO(data))[_OWN])
    table = pl.read_parquet(io.BytesIO(data))
    inputs = [name for name in table.columns if name.startswith("x.")]
    probs = [name for name in table.columns if name.startswith("prob.")]
    return Sample(
        inputs=table.select(pl.col(name).alias(name.removeprefix("x.")) for name in inputs),
        task=cast(Task, about["task"]),
        classes=tuple(about["classes"]),
        predictions=table["prediction"] if "prediction" in table.columns else None,
        probs=table.select(probs).to_numpy() if probs else None,
        labels=table["label"] if "label" in table.columns else None,
        at=table["at"].to_numpy() if "at" in table.columns else None,
    )
