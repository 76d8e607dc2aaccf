"""The monitored classifier on census data that several tests measure estimators with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold

CHUNK = 5000
CHUNKS = 42  # the last one of 3,892 rows


@dataclass(frozen=True)
class Rows:
    """Some rows: probabilities of both classes, answers, labels, inputs."""

    probs: NDArray[np.float64]
    answered: NDArray[np.int64]
    truth: NDArray[np.int64]
    inputs: pl.DataFrame

    @property
    def hits(self) -> NDArray[np.float64]:
        return (self.answered == self.truth).astype(np.float64)

    def chunk(self, number: int) -> Rows:
        rows = slice(CHUNK * number, CHUNK * (number + 1))
        return Rows(self.probs[rows], self.answered[rows], self.truth[rows], self.inputs[rows])


def employment(shared_data: Path) -> tuple[Rows, Rows]:
    """The reference, and what came after it."""
    folder = shared_data / "nannyml_employment_ma"
    targets = pl.read_parquet(folder / "analysis_targets.parquet")
    after = pl.read_parquet(folder / "analysis.parquet").join(targets, on="id", how="left", maintain_order="left")
    return _rows(pl.read_parquet(folder / "reference.parquet")), _rows(after)


def _rows(table: pl.DataFrame) -> Rows:
    second = table["predicted_probability"].to_numpy()
    own = ["id", "year", "employed", "prediction", "predicted_probability"]
    return Rows(
        probs=np.column_stack([1.0 - second, second]),
        answered=table["prediction"].to_numpy(),
        truth=table["employed"].to_numpy(),
        inputs=table.drop(own, strict=False),
    )


def out_of_fold(
    reference: Rows, current: Rows, *, folds: int = 3, seed: int = 0, draws: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """P(current | inputs) by histogram gradient boosting of 60 trees, the mean over so many draws of the folds; all
    inputs but the age are categories.
    """
    names = reference.inputs.columns
    both = [reference.inputs[name].append(current.inputs[name]) for name in names]
    x = np.column_stack(
        [
            (column.cast(float) if name == "AGEP" else column.cast(str).rank("dense").cast(float) - 1).to_numpy()
            for name, column in zip(names, both, strict=True)
        ]
    )
    categories = [at for at, name in enumerate(names) if name != "AGEP"]
    is_current = np.repeat([0, 1], [len(reference.truth), len(current.truth)])
    scores = np.zeros(len(x))
    for draw in range(draws):
        for taught, held in StratifiedKFold(folds, shuffle=True, random_state=seed + draw).split(x, is_current):
            model: Any = HistGradientBoostingClassifier(max_iter=60, random_state=0, categorical_features=categories)
            scores[held] += model.fit(x[taught], is_current[taught]).predict_proba(x[held])[:, 1] / draws
    return scores[is_current == 0], scores[is_current == 1]
