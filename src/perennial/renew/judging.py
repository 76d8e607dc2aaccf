"""Judge a fit on rows that it has not seen: measure it, compare it with what is live, check the requirements."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from perennial.data.tables import read_table
from perennial.errors import LoopError, NotFound
from perennial.evaluate.answers import Answers
from perennial.evaluate.evaluation import Evaluation, HeldOut, evaluate
from perennial.evaluate.requirements import Case, check_requirements
from perennial.loop.declaration import Declaration
from perennial.models.package import Predictor, checkout
from perennial.registry.versions import ModelVersion, Verdict, package_of
from perennial.renew.fitting import Fitted
from perennial.renew.rooms import Rooms
from perennial.types import Digest

__all__ = ["Judged", "judge"]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What was measured, and the verdict of each requirement."""

    evaluation: Evaluation
    evaluation_digest: Digest
    verdicts: list[Verdict]


def judge(rooms: Rooms, declaration: Declaration, fitted: Fitted) -> Judged:
    """Evaluate the judged fit and run the loop's requirements."""
    predictor = fitted.judged
    task = predictor.signature.task
    test_frame, train_frame = _requests(predictor, fitted.test), _requests(predictor, fitted.train)
    test = _held_out(predictor, declaration, fitted.test, predictor.predict(test_frame))
    train = _held_out(predictor, declaration, fitted.train, predictor.predict(train_frame))
    live, answers, fresh = _live(rooms, declaration, fitted)
    case = Case(
        task=task,
        frame=_context(fitted.test, declaration, test_frame),
        held_out=test,
        train_truth=train.truth,
        predict=lambda frame: predictor.predict(frame.select(test_frame.columns)),
        live_version=live.version if live is not None else None,
        live=answers,
        fresh=fresh,
    )
    try:
        found = check_requirements(declaration.requirements, case)
    except LoopError as error:
        raise LoopError(error.what, where=error.where or declaration.where, remedy=error.remedy) from error
    rows = _stored(rooms, test, answers, fresh, task)
    evaluation = evaluate(task, test=test, train=train, split=fitted.split.says, answers=rows)
    return Judged(
        evaluation=evaluation,
        evaluation_digest=rooms.objects.put(msgspec.json.encode(evaluation)),
        verdicts=[
            Verdict(
                kind=verdict.kind,
                sentence=verdict.sentence,
                passed=verdict.passed,
                says=verdict.says,
                evidence=verdict.evidence,
            )
            for verdict in found
        ],
    )


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
    predictor = Predictor.load(folder)
    fresh = _fresh(rooms, declaration, fitted, live)
    needed = [field.name for field in predictor.signature.inputs if field.required]
    if any(name not in fitted.test.column_names for name in needed) or not fresh.any():
        return live, None, None
    rows = cast(pl.DataFrame, pl.from_arrow(fitted.test.select(needed))).filter(pl.Series(fresh))
    outputs = predictor.predict(predictor.frame(_records(rows)))
    # Rows that the live version cannot answer at all are no ground for comparison, and no reason to keep it either.
    answered = ["error" not in output for output in outputs]
    fresh[np.flatnonzero(fresh)] = answered
    kept = [output for output, is_answered in zip(outputs, answered, strict=True) if is_answered]
    return live, Answers.of(kept, predictor.signature.task) if kept else None, fresh


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


def _records(rows: pl.DataFrame) -> Any:
    from perennial.models.rows import to_records

    return to_records(rows)


def _requests(predictor: Predictor, table: pa.Table) -> pl.DataFrame:
    """The rows as requests would bring them, with the types of the signature."""
    names = [field.name for field in predictor.signature.inputs if field.required]
    return cast(pl.DataFrame, pl.from_arrow(table.select(names)))


def _context(table: pa.Table, declaration: Declaration, frame: pl.DataFrame) -> pl.DataFrame:
    """Request columns and whatever else the table has, but for the target: slices may be by any of them."""
    rows = cast(pl.DataFrame, pl.from_arrow(table))
    others = [name for name in rows.columns if name not in frame.columns and name != declaration.target]
    return frame.hstack(rows.select(others)) if others else frame


def _held_out(
    predictor: Predictor, declaration: Declaration, table: pa.Table, outputs: Sequence[dict[str, Any]]
) -> HeldOut:
    assert declaration.target is not None
    truth = cast(pl.DataFrame, pl.from_arrow(table.select([declaration.target])))[declaration.target]
    is_regression = predictor.signature.task == "regression"
    entities = table.column(declaration.key).to_numpy() if declaration.key is not None else None
    return HeldOut(
        truth=truth.cast(pl.Float64).to_numpy() if is_regression else np.array([str(value) for value in truth]),
        answers=Answers.of(outputs, predictor.signature.task),
        clusters=entities,
    )


def _stored(rooms: Rooms, test: HeldOut, live: Answers | None, fresh: NDArray[np.bool_] | None, task: str) -> Digest:
    """Truth and answers of every held-out row, so that each number of the evaluation can be computed again."""
    columns: dict[str, Any] = {"truth": test.truth, "prediction": test.answers.prediction}
    if task != "regression":
        columns = {name: [str(value) for value in values] for name, values in columns.items()}
    if live is not None and fresh is not None:
        filled: list[Any] = [None] * len(fresh)
        for position, value in zip(np.flatnonzero(fresh), live.prediction, strict=True):
            filled[position] = float(value) if task == "regression" else str(value)
        columns["live_prediction"] = filled
    buffer = io.BytesIO()
    pl.DataFrame(columns).write_parquet(buffer)
    return rooms.objects.put(buffer.getvalue())
