"""Two tables as the two sides of a comparison: which columns are what, and which are left out of it.

Both sides are read alike: one task, one order of classes, the same inputs. What cannot be compared is left out and said
so: a row counter is always somewhere else, and a key that is new in every row always differs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.errors import Invalid
from perennial.monitor.sample import Sample, Task, moments_of, sample_of

__all__ = ["Roles", "Sides", "two_sides"]

KEY_ROWS = 100  # rows from which on a column of nothing but distinct values is taken for a counter or a key
KEY_SHARE = 0.99  # of a text's values that are distinct
_ROW = "(row)"


@dataclass(frozen=True, kw_only=True)
class Roles:
    """What the columns of both tables are; what is named neither here nor in `ignore` is an input.

    Attributes:
        target: The truth.
        prediction: The model's answer.
        probs: Column with the probability of the second of two classes, or column by class.
        time: Event time: dates, times, or seconds, milliseconds or microseconds since 1970.
        ignore: Columns that are none of these, and no inputs.
        task: Guessed from the target, else from the prediction, when None.
    """

    target: str | None = None
    prediction: str | None = None
    probs: str | Mapping[str, str] | None = None
    time: str | None = None
    ignore: Sequence[str] = ()
    task: Task | None = None

    @property
    def of_probs(self) -> list[str]:
        """The columns of probabilities."""
        return [self.probs] if isinstance(self.probs, str) else list((self.probs or {}).values())

    @property
    def named(self) -> list[str]:
        """All columns that are no inputs."""
        others = [name for name in (self.target, self.prediction, self.time) if name]
        return [*others, *self.of_probs, *self.ignore]


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Both sides, and by column why it is not compared."""

    reference: Sample
    current: Sample
    left_out: dict[str, str]


def two_sides(reference: pl.DataFrame, current: pl.DataFrame, roles: Roles) -> Sides:
    """Both tables as samples of one shape.

    Raises:
        Invalid: A column that is named is on neither side, a side is empty, or the values of a column cannot be what
            it is said to be.
    """
    for side, frame in (("reference", reference), ("current", current)):
        if not frame.height:
            raise Invalid(f"the {side} table has no rows", remedy="name a table that has some")
    for name in roles.named:
        if name not in reference.columns and name not in current.columns:
            known = ", ".join(reference.columns[:20])
            raise Invalid(
                f"there is no column {name!r} in either table",
                where=f"columns: {known}",
                remedy="name one of them, or leave it out",
            )
    inputs, left_out = _inputs(reference, current, roles)
    both = _joined(reference, current, roles)
    told = sample_of(
        both,
        task=roles.task,
        prediction=roles.prediction,
        probs=roles.probs,
        target=roles.target,
        inputs=[_ROW],
    )
    n = reference.height
    return Sides(
        reference=_side(told, slice(0, n), _as_there(reference, current, inputs), reference, roles),
        current=_side(told, slice(n, None), _as_there(current, reference, inputs), current, roles),
        left_out=left_out,
    )


