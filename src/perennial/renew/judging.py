"""Judge a fit on rows that it has not seen: measure it, compare it with what is live, check the requirements."""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from perennial.data.datasets import DatasetVersion
from perennial.data.row_sample import row_codes, row_sample
from perennial.data.tables import read_table
from perennial.errors import LoopError, NotFound
from perennial.evaluate.answers import Answers, HeldOut
from perennial.evaluate.evaluation import Evaluation, evaluate
from perennial.evaluate.explain.registration import explain
from perennial.evaluate.material import Live, Material
from perennial.evaluate.metrics import loss_of
from perennial.evaluate.requirements import Case, DataFacts, PackageFacts, Refit, check_requirements
from perennial.loop.declaration import Declaration, Task
from perennial.models.asking import ask
from perennial.models.facts.verdict import Verdict
from perennial.models.package import Predictor, checkout, read_manifest
from perennial.models.rows import to_records
from perennial.models.sandbox import rules_of
from perennial.models.signature import Signature
from perennial.monitor.held_out import to_parquet
from perennial.monitor.sample import Sample, moments_of
from perennial.pipeline.execute import Execution
from perennial.registry.test_sets import JudgedOn
from perennial.registry.versions import ModelVersion, package_of
from perennial.renew.fitting import Fitted
from perennial.renew.rooms import Rooms
from perennial.store.decoding import ready
from perennial.store.hashing import digest_of
from perennial.types import Digest

__all__ = ["Judged", "judge"]

Z95 = 1.959964  # standard errors on either side of a 95 % interval


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What was measured, the verdict of each requirement, and the look at the test set that it cost."""

    evaluation: Evaluation
    evaluation_digest: Digest
    verdicts: list[Verdict]
    judged_on: JudgedOn


def judge(
    rooms: Rooms, declaration: Declaration, fitted: Fitted, execution: Execution, data: DatasetVersion | None
) -> Judged:
    """Evaluate the judged fit and run the loop's requirements, within the execution that fitted it."""
    predictor = fitted.judged
    task = predictor.signature.task
    test_frame, train_frame = _requests(predictor, fitted.test), _requests(predictor, fitted.train)
    inputs = tuple(test_frame.columns)
    answer = _asking(predictor, inputs)
    train = _held_out(predictor, declaration, fitted.train, answer(train_frame))
    test = _held_out(predictor, declaration, fitted.test, answer(test_frame)).coded(train.answers.classes)
    train = train.coded(test.answers.classes)  # one coding for both, labels that only one of them has included
    live, answers, fresh = _live(rooms, declaration, fitted)
    context, train_context = (
        _context(fitted.test, declaration, test_frame),
        _context(fitted.train, declaration, train_frame),
    )
    case = Case(
        task=task,
        frame=context,
        inputs=inputs,
        held_out=test,
        train=train,
        train_frame=train_context,
        answer=answer,
        predict=lambda frame: predictor.predict(frame.select(inputs)),
        live_version=live.version if live is not None else None,
        live=answers,
        fresh=fresh,
        time=declaration.time,
        key=declaration.key,
        package=_package(rooms, fitted),
        data=DataFacts.of(data) if data is not None else None,
        uncompiled=lambda: _asking(fitted.made.native, inputs)(test_frame),
        refit=lambda seed: Refit(answers=_asking(fitted.retrain(None, seed), inputs)(test_frame)),
        call=_calling(execution, declaration),
    )
    try:
        found = check_requirements(declaration.requirements, case)
        evaluation = evaluate(
            task,
            test=test,
            train=train,
            split=fitted.split.says,
            answers=_stored(rooms, test, answers, fresh, task),
            material=Material(
                test_frame=context,
                train_frame=train_context,
                inputs=inputs,
                ask=answer,
                fit=lambda rows: _asking(fitted.retrain(rows, 0), inputs),
                nullable=frozenset(field.name for field in predictor.signature.inputs if field.nullable),
                key=declaration.key,
                time=declaration.time,
                delay_s=declaration.label_delay_s,
                training=fitted.made.flavor.curves(fitted.made.model),
            ),
            live=None
            if live is None or answers is None or fresh is None
            else Live(name=f"{live.name} version {live.version}", answers=answers, fresh=fresh),
            policy=declaration.evaluate,
        )
    except LoopError as error:
        raise LoopError(error.what, where=error.where or declaration.where, remedy=error.remedy) from error
    is_correctable = any(trigger.kind == "prior_shift" for trigger in declaration.retrain.triggers)
    evaluation = msgspec.structs.replace(
        evaluation,
        explanation=_explained(rooms, fitted, test_frame, test),
        reference=rooms.objects.put(to_parquet(_reference(declaration, fitted.test, test_frame, test, task))),
        compilation=msgspec.to_builtins(fitted.made.compilation),
        judged=fitted.judged_package if is_correctable else None,
    )
    return Judged(
        evaluation=evaluation,
        evaluation_digest=rooms.objects.put(msgspec.json.encode(evaluation)),
        verdicts=found,
        judged_on=_look(declaration, fitted, evaluation, test, answers, fresh),
    )


