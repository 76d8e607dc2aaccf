"""A CSV body as columns of a signature, read as pandas reads it for MLflow: a line of names, then one line a row.

What pandas takes for missing is missing here, except for a text that the model knows as a category. Reading stops at
the first row too many, so a body of a million short lines costs no more than one that is allowed.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from perennial.errors import Invalid
from perennial.models.signature import Field

__all__ = ["MISSING", "columns_of_csv"]

COLUMNS = 10_000
# Source: pandas.read_csv, `na_values`.
# fmt: off
MISSING = frozenset({
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
})
# fmt: on
_TRUE = frozenset({"True", "TRUE", "true"})
_FALSE = frozenset({"False", "FALSE", "false"})


def columns_of_csv(body: bytes, fields: Mapping[str, Field], *, max_rows: int) -> dict[str, list[Any]]:
    """Columns of JSON values by name; those that the signature does not have are left out, as MLflow does.

    Raises:
        Invalid: Not UTF-8, a name twice, a line with too many or too few values, or a value that is not of its type.
    """
    lines = _lines(body)
    names = next(lines, None)
    if names is None:
        raise Invalid("the body is empty", remedy="send a line of names, then the rows")
    if len(names) > COLUMNS:
        raise Invalid(f"there are over {COLUMNS} columns", where="csv", remedy="send the model's columns")
    for name in names:
        if name in fields and names.count(name) > 1:
            raise Invalid(f"the name {name!r} comes twice", where="csv", remedy="send it once")
    rows: list[list[str]] = []
    for line in lines:
        if not line:  # pandas skips empty lines
            continue
        if len(line) != len(names):
            raise Invalid(
                f"there are {len(line)} values for {len(names)} names",
                where=f"csv[{len(rows)}]",
                remedy="mend the line",
            )
        rows.append(line)
        if len(rows) > max_rows:
            raise Invalid(f"a request holds 1 to {max_rows} rows, this one more", where="csv", remedy="split it")
    found: dict[str, list[Any]] = {}
    is_strange = b"_" in body or not body.isascii()  # Python reads 1_000 and digits of other scripts as numbers
    for name, column in zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True):
        field = fields.get(name)
        if field is not None:
            quick = None if is_strange else _numbers(column, field)
            found[name] = quick or [_value(text, field, f"csv.{name}[{at}]") for at, text in enumerate(column)]
    return found


def _numbers(column: Sequence[str], field: Field) -> list[Any] | None:
    """A column of nothing but numbers; None where that is not what it is."""
    try:
        if field.type == "float64":
            return list(map(float, column))
        return list(map(int, column)) if field.type == "int64" else None
    except ValueError:
        return None


def _lines(body: bytes) -> Iterator[list[str]]:
    try:
        yield from csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
    except UnicodeDecodeError as error:
        raise Invalid(f"the body is not UTF-8: {error.reason}", remedy="send UTF-8") from None
    except csv.Error as error:
        raise Invalid(
            f"the body is not CSV: {error}", remedy="write it with pandas.DataFrame.to_csv(index=False)"
        ) from None


def _value(text: str, field: Field, where: str) -> Any:
    if text in MISSING and (field.categories is None or text not in field.categories):
        return None
    if field.type in ("string", "binary", "datetime", "date"):
        return text.replace(" ", "T", 1) if field.type == "datetime" else text
    word = text.strip()
    if field.type == "bool":
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
        raise _wrong(field, text, where, "true or false")
    try:
        if "_" in word or not word.isascii():
            raise ValueError
        return float(word) if field.type == "float64" else int(word)
    except ValueError:
        raise _wrong(field, text, where, "a number" if field.type == "float64" else "a whole number") from None


def _wrong(field: Field, text: str, where: str, says: str) -> Invalid:
    return Invalid(f"column {field.name!r} expects {says}: got {text[:50]!r}", where=where, remedy=f"send {says}")
