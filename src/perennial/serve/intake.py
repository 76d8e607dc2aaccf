"""From what a client sent to checked rows of a signature: types, missing values, unknown columns, limits.

One `Intake` for each endpoint; every protocol goes through it, so that all refuse the same things with the same words.
An integer is a number, a number with a fraction is not an integer; NaN is null; null is accepted where training saw
missing values; unknown columns are refused, and so are absent ones and names that come twice.
"""

from __future__ import annotations

import datetime as dt
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, cast

import msgspec
from msgspec import Meta

from perennial.errors import Invalid
from perennial.models.signature import Field, Signature
from perennial.serve.asked import Asked, Values
from perennial.serve.protocols.json_values import strictly
from perennial.store.decoding import ready

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MAX_ROWS", "Intake"]

MAX_ROWS = 10_000  # RELIABILITY 9: rows per predict call; the setting max_predict_rows overrides it
MAX_TEXT = 1024 * 1024  # RELIABILITY 9: length of one string
_INT64 = Meta(ge=-(2**63), le=2**63 - 1)
_TYPES: dict[str, Any] = {
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
_PLAIN_NAME = re.compile(r'[^"\\\x00-\x1f\ud800-\udfff]+')
_QUOTED = frozenset({"string", "binary", "datetime", "date"})  # values that stand between quotes in JSON
_REMEDY = 'send {"records": [{...}]} or {"columns": {...}}'


class Intake:
    """Checks requests against one signature. Made once for each endpoint; safe for concurrent use.

    Attributes:
        signature: What the endpoint takes and answers.
        names: Columns of a request in the signature's order.
        required: The positions among them of the columns that a request must have.
    """

    def __init__(self, signature: Signature, *, max_rows: int = MAX_ROWS) -> None:
        fields = signature.inputs
        self.signature = signature
        self.names = tuple(field.name for field in fields)
        self.required = tuple(i for i, field in enumerate(fields) if field.required)
        self.max_rows = max_rows
        self._needed = frozenset(self.names[i] for i in self.required)
        self._fields = {field.name: field for field in fields}
        self._kinds = [_accepted(field) for field in fields]
        self._is_plain = all(field.type not in ("binary", "datetime", "date") for field in fields)
        self._quoted = [i for i, field in enumerate(fields) if field.type in _QUOTED]
        self._is_whole = len(self.required) == len(fields)
        self._optional = [i for i, field in enumerate(fields) if not field.required]
        self._nullable = [i for i in self._quoted if fields[i].nullable or not fields[i].required]  # texts
        rows: Any = Meta(min_length=1, max_length=max_rows)
        # A name that msgspec cannot have in JSON goes by another one, and by the slower way.
        self._aliases = {
            field.name: f"column {i}" for i, field in enumerate(fields) if not _PLAIN_NAME.fullmatch(field.name)
        }
        attributes = {f"f{i}": self._aliases.get(field.name, field.name) for i, field in enumerate(fields)}
        one: list[Any] = []
        many: list[Any] = []
        for attribute, field, kind in zip(attributes, fields, self._kinds, strict=True):
            column: Any = Annotated[list[kind], rows]
            one.append((attribute, kind) if field.required else (attribute, kind, None))
            many.append((attribute, column) if field.required else (attribute, column | None, None))
        options: dict[str, Any] = {"forbid_unknown_fields": True, "kw_only": True}
        self._record: Any = ready(msgspec.defstruct("Record", one, rename=attributes, gc=False, **options))
        self._records: Any = Annotated[list[self._record], rows]
        # The same as a list of values, which is checked as a whole where all columns are numbers.
        self._row: Any = ready(msgspec.defstruct("Row", one, array_like=True, gc=False, kw_only=True))
        self._is_numbers = all(field.type == "float64" and field.shape is None for field in fields)
        self._columns: Any = msgspec.defstruct("Columns", many, rename=attributes, **options)
        sent: Any = self._records
        if not self._is_whole:  # which of the columns that may be left out were sent
            known: list[Any] = [
                field if len(field) == 2 else (field[0], field[1] | msgspec.UnsetType, msgspec.UNSET) for field in one
            ]
            record: Any = msgspec.defstruct("Sent", known, rename=attributes, gc=False, **options)
            sent = Annotated[list[record], rows]
        body = msgspec.defstruct(
            "Body", [("records", sent | None, None), ("columns", self._columns | None, None)], **options
        )
        self._decode: Any = msgspec.json.Decoder(ready(body)).decode

    # JSON text

    def decode(self, body: bytes) -> Asked:
        """The rows of a body `{"records": [{...}]}` or `{"columns": {...}}`.

        Raises:
            Invalid: Not JSON, or not rows of this signature; `where` points at the value, as `records[3].education`.
        """
        if self._aliases:
            return self._decode_leniently(body)
        try:
            found = self._decode(body)
        except msgspec.ValidationError as error:
            raise self._explained(str(error)) from None
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return self._decode_leniently(body)
        records = found.records
        if (records is None) == (found.columns is None):
            raise Invalid('the body needs either "records" or "columns"', remedy=_REMEDY)
        # Names that come twice hide behind the last one. Each name and text has two quotes, so their number tells,
        # unless something unusual (an escape) is there as well: then it is looked for.
        if records is None:
            columns = msgspec.structs.astuple(found.columns)
            has_escapes = b"\\" in body
            if has_escapes or body.count(b'"') != self._quotes_of_columns(columns):
                strictly(body, _REMEDY)
            return self._of_struct(columns, has_escapes=has_escapes)
        rows = list(map(msgspec.structs.astuple, records))
        quotes = 2 + 2 * len(rows) * (len(self.names) + len(self._quoted))
        if body.count(b'"') != quotes - 2 * self._left_out(rows) or b"\\" in body:
            strictly(body, _REMEDY)
            if b"\\u" in body:
                self._refuse_half_letters(rows)
        if not self._is_whole:
            rows = [tuple([None if value is msgspec.UNSET else value for value in row]) for row in rows]
        return Asked(self.names, rows if self._is_plain else self._texts(rows))

    def _left_out(self, rows: list[tuple[Any, ...]]) -> int:
        """How many names and texts there are less than there could be."""
        count = 0
        for i in self._optional:
            count += sum([row[i] is msgspec.UNSET for row in rows])
        for i in self._nullable:
            count += sum([row[i] is None or row[i] is msgspec.UNSET for row in rows])
        return count

    def _quotes_of_columns(self, columns: tuple[Any, ...]) -> int:
        texts = sum(len(columns[i]) - columns[i].count(None) for i in self._quoted if columns[i] is not None)
        return 2 + 2 * (len(columns) - columns.count(None)) + 2 * texts

    def _decode_leniently(self, body: bytes) -> Asked:
        # Python clients write a bare NaN, which JSON does not have; only they pay for the slower parser.
        parsed = strictly(body, _REMEDY)
        if not isinstance(parsed, dict):
            raise Invalid("the body is no object", remedy=_REMEDY)
        given = cast("dict[str, object]", parsed)
        unknown = [name for name in given if name not in ("records", "columns")]
        if unknown:
            raise Invalid(f"unknown key {unknown[0]!r} in the body", remedy=_REMEDY)
        if (given.get("records") is None) == (given.get("columns") is None):
            raise Invalid('the body needs either "records" or "columns"', remedy=_REMEDY)
        if given.get("records") is not None:
            return self._converted(given["records"])
        if not isinstance(given["columns"], dict):
            raise Invalid("columns is no object", where="columns", remedy=_REMEDY)
        return self.of_columns(cast("dict[str, list[Any]]", given["columns"]))

    # values that are parsed already

    def of_records(self, records: Sequence[object], where: str = "records") -> Asked:
        """Rows given as mappings of JSON values; `where` is the name of the list in the errors."""
        return self._converted(records, where)

    def of_row(self, values: list[Any]) -> Asked | None:
        """One row of JSON values in the order of the columns, all of them there; None where something is wrong or
        unusual, which `of_records` explains or brings into form."""
        if self._is_numbers and set(map(type, values)) == {float}:
            total = sum(values)
            if total - total == 0.0:  # so each of them is finite
                return Asked(self.names, [tuple(values)])
        try:
            rows = [msgspec.structs.astuple(msgspec.convert(values, self._row))]
            self._refuse_infinite(rows, "")
            self._refuse_half_letters(rows, "")
        except (msgspec.ValidationError, UnicodeEncodeError, Invalid):
            return None
        return Asked(self.names, rows if self._is_plain else self._texts(rows))

    def of_named(self, names: tuple[str, ...], values: list[Any]) -> Asked | None:
        """As `of_row`, the columns in any order; those that are not required may be left out."""
        if names != self.names:
            row = dict(zip(names, values, strict=True))
            if len(row) != len(names) or not self._needed <= row.keys() <= self._fields.keys():
                return None
            values = [row.get(name) for name in self.names]
        return self.of_row(values)

    def _converted(self, records: object, where: str = "records") -> Asked:
        try:
            found = msgspec.convert(self._aliased(_without_nan(records), where), self._records)
        except msgspec.ValidationError as error:
            raise self._explained(str(error), where) from None
        except UnicodeEncodeError:
            raise _half(where) from None
        rows = list(map(msgspec.structs.astuple, found))
        self._refuse_infinite(rows, where)
        self._refuse_half_letters(rows, where)
        return Asked(self.names, rows if self._is_plain else self._texts(rows))

    def of_columns(self, columns: Mapping[str, Values], where: str = "columns") -> Asked:
        """Columns of JSON values or numpy arrays (numbers of any width, bool, str, bytes objects); `where` as above.

        Numbers of an array go to the column's type where nothing is lost (whole float64 to int64, any to float64).
        """
        for name in columns:
            if name not in self._fields:
                raise self._unknown(name, f"{where}.{name}")
        length: int | None = None
        checked: list[Values | None] = []
        for field in self.signature.inputs:
            values = columns.get(field.name)
            if values is None:
                if field.required:
                    raise self._missing(field.name, f"{where}.{field.name}")
                checked.append(None)
                continue
            here = f"{where}.{field.name}"
            if not hasattr(values, "dtype") and not isinstance(values, (list, tuple)):
                raise Invalid(f"column {field.name!r} is no list", where=here, remedy=_REMEDY)
            if length is None:
                length = len(values)
                self._check_rows(length, where)
            elif len(values) != length:
                raise Invalid(
                    f"column {field.name!r} has {len(values)} values, others have {length}",
                    where=here,
                    remedy="send as many values in each column",
                )
            checked.append(self._column(field, values, here))
        if length is None:
            raise Invalid("there is no column in it", where=where, remedy=f"send the columns {', '.join(self.names)}")
        return Asked(self.names, columns=[[None] * length if values is None else values for values in checked])

    def of_matrix(self, matrix: NDArray[Any] | Sequence[Sequence[Any]], where: str = "data") -> Asked:
        """Rows without names, shape (n, k): the columns are the signature's required inputs in its order."""
        fields = [self.signature.inputs[i] for i in self.required]
        self._check_rows(len(matrix), where)
        shape: tuple[int, ...] | None = getattr(matrix, "shape", None)
        if len(fields) == 1 and fields[0].shape is not None:
            return self.of_columns({fields[0].name: cast("Any", matrix)}, where)
        if shape is not None:
            if len(shape) != 2 or shape[1] != len(fields):
                raise self._wide(shape[1:], where)
            array = cast("NDArray[Any]", matrix)
            return self.of_columns({field.name: array[:, j] for j, field in enumerate(fields)}, where)
        for at, row in enumerate(matrix):
            if not isinstance(row, (list, tuple)) or len(row) != len(fields):
                raise self._wide([len(row)] if isinstance(row, (list, tuple)) else [], f"{where}[{at}]")
        return self.of_columns(
            dict(zip((f.name for f in fields), map(list, zip(*matrix, strict=True)), strict=True)), where
        )

    def _aliased(self, records: object, where: str) -> object:
        """Records by the names that msgspec can have."""
        if not self._aliases or not isinstance(records, list):
            return records
        made: list[object] = []
        for at, record in enumerate(cast("list[object]", records)):
            if not isinstance(record, dict):
                return cast("list[object]", records)
            named = cast("dict[str, object]", record)
            for name in named:
                if name not in self._fields:
                    raise self._unknown(name, f"{where}[{at}].{name}")
            made.append({self._aliases.get(name, name): value for name, value in named.items()})
        return made

    def explain(self, field: Field, reason: str, where: str) -> Invalid:
        """That a value of this column is not what it expects."""
        return Invalid(
            f"column {field.name!r} expects {_says(field)}: {reason}", where=where, remedy=f"send {_says(field)}"
        )

    # columns

    def _of_struct(self, columns: tuple[Any, ...], *, has_escapes: bool) -> Asked:
        """Columns whose values the JSON parser has checked, each by itself: what is left is what they are together."""
        found: dict[str, Sequence[Any]] = {
            name: values for name, values in zip(self.names, columns, strict=True) if values is not None
        }
        if has_escapes or not self._is_plain or len(set(map(len, found.values()))) != 1:
            return self.of_columns(found)
        height = len(next(iter(found.values())))
        return Asked(self.names, columns=[[None] * height if values is None else values for values in columns])

    def _column(self, field: Field, values: Values, where: str) -> Values:
        if hasattr(values, "dtype"):
            from perennial.serve.arrays import of_type  # numpy, which a request of plain JSON does not need

            return of_type(self, field, cast("NDArray[Any]", values), where)
        return self.of_list(field, cast("Sequence[Any]", values), where)

    def of_list(self, field: Field, values: Sequence[Any], where: str) -> list[Any]:
        """A column of JSON values, checked; `where` is its place in the errors."""
        kind = self._kinds[self.names.index(field.name)]
        try:
            found = msgspec.convert(_without_nan(list(values)), list[kind])
        except msgspec.ValidationError as error:
            reason, _, path = str(error).partition(" - at `$")
            raise self._wrong(field, reason, where + path.rstrip("`")) from None
        except UnicodeEncodeError:
            raise _half(where) from None
        if field.type == "float64":
            for at, value in enumerate(found):
                if value is not None and not _is_finite(value):
                    raise _infinite(f"{where}[{at}]")
        elif field.type == "string":
            for at, value in enumerate(found):
                if value is not None and _is_half(value):
                    raise _half(f"{where}[{at}]")
        elif field.type in ("binary", "datetime", "date"):
            found = msgspec.to_builtins(found)
        return found

    def _texts(self, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Times as ISO text, bytes as base64."""
        return [tuple(msgspec.to_builtins(row)) for row in rows]

    # what is wrong

    def _check_rows(self, rows: int, where: str) -> None:
        if not 1 <= rows <= self.max_rows:
            raise Invalid(
                f"a request holds 1 to {self.max_rows} rows, this one {rows}",
                where=where,
                remedy="split it" if rows else "send at least one row",
            )

    def _wide(self, shape: Sequence[int], where: str) -> Invalid:
        names = [self.names[i] for i in self.required]
        told = " x ".join(map(str, shape)) or "no list"
        return Invalid(
            f"a row has {len(names)} values here, not {told}", where=where, remedy=f"send {', '.join(names)} in order"
        )

    def _unknown(self, name: str, where: str) -> Invalid:
        known = ", ".join(self._fields)
        return Invalid(f"column {name!r} is unknown", where=where, remedy=f"send only the columns {known}")

    def _missing(self, name: str, where: str) -> Invalid:
        return Invalid(f"column {name!r} is missing", where=where, remedy=f"add {name!r}")

    def _wrong(self, field: Field, reason: str, where: str) -> Invalid:
        if reason.endswith("got `null`"):
            return Invalid(
                f"column {field.name!r} is null, and no training row was", where=where, remedy=f"send {_says(field)}"
            )
        return self.explain(field, f"{reason[0].lower()}{reason[1:]}", where)

    def _explained(self, says: str, root: str = "") -> Invalid:
        """msgspec's sentence in the words of the signature; `root`: the list's name where rows came without a body."""
        for name, alias in self._aliases.items():
            says = says.replace(alias, name)
        reason, _, path = says.partition(" - at `$")
        where = root + path.rstrip("`") if root else path.rstrip("`").lstrip(".")
        name = self._name_in(where, root or "records")
        if "unknown field" in reason or "missing required field" in reason:
            name = reason.split("`")[1]
            if not where:
                return Invalid(f"unknown key {name!r} in the body", remedy=_REMEDY)
            at = f"{where}.{name}"
            return self._missing(name, at) if "missing" in reason else self._unknown(name, at)
        if "length" in reason and "array" in reason and name is None:
            return Invalid(
                f"a request holds 1 to {self.max_rows} rows",
                where=where,
                remedy="split it" if ">" not in reason else "send at least one row",
            )
        if name is None:
            return Invalid(reason, where=where, remedy=_REMEDY)
        return self._wrong(self._fields[name], reason, where)

    def _name_in(self, where: str, root: str) -> str | None:
        found = re.fullmatch(
            rf"(?:{re.escape(root)}\[\d+\]\.(.*?)(?:\[\d+\])*|columns\.(.*?)(?:\[\d+\])*)", where, re.DOTALL
        )
        name = (found[1] or found[2]) if found else None
        return name if name in self._fields else None

    def _refuse_infinite(self, rows: list[tuple[Any, ...]], where: str) -> None:
        for at, row in enumerate(rows):
            for name, value in zip(self.names, row, strict=True):
                if isinstance(value, (float, list)) and not _is_finite(value):
                    raise _infinite(f"{where}[{at}].{name}")

    def _refuse_half_letters(self, rows: list[tuple[Any, ...]], where: str = "records") -> None:
        for at, row in enumerate(rows):
            for i in self._quoted:
                if isinstance(row[i], str) and _is_half(row[i]):
                    raise _half(f"{where}[{at}].{self.names[i]}")


def _accepted(field: Field) -> Any:
    kind: Any = _TYPES[field.type]
    for length in reversed(field.shape or []):
        kind = Annotated[list[kind], Meta(min_length=length, max_length=length)]
    return kind | None if field.nullable or not field.required else kind


def _says(field: Field) -> str:
    if field.shape is None:
        return _SAYS[field.type]
    return f"lists of numbers of the shape {' x '.join(map(str, field.shape))}"


def _infinite(where: str) -> Invalid:
    return Invalid("a number is out of range", where=where, remedy="send a finite number or null")


def _half(where: str) -> Invalid:
    return Invalid("a text holds half a surrogate pair", where=where, remedy="send valid Unicode")


def _is_finite(value: Any) -> bool:
    """Whether a number, or all numbers of a tensor, are finite."""
    if isinstance(value, list):
        return all(map(_is_finite, cast("list[Any]", value)))
    return not isinstance(value, float) or value - value == 0.0


def _is_half(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)


def _without_nan(value: object) -> object:
    """Python values to JSON values: NaN is null, bytes are base64."""
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in cast("dict[object, object]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in cast("list[object]", value)]
    return value
