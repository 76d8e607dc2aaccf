"""Columns that come as numpy arrays, brought to the type of their column where nothing is lost."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any

import numpy as np

from perennial.errors import Invalid
from perennial.models.signature import Field
from perennial.serve.asked import Values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from perennial.serve.intake import Intake

__all__ = ["of_type"]


def of_type(intake: Intake, field: Field, values: NDArray[Any], where: str) -> Values:
    """The values of a column, checked.

    Raises:
        Invalid: Of another type, missing where training saw none, infinite; points at the first such value.
    """
    shape = tuple(field.shape or ())
    if values.shape[1:] != shape and values.ndim == 2 and not shape and values.shape[1] == 1:
        values = values[:, 0]
    if values.shape[1:] != shape:
        told = " x ".join(map(str, values.shape[1:])) or "single values"
        raise intake.explain(field, f"got {told} for each row", where)
    kind = values.dtype.kind
    if field.type == "float64":
        return _numbers(intake, field, values, kind, where)
    if field.type == "int64":
        return _whole(intake, field, values, kind, where)
    if field.type == "bool":
        if kind != "b":
            raise intake.explain(field, f"got an array of {values.dtype}", where)
        return values
    if kind == "M" and field.type in ("datetime", "date"):
        return _times(intake, field, values, where)
    if kind not in "OUS":
        raise intake.explain(field, f"got an array of {values.dtype}", where)
    return intake.of_list(field, _texts(field, values, intake, where), where)


def _numbers(intake: Intake, field: Field, values: NDArray[Any], kind: str, where: str) -> NDArray[Any]:
    if kind not in "iuf":
        raise intake.explain(field, f"got an array of {values.dtype}", where)
    if kind != "f":
        return values.astype(np.float64)
    found = values.astype(np.float64, copy=False)
    # One sum tells of both: it is finite when every value is (or too large, then the values are looked at).
    if not np.isfinite(found.sum()):
        if np.isinf(found).any():
            raise Invalid("a number is out of range", where=_at(np.isinf(found), where), remedy="send a finite number")
        missing = np.isnan(found)
        if missing.any() and (field.shape or not (field.nullable or not field.required)):
            raise _missing(field, missing, where)
    return found


def _whole(intake: Intake, field: Field, values: NDArray[Any], kind: str, where: str) -> Values:
    if kind == "u" and values.dtype.itemsize == 8 and (values > np.uint64(2**63 - 1)).any():
        raise intake.explain(field, "got a number beyond 64 bits with a sign", where)
    if kind in "iu":
        return values.astype(np.int64)
    if kind != "f":
        raise intake.explain(field, f"got an array of {values.dtype}", where)
    missing = np.isnan(values)
    if missing.any() and (field.shape or not (field.nullable or not field.required)):
        raise _missing(field, missing, where)
    present = np.where(missing, 0, values)
    wrong = (present != np.floor(present)) | (np.abs(present) > 2**53)
    if wrong.any():
        raise intake.explain(field, "got a number with a fraction, or too large to be exact", _at(wrong, where))
    whole = present.astype(np.int64)
    if not missing.any():
        return whole
    return [None if gone else int(value) for gone, value in zip(missing.tolist(), whole.tolist(), strict=True)]


def _times(intake: Intake, field: Field, values: NDArray[Any], where: str) -> Values:
    missing = np.isnat(values)
    if missing.any() and not (field.nullable or not field.required):
        raise _missing(field, missing, where)
    unit = "D" if field.type == "date" else "us"
    texts: list[str] = np.datetime_as_string(values.astype(f"datetime64[{unit}]"), unit=unit).tolist()
    end = "" if field.type == "date" else "Z"
    return [None if gone else text + end for gone, text in zip(missing.tolist(), texts, strict=True)]


def _texts(field: Field, values: NDArray[Any], intake: Intake, where: str) -> list[Any]:
    """Objects as JSON values: bytes are UTF-8 text, or base64 where the column holds bytes."""
    listed: list[Any] = values.tolist()
    if field.type == "binary":
        return [b64encode(value).decode() if isinstance(value, bytes) else value for value in listed]
    for at, value in enumerate(listed):
        if isinstance(value, bytes):
            try:
                listed[at] = value.decode()
            except UnicodeDecodeError:
                raise intake.explain(field, "got bytes that are not UTF-8", f"{where}[{at}]") from None
    return listed


def _missing(field: Field, missing: NDArray[Any], where: str) -> Invalid:
    return Invalid(
        f"column {field.name!r} is null, and no training row was", where=_at(missing, where), remedy="send a value"
    )


def _at(wrong: NDArray[Any], where: str) -> str:
    return where + "".join(f"[{int(i)}]" for i in np.argwhere(wrong)[0])
