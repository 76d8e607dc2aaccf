"""Predictions of a deployed endpoint as samples: what one version was asked and answered, and the truth that has come.

The reference of a version are the held-out rows that it was judged on. A version that came without any (an imported
model) is compared with the first rows that it answered itself, and the report says so.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.capture.reading import PredictionReader
from perennial.errors import NotFound
from perennial.models.facts.evaluation import Evaluation
from perennial.models.package import read_manifest
from perennial.models.signature import Signature
from perennial.monitor.held_out import from_parquet
from perennial.monitor.sample import Sample
from perennial.registry.version import ModelVersion, package_of
from perennial.store.decoding import ready
from perennial.store.objects import ObjectStore
from perennial.types import Digest

__all__ = ["Captured", "FIRST_ROWS", "captured", "captured_sides", "held_out_rows", "signature_of"]

FIRST_ROWS = 2_000  # of a version's own answers that are the reference where nothing was held out
MIN_ROWS = 100  # on either side, below which there is nothing to compare


@dataclass(frozen=True, kw_only=True)
class Captured:
    """Both sides of a comparison of one version. `reference_is`: in words. `not_kept`: columns that were not written
    down as they came (masked, hashed, dropped) and are compared with nothing.
    """

    reference: Sample
    current: Sample
    reference_is: str
    not_kept: set[str]


def signature_of(version: ModelVersion, objects: ObjectStore) -> Signature:
    """What a version takes and answers, from its package; nothing of it is loaded."""
    manifest = read_manifest(objects.get(package_of(version)))
    return msgspec.json.decode(objects.get(manifest.files["signature.json"][0]), type=ready(Signature))


def held_out_rows(version: ModelVersion, objects: ObjectStore) -> Sample | None:
    """The rows that a version was judged on; None where none were kept."""
    if version.evaluation is None:
        return None
    kept = msgspec.json.decode(objects.get(Digest(version.evaluation)), type=ready(Evaluation)).reference
    return None if kept is None else from_parquet(objects.get(Digest(kept)))


def captured(reader: PredictionReader, rows: pl.DataFrame, signature: Signature) -> Sample:
    """Rows of `PredictionReader.predictions` as a sample.

    Args:
        reader: That gave them.
        rows: Of one version, with an answer each.
        signature: Of that version.
    """
    hidden = {signature.key, signature.time, *reader.not_kept(rows)}
    inputs = reader.inputs(rows, signature)
    inputs = inputs.select(name for name in inputs.columns if name not in hidden)
    at = rows["at"].to_numpy()
    if signature.task == "regression":
        labels = rows["label_value"]
        known = labels if labels.null_count() < len(labels) else None
        return Sample(inputs=inputs, task="regression", predictions=rows["value"], labels=known, at=at)
    probs, classes = _probs(rows["probabilities"], tuple(str(label) for label in signature.classes or ()))
    labels = _texts(rows["label"])
    return Sample(
        inputs=inputs,
        task="classification",
        classes=classes,
        predictions=_texts(rows["prediction"]),
        probs=probs,
        labels=labels if labels.null_count() < len(labels) else None,
        at=at,
    )


def captured_sides(
    reader: PredictionReader,
    *,
    endpoint: str,
    version: ModelVersion,
    objects: ObjectStore,
    since: int | None = None,
    until: int | None = None,
) -> Captured:
    """The rows that a version answered, beside what it was judged on.

    Args:
        reader: Of the workspace.
        endpoint: Whose predictions.
        version: That answered them.
        objects: Where its package and its held-out rows are.
        since: First moment, microseconds; None: from the version's first answer.
        until: Past the last moment.

    Raises:
        NotFound: It has answered fewer than 100 rows in this time.
    """
    signature = signature_of(version, objects)
    rows = reader.predictions(endpoint=endpoint, since=since, until=until)
    own = rows.filter((pl.col("version") == version.version) & pl.col("prediction").is_not_null())
    reference = held_out_rows(version, objects)
    needed = MIN_ROWS if reference is not None else 2 * MIN_ROWS
    if own.height < needed:
        raise NotFound(
            f"version {version.version} of {endpoint} answered {own.height} rows in this time; a report needs {needed}",
            where=f"endpoint {endpoint}",
            remedy="wait for more predictions, or name a longer time (--since)",
        )
    not_kept = reader.not_kept(own)
    if reference is None:
        first = min(FIRST_ROWS, own.height // 2)
        before = captured(reader, own[:first], signature)
        says = f"the first {first:,} rows that version {version.version} answered, since nothing was held out of it"
        return Captured(
            reference=before, current=captured(reader, own[first:], signature), reference_is=says, not_kept=not_kept
        )
    current = captured(reader, own, signature)
    return Captured(
        reference=_same_columns(reference, current),
        current=_same_columns(current, reference),
        reference_is=f"the {reference.rows:,} held-out rows that version {version.version} was judged on",
        not_kept=not_kept,
    )


def _same_columns(one: Sample, other: Sample) -> Sample:
    """Only inputs that both have."""
    shared = [name for name in one.inputs.columns if name in other.inputs.columns]
    return dataclasses.replace(one, inputs=one.inputs.select(shared))


def _texts(values: pl.Series) -> pl.Series:
    """Labels as they were before they became JSON."""
    found = [None if text is None else str(msgspec.json.decode(text)) for text in values]
    return pl.Series(values.name, found, dtype=pl.String)


def _probs(values: pl.Series, classes: tuple[str, ...]) -> tuple[NDArray[np.float64] | None, tuple[str, ...]]:
    """A column for each class; None where a row has no probabilities."""
    if values.null_count() or not len(values):
        return None, classes
    told = [msgspec.json.decode(text, type=dict[str, float]) for text in values]
    names = classes or tuple(told[0])
    return np.array([[row.get(name, 0.0) for name in names] for row in told], dtype=np.float64), names
