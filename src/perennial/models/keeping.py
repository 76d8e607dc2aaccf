"""Keep a folder of MLflow's as it is, in a package: copied and hashed, and loaded by nobody until a person approves it.

Where the person who brings it in vouches for its code at once, it is asked in a process of its own, and the package
gets golden answers and what else only answers can tell. Otherwise these stay empty.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import polars as pl
import pyarrow as pa

from perennial.errors import DataError
from perennial.models.asking import ask
from perennial.models.background import BACKGROUND, background_of
from perennial.models.facts.compilation import Compilation
from perennial.models.flavors.mlflow import FOLDER, FORMAT
from perennial.models.mlflow_folder import MLflowFolder
from perennial.models.mlmodel import mlmodel
from perennial.models.package import COMPILED, PackageManifest, Settings, checkout
from perennial.models.package_card import CARD, package_card
from perennial.models.preparation import Preparation, guess_task
from perennial.models.reference import reference
from perennial.models.rows import to_records
from perennial.models.sandbox import Rules
from perennial.models.signature import Field, Records, Signature, Task
from perennial.types import JSON, Digest, canonical_json

if TYPE_CHECKING:
    from perennial.store.objects import ObjectStore

__all__ = ["keep"]

GOLDEN_ROWS = 20


def keep(
    folder: MLflowFolder,
    files: Mapping[str, Path],
    sample: pa.Table | None,
    *,
    objects: ObjectStore,
    scratch: Path,
    environment: str,
    provenance: Mapping[str, JSON],
    target: str | None,
    key: str | None,
    trusted: bool,
    rules: Rules,
) -> Digest:
    """Store a package of this folder.

    Args:
        folder: As its MLmodel file describes it.
        files: Its files by name.
        sample: Rows with the columns that the model takes, of their types; None where there are none.
        objects: Where the package goes.
        scratch: A folder for the copy that is asked.
        environment: The installed distributions, as text.
        provenance: Where it comes from.
        target: Column of the sample with the truth.
        key: Column that names the entity.
        trusted: The person vouches for its code: ask it.
        rules: How it is confined meanwhile.

    Raises:
        DataError: Neither a signature nor a sample says what it takes, or it does not answer the sample.
    """
    takes = folder.takes
    if takes is None:
        raise DataError(
            "the MLmodel file has no signature, so nobody knows what the model takes",
            where=str(folder.path),
            remedy="save it with a signature: mlflow.models.infer_signature(x, model.predict(x))",
        )
    aside = [Field(name=name, type="string", required=False) for name in (key,) if name]
    output = folder.output or Field(name="prediction", type="float64")
    task: Task = folder.task or "regression"
    signature = Signature(
        inputs=[*takes.fields, *aside],
        columns=takes.fields,
        output=output if target is None else Field(name=target, type=output.type),
        task=task,
        classes=[False, True] if task == "classification" and output.type == "bool" else None,
        key=key,
        model_frame="pandas",
    )
    options: dict[str, JSON] = {"types": list(takes.types), "tensors": dict(takes.tensors)}
    kept = {f"{FOLDER}/{name}": objects.put(path.read_bytes()) for name, path in files.items()}
    sizes = {f"{FOLDER}/{name}": path.stat().st_size for name, path in files.items()}

    def store(made: Signature, records: Records, answers: list[Any], rows: pl.DataFrame) -> Digest:
        predicted = pl.Series([answer["prediction"] for answer in answers], dtype=None if answers else pl.Float64)
        profile = reference(rows, rows, predicted, _truth(sample, target, answers), task=made.task)
        compilation = Compilation(form=None, reason="a model of MLflow's is served as it is")
        plain = {
            "MLmodel": mlmodel(made, kind="mlflow"),
            COMPILED: _json(compilation),
            "model.json": _json(Settings(options=options)),
            "signature.json": _json(made),
            "golden.json": canonical_json({"records": records, "answers": answers[: len(records)]}),
            "input_example.json": canonical_json(_split(records)),
            "reference.json": _json(profile),
            "environment.txt": environment.encode(),
            "provenance.json": canonical_json({**provenance, "origin": "imported"}),
            CARD: package_card(
                made,
                kind="mlflow",
                saved_as="mlflow",
                runs_code=True,
                compilation=compilation,
                provenance={**provenance, "origin": "imported"},
            ),
        }
        if rows.height:
            plain[BACKGROUND] = background_of(rows)
        named = {name: (digest, sizes[name]) for name, digest in kept.items()}
        named |= {name: (objects.put(data), len(data)) for name, data in plain.items()}
        return objects.put(PackageManifest(kind="mlflow", saved_as="mlflow", runs_code=True, files=named).to_bytes())

    assert f"{FOLDER}/MLmodel" == FORMAT.main
    rows = _rows(sample, signature)
    if not trusted or not rows.height:
        return store(signature, [], [], rows)
    records = to_records(rows)
    first = checkout(store(signature, [], [], rows), objects, scratch)
    answers = ask(first, records, trusted=True, rules=rules).answers
    wrong = next((str(answer["error"]) for answer in answers if "error" in answer), None)
    if wrong is not None:
        raise DataError(
            f"the model does not answer the sample: {wrong}", remedy="give a sample with the columns that it takes"
        )
    made = _with_classes(signature, [answer["prediction"] for answer in answers], sample, target)
    if made.task != signature.task:
        answers = [{"prediction": float(answer["prediction"])} for answer in answers]
    return store(made, records[:GOLDEN_ROWS], answers, rows)


def _rows(sample: pa.Table | None, signature: Signature) -> pl.DataFrame:
    from perennial.models.rows import polars_type

    schema = {field.name: polars_type(field) for field in signature.columns}
    if sample is None:
        return pl.DataFrame(schema=schema)
    return Preparation(signature).raw(sample).select(pl.col(name).cast(kind) for name, kind in schema.items())


def _truth(sample: pa.Table | None, target: str | None, answers: list[Any]) -> pl.Series | None:
    if sample is None or target is None or not answers:
        return None
    return cast(pl.Series, pl.from_arrow(sample.column(target)))


def _with_classes(signature: Signature, answers: list[Any], sample: pa.Table | None, target: str | None) -> Signature:
    """The labels that the answers and the truth show; whole numbers of many values are a quantity after all."""
    if signature.task == "regression":
        return signature
    shown = set(answers)
    if sample is not None and target is not None:
        shown |= set(sample.column(target).to_pylist())
    if signature.output.type == "int64" and guess_task(pa.chunked_array([answers])) == "regression":
        number = msgspec.structs.replace(signature.output, type="float64")
        return msgspec.structs.replace(signature, task="regression", output=number, classes=None)
    classes = sorted({*shown, *(signature.classes or [])})
    positive = classes[1] if len(classes) == 2 else None
    return msgspec.structs.replace(signature, classes=classes, positive=positive)


def _split(records: Records) -> JSON:
    names = list(records[0]) if records else []
    return {"columns": names, "data": [[record.get(name) for name in names] for record in records[:5]]}


def _json(value: msgspec.Struct) -> bytes:
    return canonical_json(cast(JSON, json.loads(msgspec.json.encode(value))))
