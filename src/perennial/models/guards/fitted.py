"""What guards learned from rows, as it lies in a package: `guards.json` for people, `guards.npz` for the numbers.

Optional: packages of loops that declare no guard, and of before there were any, do not have it. No pickle; read with
numpy alone, since the prediction service does so.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any, Literal, cast

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from perennial.errors import Corrupt
from perennial.models.signature import Field, Signature
from perennial.store.decoding import ready
from perennial.types import JSON, canonical_json

__all__ = ["ARRAYS", "FACTS", "Conformal", "Fitted", "NumberColumn", "Risk", "Unlike", "number_columns", "read_fitted"]

Floats = NDArray[np.floating[Any]]

FACTS = "guards.json"
ARRAYS = "guards.npz"
_NUMBERS = frozenset({"float64", "int64", "bool"})


class NumberColumn(Struct, frozen=True, kw_only=True):
    """A column of numbers, or of tensors of `width` numbers, at `start` of a row's matrix."""

    name: str
    start: int
    width: int
    type: str


class Unlike(Struct, frozen=True, kw_only=True):
    """How far a row is from those of training.

    Attributes:
        method: See `loop.guard.unforeseen`.
        columns: The numbers that are looked at, in their order.
        same_unit: They are scaled by one number.
        rows: What was fitted to.
        calibration_rows: Scores that p-values are counted among.
        is_exact: The p-values hold exactly: the calibration rows were not fitted to. Else each was scored by a fit
            without it, which is nearly so.
    """

    method: Literal["mahalanobis", "nearest"]
    columns: list[str]
    same_unit: bool
    rows: int
    calibration_rows: int
    is_exact: bool


class Conformal(Struct, frozen=True, kw_only=True):
    """Where the scores of intervals or sets come from.

    Attributes:
        score: absolute: one width; quantile: a width that follows the row; lac, aps: of classes.
        by: The groups whose level is kept alone: "class", a column, or None.
        groups: Their values; scores of each in the arrays under `conformal_0`, `conformal_1`, ...
        rows: Calibration rows.
        level: The level that was declared.
        covered: Share of the test rows whose interval or set held the truth; these rows calibrate nothing.
        tested: How many test rows that are.
        size: Mean width on the test rows, or mean number of labels; None where it is not finite.
    """

    score: Literal["absolute", "quantile", "lac", "aps"]
    by: str | None
    groups: list[Any]
    rows: int
    level: float
    covered: float | None = None
    tested: int = 0
    size: float | None = None


class Risk(Struct, frozen=True, kw_only=True):
    """The threshold of one `guard.uncertain(risk=...)`, and what it was chosen by."""

    risk: float
    confidence: float
    threshold: float
    coverage: float
    selective_risk: float
    upper: float
    rows: int


class Fitted(Struct, frozen=True, kw_only=True):
    """Everything that was learned.

    Attributes:
        numbers: Which numbers a row's matrix holds, in its order.
        fills: The usual value of each column: the median of numbers, else the most frequent, as a JSON value.
        categories: What was seen in each column of categories.
        unlike, conformal, risks: See there; None or empty where not declared.
        constant: The mean of the training target, or its most frequent class.
        classes: The labels of a classification; `prior` are their shares in training, in this order.
        says: How each part was learned, in sentences for people.
        arrays: The numbers, by name.
    """

    format: Literal[1] = 1
    numbers: list[NumberColumn]
    fills: dict[str, Any]
    categories: dict[str, list[Any]]
    unlike: Unlike | None = None
    conformal: Conformal | None = None
    risks: list[Risk] = []
    constant: Any = None
    classes: list[Any] | None = None
    prior: list[float] | None = None
    says: list[str] = []
    arrays: dict[str, Floats] = msgspec.field(default_factory=dict[str, Floats])

    def to_files(self) -> dict[str, bytes]:
        """The package's files; the same for the same."""
        facts = msgspec.to_builtins(msgspec.structs.replace(self, arrays={}))
        del facts["arrays"]
        buffer = io.BytesIO()
        np.savez(buffer, **{name: self.arrays[name] for name in sorted(self.arrays)})  # pyright: ignore[reportArgumentType]
        return {FACTS: canonical_json(cast(JSON, facts)), ARRAYS: buffer.getvalue()}


def read_fitted(files: Mapping[str, bytes]) -> Fitted | None:
    """What guards learned, from the files of a package; None where it has none.

    Raises:
        Corrupt: The files are not what `Fitted.to_files` gave.
    """
    if FACTS not in files:
        return None
    try:
        fitted = msgspec.convert(json.loads(files[FACTS]), ready(Fitted))
        with np.load(io.BytesIO(files[ARRAYS]), allow_pickle=False) as arrays:
            fitted.arrays.update({name: arrays[name] for name in arrays.files})
    except (msgspec.ValidationError, ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise Corrupt(
            f"what the guards of a model package learned cannot be read: {error}",
            where=FACTS,
            remedy="do not use this package",
        ) from error
    return fitted


def number_columns(signature: Signature) -> list[NumberColumn]:
    """The numbers of a request's row, in the signature's order; tensors are spread out."""
    found: list[NumberColumn] = []
    start = 0
    for field in signature.inputs:
        if field.required and field.type in _NUMBERS:
            width = _width(field)
            found.append(NumberColumn(name=field.name, start=start, width=width, type=field.type))
            start += width
    return found


def _width(field: Field) -> int:
    return int(np.prod(field.shape)) if field.shape is not None else 1
