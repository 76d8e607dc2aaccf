"""Any folder that MLflow saved, kept whole below `model/` and asked through `mlflow.pyfunc`.

Such a folder is code: its MLmodel file names the module that loads it, and most of what that loads are pickles. So it
is opened only where somebody vouched for it. What can be read without running code becomes a package of its own
toolkit instead, at import (`models.mlflow_models`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, cast

import numpy as np
import polars as pl

from perennial.errors import DataError, UserCodeError
from perennial.models.flavors.flavor import Answered, Format, Label, Saved
from perennial.models.signature import Signature
from perennial.types import JSON

__all__ = ["MLflow", "PyfuncScorer"]

FOLDER = "model"
FORMAT = Format(runs_code=True, main=f"{FOLDER}/MLmodel")
_DTYPES: Mapping[str, str] = MappingProxyType(
    {"integer": "int32", "long": "int64", "float": "float32", "double": "float64", "boolean": "bool"}
)


@dataclass(frozen=True)
class PyfuncScorer:
    """A loaded folder. Options: `types`, MLflow's type of each column, in order; `tensors`, name -> dtype where it
    takes arrays instead of a frame, under the empty name for a single one."""

    model: Any
    options: Mapping[str, JSON]
    signature: Signature
    classes: list[Label] | None = None
    relative: float = 1e-5

    def answer(self, x: pl.DataFrame) -> Answered:
        out = self.model.predict(self._given(x))
        return _read(out, x.height, self.signature)

    def close(self) -> None:
        """Nothing is held but memory."""

    def _given(self, x: pl.DataFrame) -> Any:
        tensors = cast("Mapping[str, str]", self.options.get("tensors") or {})
        if tensors:
            arrays = {name: x[name or x.columns[0]].to_numpy().astype(dtype) for name, dtype in tensors.items()}
            return arrays[""] if set(arrays) == {""} else arrays
        texts = [name for name, kind in x.schema.items() if isinstance(kind, pl.Enum)]
        frame = x.with_columns(pl.col(texts).cast(pl.String)).to_pandas()
        types = cast("list[str]", self.options.get("types") or [])
        for name, kind in zip(x.columns, types, strict=False):
            if kind == "datetime":
                frame[name] = frame[name].dt.tz_localize(None)
            elif kind in _DTYPES and not frame[name].isna().any():
                frame[name] = frame[name].astype(_DTYPES[kind])
        return frame


class MLflow:
    """A folder of MLflow's."""

    name = "mlflow"
    extra = "mlflow"
    formats: ClassVar[Mapping[str, Format]] = MappingProxyType({"mlflow": FORMAT})

    def recognises(self, model: object) -> bool:
        return type(model).__module__ == "mlflow.pyfunc" and type(model).__name__ == "PyFuncModel"

    def scorer(self, model: Any, signature: Signature, x: pl.DataFrame) -> PyfuncScorer:
        return PyfuncScorer(model, {}, signature)

    def save(self, model: Any, signature: Signature) -> Saved:
        raise DataError(
            "a model that MLflow loaded does not say where its folder is",
            remedy="return the toolkit's own model from train, or bring the folder in: perennial models import FOLDER",
        )

    def load(self, folder: Path, saved_as: str, options: Mapping[str, JSON], signature: Signature) -> PyfuncScorer:
        from perennial.models.mlflow_folder import read_folder

        read_folder(folder / FOLDER)  # what is no MLmodel file is refused before MLflow sees it
        # Nothing of ours asks MLflow to tell its makers, and there is no network to do it with.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        try:
            import mlflow.pyfunc  # pyright: ignore[reportMissingImports]  # in the extra
        except ImportError as error:
            raise UserCodeError(
                "this model needs MLflow, which is not installed here",
                where=str(folder),
                remedy="pip install 'perennial[mlflow]'",
            ) from error
        try:
            return PyfuncScorer(mlflow.pyfunc.load_model(str(folder / FOLDER)), options, signature)
        except Exception as error:  # whatever the folder's loader raises
            raise UserCodeError(
                f"MLflow does not load this model: {type(error).__name__}: {error}",
                where=str(folder),
                remedy="install what its requirements.txt names",
            ) from error

    def curves(self, model: Any) -> dict[str, list[float]]:
        return {}


def _read(out: Any, rows: int, signature: Signature) -> Answered:
    """An answer of MLflow's, in one of the many forms that flavors give: a frame, series, array or list."""
    if isinstance(out, dict):
        found = cast("dict[str, Any]", out)
        if len(found) != 1:
            raise DataError(f"the model answers {len(found)} things at once: {', '.join(found)}")
        (out,) = found.values()
    array = np.asarray(out)
    if array.shape[:1] != (rows,):
        raise DataError(f"the model gives {array.shape[0] if array.ndim else 1} answers for {rows} rows")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    classes = signature.classes or []
    if array.ndim == 2 and signature.task == "classification" and array.shape[1] == len(classes):
        return Answered(None, array.astype(np.float64))
    if array.ndim != 1:
        raise DataError(
            f"the model answers {' x '.join(map(str, array.shape[1:]))} values for each row",
            remedy="save one that answers one value, or a probability for each class",
        )
    return Answered(array.astype(np.float64) if signature.task == "regression" else array)