def _asking(predictor: Predictor, inputs: tuple[str, ...]) -> Callable[[pl.DataFrame], Answers]:
    signature = predictor.signature

    def ask(frame: pl.DataFrame) -> Answers:
        found = predictor.answers(frame.select(inputs))
        return Answers.of_arrays(
            found.values,
            found.probabilities,
            signature.classes or (),
            signature.task,
            positive=signature.positive,
        )

    return ask


def _calling(execution: Execution, declaration: Declaration) -> Callable[[str, str, Mapping[str, Any]], Any]:
    """Call a function that a requirement names, with those of the given things that it asks for."""

    def call(name: str, file: str, given: Mapping[str, Any]) -> Any:
        step = next((step for step in declaration.steps if step.file == file), None)
        if step is None:
            raise LoopError(
                f"the requirement {name!r} is written in {file}, where there is no step of the loop",
                remedy="write it in the file of the loop",
            )
        function = execution.named(step.name, name)
        with execution.user_code(step.name):
            return function(**{word: given[word] for word in inspect.signature(function).parameters})

    return call


def _package(rooms: Rooms, fitted: Fitted) -> PackageFacts:
    manifest = read_manifest(rooms.objects.get(fitted.judged_package))
    sizes = {path: size for path, (_, size) in manifest.files.items()}
    return PackageFacts(
        size_bytes=sum(sizes.values()),
        form=fitted.made.compilation.form,
        folder=checkout(fitted.judged_package, rooms.objects, rooms.folder.serving_cache),
        largest=dict(sorted(sizes.items(), key=lambda item: -item[1])[:3]),
    )


def _look(
    declaration: Declaration,
    fitted: Fitted,
    evaluation: Evaluation,
    test: HeldOut,
    live: Answers | None,
    fresh: NDArray[np.bool_] | None,
) -> JudgedOn:
    """What judging cost: one look at these rows."""
    frame = cast(pl.DataFrame, pl.from_arrow(fitted.test))
    name, task, policy = evaluation.metric, evaluation.task, declaration.evaluate
    loss = float(loss_of(task, test.truth, test.answers).mean())
    if task == "regression":
        trivial = evaluation.baseline[name].value
        loss = evaluation.test[name].value / trivial if trivial else 0.0
    disagreement = 1.0
    if task == "classification" and live is not None and fresh is not None and fresh.all():
        same = test.with_answers(live).answers
        disagreement = max(float(np.mean(same.prediction != test.answers.prediction)), 1 / len(test))
    lead, lead_error = _lead(evaluation.saved_over_baseline)
    return JudgedOn(
        test_set=digest_of(np.sort(row_codes(frame)).tobytes()),
        rows=frame.height,
        sample=row_sample(frame),
        loss=loss,
        loss_name=f"{name} over the trivial baseline's" if task == "regression" else "share of wrong labels",
        disagreement=disagreement,
        lead=lead,
        lead_error=lead_error,
        planned=policy.test_uses if policy is not None else None,
        tolerance=policy.tolerance if policy is not None else None,
    )


