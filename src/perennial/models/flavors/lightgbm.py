"""LightGBM: the estimators of its scikit-learn interface, and bare boosters. Stored as its own text.

The text is data, so nothing runs when it is loaded. A model that was fitted with one of the scikit-learn estimators is
asked through the booster afterwards.
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

__all__ = ["LightGBM", "LightGBMScorer", "columns_for"]

TEXT = Format(runs_code=False, main="model.txt", begins=b"tree\nversion=")


@dataclass(frozen=True)
class LightGBMScorer:
    """A booster, asked for its transformed output. Options: `best`, the number of rounds that count, 0 for all."""

    model: Any
    options: Mapping[str, JSON]
    signature: Signature
    classes: list[Label] | None = None
    relative: float = 1e-9

    def answer(self, x: pl.DataFrame) -> Answered:
        best = int(cast(int, self.options.get("best", 0)))
        out = np.asarray(
            self.model.predict(columns_for(x), num_iteration=best or None, num_threads=1, validate_features=False),
            dtype=np.float64,
        )
        if self.signature.task == "regression":
            return Answered(out)
        return Answered(None, np.column_stack([1.0 - out, out]) if out.ndim == 1 else out)

    def close(self) -> None:
        """Nothing is held but memory."""


class LightGBM:
    """LightGBM."""

    name = "lightgbm"
    extra = "lightgbm"
    formats: ClassVar[Mapping[str, Format]] = MappingProxyType({"text": TEXT})

    def recognises(self, model: object) -> bool:
        return type(model).__module__.startswith("lightgbm.")

    def scorer(self, model: Any, signature: Signature, x: pl.DataFrame) -> LightGBMScorer:
        booster = model if type(model).__name__ == "Booster" else model.booster_
        objective = str(booster.dump_model(num_iteration=0).get("objective", ""))
        if signature.task == "classification" and not objective.startswith(("binary", "multiclass", "cross_entropy")):
            raise DataError(
                f"this booster was trained with the objective {objective or 'of your own'}, which gives no "
                "probabilities",
                remedy='train with objective="binary" or "multiclass", or declare task="regression"',
            )
        best = max(int(getattr(model, "best_iteration_", None) or getattr(model, "best_iteration", 0) or 0), 0)
        classes: list[Label] | None = None
        if signature.task == "classification":
            known = getattr(model, "classes_", None)
            classes = known.tolist() if known is not None else list(signature.classes or [])
        return LightGBMScorer(booster, {"best": best}, signature, classes)

    def save(self, model: Any, signature: Signature) -> Saved:
        import lightgbm  # pyright: ignore[reportMissingImports]  # in the extra

        booster = model if type(model).__name__ == "Booster" else model.booster_
        text = booster.model_to_string(num_iteration=-1)
        block: JSON = {
            "data": TEXT.main,
            "model_class": "lightgbm.basic.Booster",
            "lgb_version": lightgbm.__version__,
            "code": None,
        }
        return Saved(files={TEXT.main: text.encode()}, format="text", mlflow={"lightgbm": block})

    def load(self, folder: Path, saved_as: str, options: Mapping[str, JSON], signature: Signature) -> LightGBMScorer:
        return LightGBMScorer(read_booster(folder / TEXT.main), options, signature, signature.classes)

    def curves(self, model: Any) -> dict[str, list[float]]:
        return watched(model)


def read_booster(path: Path) -> Any:
    """The booster in a file of LightGBM's text form.

    Raises:
        UserCodeError: LightGBM is not installed. Corrupt: It does not read the file.
    """
    try:
        import lightgbm  # pyright: ignore[reportMissingImports]  # in the extra
    except ImportError as error:
        raise UserCodeError(
            "this model needs LightGBM, which is not installed here",
            where=str(path),
            remedy="pip install 'perennial[lightgbm]'",
        ) from error
    try:
        return lightgbm.Booster(model_str=path.read_bytes().decode())
    except (lightgbm.basic.LightGBMError, UnicodeDecodeError) as error:
        raise Corrupt(
            f"LightGBM does not read this file: {error}", where=str(path), remedy="do not use this package"
        ) from error


def columns_for(x: pl.DataFrame) -> Any:
    """The model's columns as LightGBM takes them: with categories a pandas frame, else an array."""
    if any(isinstance(kind, pl.Enum) for kind in x.dtypes):
        return x.to_pandas()
    return x.cast(pl.Float64()).to_numpy()
