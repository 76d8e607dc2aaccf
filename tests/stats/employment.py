"""The monitored classifier on census data that several tests measure estimators with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

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
