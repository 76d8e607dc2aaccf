"""What a model answers to a table, where the table does not hold the answers yet.

The model is a file or folder: a package as `export` writes it, a folder that MLflow saved, a file of its toolkit (ONNX,
LightGBM, ...). It is loaded in a process of its own, confined as everywhere; code in it runs only where the person who
names it vouches for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise
from pathlib import Path

import polars as pl

from perennial.errors import Invalid, UserCodeError
from perennial.monitor.reporting.sides import Roles

__all__ = ["predicted", "with_answers"]

ANSWER = "prediction"  # as a scored table names the answer
PREFIX = "probability_"  # and what its columns of probabilities begin with
EXAMPLE_ROWS = 1000  # of the reference, from which the types of a file's inputs are read


def with_answers(
    reference: pl.DataFrame, current: pl.DataFrame, roles: Roles, *, model: Path, trusted: bool = False
) -> tuple[pl.DataFrame, pl.DataFrame, Roles]:
    """Both tables with the model's answers in each that has none, and the roles that name them.

    Args:
        reference: May hold answers already, in the columns that `roles` names.
        current: Likewise.
        roles: What the columns are. Without `prediction` both tables are asked.
        model: A model's file or folder.
        trusted: The person vouches for code in it.

    Raises:
        DataError, Invalid, Refused: There is no model, it does not take these columns, or it is code that nobody
            vouched for.
        UserCodeError: It answered no row.
    """
    frames = [reference, current]
    own = [name for name in (roles.prediction, *roles.of_probs) if name]
    lacking = [not own or any(name not in frame.columns for name in own) for frame in frames]
    if not any(lacking):
        return reference, current, roles
    with _package(model, reference, roles, trusted) as folder:
        asked = [frame for frame, lacks in zip(frames, lacking, strict=True) if lacks]
        told = iter(predicted(asked, folder, trusted=trusted))
        answers = [next(told) if lacks else None for lacks in lacking]
    made = next(answer for answer in answers if answer is not None)
    by_class = {name.removeprefix(PREFIX): name for name in made.columns if name.startswith(PREFIX)}
    names = _names(roles, by_class)
    for at, answer in enumerate(answers):
        if answer is not None:
            kept = answer.select(pl.col(old).alias(new) for old, new in names.items())
            frames[at] = frames[at].drop(kept.columns, strict=False).hstack(kept)
    if roles.prediction is None:
        roles = dataclasses.replace(roles, prediction=names[ANSWER])
    if roles.probs is None and by_class and all(lacking):
        roles = dataclasses.replace(roles, probs={label: names[name] for label, name in by_class.items()})
    ignored = [name for name in names.values() if name not in (roles.prediction, *roles.of_probs)]
    return frames[0], frames[1], dataclasses.replace(roles, ignore=(*roles.ignore, *ignored))


def predicted(frames: Sequence[pl.DataFrame], folder: Path, *, trusted: bool) -> list[pl.DataFrame]:
    """The answers of a checked-out package to each row of each table, in order: `prediction`, `probability_LABEL`.

    Tables whose inputs are alike are asked as one: a process that loads a toolkit takes seconds.

    Raises:
        Invalid: A table has not the columns that the model takes.
        UserCodeError: It answered no row of a table; tells the first reason.
    """
    from perennial.models.scoring.table import signature_in

    names = [field.name for field in signature_in(folder).inputs if field.required]
    inputs = [frame.select(name for name in names if name in frame.columns) for frame in frames]
    if all(frame.schema == inputs[0].schema for frame in inputs):
        found = _scored(pl.concat(inputs), folder, trusted=trusted)
        ends = list(accumulate(frame.height for frame in inputs))
        answers = [found[start:end] for start, end in pairwise([0, *ends])]
    else:
        answers = [_scored(frame, folder, trusted=trusted) for frame in inputs]
    return [_answered(answer) for answer in answers]


def _scored(frame: pl.DataFrame, folder: Path, *, trusted: bool) -> pl.DataFrame:
    from perennial.data.scan import scan
    from perennial.models.scoring.table import Scoring, score
    from perennial.store.scratch import scratch_folder, scratch_of_user

    with scratch_folder(scratch_of_user()) as scratch:
        target = scratch / "answers.parquet"
        score(scan(frame), Scoring(folder=folder, trusted=trusted, keep=[]), target)
        return pl.read_parquet(target, memory_map=False)


def _answered(found: pl.DataFrame) -> pl.DataFrame:
    from perennial.models.scoring.inputs import ERROR

    if found.height and not found[ERROR].null_count():
        raise UserCodeError(f"the model answered none of {found.height:,} rows: {found[ERROR][0]}")
    return found.drop(ERROR)


def _names(roles: Roles, by_class: dict[str, str]) -> dict[str, str]:
    """Columns of a scored table, and what they are called beside the table's own."""
    names = {ANSWER: roles.prediction or ANSWER} | {name: name for name in by_class.values()}
    if isinstance(roles.probs, str):
        if len(by_class) != 2:
            raise Invalid(
                f"the model knows {len(by_class)} classes, and one column of probabilities is named",
                remedy="name a column for each class, or none",
            )
        return names | {list(by_class.values())[1]: roles.probs}
    for label, column in (roles.probs or {}).items():
        if label not in by_class:
            raise Invalid(
                f"the model gives no probability of {label!r}", remedy=f"it knows {', '.join(by_class) or 'none'}"
            )
        names[by_class[label]] = column
    return names


@contextmanager
def _package(model: Path, reference: pl.DataFrame, roles: Roles, trusted: bool) -> Generator[Path]:
    """A folder with the model as a package."""
    from perennial.models.importing import Asked, import_model
    from perennial.models.package import MANIFEST, checkout, verify
    from perennial.store.objects import ObjectStore
    from perennial.store.scratch import scratch_folder, scratch_of_user

    if (model / MANIFEST).is_file():
        verify(model)
        yield model
        return
    others = {name for name in (roles.prediction, roles.time, *roles.of_probs, *roles.ignore) if name}
    sample = reference.head(EXAMPLE_ROWS).select(name for name in reference.columns if name not in others)
    target = roles.target if roles.target in sample.columns else None
    with scratch_folder(scratch_of_user()) as scratch, ObjectStore(scratch / "objects") as objects:
        asked = Asked(sample=sample, target=target, task=roles.task, trusted=trusted)
        imported = import_model(model, asked, objects=objects, environment="", provenance={"file": model.name})
        yield checkout(imported.package, objects, scratch / "package")
