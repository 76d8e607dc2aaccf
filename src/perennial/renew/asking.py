"""Ask a live version's own model, outside the service, what the service answered, and what drives it.

What came back from the service is compared with what the training pipeline knows: the package's model for the same
rows, its golden answers, the values of the training data for the same keys, the attributions of registration.
"""

from __future__ import annotations

import dataclasses
import io
from typing import Any, cast

import msgspec
import numpy as np
import polars as pl

from perennial.capture.reading import PredictionReader
from perennial.data.scan import scan
from perennial.data.skew import requests_frame, skew
from perennial.data.tables import read_table
from perennial.errors import Corrupt, Refused, UserCodeError
from perennial.evaluate.explain.apart import Reply, asked_apart
from perennial.loop.declaration import Declaration
from perennial.models.asking import ask
from perennial.models.facts.evaluation import Evaluation
from perennial.models.facts.explanation import Explanation
from perennial.models.package import checkout
from perennial.models.sandbox import rules_of
from perennial.models.signature import Signature
from perennial.monitor.sample import Sample
from perennial.monitor.watching.model import Beside, SameKey
from perennial.monitor.watching.watched import Watched
from perennial.registry.versions import ModelVersion, package_of
from perennial.renew.rooms import Rooms
from perennial.store.decoding import ready
from perennial.types import Digest

__all__ = ["answered_by_judged", "beside"]

ASKED_ROWS = 400  # of a window
JUDGED_ROWS = 5_000
EXPLAINED_ROWS = 200  # of them; a sampled explanation asks the model thousands of times for a row
CLOSE = 1e-3  # of a probability, or of a number as a share of its spread: a form in 32 bits is no skew
WITH_TIME, WITHOUT_TIME = 0.01, 0.5  # share of values that may differ: without a moment, things change
EXAMPLES = 3


def beside(
    rooms: Rooms,
    declaration: Declaration,
    version: ModelVersion,
    signature: Signature,
    watched: Watched,
    reader: PredictionReader,
    rows: pl.DataFrame,
) -> Beside | None:
    """What the version's own model and data say of rows that it answered; None where its package may not be loaded.

    Args:
        rooms: The workspace.
        declaration: Of the loop.
        version: That answered.
        signature: Of its package.
        watched: How it is watched.
        reader: That gave the rows.
        rows: Of one window, each with an answer of this version.
    """
    package = package_of(version)
    if not rooms.models.is_trusted(package=package):
        return None
    plain = rows.filter(pl.col("flags").is_null() | (pl.col("flags") == "[]"))  # what a guard changed is no skew
    needed = {field.name for field in signature.inputs if field.required}
    is_whole = not needed & reader.not_kept(rows)
    some = plain[np.linspace(0, plain.height - 1, min(plain.height, ASKED_ROWS)).round().astype(np.int64).tolist()]
    known = _explanation(rooms, version)
    try:
        reply = asked_apart(
            checkout(package, rooms.objects, rooms.folder.serving_cache),
            reader.requests(some) if is_whole else [],
            trusted=True,
            explained=EXPLAINED_ROWS if known is not None else 0,
            of=None if known is None else known.of,
            rules=rules_of(rooms.settings),
        )
    except (UserCodeError, Refused, Corrupt) as error:  # in that process: told, and tried again in a week
        return Beside(unasked=error.what)
    told = _compared(some, reply, watched, signature) if is_whole else Beside()
    return dataclasses.replace(
        told,
        golden=tuple(reply.differences),
        same_key=_same_key(rooms, declaration, version, reader, rows),
        **_attributions(rooms, known, reply),
    )


def answered_by_judged(
    rooms: Rooms, version: ModelVersion, signature: Signature, reader: PredictionReader, rows: pl.DataFrame
) -> Sample | str:
    """Rows as the fit would have answered them that judged a version, or in words why it cannot be asked.

    The reference of a version are answers of that fit, and what is served is a later one: two fits answer a little
    otherwise, and where scores repeat themselves a little is enough to be told from a shift.
    """
    # Named by the evaluation alone: what anybody may add to a run is no ground to load code.
    judged = _evaluation(rooms, version).judged if version.origin == "loop" and version.evaluation else None
    if judged is None:
        return "the fit that was judged is not kept; it is where the loop declares `retrain.on_prior_shift()`"
    if {field.name for field in signature.inputs if field.required} & reader.not_kept(rows):
        return "not all columns are written down as they came"
    some = rows[np.linspace(0, rows.height - 1, min(rows.height, JUDGED_ROWS)).round().astype(np.int64).tolist()]
    folder = checkout(Digest(judged), rooms.objects, rooms.folder.serving_cache)
    reply = ask(folder, reader.requests(some), trusted=True, rules=rules_of(rooms.settings))
    answers = [answer for answer in reply.answers if "probabilities" in answer]
    if not answers:
        return "the model gives no probabilities"
    classes = tuple(str(label) for label in signature.classes or ())
    return Sample(
        inputs=pl.DataFrame({"row": range(len(answers))}),
        task="classification",
        classes=classes,
        probs=np.array([[answer["probabilities"].get(name, 0.0) for name in classes] for answer in answers]),
    )


