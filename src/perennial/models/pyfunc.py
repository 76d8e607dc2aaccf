"""Lets `mlflow.pyfunc.load_model(FOLDER)` run a checked-out package. MLflow itself is not needed here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from perennial.data.column_types import canonical
from perennial.data.frames import to_arrow
from perennial.models.package import Predictor
from perennial.models.rows import polars_type

__all__ = ["PyfuncModel"]


class PyfuncModel:
    """What MLflow calls: `predict` takes a pandas frame and gives one prediction per row."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def predict(self, model_input: Any, params: Any = None) -> Any:
        """Predictions in row order; None where the model fails on a row."""
        del params  # MLflow passes it to every model; ours have none
        frame = pl.from_arrow(canonical(to_arrow(model_input)))
        assert isinstance(frame, pl.DataFrame)
        inputs = [field for field in self._predictor.signature.inputs if field.required]
        return [
            answer["prediction"]
            for answer in self._predictor.predict(
                frame.select(pl.col(field.name).cast(polars_type(field)) for field in inputs)
            )
        ]


def _load_pyfunc(path: str) -> PyfuncModel:  # pyright: ignore[reportUnusedFunction]  # the name that MLflow calls
    folder = Path(path)
    # Whoever calls MLflow's loader on this folder vouches for the code in it, as with any model of MLflow's.
    return PyfuncModel(Predictor.load(folder if folder.is_dir() else folder.parent, trusted=True))
