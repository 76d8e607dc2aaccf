"""Make a package of a fitted model: the same bytes for the same model, without a date or a path in them.

The package holds the model, the user's code that its features need, what it takes and answers, golden answers that
every later load must repeat, and the reference profile that monitoring compares with. Whoever calls this has fitted
the model in this process; nothing is unpickled here.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
from msgspec import Struct

from perennial.errors import DataError
from perennial.models.mlmodel import mlmodel
from perennial.models.package import Answer, Code, PackageManifest, Predictor, Settings, plain_values
from perennial.models.preparation import Preparation
from perennial.models.reference import reference
from perennial.models.rows import to_records
from perennial.models.signature import Signature
from perennial.types import JSON, Digest, canonical_json

if TYPE_CHECKING:
    from perennial.store.objects import ObjectStore

__all__ = ["SourceCode", "build", "predictor_of"]

GOLDEN_ROWS = 20


class SourceCode(Struct, frozen=True, kw_only=True):
    """The user's modules that a package needs: the slice with the features, and the project modules it reaches.

    Attributes:
        module: Name of the module with the features and with classes that the pickled model names.
        features: Name of the features function in it, or None.
        files: Sources by path relative to the project, such as {"loop.py": b"..."}.
    """

    module: str
    features: str | None
    files: Mapping[str, bytes]


def build(
    *,
    model: Any,
    preparation: Preparation,
    train: pa.Table,
    held_out: pa.Table,
    objects: ObjectStore,
    provenance: Mapping[str, JSON],
    environment: str,
    code: SourceCode | None = None,
    is_truth_known: bool = True,
    judged: Predictor | None = None,
) -> Digest:
    """Store a package and return its digest. The same model with the same provenance has the same digest.

    Args:
        model: Fitted: an object with `predict`, or a callable that takes the frame.
        preparation: What `preparation.learn` fixed on the training rows.
        train: Training rows with the target.
        held_out: Newer rows that the model has not seen, with the target; may be empty of rows.
        objects: Where the files go.
        provenance: Run, bundle, dataset version and origin ("executor" or "imported").
        environment: The installed distributions, as text.
        code: The user's modules, when there is a features function or a class of the user in the model.
        is_truth_known: Whether the target column is the truth; if not, no losses are kept as reference.
        judged: The fit that has not seen `held_out`, when `model` was fitted again on all rows: the reference
            predictions and losses are its answers, since a model's answers to its own training rows flatter it.

    Raises:
        DataError: The model cannot be pickled, or does not answer one value per row.
    """
    signature = preparation.signature
    rows = held_out if held_out.num_rows else train
    raw = preparation.raw(rows)
    settings, signature = _examined(model, preparation, raw, code)
    predictor = Predictor(Preparation(signature, preparation.function), model, settings)
    answers = _answers(judged or predictor, raw)
    predicted = pl.Series([answer["prediction"] for answer in answers])
    actual = pl.Series(preparation.y(rows).tolist()) if is_truth_known else None
    train_raw = preparation.raw(train)
    profile = reference(train_raw, preparation.columns(train_raw), predicted, actual, task=signature.task)
    golden = np.linspace(0, raw.height - 1, min(GOLDEN_ROWS, raw.height)).round().astype(np.int64)
    records = to_records(raw[golden])
    kind = "sklearn" if type(model).__module__.startswith("sklearn.") else "python"
    files = {
        "MLmodel": mlmodel(signature, kind=kind),
        "model.pkl": _pickled(model),
        "model.json": _json(settings),
        "signature.json": _json(signature),
        "golden.json": canonical_json({"records": records, "answers": _answers(predictor, predictor.frame(records))}),
        "reference.json": _json(profile),
        "environment.txt": environment.encode(),
        "provenance.json": canonical_json(dict(provenance)),
        **{f"code/{path}": data for path, data in (code.files if code else {}).items()},
    }
    digests = objects.put_many(files.values())
    sizes = {path: (digest, len(data)) for (path, data), digest in zip(files.items(), digests, strict=True)}
    manifest = PackageManifest(kind=kind, files=sizes)
    return objects.put(manifest.to_bytes())


def predictor_of(*, model: Any, preparation: Preparation, sample: pl.DataFrame) -> Predictor:
    """A fitted model as it would answer from a package, without storing it.

    Args:
        model: As in `build`.
        preparation: As in `build`.
        sample: Some rows as requests have them, to find out how the model is asked.
    """
    settings, signature = _examined(model, preparation, sample, None)
    return Predictor(Preparation(signature, preparation.function), model, settings)


def _examined(
    model: Any, preparation: Preparation, raw: pl.DataFrame, code: SourceCode | None
) -> tuple[Settings, Signature]:
    """How to ask this model, found by asking it."""
    signature = preparation.signature
    ask: Any = model
    call = "predict" if hasattr(model, "predict") else ""
    if not call and not callable(model):
        raise DataError(
            f"the train step returned {type(model).__name__}, which cannot predict",
            remedy="return a fitted model with a predict method, or a function of a frame",
        )
    array = hasattr(model, "n_features_in_") and not hasattr(model, "feature_names_in_")
    x = preparation.x(raw)
    x = x.to_numpy() if array else x
    answer = plain_values(ask.predict(x) if call else ask(x))
    if len(answer) != raw.height or any(isinstance(value, list) for value in answer):
        raise DataError(
            f"the model does not answer one value per row ({raw.height} rows)",
            remedy="train one model per target",
        )
    probabilities = signature.task == "classification" and hasattr(model, "predict_proba")
    argmax = False
    if probabilities:
        classes: list[Any] = plain_values(ask.classes_)
        signature = msgspec.structs.replace(signature, classes=classes)
        best = np.asarray(ask.predict_proba(x)).argmax(axis=1).tolist()
        argmax = [classes[i] for i in best] == answer
    elif signature.task == "classification":
        unknown = next((value for value in answer if value not in (signature.classes or [])), None)
        if unknown is not None:
            raise DataError(
                f"the model answers {unknown!r}, which is no class of {signature.output.name!r}",
                remedy='declare task="regression", or answer one of the classes',
            )
    return Settings(
        call=call,
        probabilities=probabilities,
        argmax=argmax,
        array=array,
        code=Code(module=code.module, features=code.features) if code else None,
    ), signature


def _answers(predictor: Predictor, raw: pl.DataFrame) -> list[Answer]:
    answers = predictor.predict(raw)
    for i, answer in enumerate(answers):
        if "error" in answer:
            raise DataError(
                f"the model gives no answer on held-out row {i}: {answer['error']}",
                remedy="a model must answer every row it may be asked for",
            )
    return answers


def _pickled(model: Any) -> bytes:
    try:
        return pickle.dumps(model, protocol=5)
    except Exception as error:  # whatever a user's object raises when it is pickled
        raise DataError(
            f"the model cannot be stored: {type(error).__name__}: {error}",
            remedy="define its functions and classes at the top level of the loop's module, without lambda",
        ) from error


def _json(value: Struct) -> bytes:
    return canonical_json(cast(JSON, json.loads(msgspec.json.encode(value))))