def _lead(saved: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """What the candidate is better by than the trivial baseline, and the error of that, from its 95 % interval."""
    interval = saved["interval"]
    if saved["effect"] is None or interval is None or interval["low"] is None or interval["high"] is None:
        return None, None
    return saved["effect"], (interval["high"] - interval["low"]) / (2 * Z95)


def _explained(rooms: Rooms, fitted: Fitted, frame: pl.DataFrame, test: HeldOut) -> Digest:
    """What drives the answers, stored with the attributions that later ones are compared with."""
    explanation, attributions = explain(fitted.made.native, frame, test.truth, budget_s=rooms.settings.explain_s)
    if attributions.width:
        buffer = io.BytesIO()
        attributions.write_parquet(buffer)
        stored = rooms.objects.put(buffer.getvalue())
        explanation = msgspec.structs.replace(explanation, attributions=stored)
    return rooms.objects.put(msgspec.json.encode(explanation))


def _live(
    rooms: Rooms, declaration: Declaration, fitted: Fitted
) -> tuple[ModelVersion | None, Answers | None, NDArray[np.bool_] | None]:
    """The live version's answers to the held-out rows that it was not trained on, and which those are."""
    try:
        live = rooms.models.get(name=declaration.name, alias="live")
    except NotFound:
        return None, None, None
    package = package_of(live)
    if not rooms.models.is_trusted(package=package):
        return live, None, None
    folder = checkout(package, rooms.objects, rooms.folder.serving_cache)
    signature = msgspec.json.decode((folder / "signature.json").read_bytes(), type=ready(Signature))
    fresh = _fresh(rooms, declaration, fitted, live)
    needed = [field.name for field in signature.inputs if field.required]
    if any(name not in fitted.test.column_names for name in needed) or not fresh.any():
        return live, None, None
    rows = cast(pl.DataFrame, pl.from_arrow(fitted.test.select(needed))).filter(pl.Series(fresh))
    # In a process of its own: here the loop's modules are those of the version that is being judged.
    outputs = ask(folder, to_records(rows), trusted=True, rules=rules_of(rooms.settings)).answers
    # Rows that the live version cannot answer at all are no ground for comparison, and no reason to keep it either.
    answered = ["error" not in output for output in outputs]
    fresh[np.flatnonzero(fresh)] = answered
    kept = [output for output, is_answered in zip(outputs, answered, strict=True) if is_answered]
    if not kept:
        return live, None, fresh
    return live, Answers.of(kept, signature.task, signature.classes or (), positive=signature.positive), fresh


def _fresh(rooms: Rooms, declaration: Declaration, fitted: Fitted, live: ModelVersion) -> NDArray[np.bool_]:
    """Held-out rows that were not among the live version's training rows: later ones, or else other ones."""
    test = fitted.test
    if declaration.time is not None and live.trained_until is not None:
        moments = test.column(declaration.time)
        if pa.types.is_temporal(moments.type):
            moments = moments.cast(pa.timestamp("us")).cast(pa.int64())
        return np.array(moments.to_numpy() > live.trained_until)
    if live.dataset is None or live.dataset_version is None:
        return np.zeros(test.num_rows, dtype=np.bool_)
    seen = rooms.datasets.get(name=live.dataset, version=live.dataset_version)
    before = cast(pl.DataFrame, pl.from_arrow(read_table(seen.stored, rooms.objects)))
    rows = cast(pl.DataFrame, pl.from_arrow(test))
    shared = [name for name in rows.columns if name in before.columns and rows[name].dtype == before[name].dtype]
    marked = rows.join(
        before.select(shared).unique().with_columns(pl.lit(True).alias("\1seen")),
        on=shared,
        how="left",
        nulls_equal=True,
        maintain_order="left",
    )
    return marked["\1seen"].is_null().to_numpy()


def _requests(predictor: Predictor, table: pa.Table) -> pl.DataFrame:
    """The rows as requests would bring them, with the types of the signature."""
    names = [field.name for field in predictor.signature.inputs if field.required]
    return cast(pl.DataFrame, pl.from_arrow(table.select(names)))


def _context(table: pa.Table, declaration: Declaration, frame: pl.DataFrame) -> pl.DataFrame:
    """Request columns and whatever else the table has, but for the target: slices may be by any of them."""
    rows = cast(pl.DataFrame, pl.from_arrow(table))
    others = [name for name in rows.columns if name not in frame.columns and name != declaration.target]
    return frame.hstack(rows.select(others)) if others else frame


def _held_out(predictor: Predictor, declaration: Declaration, table: pa.Table, answers: Answers) -> HeldOut:
    assert declaration.target is not None
    truth = cast(pl.DataFrame, pl.from_arrow(table.select([declaration.target])))[declaration.target]
    entities = table.column(declaration.key).to_numpy() if declaration.key is not None else None
    task = predictor.signature.task
    values = truth.cast(pl.Float64).to_numpy() if task == "regression" else truth
    return HeldOut.of(values, answers, task, clusters=entities)


def _reference(declaration: Declaration, table: pa.Table, frame: pl.DataFrame, test: HeldOut, task: Task) -> Sample:
    """The held-out rows as later ones will be captured, with what the model answered and the truth.

    Columns that a loop keeps back when it is asked are kept back here, too: they are compared with nothing.
    """
    context = {declaration.key, declaration.time, *(declaration.capture or {})}
    inputs = frame.select(name for name in frame.columns if name not in context)
    moments = None if declaration.time is None else cast(pl.Series, pl.from_arrow(table.column(declaration.time)))
    if task == "regression":
        predictions, labels = (pl.Series(values, dtype=pl.Float64) for values in (test.answers.prediction, test.truth))
    else:
        predictions, labels = (
            pl.Series(values.tolist(), dtype=pl.String) for values in (test.answers.labels(), test.labels())
        )
    return Sample(
        inputs=inputs,
        task=task,
        classes=test.answers.classes,
        predictions=predictions,
        probs=test.answers.probabilities,
        labels=labels,
        at=moments_of(moments) if moments is not None and moments.dtype.is_temporal() else None,
    )


def _stored(rooms: Rooms, test: HeldOut, live: Answers | None, fresh: NDArray[np.bool_] | None, task: str) -> Digest:
    """Truth and answers of every held-out row, so that each number of the evaluation can be computed again."""
    is_regression = task == "regression"
    columns: dict[str, Any] = {"truth": test.truth, "prediction": test.answers.prediction}
    if not is_regression:
        columns = {"truth": test.labels().tolist(), "prediction": test.answers.labels().tolist()}
    if live is not None and fresh is not None:
        filled: list[Any] = [None] * len(fresh)
        for position, value in zip(
            np.flatnonzero(fresh), live.prediction if is_regression else live.labels(), strict=True
        ):
            filled[position] = float(value) if is_regression else str(value)
        columns["live_prediction"] = filled
    buffer = io.BytesIO()
    pl.DataFrame(columns).write_parquet(buffer)
    return rooms.objects.put(buffer.getvalue())