def _compared(some: pl.DataFrame, reply: Reply, watched: Watched, signature: Signature) -> Beside:
    """Row by row what the service answered and what the model does."""
    spread = 1.0
    if signature.task == "regression" and watched.reference.predictions is not None:
        spread = float(cast(Any, watched.reference.predictions.std()) or 1.0)
    different: list[str] = []
    for row, answer in zip(some.iter_rows(named=True), reply.answers, strict=True):
        now = answer.get("prediction")
        if signature.task == "regression":
            is_same = now is not None and abs(now - row["value"]) <= CLOSE * max(abs(now), spread)
            served: Any = row["value"]
        else:
            served = msgspec.json.decode(row["prediction"])
            probs: dict[str, float] | None = answer.get("probabilities")
            if probs is None or row["probabilities"] is None:
                is_same = str(now) == str(served)
            else:
                given = msgspec.json.decode(row["probabilities"], type=dict[str, float])
                is_same = all(abs(probs.get(name, 0.0) - value) <= CLOSE for name, value in given.items())
        if not is_same:
            different.append(f"{row['id']} was answered {served}, the model says {now}")
    return Beside(asked=some.height, different=len(different), first=tuple(different[:EXAMPLES]))


def _same_key(
    rooms: Rooms, declaration: Declaration, version: ModelVersion, reader: PredictionReader, rows: pl.DataFrame
) -> list[SameKey]:
    """Requests beside the rows of the training data that have their key (and moment, where there is one)."""
    if declaration.key is None or version.dataset is None or version.dataset_version is None or not rows.height:
        return []
    served = requests_frame(reader.requests(rows))
    hidden = reader.not_kept(rows)
    if declaration.key not in served.columns or declaration.key in hidden:
        return []
    data = rooms.datasets.get(name=version.dataset, version=version.dataset_version)
    trained = cast(pl.DataFrame, pl.from_arrow(read_table(data.stored, rooms.objects)))
    key = [name for name in (declaration.key, declaration.time) if name is not None and name in served.columns]
    if any(name not in trained.columns for name in key):
        return []
    kept = [name for name in served.columns if name in trained.columns and name not in {declaration.target, *hidden}]
    found = skew(scan(trained.select(kept)), served.select(kept), key=key)
    tolerated = WITH_TIME if declaration.time in key else WITHOUT_TIME
    return [
        SameKey(
            column=one.column,
            rows=one.rows,
            different=one.rows - one.equal,
            tolerated=tolerated,
            first=tuple(f"{one.trained} in training, {one.served} now" for one in one.first),
        )
        for one in found.matches
        if one.rows
    ]


def _explanation(rooms: Rooms, version: ModelVersion) -> Explanation | None:
    """What drove the answers at registration, where attributions were stored."""
    if version.evaluation is None:
        return None
    kept = _evaluation(rooms, version).explanation
    found = None if kept is None else msgspec.json.decode(rooms.objects.get(Digest(kept)), type=ready(Explanation))
    return None if found is None or found.attributions is None else found


def _evaluation(rooms: Rooms, version: ModelVersion) -> Evaluation:
    return msgspec.json.decode(rooms.objects.get(Digest(version.evaluation or "")), type=ready(Evaluation))


def _attributions(rooms: Rooms, known: Explanation | None, reply: Reply) -> dict[str, Any]:
    """Both sides, where they were computed in the same way: exact and sampled ones are of different numbers."""
    if known is None or known.attributions is None or not reply.attributions or reply.method != known.method:
        return {}
    before = pl.read_parquet(io.BytesIO(rooms.objects.get(Digest(known.attributions))))
    if before.columns != reply.columns:
        return {}
    return {
        "columns": tuple(reply.columns),
        "reference": before.to_numpy().astype(np.float64),
        "current": np.asarray(reply.attributions, dtype=np.float64),
    }
