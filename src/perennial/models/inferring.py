"""How a model of somebody else's wants to be given rows, and what it answers: found by asking it about some."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgspec
import pyarrow as pa

from perennial.data.frames import FrameKind
from perennial.errors import DataError, Refused, TooLarge
from perennial.models.flavors import flavor_of
from perennial.models.flavors.python import plain_values
from perennial.models.mlflow_folder import Takes
from perennial.models.preparation import Preparation, guess_task, learn
from perennial.models.signature import Field, Task

__all__ = ["preparation_of"]

# How the model may want its columns, in the order tried: (library, text as categories).
_WAYS: tuple[tuple[FrameKind, bool], ...] = (("polars", False), ("pandas", False), ("pandas", True), ("polars", True))


def preparation_of(
    model: Any,
    table: pa.Table,
    takes: Takes | None,
    *,
    target: str | None,
    task: Task | None,
    key: str | None,
    time: str | None,
) -> Preparation:
    """What a model takes and answers: from rows, from itself, and from what the folder that it lay in says.

    Args:
        model: As its toolkit has it in memory.
        table: Rows, with the target or without.
        takes: What the folder says, if there is one.
        target: Column with the truth, if any.
        task: Guessed when None.
        key: Column that names the entity.
        time: Column of event time.

    Raises:
        DataError: A column is missing, or the model does not answer the rows in any way of giving them.
    """
    wanted = [str(name) for name in getattr(model, "feature_names_in_", ())]
    wanted = wanted or ([field.name for field in takes.fields] if takes is not None else [])
    missing = [name for name in wanted if name not in table.column_names]
    if missing:
        raise DataError(
            f"the model takes a column {missing[0]!r} that the sample lacks",
            remedy="give a sample with all its columns",
        )
    aside = [name for name in (key, time, target) if name is not None and name not in wanted]
    if wanted:
        table = table.select([*wanted, *aside])
    name = target or _free_name(table)
    truth = table if target else table.append_column(name, pa.array([i / 2 for i in range(table.num_rows)]))
    labels = _labels(model)
    # A model that knows its labels is believed, unless the truth has others: then its own are places in their order.
    knows = labels is not None and (target is None or set(truth.column(name).unique().to_pylist()) <= set(labels))
    is_open = target is None or knows  # the target's values tell nothing, or less than the model does

    def make(kind: FrameKind, categories: bool) -> Preparation:
        first = "regression" if is_open and task != "regression" else task
        made = learn(truth, target=name, task=first, key=key, time=time, kind=kind, categories=categories)
        return _classifier(made, labels) if knows and labels and task != "regression" else made

    made = _way(model, make, table)
    if target is None and not knows and task != "regression":
        answers = plain_values(_answered(model, made, table))
        if task == "classification" or guess_task(pa.chunked_array([answers])) == "classification":
            made = _classifier(made, sorted(set(answers)))
    if takes is None:
        return made
    may_lack = {field.name for field in takes.fields if field.nullable}
    signature = msgspec.structs.replace(
        made.signature,
        inputs=[_nullable(field, may_lack) for field in made.signature.inputs],
        columns=[_nullable(field, may_lack) for field in made.signature.columns],
    )
    return Preparation(signature)


def _nullable(field: Field, names: set[str]) -> Field:
    return msgspec.structs.replace(field, nullable=True) if field.name in names else field


def _free_name(table: pa.Table) -> str:
    return "prediction" if "prediction" not in table.column_names else "prediction of the model"


def _classifier(made: Preparation, labels: list[Any]) -> Preparation:
    """The same for a model that answers these labels."""
    first = labels[0]
    kind = "bool" if isinstance(first, bool) else "int64" if isinstance(first, int) else "string"
    if isinstance(first, float):
        kind = "float64"
    output = msgspec.structs.replace(made.signature.output, type=kind)
    positive = labels[1] if len(labels) == 2 else None
    return Preparation(
        msgspec.structs.replace(made.signature, task="classification", classes=labels, positive=positive, output=output)
    )


def _labels(model: Any) -> list[Any] | None:
    """The labels that a model knows itself, in its order."""
    known = getattr(model, "classes_", None)
    if known is not None and not isinstance(known, list):
        return cast("list[Any]", known.tolist())
    return graph_labels(model) if type(model).__name__ == "ModelProto" else None


def graph_labels(graph: Any) -> list[Any] | None:
    """The labels that a classifier in an ONNX graph answers, where one of its nodes lists them."""
    for node in graph.graph.node:
        for attribute in node.attribute:
            if attribute.name in ("classlabels_ints", "classlabels_int64s") and attribute.ints:
                return list(attribute.ints)
            if attribute.name == "classlabels_strings" and attribute.strings:
                return [text.decode() for text in attribute.strings]
    return None


def _way(model: Any, make: Callable[[FrameKind, bool], Preparation], table: pa.Table) -> Preparation:
    """The first way of giving the columns that the model answers."""
    problems: list[str] = []
    for kind, categories in _WAYS:
        made = make(kind, categories)
        try:
            _answered(model, made, table)
        except (Refused, TooLarge):
            raise
        except Exception as error:  # noqa: BLE001  # the model's own; all ways failing, the first reason is reported
            problems.append(f"{type(error).__name__}: {error}")
        else:
            return made
    raise DataError(
        f"the model does not answer the sample: {problems[0]}",
        remedy="give a sample with the columns, names and types that it was trained on, without the target's",
    )


def _answered(model: Any, made: Preparation, table: pa.Table) -> Any:
    x = made.columns(made.raw(table))
    scorer = flavor_of(model).scorer(model, made.signature, x)
    try:
        found = scorer.answer(x)
    finally:
        scorer.close()
    if found.values is not None:
        return found.values
    assert found.probabilities is not None
    labels = scorer.classes or made.signature.classes or []
    return [labels[i] for i in found.probabilities.argmax(axis=1).tolist()]
