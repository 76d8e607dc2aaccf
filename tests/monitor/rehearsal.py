"""Real data and models for the rehearsal of diagnoses: each seed another split, another model, another window.

Rows are split at random into three parts: the model is trained on the first, the second is the reference (so it is
held out), and from the third the windows are drawn. Randomly, not by time: a window without any fault is then truly
without one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from perennial.monitor.diagnosing.injections import Fault, Injected, inject
from perennial.monitor.sample import Sample, Task

TRAIN_ROWS, REFERENCE_ROWS, POOL_ROWS, WINDOW_ROWS = 5000, 4000, 16_000, 2000
SPLITS = 4  # different models of each data set; the seeds go round over them


@dataclass(frozen=True)
class Table:
    name: str
    frame: pl.DataFrame
    target: str
    task: Task


@dataclass(frozen=True)
class Stage:
    """A model, the reference that it has not seen and the rows from which windows are drawn."""

    table: Table
    reference: Sample
    pool: Sample
    model: Model

    def case(self, fault: Fault, seed: int, *, strength: float = 0.5, begins: float = 0.0) -> Injected:
        return inject(
            fault, self.pool, self.model.predict, rows=WINDOW_ROWS, strength=strength, begins=begins, seed=seed
        )


@dataclass(frozen=True)
class Model:
    """Gradient boosting; texts as their position in the training rows, unknown ones as missing."""

    estimator: Any
    positions: Mapping[str, Mapping[str, int]]
    task: Task

    @classmethod
    def trained(cls, inputs: pl.DataFrame, labels: pl.Series, task: Task, seed: int) -> Model:
        positions = {
            name: {value: at for at, value in enumerate(inputs[name].unique().drop_nulls().sort().to_list())}
            for name in inputs.columns
            if inputs[name].dtype == pl.String
        }
        kind = HistGradientBoostingClassifier if task == "classification" else HistGradientBoostingRegressor
        made = cls(kind(max_iter=80, random_state=seed), positions, task)
        made.estimator.fit(made.matrix(inputs), labels.to_numpy())
        return made

    def matrix(self, inputs: pl.DataFrame) -> np.ndarray:
        columns = [
            inputs[name].cast(pl.String).replace_strict(self.positions[name], default=None, return_dtype=pl.Float64)
            if name in self.positions
            else inputs[name].cast(pl.Float64)
            for name in inputs.columns
        ]
        return np.column_stack([column.to_numpy() for column in columns])

    def predict(self, inputs: pl.DataFrame) -> tuple[pl.Series, np.ndarray | None]:
        if self.task == "regression":
            return pl.Series("prediction", self.estimator.predict(self.matrix(inputs))), None
        probs = self.estimator.predict_proba(self.matrix(inputs))
        classes = [str(name) for name in self.estimator.classes_]
        return pl.Series("prediction", [classes[at] for at in probs.argmax(axis=1)], dtype=pl.String), probs

    @property
    def classes(self) -> tuple[str, ...]:
        return () if self.task == "regression" else tuple(str(name) for name in self.estimator.classes_)


@cache
def table(folder: Path, name: str) -> Table:
    """One of NAMES: inputs as numbers (Float64) and texts, the target as the model is to predict it."""
    return _TABLES[name](folder)


@cache
def stage(folder: Path, name: str, split: int) -> Stage:
    data = table(folder, name)
    order = np.random.default_rng(split).permutation(data.frame.height)
    order = order[: TRAIN_ROWS + REFERENCE_ROWS + POOL_ROWS]
    train, reference, pool = np.split(order, [TRAIN_ROWS, TRAIN_ROWS + REFERENCE_ROWS])
    inputs, labels = data.frame.drop(data.target), data.frame[data.target]
    model = Model.trained(inputs[train], labels[train], data.task, split)

    def sample(rows: np.ndarray) -> Sample:
        predictions, probs = model.predict(inputs[rows])
        return Sample(
            inputs=inputs[rows],
            task=data.task,
            classes=model.classes,
            predictions=predictions,
            probs=probs,
            labels=labels[rows],
        )

    return Stage(data, sample(reference), sample(pool), model)


def stage_of_seed(folder: Path, seed: int, *, step: int = 0) -> Stage:
    """Data sets in turn, and a model of each in turn; `step`: so many data sets further."""
    return stage(folder, NAMES[(seed + step) % len(NAMES)], seed // len(NAMES) % SPLITS)


def monitored(frame: pl.DataFrame, inputs: Sequence[str], *, prediction: str, prob: str, target: str) -> Sample:
    """Rows with the answers of a binary classifier that is not here: numbers 0 and 1, and the probability of 1."""
    second = frame[prob].to_numpy()
    return Sample(
        inputs=_plain(frame.select(inputs)),
        task="classification",
        classes=("0", "1"),
        predictions=frame[prediction].cast(pl.Int64).cast(pl.String),
        probs=np.column_stack([1.0 - second, second]),
        labels=frame[target].cast(pl.Int64).cast(pl.String),
    )


def _adult(folder: Path) -> Table:
    parts = [
        pl.read_csv(folder / "adult_census" / f"adult_{part}.csv.gz", null_values="?") for part in ("train", "test")
    ]
    frame = pl.concat(parts).with_columns(pl.col("income").str.strip_chars(".")).drop("fnlwgt")
    return Table("adult_census", _plain(frame), "income", "classification")


def _bikes(folder: Path) -> Table:
    frame = pl.read_csv(folder / "bike_sharing" / "hour.csv.gz").drop(
        "instant", "dteday", "casual", "registered", "atemp"
    )
    coded = ("season", "holiday", "weekday", "workingday", "weathersit")
    frame = frame.with_columns(pl.col(name).cast(pl.String) for name in coded)
    return Table("bike_sharing", _plain(frame), "cnt", "regression")


def _wages(folder: Path) -> Table:
    frame = pl.read_csv(folder / "cps_wages" / "cps1988.csv.gz").drop("rownames").with_columns(pl.col("wage").log())
    return Table("cps_wages", _plain(frame), "wage", "regression")


def _employment(folder: Path) -> Table:
    frame = pl.read_parquet(folder / "nannyml_employment_ma" / "reference.parquet")
    frame = frame.drop("id", "year", "prediction", "predicted_probability")
    frame = frame.with_columns(pl.col("employed").cast(pl.Int64).cast(pl.String))
    return Table("nannyml_employment_ma", _plain(frame), "employed", "classification")


def _housing(folder: Path) -> Table:
    path = folder / "nannyml_california_housing"
    parts = [pl.read_csv(path / f"{part}.csv.gz") for part in ("reference", "analysis")]
    parts[1] = parts[1].join(pl.read_csv(path / "analysis_targets.csv"), on="id")
    frame = pl.concat(parts, how="diagonal_relaxed").drop(
        "id", "timestamp", "y_pred", "y_pred_proba", "partition", strict=False
    )
    frame = frame.with_columns(pl.col("clf_target").cast(pl.Int64).cast(pl.String))
    return Table("nannyml_california_housing", _plain(frame), "clf_target", "classification")


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(
        pl.col(name).cast(pl.Float64 if frame[name].dtype.is_numeric() else pl.String) for name in frame.columns
    )


_TABLES = {
    "adult_census": _adult,
    "bike_sharing": _bikes,
    "cps_wages": _wages,
    "nannyml_employment_ma": _employment,
    "nannyml_california_housing": _housing,
}
NAMES = tuple(_TABLES)