def _as_there(frame: pl.DataFrame, other: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """The inputs; a column without any value has no type of its own, and takes that of the other table."""
    kinds = {name: other.schema[name] for name in names if frame.schema[name] == pl.Null}
    return frame.select(pl.col(name).cast(kinds[name]) if name in kinds else pl.col(name) for name in names)


def _joined(reference: pl.DataFrame, current: pl.DataFrame, roles: Roles) -> pl.DataFrame:
    """The columns that are no inputs, of both sides below each other, so that they get one task and one order."""
    wanted = [name for name in (roles.target, roles.prediction, *roles.of_probs) if name]
    tops = [
        frame.select(pl.int_range(pl.len()).alias(_ROW), *(name for name in wanted if name in frame.columns))
        for frame in (reference, current)
    ]
    try:
        both = pl.concat(tops, how="diagonal_relaxed")
        # A side without probabilities has none in the end (`_side`); until then any will do.
        absent = [name for name in roles.of_probs if any(name not in frame.columns for frame in (reference, current))]
        both = both.with_columns(pl.col(absent).fill_null(0.0)) if absent else both
        if roles.prediction is None:
            return both
        # A row without an answer has no probabilities either, and is left out of all that asks for them.
        lacking = [name for name in roles.of_probs if both[name].null_count()]
        return both.with_columns(
            pl.when(pl.col(roles.prediction).is_null()).then(pl.col(name).fill_null(0.0)).otherwise(pl.col(name))
            for name in lacking
        )
    except pl.exceptions.PolarsError as error:
        differing = [
            f"{name} holds {tops[0].schema[name]} and {tops[1].schema[name]}"
            for name in wanted
            if name in tops[0].columns and name in tops[1].columns and tops[0].schema[name] != tops[1].schema[name]
        ]
        raise Invalid(
            f"the two tables do not write the same thing alike: {'; '.join(differing) or error}",
            remedy="write these columns alike in both tables",
        ) from error


def _side(told: Sample, rows: slice, inputs: pl.DataFrame, frame: pl.DataFrame, roles: Roles) -> Sample:
    """Some rows of what was read of both sides, with the inputs of their own table; what a side has nowhere is None."""
    part = told.take(rows)
    answers, truths = part.predictions, part.labels
    has_probs = all(name in frame.columns for name in roles.of_probs)
    return dataclasses.replace(
        part,
        inputs=inputs,
        predictions=None if answers is None or answers.null_count() == len(answers) else answers,
        probs=part.probs if has_probs else None,
        labels=None if truths is None or truths.null_count() == len(truths) else truths,
        at=_moments(frame[roles.time]) if roles.time in frame.columns else None,
    )


def _moments(times: pl.Series) -> NDArray[np.int64]:
    """As `moments_of`; numbers are seconds, milliseconds or microseconds since 1970, told by their size."""
    if not times.dtype.is_numeric() or times.null_count() == len(times):
        return moments_of(times)
    largest = float(times.abs().max())  # pyright: ignore[reportArgumentType]  of a numeric column
    scale = 1_000_000 if largest < 1e11 else 1_000 if largest < 1e14 else 1  # seconds until the year 5138
    return moments_of((times * scale).cast(pl.Int64()).rename(times.name))


def _inputs(reference: pl.DataFrame, current: pl.DataFrame, roles: Roles) -> tuple[list[str], dict[str, str]]:
    left_out: dict[str, str] = {}
    kept: list[str] = []
    for name in [*reference.columns, *(name for name in current.columns if name not in reference.columns)]:
        if name in roles.named:
            continue
        if name not in current.columns or name not in reference.columns:
            side = "current" if name not in current.columns else "reference"
            left_out[name] = f"not in the {side} table"
        elif reference.schema[name].is_temporal() or current.schema[name].is_temporal():
            left_out[name] = "a moment: it is always somewhere else; name it as the time, or make a part of it an input"
        elif reference.schema[name] == pl.Null and current.schema[name] == pl.Null:
            left_out[name] = "empty in both tables"
        elif reference.schema[name].is_nested() or reference.schema[name] == pl.Binary:
            left_out[name] = f"{reference.schema[name]}: no numbers and no categories"
        elif why := _is_counter(reference[name], current[name]):
            left_out[name] = why
        else:
            kept.append(name)
    if not kept:
        raise Invalid(
            "the two tables share no column to compare",
            where="; ".join(f"{name}: {why}" for name, why in left_out.items()),
            remedy="name two tables of the same kind",
        )
    return kept, left_out


def _is_counter(reference: pl.Series, current: pl.Series) -> str:
    """Why a column counts or names rows rather than describing them; empty where it does not."""
    if len(reference) < KEY_ROWS:
        return ""
    if reference.dtype.is_integer() and current.dtype.is_integer():
        if not reference.null_count() and reference.n_unique() == len(reference) and reference.is_sorted():
            return "a row counter: ascending, every value once"
    elif (
        reference.dtype == pl.String
        and (present := len(reference) - reference.null_count()) >= KEY_ROWS
        and reference.drop_nulls().n_unique() >= KEY_SHARE * present
    ):
        return "a key: nearly every value is new"
    return ""
