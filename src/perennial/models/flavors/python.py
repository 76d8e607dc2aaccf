"""Any Python object that predicts: a model of the user's own class, or a function of a frame. Stored as a pickle.

A pickle is code, so it is loaded only where its package is trusted. What the object's classes need must be in the
loop's module or installed.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, cast

import numpy as np
import polars as pl

from perennial.errors import DataError, UserCodeError
from perennial.models.flavors.flavor import Answered, Format, Label, Saved
from perennial.models.signature import Signature
from perennial.types import JSON

__all__ = ["ObjectScorer", "Python", "examined", "given", "pickled", "plain_values", "unpickled"]

PICKLE = Format(runs_code=True, main="model.pkl", begins=b"\x80")


@dataclass(frozen=True)
class ObjectScorer:
    """An object with `predict` (and perhaps `predict_proba`), or one that is called.

    Options: `call` is the method that answers, empty when the object itself is called; `probabilities`: it has
    `predict_proba`; `argmax`: its prediction is always the most probable class, so that one call gives both; `array`:
    it was trained on an array and is given one.
    """

    model: Any
    options: Mapping[str, JSON]
    signature: Signature
    classes: list[Label] | None = None
    relative: float = 1e-9
    _answer: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        call = cast(str, self.options.get("call", "predict"))
        object.__setattr__(self, "_answer", getattr(self.model, call) if call else self.model)

    def answer(self, x: pl.DataFrame) -> Answered:
        data = given(x, self.signature, array=bool(self.options.get("array")))
        if not self.options.get("probabilities"):
            return Answered(_column(self._answer(data)))
        table = np.asarray(self.model.predict_proba(data), dtype=np.float64)
        return Answered(None if self.options.get("argmax") else _column(self._answer(data)), table)

    def close(self) -> None:
        """Nothing is held but memory."""


class Python:
    """What no toolkit takes."""

    name = "python"
    extra = ""
    formats: ClassVar[Mapping[str, Format]] = MappingProxyType({"pickle": PICKLE})

    def recognises(self, model: object) -> bool:
        return hasattr(model, "predict") or callable(model)

    def scorer(self, model: Any, signature: Signature, x: pl.DataFrame) -> ObjectScorer:
        return examined(model, signature, x)

    def save(self, model: Any, signature: Signature) -> Saved:
        return Saved(files={PICKLE.main: pickled(model)}, format="pickle")

    def load(self, folder: Path, saved_as: str, options: Mapping[str, JSON], signature: Signature) -> ObjectScorer:
        return ObjectScorer(unpickled(folder / PICKLE.main), options, signature)

    def curves(self, model: Any) -> dict[str, list[float]]:
        return {}


def examined(model: Any, signature: Signature, x: pl.DataFrame) -> ObjectScorer:
    """How to ask this object, found by asking it."""
    call = "predict" if hasattr(model, "predict") else ""
    array = hasattr(model, "n_features_in_") and not hasattr(model, "feature_names_in_")
    probabilities = signature.task == "classification" and hasattr(model, "predict_proba")
    options: dict[str, JSON] = {"call": call, "probabilities": probabilities, "argmax": False, "array": array}
    classes: list[Label] | None = plain_values(model.classes_) if probabilities else None
    scorer = ObjectScorer(model, options, signature, classes)
    if classes is not None:
        found = scorer.answer(x)
        assert found.probabilities is not None
        most = [classes[i] for i in found.probabilities.argmax(axis=1).tolist()]
        scorer = ObjectScorer(
            model, options | {"argmax": most == plain_values(found.values)}, signature, classes, scorer.relative
        )
    return scorer


def given(x: pl.DataFrame, signature: Signature, *, array: bool) -> Any:
    """The model's columns in the form in which training had them: a frame of its library, or an array."""
    if array:
        tensors = [series for series in x.get_columns() if isinstance(series.dtype, pl.Array)]
        return tensors[0].to_numpy() if len(tensors) == x.width == 1 else x.to_numpy()
    return x.to_pandas() if signature.model_frame == "pandas" else x


def pickled(model: Any) -> bytes:
    """The object as a pickle.

    Raises:
        DataError: It cannot be pickled.
    """
    try:
        return pickle.dumps(model, protocol=5)
    except Exception as error:  # whatever a user's object raises when it is pickled
        raise DataError(
            f"the model cannot be stored: {type(error).__name__}: {error}",
            remedy="define its functions and classes at the top level of the loop's module, without lambda",
        ) from error


def unpickled(path: Path) -> Any:
    """The object in a pickle. Runs its code: the caller vouches for it.

    Raises:
        UserCodeError: It does not load.
    """
    try:
        return pickle.loads(path.read_bytes())  # noqa: S301  # the caller vouches: only trusted packages
    except Exception as error:  # a pickle can raise anything; the boundary is this package
        raise UserCodeError(
            f"the model does not load: {type(error).__name__}: {error}",
            where=str(path),
            remedy="use the library versions in environment.txt; classes of the model must be in the loop's module",
        ) from error


def plain_values(output: Any) -> list[Any]:
    """A model's output (array, series, list) as Python values, one per row."""
    values: Any = (
        output.tolist() if hasattr(output, "tolist") else output.to_list() if hasattr(output, "to_list") else output
    )
    return [value[0] if isinstance(value, list) and len(cast(list[Any], value)) == 1 else value for value in values]


def _column(output: Any) -> np.ndarray[Any, Any]:
    """One value per row, whatever form the model answers in."""
    if isinstance(output, np.ndarray) and output.ndim == 1:
        return output
    values = plain_values(output)
    if any(isinstance(value, list) for value in values):
        raise DataError(
            f"the model does not answer one value per row ({len(values)} rows)", remedy="train one model per target"
        )
    column = np.asarray(values)
    if column.ndim == 1 and column.dtype.kind in "biuf":
        return column
    kept = np.empty(len(values), dtype=object)
    kept[:] = values
    return kept
