"""Fit a loop's model twice: on the older rows, to be judged on the newest, and on all rows, to be served."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from perennial.data.frames import FrameKind, kind_of, to_arrow
from perennial.data.split import Split, split
from perennial.errors import DataError
from perennial.loop.declaration import Declaration
from perennial.loop.graph import Wiring
from perennial.models.build import Made, SourceCode, build, predictor_of
from perennial.models.build import corrected as correct
from perennial.models.package import Predictor
from perennial.models.preparation import Preparation, learn
from perennial.pipeline.execute import Execution
from perennial.pipeline.values import Value
from perennial.renew.correcting import Corrected
from perennial.renew.protecting import guard_files
from perennial.renew.rooms import Rooms
from perennial.tracking.environment import environment_text
from perennial.types import JSON, Digest

__all__ = ["Fitted", "fit", "fit_rows"]


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A package to serve, and the fit that was judged.

    `judged` is the fit on the older rows as it would serve, `made` the same with the toolkit's own model beside it;
    `train` and `test` are the rows that it saw and did not see. `trained_until` is the newest moment in the served
    model's rows, microseconds, where the loop has a time column. `retrain` fits once more, without the cache, on these
    positions of `train` (None: all), from this seed.
    """

    package: Digest
    judged_package: Digest
    judged: Predictor
    made: Made
    retrain: Callable[[NDArray[np.int64] | None, int], Predictor]
    train: pa.Table
    test: pa.Table
    split: Split
    trained_until: int | None


def fit(
    execution: Execution,
    declaration: Declaration,
    wiring: Wiring,
    values: Mapping[str, Value],
    provenance: Mapping[str, JSON],
    rooms: Rooms,
    *,
    corrected: Corrected | None = None,
) -> Fitted:
    """Prove the features, split, fit, and store both packages.

    `corrected`: the answers are corrected for new shares of the classes, and judged by rows in these shares.

    Raises:
        DataError: The features break their contract, the target is missing, or the model cannot be stored.
        UserCodeError: Features or train raised.
    """
    assert declaration.target is not None
    frame = execution.load(values[wiring.table])
    kind: FrameKind = kind_of(frame)
    table = to_arrow(frame)
    for column in (declaration.target, declaration.time, declaration.key):
        if column is not None and column not in table.column_names:
            raise DataError(
                f"step {wiring.table!r} gives no column {column!r}",
                where=declaration.step(wiring.table).where,
                remedy=f"keep {column!r} there, or name another one in Loop(...): {', '.join(table.column_names)}",
            )
    parts = _split(table, declaration)
    train, test = parts.parts(table)
    older = _learn(execution, declaration, wiring, train, kind)
    model = _train(execution, declaration, wiring, older, train, values)
    made = predictor_of(model=model, preparation=older, sample=older.raw(test))
    seen, unseen, like = train, test, None
    if corrected is not None:
        made = correct(made, corrected.priors, older.raw(test))
        seen, unseen, like = (corrected.thinned(rows, declaration.target) for rows in (train, test, table))
    judged = made.serving
    everything = _learn(execution, declaration, wiring, table, kind)
    served = _train(execution, declaration, wiring, everything, table, values)
    retrain = _retraining(execution, declaration, wiring, values, seen, kind)
    learned = guard_files(
        declaration,
        preparation=everything,
        judged=judged,
        retrain=retrain,
        table=table,
        train=train,
        test=test,
        inner=_split,
    )
    environment = environment_text()

    def package(
        fitted: Any, preparation: Preparation, rows: pa.Table, by: Predictor | None, asked: Made | None = None
    ) -> Digest:
        return build(
            model=fitted,
            preparation=preparation,
            train=rows,
            held_out=unseen,
            objects=rooms.objects,
            provenance={**provenance, "fit": "all rows" if by is not None else "older rows"},
            environment=environment,
            code=_code(execution, wiring, fitted),
            judged=by,
            made=asked,
            extra=learned if by is not None else None,
            priors=None if corrected is None else corrected.priors,
            like=like,
        )

    return Fitted(
        package=package(served, everything, table, judged),
        judged_package=package(model, older, train, None, made),
        judged=judged,
        made=made,
        retrain=retrain,
        train=seen,
        test=unseen,
        split=parts,
        trained_until=_newest(table, declaration.time),
    )


