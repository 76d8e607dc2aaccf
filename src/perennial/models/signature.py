"""What a model takes and what it answers, and the check of a request against it.

`inputs` are the columns of a request (before the features), `columns` what the model itself is given (after them).
Checking a request needs neither a data frame library nor numpy: the HTTP parent, which must stay small and must not
import user code, refuses bad input here; the worker turns accepted records into a frame (`models.rows`).
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta, Struct

from perennial.errors import Invalid
from perennial.types import JSON

if TYPE_CHECKING:
    import polars as pl

__all__ = ["ColumnType", "Field", "Records", "Requests", "Signature", "Task"]

ColumnType = Literal["float64", "int64", "bool", "string", "binary", "datetime", "date"]
Task = Literal["regression", "classification"]
Records = list[dict[str, JSON]]

MAX_ROWS = 10_000  # RELIABILITY 9: rows per predict call; the setting max_predict_rows overrides it
MAX_TEXT = 1024 * 1024  # RELIABILITY 9: length of one string
_INT64 = Meta(ge=-(2**63), le=2**63 - 1)
_PYTHON_TYPES: dict[str, Any] = {
    "float64": float,
    "int64": Annotated[int, _INT64],
    "bool": bool,
    "string": Annotated[str, Meta(max_length=MAX_TEXT)],
    "binary": bytes,
    "datetime": dt.datetime,
    "date": dt.date,
}
_SAYS = {
    "float64": "a number",
    "int64": "a whole number",
    "bool": "true or false",
    "string": "text",
    "binary": "bytes in base64",
    "datetime": "a time such as 2024-05-01T12:30:00Z",
    "date": "a date such as 2024-05-01",
}


class Field(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One column.

    `nullable`: missing values occurred in training. `categories`: the texts seen in training. `shape`: each value is a
    tensor of this shape, in JSON as nested lists. `unit`: what it is measured in, for people.
    """

    name: str
    type: ColumnType
    required: bool = True
    nullable: bool = False
    categories: list[str] | None = None
    shape: list[int] | None = None
    unit: str | None = None


class Signature(Struct, frozen=True, kw_only=True):
    """What a model takes and answers.

    Attributes:
        inputs: Columns of a request. A column with `required=False` may be sent (it finds the row, or routes it) but
            is never seen by features or model.
        columns: Columns of the model, in its order.
        output: The answer. Its name is the target's.
        task: What kind of answer.
        classes: The labels of a classifier, in the order of its probabilities.
        positive: The class that binary metrics are about.
        key: Column that names the entity, if any.
        time: Column that tells when the row was true, if any.
        frame: Library of the frame that the features are given.
        model_frame: Library of the frame that the model is given.
    """

    inputs: list[Field]
    columns: list[Field]
    output: Field
    task: Task
    classes: list[str | int | float | bool] | None = None
    positive: str | int | float | bool | None = None
    key: str | None = None
    time: str | None = None
    frame: Literal["polars", "pandas", "pyarrow"] = "polars"
    model_frame: Literal["polars", "pandas"] = "polars"

    def parse(self, records_or_columns: object, *, max_rows: int = MAX_ROWS) -> pl.DataFrame:
        """The request as a polars frame of exactly the input types; see `Requests` for what is refused."""
        from perennial.models.rows import to_frame  # the check alone must not import polars

        return to_frame(self, Requests(self, max_rows=max_rows).convert(records_or_columns))


