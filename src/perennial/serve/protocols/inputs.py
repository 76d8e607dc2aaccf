"""Tensors to the columns of a signature, for HTTP and gRPC alike.

A request is one tensor for each column, of shape [n] or [n, 1] (or [n, *shape] where the column holds tensors), or ONE
tensor of shape [n, k] under any name that is no column's: the required columns in the signature's order. A model with
one required column takes its tensor under any name as well.

`parameters.content_type` is MLServer's: `np` and `pd` say nothing that the signature does not know; `str` and
`datetime` are BYTES of text, `base64` BYTES of base64. Without it BYTES are UTF-8 text, and for a column of bytes they
are raw bytes in binary form and base64 in JSON.

Missing values are null in JSON, NaN in floats (also for a column of whole numbers); raw integers, BOOL and BYTES have
none: leave the column out if it is not required, or send it as floats or JSON.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np

from perennial.errors import Invalid
from perennial.models.signature import Field
from perennial.serve.protocols.tensors import DATATYPES, Flat, from_json, from_raw, size_of

if TYPE_CHECKING:
    from perennial.serve.asked import Asked, Values
    from perennial.serve.intake import Intake

__all__ = ["CONTENT_TYPES", "Tensor", "asked_of"]

CONTENT_TYPES = ("np", "pd", "str", "base64", "datetime")
FEW_ROWS = 8  # rows; below it records pass the checks more quickly than columns (measured with 64 columns)


class Tensor(msgspec.Struct, kw_only=True, gc=False):
    """One input as it came: either `data` (elements checked as `datatype`, or nested lists) or `raw` is there."""

    name: str
    datatype: str
    shape: Sequence[int]
    data: list[Any] | None = None
    raw: bytes | memoryview | None = None
    content_type: str | None = None


class _Place(msgspec.Struct, frozen=True):
    """Where the values of a column lie in a tensor's data: every one, or each `width`-th from `first` on."""

    where: str
    first: int = 0
    width: int = 1

    def at(self, row: int) -> str:
        return f"{self.where}.data[{row * self.width + self.first}]"


def asked_of(tensors: Sequence[Tensor], intake: Intake) -> Asked:
    """The checked rows that these tensors hold.

    Raises:
        Invalid: `where` points at a tensor's part, as `inputs[2].data[3]`.
    """
    fields: dict[str, Field] = dict(zip(intake.names, intake.signature.inputs, strict=True))
    if len(tensors) == 1 and tensors[0].name not in fields:
        return _nameless(tensors[0], intake, fields)
    columns: dict[str, Values] = {}
    height = 0
    for at, tensor in enumerate(tensors):
        field = fields.get(tensor.name)
        where = f"inputs[{at}]"
        if field is None:
            raise Invalid(
                f"column {tensor.name!r} is unknown",
                where=f"{where}.name",
                remedy=f"send only the columns {', '.join(intake.names)}",
            )
        if tensor.name in columns:
            raise Invalid(f"column {tensor.name!r} comes twice", where=f"{where}.name", remedy="send it once")
        height = height or _rows(tensor.shape, intake, where)
        if not tensor.shape or tensor.shape[0] != height:
            raise Invalid(
                f"column {tensor.name!r} has {tensor.shape[0] if tensor.shape else 0} rows, others have {height}",
                where=f"{where}.shape",
                remedy="send as many rows in each tensor",
            )
        columns[tensor.name] = _column(tensor, field, where)
    return _checked(columns, height, intake)


def _nameless(tensor: Tensor, intake: Intake, fields: Mapping[str, Field]) -> Asked:
    where = "inputs[0]"
    needed = [fields[intake.names[i]] for i in intake.required]
    rows = _rows(tensor.shape, intake, where)
    if len(needed) == 1:
        name = needed[0].name
        return _checked({name: _column(tensor, needed[0], where)}, rows, intake)
    if len(tensor.shape) != 2:
        raise Invalid(
            f"column {tensor.name!r} is unknown",
            where=f"{where}.name",
            remedy=f"send the columns {', '.join(intake.names)}, or all in order as one tensor [n, {len(needed)}]",
        )
    width = tensor.shape[1]
    if width != len(needed) or any(field.shape is not None for field in needed):
        raise Invalid(
            f"a row has {len(needed)} values here, not {width}"
            if width != len(needed)
            else "a column holds tensors, so the columns do not fit into one",
            where=f"{where}.shape",
            remedy=f"send {', '.join(field.name for field in needed)} in order, or a tensor for each",
        )
    values = _values(tensor, where)
    if not isinstance(values, list) and rows <= FEW_ROWS:
        values = cast("list[Any]", values.tolist())
    columns: dict[str, Values] = {}
    for j, field in enumerate(needed):
        columns[field.name] = _typed(tensor, field, values[j::width], _Place(where, j, width))
    return _checked(columns, rows, intake, is_matrix=True)


def _rows(shape: Sequence[int], intake: Intake, where: str) -> int:
    # Before any element is read: a text costs a step for each of them.
    size_of(shape, where)
    if shape[0] > intake.max_rows:
        raise Invalid(
            f"a request holds 1 to {intake.max_rows} rows, this one {shape[0]}",
            where=f"{where}.shape[0]",
            remedy="split it",
        )
    return shape[0]