def fit_rows(
    execution: Execution, declaration: Declaration, wiring: Wiring, values: Mapping[str, Value], rows: pa.Table
) -> Predictor:
    """Fit the model on these rows of the table and give it as it would answer, without storing a package."""
    preparation = _learn(execution, declaration, wiring, rows, kind_of(execution.load(values[wiring.table])))
    model = _train(execution, declaration, wiring, preparation, rows, values)
    made = predictor_of(model=model, preparation=preparation, sample=preparation.raw(rows), compiles=False)
    return made.native


def _retraining(
    execution: Execution,
    declaration: Declaration,
    wiring: Wiring,
    values: Mapping[str, Value],
    train: pa.Table,
    kind: FrameKind,
) -> Callable[[NDArray[np.int64] | None, int], Predictor]:
    def retrain(rows: NDArray[np.int64] | None, seed: int) -> Predictor:
        table = train if rows is None else train.take(pa.array(rows))
        preparation = _learn(execution, declaration, wiring, table, kind)
        raw = preparation.raw(table)
        given: dict[str, Any] = {"X": preparation.x(raw), "y": preparation.y(table)}
        wanted = declaration.step(wiring.train).inputs
        given |= {name: execution.load(values[name]) for name in wanted if name not in given}
        function = execution.function(wiring.train)
        random.seed(seed)
        np.random.seed(seed)  # what a training that names no seed draws from
        with execution.user_code(wiring.train):
            model = function(**{name: given[name] for name in wanted})
        return predictor_of(model=model, preparation=preparation, sample=raw, compiles=False).native

    return retrain


def _split(table: pa.Table, declaration: Declaration) -> Split:
    """The rows that judge, as the loop says; what `gap` leaves out still trains the model that is served."""
    policy, time, key = declaration.split, declaration.time, declaration.key
    if policy is None:
        return split(table, time=time, key=key)
    gap_s = declaration.label_delay_s if policy.gap_s is None else policy.gap_s
    return split(table, by=policy.by, time=time, key=key, share=policy.test, gap_s=gap_s if time else 0.0)


def _learn(
    execution: Execution, declaration: Declaration, wiring: Wiring, table: pa.Table, kind: FrameKind
) -> Preparation:
    assert declaration.target is not None
    return learn(
        table,
        target=declaration.target,
        function=execution.function(wiring.features) if wiring.features else None,
        kind=kind,
        task=declaration.task,
        positive=declaration.positive,
        key=declaration.key,
        time=declaration.time,
    )


def _train(
    execution: Execution,
    declaration: Declaration,
    wiring: Wiring,
    preparation: Preparation,
    table: pa.Table,
    values: Mapping[str, Value],
) -> Any:
    inputs = dict(values)
    inputs["X"] = execution.store(preparation.x(preparation.raw(table)))
    inputs["y"] = execution.store(preparation.y(table))
    wanted = declaration.step(wiring.train).inputs
    return execution.load(execution.step(wiring.train, {name: inputs[name] for name in wanted}))


def _code(execution: Execution, wiring: Wiring, model: Any) -> SourceCode:
    """The user's code that the served model needs: the slice of the features, and classes that its pickle names."""
    root = wiring.features or wiring.train
    return SourceCode(
        module=execution.code.module_of(execution.declaration.step(root).file),
        features=wiring.features,
        files={path: text.encode() for path, text in execution.sources(root, model).items()},
    )


def _newest(table: pa.Table, time: str | None) -> int | None:
    if time is None:
        return None
    newest = cast(Any, pc.max(table.column(time)))
    if pa.types.is_temporal(newest.type):
        return int(newest.cast(pa.timestamp("us")).cast(pa.int64()).as_py())
    value = newest.as_py()
    return int(value) if isinstance(value, int | float | np.number) else None