class Requests:
    """Checks requests against one signature. Made once per model version; safe for concurrent use.

    A request is `{"records": [{...}, ...]}` or `{"columns": {"name": [...], ...}}`. An integer is a number, a number
    with a fraction is not an integer; NaN is null; null is accepted where training saw missing values; unknown columns
    are refused, and so are absent ones. Accepted rows come back as JSON values, times as ISO text, bytes as base64.
    """

    def __init__(self, signature: Signature, *, max_rows: int = MAX_ROWS) -> None:
        self._fields = {field.name: field for field in signature.inputs}
        self._max_rows = max_rows
        rows: Any = Meta(min_length=1, max_length=max_rows)
        names = {f"f{i}": field.name for i, field in enumerate(signature.inputs)}
        one: list[Any] = []
        many: list[Any] = []
        for attribute, field in zip(names, signature.inputs, strict=True):
            kind = _python_type(field)
            kind = kind | None if field.nullable or not field.required else kind
            column: Any = Annotated[list[kind], rows]
            one.append((attribute, kind) if field.required else (attribute, kind, None))
            many.append((attribute, column) if field.required else (attribute, column | None, None))
        options: dict[str, Any] = {"forbid_unknown_fields": True, "omit_defaults": True, "kw_only": True}
        record = msgspec.defstruct("Record", one, rename=names, **options)
        self._columns = msgspec.defstruct("Columns", many, rename=names, **options)
        self._records: Any = Annotated[list[record], rows]
        body = msgspec.defstruct(
            "Body", [("records", self._records | None, None), ("columns", self._columns | None, None)], **options
        )
        self._decoder: Any = msgspec.json.Decoder(body)

    def decode(self, body: bytes) -> Records:
        """The rows of a request body.

        Raises:
            Invalid: Not JSON, or not rows of this signature; `where` points at the value, as `records[3].education`.
        """
        try:
            return self._rows(self._decoder.decode(body))
        except msgspec.ValidationError as error:
            raise self._explained(str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            return self._decode_leniently(body)

    def convert(self, records_or_columns: object) -> Records:
        """The same check for values that are already parsed: a list of records, or a mapping of columns."""
        is_list = isinstance(records_or_columns, list)
        body = {"records" if is_list else "columns": _without_nan(records_or_columns)}
        return self._convert(body)

    def _convert(self, body: object) -> Records:
        try:
            return self._rows(msgspec.convert(body, self._decoder.type))
        except msgspec.ValidationError as error:
            raise self._explained(str(error)) from None

    def _decode_leniently(self, body: bytes) -> Records:
        # Python clients write a bare NaN, which JSON does not have; only they pay for the slower parser.
        try:
            parsed = json.loads(body.decode(), parse_constant=_constant)
        except (ValueError, RecursionError) as error:
            raise Invalid(f"the body is not JSON: {error}", remedy='send {"records": [{...}]}') from None
        return self._convert(parsed)

    def _rows(self, body: Any) -> Records:
        if (body.records is None) == (body.columns is None):
            raise Invalid('the body needs either "records" or "columns"', remedy='send {"records": [{...}]}')
        if body.records is not None:
            return cast(Records, msgspec.to_builtins(body.records))
        columns = cast(dict[str, list[JSON]], msgspec.to_builtins(body.columns))
        length = max((len(values) for values in columns.values()), default=0)
        for name, values in columns.items():
            if len(values) != length:
                raise Invalid(
                    f"column {name!r} has {len(values)} values, others have {length}",
                    where=f"columns.{name}",
                    remedy="send as many values in each column",
                )
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def _explained(self, says: str) -> Invalid:
        """msgspec's sentence in the words of the signature."""
        reason, _, path = says.partition(" - at `$")
        where = path.rstrip("`").lstrip(".")
        name = self._name_in(where)
        if "unknown field" in reason or "missing required field" in reason:
            name = reason.split("`")[1]
            if not where:
                return Invalid(f"unknown key {name!r} in the body", remedy='send {"records": [{...}]}')
            known = ", ".join(self._fields)
            missing = "missing" in reason
            return Invalid(
                f"column {name!r} is {'missing' if missing else 'unknown'}",
                where=f"{where}.{name}",
                remedy=f"add {name!r}" if missing else f"send only the columns {known}",
            )
        if "length" in reason and "array" in reason:
            return Invalid(
                f"a request holds 1 to {self._max_rows} rows",
                where=where,
                remedy="split it" if ">" not in reason else "send at least one row",
            )
        if name is None:
            return Invalid(reason, where=where, remedy='send {"records": [{...}]} or {"columns": {...}}')
        field = self._fields[name]
        if reason.endswith("got `null`"):
            return Invalid(
                f"column {name!r} is null, and no training row was", where=where, remedy=f"send {_says(field)}"
            )
        return Invalid(
            f"column {name!r} expects {_says(field)}: {reason[0].lower()}{reason[1:]}",
            where=where,
            remedy=f"send {_says(field)}",
        )

    def _name_in(self, where: str) -> str | None:
        found = re.fullmatch(r"(?:records\[\d+\]\.(.*)|columns\.(.*?)(?:\[\d+\])?)", where, re.DOTALL)
        name = (found[1] or found[2]) if found else None
        return name if name in self._fields else None


def _python_type(field: Field) -> Any:
    kind = _PYTHON_TYPES[field.type]
    for length in reversed(field.shape or []):
        kind = Annotated[list[kind], Meta(min_length=length, max_length=length)]
    return kind


def _says(field: Field) -> str:
    if field.shape is None:
        return _SAYS[field.type]
    return f"lists of numbers of the shape {' x '.join(map(str, field.shape))}"


def _constant(word: str) -> None:
    if word != "NaN":
        raise ValueError(f"{word} is not a JSON number")


def _without_nan(value: object) -> object:
    """Python values to JSON values: NaN is null, bytes are base64."""
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in cast(dict[object, object], value).items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in cast(list[object], value)]
    return value
