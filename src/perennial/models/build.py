"""Make a package of a fitted model: the same bytes for the same model, without a date or a path in them.

The package holds the model in its toolkit's own form, a compiled form where one was proven to answer the same, the
user's code that its features need, what it takes and answers, golden answers that every later load must repeat,
training rows that answers are explained against, and the reference profile that monitoring compares with. Whoever
calls this has fitted the model in this process; nothing is unpickled here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
from msgspec import Struct

from perennial.errors import DataError
from perennial.models.background import BACKGROUND, background_of
from perennial.models.compiling.compiler import compile_model
from perennial.models.facts.compilation import Compilation
from perennial.models.flavors import FLAVORS, flavor_named, flavor_of
from perennial.models.flavors.flavor import Flavor, Scorer
from perennial.models.mlmodel import mlmodel
from perennial.models.package import COMPILED, Answer, Code, PackageManifest, Predictor, Settings
from perennial.models.package_card import CARD, package_card
from perennial.models.preparation import Preparation
from perennial.models.priors import PRIOR, CorrectedScorer, Priors
from perennial.models.reference import reference
from perennial.models.rows import to_records
from perennial.models.signature import Signature
from perennial.types import JSON, Digest, canonical_json

if TYPE_CHECKING:
    from perennial.store.objects import ObjectStore

__all__ = ["Made", "SourceCode", "build", "corrected", "predictor_of"]

GOLDEN_ROWS = 20
TIES = 0.001  # share of rows whose label may differ from the most probable class: two classes equally probable


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


@dataclass(frozen=True, kw_only=True)
class Made:
    """A fitted model as it will answer: `serving` in the form that serves, `native` as its toolkit answers.

    `files` are those of the compiled form, `compilation` says how it was proven, with timings.
    """

    model: Any
    flavor: Flavor
    preparation: Preparation
    native: Predictor
    serving: Predictor
    compilation: Compilation
    files: Mapping[str, bytes]


def predictor_of(*, model: Any, preparation: Preparation, sample: pl.DataFrame, compiles: bool = True) -> Made:
    """A fitted model as it would answer from a package, without storing it.

    Args:
        model: Fitted: a model of a known toolkit, an object with `predict`, or a callable that takes the frame.
        preparation: What `preparation.learn` fixed on the training rows.
        sample: Rows as requests have them, on which a compiled form is proven: all the test rows.
        compiles: Look for a compiled form.

    Raises:
        DataError: The model does not answer one value per row, or answers no class of the target.
    """
    if not any(flavor_named(name).recognises(model) for name in FLAVORS):
        raise DataError(
            f"the train step returned {type(model).__name__}, which cannot predict",
            remedy="return a fitted model with a predict method, or a function of a frame",
        )
    flavor = flavor_of(model)
    signature = preparation.signature
    x = preparation.columns(sample)
    scorer = flavor.scorer(model, signature, x)
    signature = _examined(scorer, signature, x)
    preparation = Preparation(signature, preparation.function)
    native = Predictor(preparation, scorer)
    if not compiles:
        reason = Compilation(form=None, reason="a compiled form was not looked for")
        return Made(
            model=model,
            flavor=flavor,
            preparation=preparation,
            native=native,
            serving=native,
            compilation=reason,
            files={},
        )
    compiled = compile_model(model, flavor.name, signature, scorer, x)
    serving = native if compiled.scorer is None else Predictor(preparation, compiled.scorer)
    return Made(
        model=model,
        flavor=flavor,
        preparation=preparation,
        native=native,
        serving=serving,
        compilation=compiled.report,
        files=compiled.files,
    )


def corrected(made: Made, priors: Priors, sample: pl.DataFrame) -> Made:
    """A model whose answers are corrected for new shares of its classes, its compiled form proven once more.

    Args:
        made: What `predictor_of` gave.
        priors: The correction.
        sample: Rows as requests have them, on which the compiled form is proven.

    Raises:
        DataError: The model gives no probabilities, or its labels are not the most probable classes.
    """
    signature, x = made.preparation.signature, made.preparation.columns(sample)
    said = made.native.scorer.answer(x)
    if said.probabilities is None:
        raise DataError("the model gives no probabilities to correct", remedy="train anew")
    if said.values is not None:
        likeliest = np.asarray(signature.classes)[said.probabilities.argmax(axis=1)]
        if np.mean(np.asarray(said.values) != likeliest) > TIES:
            raise DataError("the model answers other labels than the most probable ones", remedy="train anew")
    scorer = CorrectedScorer(made.native.scorer, priors)
    native = Predictor(made.preparation, scorer)
    compilation, files, serving = made.compilation, made.files, native
    if made.serving is not made.native:
        from perennial.models.compiling.proof import known_of, prove

        compiled = CorrectedScorer(made.serving.scorer, priors)
        test, none = known_of(scorer, x, signature), known_of(scorer, x.clear(), signature)
        tolerance = made.serving.scorer.relative * max(1.0, *(max(step.weights) for step in priors.steps))
        proof, reason = prove(compiled, test, none, signature, tolerance=tolerance)
        if reason is None:
            serving = Predictor(made.preparation, compiled)
            compilation = msgspec.structs.replace(compilation, proof=proof)
        else:
            compilation, files = Compilation(form=None, reason=f"corrected, it is not proven: {reason}"), {}
    return replace(made, native=native, serving=serving, compilation=compilation, files=files)


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
    made: Made | None = None,
    extra: Mapping[str, bytes] | None = None,
    priors: Priors | None = None,
    like: pa.Table | None = None,
) -> Digest:
    """Store a package and return its digest. The same model with the same provenance has the same digest.

    Args:
        model: Fitted; see `predictor_of`.
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
        made: What `predictor_of` gave for this model, if it was asked before.
        extra: More files for the package.
        priors: A correction of the answers for new shares of the classes; `made` and `judged` are corrected already.
        like: Rows as they are asked for now, of which the reference profile of inputs is; the training rows when None.

    Raises:
        DataError: The model cannot be stored, or does not answer one value per row.
    """
    rows = held_out if held_out.num_rows else train
    raw = preparation.raw(rows)
    if made is None:
        made = predictor_of(model=model, preparation=preparation, sample=raw)
        made = made if priors is None else corrected(made, priors, raw)
    signature = made.preparation.signature
    predictor = made.serving
    answers = _answers(judged or predictor, raw)
    predicted = pl.Series([answer["prediction"] for answer in answers])
    actual = pl.Series(preparation.y(rows).tolist()) if is_truth_known else None
    train_raw = preparation.raw(train)
    now = train_raw if like is None else preparation.raw(like)
    profile = reference(now, preparation.columns(now), predicted, actual, task=signature.task)
    golden = np.linspace(0, raw.height - 1, min(GOLDEN_ROWS, raw.height)).round().astype(np.int64)
    records = to_records(raw[golden])
    saved = made.flavor.save(model, signature)
    settings = Settings(
        options={**made.native.scorer.options, **saved.options},
        code=Code(module=code.module, features=code.features) if code else None,
    )
    runs_code = flavor_named(made.flavor.name).formats[saved.format].runs_code
    files = {
        # The toolkit's own loader knows nothing of a correction.
        "MLmodel": mlmodel(signature, kind=made.flavor.name, blocks=saved.mlflow if priors is None else {}),
        **saved.files,
        **made.files,
        COMPILED: _json(msgspec.structs.replace(made.compilation, timing=None)),
        "model.json": _json(settings),
        "signature.json": _json(signature),
        "golden.json": canonical_json({"records": records, "answers": _answers(predictor, predictor.frame(records))}),
        "input_example.json": canonical_json(_split_form(records)),
        BACKGROUND: background_of(train_raw),
        CARD: package_card(
            signature,
            kind=made.flavor.name,
            saved_as=saved.format,
            runs_code=runs_code,
            compilation=made.compilation,
            provenance=provenance,
            learned_from=train.num_rows,
        ),
        "reference.json": _json(profile),
        "environment.txt": environment.encode(),
        "provenance.json": canonical_json(dict(provenance)),
        **{f"code/{path}": data for path, data in (code.files if code else {}).items()},
        **({} if priors is None else {PRIOR: _json(priors)}),
        **(extra or {}),
    }
    digests = objects.put_many(files.values())
    sizes = {path: (digest, len(data)) for (path, data), digest in zip(files.items(), digests, strict=True)}
    manifest = PackageManifest(kind=made.flavor.name, saved_as=saved.format, runs_code=runs_code, files=sizes)
    return objects.put(manifest.to_bytes())


def _examined(scorer: Scorer, signature: Signature, x: pl.DataFrame) -> Signature:
    """The signature with the model's own order of classes, after the model was asked once."""
    found = scorer.answer(x)
    if scorer.classes is not None and signature.task == "classification":
        signature = msgspec.structs.replace(signature, classes=scorer.classes)
    count = len(found.values) if found.values is not None else len(cast(Any, found.probabilities))
    if count != x.height:
        raise DataError(
            f"the model does not answer one value per row ({x.height} rows)", remedy="train one model per target"
        )
    if signature.task == "classification" and found.values is not None:
        known = signature.classes or []
        unknown = next((value for value in set(found.values.tolist()) if value not in known), None)
        if unknown is not None:
            raise DataError(
                f"the model answers {unknown!r}, which is no class of {signature.output.name!r}",
                remedy='declare task="regression", or answer one of the classes',
            )
    return signature


def _split_form(records: list[dict[str, JSON]]) -> JSON:
    """Rows in the form in which MLflow keeps an input example."""
    names = list(records[0]) if records else []
    return {"columns": names, "data": [[record.get(name) for name in names] for record in records[:5]]}


def _answers(predictor: Predictor, raw: pl.DataFrame) -> list[Answer]:
    answers = predictor.predict(raw)
    for i, answer in enumerate(answers):
        if "error" in answer:
            raise DataError(
                f"the model gives no answer on held-out row {i}: {answer['error']}",
                remedy="a model must answer every row it may be asked for",
            )
    return answers


def _json(value: Struct) -> bytes:
    return canonical_json(cast(JSON, json.loads(msgspec.json.encode(value))))
