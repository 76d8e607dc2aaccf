"""Make a package of a model that was fitted elsewhere, from its file and a sample of its input.

Loading the file runs code that is in it, so this happens in the command of the person who names the file, never in a
server. The package's provenance says "imported"; whether such a version may answer is decided by approval.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pyarrow as pa

from perennial.data.column_types import canonical
from perennial.data.frames import FrameKind, to_arrow
from perennial.errors import DataError
from perennial.models.build import build
from perennial.models.package import plain_values
from perennial.models.preparation import Preparation, learn
from perennial.models.signature import Task
from perennial.types import JSON, Digest

if TYPE_CHECKING:
    from perennial.store.objects import ObjectStore

__all__ = ["import_model"]

# How the model may want its columns, in the order tried: (library, text as categories).
_WAYS: tuple[tuple[FrameKind, bool], ...] = (("polars", False), ("pandas", False), ("pandas", True), ("polars", True))


def import_model(
    path: Path,
    sample: object,
    *,
    objects: ObjectStore,
    environment: str,
    provenance: Mapping[str, JSON],
    target: str | None = None,
    task: Task | None = None,
    key: str | None = None,
    time: str | None = None,
) -> Digest:
    """Load a pickled (or joblib) model, find out how it takes the sample, and store a package.

    Args:
        path: The file. Its code runs now, in this process.
        sample: A frame of rows as requests will have them, with or without the target.
        objects: Where the package goes.
        environment: The installed distributions, as text.
        provenance: Where the model comes from; "origin" becomes "imported".
        target: Column of the sample that holds the truth, if any.
        task: Guessed from the target, or from the model's answers, when None.
        key: Column that names the entity.
        time: Column of event time.

    Raises:
        DataError: The file does not load, or the model does not answer the sample; says why.
    """
    model = _load(path)
    table = canonical(to_arrow(sample))
    if not table.num_rows:
        raise DataError("the sample has no rows", remedy="give at least a few typical rows")
    wanted = [str(name) for name in getattr(model, "feature_names_in_", ())]
    missing = [name for name in wanted if name not in table.column_names]
    if missing:
        raise DataError(
            f"the model takes a column {missing[0]!r} that the sample lacks",
            remedy="give a sample with all its columns",
        )
    for column in (target, key, time):
        if column is not None and column not in table.column_names:
            raise DataError(
                f"the sample has no column {column!r}", remedy=f"name one of {', '.join(table.column_names)}"
            )
    if wanted:
        aside = [name for name in (key, time, target) if name is not None and name not in wanted]
        table = table.select([*wanted, *aside])
    if target is None:
        answers = _answers(model, table, key, time)
        name = "prediction" if "prediction" not in table.column_names else "prediction of the model"
        table = table.append_column(name, pa.array(answers))
        made = _preparation(model, table, name, task, key, time)
    else:
        made = _preparation(model, table, target, task, key, time)
    return build(
        model=model,
        preparation=made,
        train=table,
        held_out=table.slice(0, 0),
        objects=objects,
        provenance={**provenance, "origin": "imported"},
        environment=environment,
        is_truth_known=target is not None,
    )


def _load(path: Path) -> Any:
    if not path.is_file():
        raise DataError("there is no such file", where=str(path), remedy="name the file that holds the fitted model")
    try:
        return joblib.load(path)
    except Exception as error:  # a pickle can raise anything; the person who named the file is told
        raise DataError(
            f"the model does not load: {type(error).__name__}: {error}",
            where=str(path),
            remedy="write it with pickle or joblib, and install the libraries that it uses here",
        ) from error


def _answers(model: Any, table: pa.Table, key: str | None, time: str | None) -> list[Any]:
    stand_in = table.append_column("\1truth", pa.array(np.arange(table.num_rows) / 2))
    return _ask(model, _preparation(model, stand_in, "\1truth", "regression", key, time), stand_in)


def _preparation(
    model: Any, table: pa.Table, target: str, task: Task | None, key: str | None, time: str | None
) -> Preparation:
    """The first way of giving the columns that the model answers."""
    problems: list[str] = []
    for kind, categories in _WAYS:
        made = learn(table, target=target, task=task, key=key, time=time, kind=kind, categories=categories)
        try:
            _ask(model, made, table)
        except Exception as error:  # noqa: BLE001  # the model's own; all ways failing, the first reason is reported
            problems.append(f"{type(error).__name__}: {error}")
        else:
            return made
    raise DataError(
        f"the model does not answer the sample: {problems[0]}",
        remedy="give a sample with the columns, names and types that it was trained on, without the target's",
    )


def _ask(model: Any, made: Preparation, table: pa.Table) -> list[Any]:
    x = made.x(made.raw(table))
    x = x.to_numpy() if hasattr(model, "n_features_in_") and not hasattr(model, "feature_names_in_") else x
    return plain_values(model.predict(x) if hasattr(model, "predict") else model(x))
