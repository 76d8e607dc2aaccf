"""XGBoost: the estimators of its scikit-learn interface, and bare boosters. Stored in its own binary JSON (UBJ).

UBJ is data, so nothing runs when it is loaded. A model that was fitted with one of the scikit-learn estimators is asked
through the booster afterwards: the package names no class of scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, cast

import numpy as np
import polars as pl

from perennial.errors import Corrupt, DataError, UserCodeError
from perennial.models.flavors.boosters import watched
from perennial.models.flavors.flavor import Answered, Format, Label, Saved
from perennial.models.signature import Signature
from perennial.types import JSON

__all__ = ["BoosterScorer", "XGBoost", "matrix_of"]

UBJ = Format(runs_code=False, main="model.ubj", begins=b"{L\x00\x00\x00\x00")


@dataclass(frozen=True)
class BoosterScorer:
    """A booster, asked for its transformed output. Options: `names`, whether it knows its columns by name;
    `categories`, whether it takes categories as such; `best`, the number of rounds that count, 0 for all."""

    model: Any
    options: Mapping[str, JSON]
    signature: Signature
    classes: list[Label] | None = None
    relative: float = 1e-5

    def answer(self, x: pl.DataFrame) -> Answered:
        best = int(cast(int, self.options.get("best", 0)))
        matrix = matrix_of(x, is_named=bool(self.options.get("names")))
        out = np.asarray(self.model.predict(matrix, iteration_range=(0, best) if best else (0, 0)), dtype=np.float64)
        if self.signature.task == "regression":
            return Answered(out.reshape(len(out)))
        if out.ndim == 1:
            count = len(self.classes or self.signature.classes or [])
            if count != 2:  # multi:softmax answers the class itself
                return Answered(np.array(self.signature.classes)[out.astype(np.int64)])
            out = np.column_stack([1.0 - out, out])
        return Answered(None, out)

    def close(self) -> None:
        """Nothing is held but memory."""


class XGBoost:
    """XGBoost."""

    name = "xgboost"
    extra = "xgboost"
    formats: ClassVar[Mapping[str, Format]] = MappingProxyType({"ubj": UBJ})

    def recognises(self, model: object) -> bool:
        return type(model).__module__.startswith("xgboost.")

    def scorer(self, model: Any, signature: Signature, x: pl.DataFrame) -> BoosterScorer:
        booster = model if type(model).__name__ == "Booster" else model.get_booster()
        if "objective" in _config(booster) and _config(booster)["objective"].startswith("binary:logitraw"):
            raise DataError(
                "this booster answers log-odds (binary:logitraw)",
                remedy='train with objective="binary:logistic", whose order is the same',
            )
        best: int | None = getattr(model, "best_iteration", None) if _stopped_early(booster) else None
        options: dict[str, JSON] = {
            "names": booster.feature_names is not None,
            "best": 0 if best is None else best + 1,
        }
        classes: list[Label] | None = None
        if signature.task == "classification":
            known = getattr(model, "classes_", None)
            classes = known.tolist() if known is not None else list(signature.classes or [])
            # The scikit-learn interface wants labels 0 to k-1; what they stand for is the signature's to say.
            if signature.classes and classes == list(range(len(signature.classes))):
                classes = list(signature.classes)
        return BoosterScorer(booster, options, signature, classes)

    def save(self, model: Any, signature: Signature) -> Saved:
        import xgboost  # pyright: ignore[reportMissingImports]  # in the extra

        booster = model if type(model).__name__ == "Booster" else model.get_booster()
        block: JSON = {
            "data": UBJ.main,
            "model_class": "xgboost.core.Booster",
            "model_format": "ubj",
            "xgb_version": xgboost.__version__,
            "code": None,
        }
        return Saved(files={UBJ.main: bytes(booster.save_raw("ubj"))}, format="ubj", mlflow={"xgboost": block})

    def load(self, folder: Path, saved_as: str, options: Mapping[str, JSON], signature: Signature) -> BoosterScorer:
        return BoosterScorer(read_booster(folder / UBJ.main), options, signature, signature.classes)

    def curves(self, model: Any) -> dict[str, list[float]]:
        return watched(model)


def read_booster(path: Path) -> Any:
    """The booster in a file of XGBoost's own (UBJ or JSON).

    Raises:
        UserCodeError: XGBoost is not installed. Corrupt: It does not read the file.
    """
    try:
        import xgboost  # pyright: ignore[reportMissingImports]  # in the extra
    except ImportError as error:
        raise UserCodeError(
            "this model needs XGBoost, which is not installed here",
            where=str(path),
            remedy="pip install 'perennial[xgboost]'",
        ) from error
    booster = xgboost.Booster()
    try:
        booster.load_model(bytearray(path.read_bytes()))
    except xgboost.core.XGBoostError as error:
        raise Corrupt(
            f"XGBoost does not read this file: {str(error).splitlines()[0]}",
            where=str(path),
            remedy="do not use this package",
        ) from error
    return booster


def matrix_of(x: pl.DataFrame, *, is_named: bool) -> Any:
    """The model's columns as XGBoost takes them: categories as pandas categories, all else as numbers."""
    import xgboost  # pyright: ignore[reportMissingImports]  # in the extra

    if any(isinstance(kind, pl.Enum) for kind in x.dtypes):
        return xgboost.DMatrix(x.to_pandas(), enable_categorical=True)
    array = x.cast(pl.Float64()).to_numpy()  # doubles, so that large whole numbers are rounded once, by XGBoost
    return xgboost.DMatrix(array, feature_names=x.columns if is_named else None)


def _config(booster: Any) -> dict[str, str]:
    import json

    learner = json.loads(booster.save_config())["learner"]
    return {"objective": learner["objective"]["name"]}


def _stopped_early(booster: Any) -> bool:
    return booster.attr("best_iteration") is not None
