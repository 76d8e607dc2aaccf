"""Trivial models beside the one that is evaluated: constant, last value, linear. A model that is no better is told so.

The linear one is fitted to at most 50,000 training rows, evenly taken: a baseline does not get better than that.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import polars as pl

from perennial.evaluate.answers import Answers, Floats, HeldOut, constant_answers
from perennial.evaluate.material import Material

__all__ = ["baselines", "last_value_answers", "linear_answers"]

FIT_ROWS = 50_000
CHUNK = 100_000  # rows encoded at a time
LEVELS = 30  # categories of a column that have an indicator of their own


def baselines(task: str, *, test: HeldOut, train: HeldOut, material: Material | None) -> dict[str, Answers]:
    """Answers of each trivial model to the test rows, in their coding; `train` must be coded alike."""
    classes = test.answers.classes
    found = {"constant": constant_answers(train.truth, len(test), task, classes)}
    if material is not None:
        last = last_value_answers(task, test=test, train=train, material=material)
        linear = linear_answers(task, test=test, train=train, material=material)
        found |= {name: made for name, made in (("last value", last), ("linear", linear)) if made is not None}
    return {name: replace(made.coded(classes), positive=test.answers.positive) for name, made in found.items()}


def last_value_answers(task: str, *, test: HeldOut, train: HeldOut, material: Material) -> Answers | None:
    """The newest truth that was known of the same key, or of any row where there is no key.

    With a time column a row's truth is known `delay_s` after its time, also that of test rows; without one, only the
    training rows are known, in their order. Where nothing is known of a key, the constant answers. None without key and
    time.
    """
    key, time = material.key, material.time
    if key is None and time is None:
        return None
    parts: list[pl.DataFrame] = []
    for frame, on in ((material.train_frame, train), (material.test_frame, test)):
        keys = frame[key].cast(pl.String) if key is not None else pl.Series([""] * len(frame), dtype=pl.String)
        at = _moments(frame[time]) if time is not None else pl.Series([0.0] * len(frame))
        parts.append(pl.DataFrame({"key": keys, "at": at, "truth": pl.Series(on.truth)}))
    known, asked = parts
    if time is not None:
        delay = material.delay_s * 1e6 if material.test_frame[time].dtype.is_temporal() else 0.0
        known = pl.concat(parts).with_columns(pl.col("at") + delay)
        is_exact = delay > 0  # without a delay, a row must not answer itself, nor its neighbours of the same moment
        joined = (
            asked.with_row_index("row")
            .sort("at", maintain_order=True)
            .join_asof(
                known.drop_nulls("at").sort("at", maintain_order=True),
                on="at",
                by="key",
                allow_exact_matches=is_exact,
                suffix="_known",
                check_sortedness=False,
            )
            .sort("row")
        )
    else:
        last = known.group_by("key", maintain_order=True).agg(pl.col("truth").last())
        joined = asked.join(last, on="key", how="left", suffix="_known", maintain_order="left")
    fallback = constant_answers(train.truth, 1, task, test.answers.classes).prediction[0]
    prediction = joined["truth_known"].fill_null(fallback.item()).to_numpy()
    if task == "regression":
        return Answers(prediction=prediction.astype(np.float64))
    return Answers(prediction=prediction.astype(np.int64), classes=test.answers.classes)


def linear_answers(task: str, *, test: HeldOut, train: HeldOut, material: Material) -> Answers | None:
    """Ridge or logistic regression on standardised numbers and indicators of categories; None where nothing varies."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, Ridge

    rows = np.linspace(0, len(train) - 1, min(FIT_ROWS, len(train))).astype(np.int64)
    frame, truth = material.train_frame.select(material.inputs)[rows], train.truth[rows]
    encoding = _learn(frame)
    if not encoding or len(np.unique(truth)) < 2:
        return None
    model: Any = Ridge() if task == "regression" else LogisticRegression(max_iter=500)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # stopped early, it is a baseline still
        model.fit(_encoded(encoding, frame), truth)
    asked = material.requests
    found: list[Floats] = []
    for start in range(0, len(asked), CHUNK):
        chunk = _encoded(encoding, asked[start : start + CHUNK])
        found.append(model.predict(chunk) if task == "regression" else model.predict_proba(chunk))
    answers = np.concatenate(found)
    if task == "regression":
        return Answers(prediction=answers)
    table = np.zeros((len(asked), len(test.answers.classes)))
    table[:, model.classes_] = answers
    return Answers(prediction=table.argmax(axis=1), probabilities=table, classes=test.answers.classes)


@dataclass(frozen=True)
class _Column:
    """A number (`levels` None) with its centre and scale, or a category with the levels that have an indicator."""

    name: str
    levels: tuple[str, ...] | None = None
    centre: float = 0.0
    scale: float = 1.0


def _learn(frame: pl.DataFrame) -> list[_Column]:
    found: list[_Column] = []
    for name in frame.columns:
        column = frame[name]
        if column.dtype.is_numeric() or column.dtype.is_temporal() or column.dtype == pl.Boolean:
            values = _numbers(column).drop_nulls()
            scale = float(cast(float, values.std() or 0.0)) if len(values) > 1 else 0.0
            if scale > 0:
                found.append(_Column(name, centre=float(cast(float, values.mean())), scale=scale))
        elif isinstance(column.dtype, pl.String | pl.Categorical | pl.Enum):
            counted = column.cast(pl.String).drop_nulls().value_counts().sort(["count", name], descending=[True, False])
            if len(counted):
                found.append(_Column(name, levels=tuple(counted[name].head(LEVELS).to_list())))
    return found


def _encoded(encoding: list[_Column], frame: pl.DataFrame) -> Floats:
    parts: list[Floats] = []
    for column in encoding:
        series = frame[column.name]
        if column.levels is None:
            values = (_numbers(series) - column.centre) / column.scale
            parts.append(values.fill_null(0.0).to_numpy()[:, None])
            continue
        at = dict(zip(column.levels, range(len(column.levels)), strict=True))
        codes = series.cast(pl.String).replace_strict(at, default=-1, return_dtype=pl.Int64).fill_null(-1).to_numpy()
        parts.append((codes[:, None] == np.arange(len(at))).astype(np.float64))
    return np.hstack(parts)


def _numbers(column: pl.Series) -> pl.Series:
    values = column.to_physical().cast(pl.Float64).fill_nan(None)
    return pl.select(pl.when(values.is_infinite()).then(None).otherwise(values)).to_series()


def _moments(column: pl.Series) -> pl.Series:
    """Times as microseconds, other numbers as they are."""
    if column.dtype.is_temporal():
        return column.cast(pl.Datetime("us")).to_physical().cast(pl.Float64)
    return column.cast(pl.Float64)