def _column(tensor: Tensor, field: Field, where: str) -> Values:
    inner = list(tensor.shape[1:])
    if inner != (field.shape or []) and not (inner == [1] and field.shape is None):
        told = ", ".join(["n", *map(str, field.shape or [])])
        raise Invalid(
            f"column {field.name!r} has the shape [{told}]{'' if field.shape else ' or [n, 1]'},"
            f" this tensor {list(tensor.shape)}",
            where=f"{where}.shape",
            remedy="send one value for each row" if field.shape is None else "send one such tensor for each row",
        )
    values = _values(tensor, where)
    if field.shape is not None:
        # Through the datatype that was checked: without it text or true would become numbers here.
        kind = DATATYPES[tensor.datatype].dtype
        if kind is None or tensor.datatype == "BOOL":
            raise Invalid(
                f"column {field.name!r} holds numbers", where=f"{where}.datatype", remedy="send a datatype of numbers"
            )
        return _array(values, field, where).reshape(tuple(tensor.shape))
    return _typed(tensor, field, values, _Place(where))


def _array(values: Flat, field: Field, where: str) -> Any:
    if isinstance(values, list) and None in values:
        raise Invalid(
            f"column {field.name!r} holds tensors, in which nothing is missing",
            where=f"{where}.data[{values.index(None)}]",
            remedy="send a number",
        )
    array = np.asarray(values)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise Invalid(
            "a number is out of range, or missing",
            where=f"{where}.data[{int(np.argmin(np.isfinite(array)))}]",
            remedy="send a finite number",
        )
    return array


def _values(tensor: Tensor, where: str) -> Flat:
    datatype = DATATYPES.get(tensor.datatype)
    if datatype is None:
        raise Invalid(
            f"there is no datatype {tensor.datatype!r}",
            where=f"{where}.datatype",
            remedy=f"send one of {', '.join(DATATYPES)}",
        )
    if tensor.raw is not None:
        return from_raw(datatype, tensor.raw, tensor.shape, where)
    if tensor.data is None:
        raise Invalid("there are no data", where=f"{where}.data", remedy="send data, or binary_data_size and raw bytes")
    return from_json(datatype, tensor.data, tensor.shape, where)


def _typed(tensor: Tensor, field: Field, values: Flat, place: _Place) -> Values:
    """Elements as JSON values of the column: BYTES become text."""
    content = tensor.content_type
    if content is None and tensor.datatype != "BYTES":
        return values
    if content is not None:
        _check_content(tensor, field, content, place)
        if tensor.datatype != "BYTES":
            return values
    if field.type == "binary" and content != "base64":
        return [b64encode(value).decode() if isinstance(value, bytes) else value for value in values]
    texts: list[Any] = list(values)
    for at, value in enumerate(texts):
        if isinstance(value, bytes):
            try:
                texts[at] = value.decode()
            except UnicodeDecodeError:
                raise Invalid(
                    f"column {field.name!r} holds text, these bytes are not UTF-8",
                    where=place.at(at),
                    remedy="send UTF-8",
                ) from None
    return texts


def _check_content(tensor: Tensor, field: Field, content: str, place: _Place) -> None:
    where = f"{place.where}.parameters.content_type"
    if content not in CONTENT_TYPES:
        raise Invalid(
            f"the content type {content!r} is not known here",
            where=where,
            remedy=f"send one of {', '.join(CONTENT_TYPES)}, or none",
        )
    if content in ("np", "pd"):
        return
    if tensor.datatype != "BYTES":
        raise Invalid(f"{content} is for BYTES, not for {tensor.datatype}", where=where, remedy="send BYTES")
    fits = {"str": ("string",), "base64": ("binary",), "datetime": ("datetime", "date")}[content]
    if field.type not in fits:
        raise Invalid(f"column {field.name!r} holds {field.type}, not {content}", where=where, remedy="leave it out")


_INDICES = re.compile(r"(?:\[\d+\])*")
_ROW = re.compile(r"inputs\[(\d+)\]\.")


def _checked(columns: Mapping[str, Values], rows: int, intake: Intake, *, is_matrix: bool = False) -> Asked:
    """Through the checks of all protocols, what they find told as a place in the tensors."""
    try:
        if rows > FEW_ROWS:
            return intake.of_columns(columns, "inputs")
        listed = [values if isinstance(values, list) else np.asarray(values).tolist() for values in columns.values()]
        return intake.of_records([dict(zip(columns, row, strict=True)) for row in zip(*listed, strict=True)], "inputs")
    except Invalid as error:
        where = _place(error.where, list(columns), is_matrix=is_matrix)
        raise Invalid(error.what, where=where, remedy=error.remedy) from None


def _place(where: str, names: Sequence[str], *, is_matrix: bool) -> str:
    """`inputs[3].age` or `inputs.age[3]` as `inputs[0].data[3]`; in a matrix as `inputs[0].data[3][0]`."""
    of_row = _ROW.match(where)
    rest = where[of_row.end() :] if of_row else where.removeprefix("inputs.")
    for at, name in enumerate(names):
        if rest.startswith(name) and (end := _INDICES.fullmatch(rest, len(name))):
            indices = (f"[{of_row[1]}]" if of_row else "") + end[0]
            return f"inputs[0].data{indices}[{at}]" if is_matrix and indices else f"inputs[{at}].data{indices}"
    return "inputs"
