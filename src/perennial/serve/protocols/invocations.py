"""MLflow's scoring protocol, `POST /invocations`: every form that its own server takes, and answers as it gives them.

    application/json                 {"dataframe_split" | "dataframe_records" | "instances" | "inputs": ...}
    text/csv                         a line of names, then the rows
    application/vnd.apache.parquet   a file

Like MLflow, columns that the model does not take are left out, and those that may be missing may be absent. Unlike it,
numbers are never cut (3.7 is no 3), and what is missing in the answer is null, for NaN is no JSON. Which prediction it
was, which version answered and which guards fired is in headers, so that the body is MLflow's alone.

Source: `mlflow.pyfunc.scoring_server`, MLflow 3.17.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import msgspec

from perennial.errors import Invalid, NotFound
from perennial.serve.protocols.json_values import parse
from perennial.serve.protocols.protocol import TEXT, HttpRequest, Reply, Unsupported

if TYPE_CHECKING:
    from perennial.models.signature import Field
    from perennial.serve.answer import Answer
    from perennial.serve.asked import Asked
    from perennial.serve.intake import Intake

__all__ = ["SPOKEN", "Invocations", "deployed", "ping", "version"]

SPOKEN = b"3.17.2"  # the version of MLflow that this is held against
MANY = 64  # rows from which an array pays
UNPACKED_BYTES = 64 * 1024 * 1024  # what a Parquet file may come to; bodies have a limit of their own
_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_JSON, _CSV, _PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
_REMEDY = f"send an object with exactly one of {', '.join(_FORMS)}"
_CODES = {400: "BAD_REQUEST", 404: "RESOURCE_DOES_NOT_EXIST", 413: "BAD_REQUEST", 422: "BAD_REQUEST"}


class Invocations:
    """MLflow's `/invocations` (`WireFormat`)."""

    name = "mlflow"
    tells_rows = False

    def __init__(self, *, max_unpacked_bytes: int = UNPACKED_BYTES) -> None:
        self._limit = max_unpacked_bytes

    def decode(self, request: HttpRequest, intake: Intake) -> Asked:
        """The rows of a request; see `WireFormat`."""
        kind = _kind_of(request.headers.get(b"content-type", b"").decode("latin-1"))
        fields = {field.name: field for field in intake.signature.inputs}
        if kind == _CSV:
            from perennial.serve.protocols.csv_rows import columns_of_csv

            return _by_column(columns_of_csv(request.body, fields, max_rows=intake.max_rows), intake, "csv")
        if kind == _PARQUET:
            from perennial.serve.protocols.arrow_columns import columns_of
            from perennial.serve.protocols.parquet_pages import read_rows

            table = read_rows(request.body, intake.names, max_rows=intake.max_rows, max_bytes=self._limit)
            found = columns_of(table, intake.names, where="parquet", max_bytes=self._limit)
            return _by_column(found, intake, "parquet")
        try:
            return _of_json(request.body, intake)
        except UnicodeEncodeError:  # a time or bytes in base64, which are parsed as they are encoded again
            raise Invalid("a text holds half a surrogate pair", remedy="send valid Unicode") from None

    def encode(self, answer: Answer, request: HttpRequest, intake: Intake) -> Reply:
        """`{"predictions": [...]}`, one for each row; null where there is no answer."""
        if answer.status != 200:
            code = "USER_CODE_ERROR" if answer.status == 500 else "TEMPORARILY_UNAVAILABLE"
            return self.refuse(answer.status, code, answer.message, "", answer.id)
        headers = [
            (b"x-prediction-id", answer.id.encode()),
            (b"x-model-version", ",".join(map(str, sorted(set(answer.versions)))).encode()),
        ]
        fired = sorted({f"{flag.guard}:{flag.action}" for row in answer.flags or () for flag in row})
        if fired:
            headers.append((b"x-guards", ",".join(fired).encode("ascii", "replace")))
        return Reply(body=msgspec.json.encode({"predictions": answer.values}), headers=headers)

    def refuse(self, status: int, code: str, message: str, where: str, request_id: str) -> Reply:
        """`{"error_code", "message"}`; MLflow has no 422, and tells of a wrong content type in plain text."""
        if status == 415:
            return Reply(status=415, body=message.encode(), kind=TEXT)
        if code == "USER_CODE_ERROR":  # the model failed on every row: 400 from MLflow, so that no client asks again
            status, code = 400, "BAD_REQUEST"
        elif code == "INVALID_PARAMETER_VALUE" and not where:
            code = _CODES.get(status, code)
        told = {"error_code": code, "message": message, "request_id": request_id}
        return Reply(
            status=400 if status == 422 else status,
            body=msgspec.json.encode({**told, "where": where} if where else told),
        )


def ping() -> Reply:
    """`GET /ping`, of a service that is ready."""
    return Reply(body=b"\n")


def version() -> Reply:
    """`GET /version`: of MLflow, as its clients ask for it."""
    return Reply(body=SPOKEN, kind=TEXT)


def deployed(names: Sequence[str], name: str = "") -> Reply:
    """`GET /api/2.0/endpoints/` and `GET /api/2.0/endpoints/NAME`: what MLflow's deployment client lists.

    Raises:
        NotFound: There is no endpoint of this name.
    """
    told = [
        {
            "name": one,
            "endpoint_type": "predictions",
            "model": {"name": one, "provider": "perennial"},
            "endpoint_url": f"/endpoints/{quote(one, safe='')}/invocations",
            "limit": None,
        }
        for one in names
    ]
    if not name:
        return Reply(body=msgspec.json.encode({"endpoints": told}))
    found = next((one for one in told if one["name"] == name), None)
    if found is None:
        raise NotFound(f"there is no endpoint {name!r}", remedy=f"there are {', '.join(names) or 'none yet'}")
    return Reply(body=msgspec.json.encode(found))


def _kind_of(content_type: str) -> str:
    """Which of the three types it is.

    Raises:
        Unsupported: Another type, another charset than UTF-8, or another parameter than the charset.
    """
    kind, *pairs = (part.strip() for part in content_type.split(";"))
    parameters = {
        name.strip().lower(): value.strip().strip('"') for name, _, value in (p.partition("=") for p in pairs)
    }
    if parameters.get("charset", "utf-8").lower() != "utf-8":
        raise Unsupported("The scoring server only supports UTF-8")
    unknown = [name for name in parameters if name != "charset"]
    if unknown:
        raise Unsupported(f"Unrecognized content type parameters: {', '.join(unknown)[:200]}")
    kind = kind.lower()
    if kind not in (_JSON, _CSV, _PARQUET):
        raise Unsupported(
            f"This predictor only supports the content types {_CSV}, {_JSON}, {_PARQUET}. Got {content_type[:200]!r}."
        )
    return kind


def _of_json(body: bytes, intake: Intake) -> Asked:
    value = parse(body, _REMEDY)
    if not isinstance(value, dict):
        raise Invalid(f"the body is a JSON {_says(value)}, not an object", remedy=_REMEDY)
    given = cast("dict[str, Any]", value)
    forms = [name for name in _FORMS if name in given]
    if len(forms) != 1:
        found = ", ".join(forms) if forms else ", ".join(map(str, list(given)[:10])) or "nothing"
        raise Invalid(f"exactly one of {', '.join(_FORMS)} is needed, found {found}"[:500], remedy=_REMEDY)
    if not isinstance(given.get("params"), dict | None):
        raise Invalid("params is no object", where="params", remedy="send an object, or leave it out")
    form = forms[0]
    rows = given[form]
    if form == "dataframe_split":
        return _of_split(rows, intake)
    if form == "dataframe_records" or (_is_list(rows) and rows and isinstance(rows[0], dict)):
        if not _is_list(rows):
            raise Invalid(f"{form} is a JSON {_says(rows)}, not a list", where=form, remedy="send a list of objects")
        return _of_records(rows, intake, form)
    if isinstance(rows, dict):
        return _by_column(_known(cast("dict[str, Any]", rows), intake), intake, form)
    if not _is_list(rows):
        raise Invalid(f"{form} is a JSON {_says(rows)}, not a list", where=form, remedy="send one value for each row")
    required = [intake.names[i] for i in intake.required]
    if len(required) == 1 and not (rows and _is_list(rows[0])):
        return _by_column({required[0]: rows}, intake, form)
    return intake.of_matrix(rows, form)


def _of_split(rows: Any, intake: Intake) -> Asked:
    where = "dataframe_split"
    if not isinstance(rows, dict):
        raise Invalid(f"{where} is a JSON {_says(rows)}, not an object", where=where, remedy="send columns and data")
    given = cast("dict[str, Any]", rows)
    unknown = [name for name in given if name not in ("columns", "data", "index")]
    if unknown or not _is_list(given.get("data")):
        what = f"an unknown key {unknown[0]!r}" if unknown else "no list of data"
        raise Invalid(f"{where} has {what}", where=where, remedy='send {"columns": [...], "data": [[...], ...]}')
    data = cast("list[Any]", given["data"])
    if given.get("columns") is None:
        return intake.of_matrix(data, f"{where}.data")
    names = given["columns"]
    if not _is_list(names) or not all(isinstance(name, str) for name in names):
        raise Invalid("the columns are not a list of names", where=f"{where}.columns", remedy="send a list of texts")
    if len(set(names)) != len(names):
        raise Invalid("a name comes twice", where=f"{where}.columns", remedy="send each column once")
    if len(data) > intake.max_rows:
        raise Invalid(
            f"a request holds 1 to {intake.max_rows} rows, this one {len(data)}", where=where, remedy="split it"
        )
    width = len(names)
    for at, row in enumerate(data):
        if not _is_list(row) or len(row) != width:
            told = f"{len(row)} values" if _is_list(row) else f"a JSON {_says(row)}"
            raise Invalid(f"there is {told} for {width} columns", where=f"{where}.data[{at}]", remedy="mend the row")
    columns = zip(*data, strict=True) if data else ([] for _ in names)
    return _by_column(_known(dict(zip(names, map(list, columns), strict=True)), intake), intake, where)


def _of_records(rows: Sequence[Any], intake: Intake, where: str) -> Asked:
    """Rows as objects; a column that may be missing may be absent, and unknown ones are left out."""
    if len(rows) > intake.max_rows:
        raise Invalid(
            f"a request holds 1 to {intake.max_rows} rows, this one {len(rows)}", where=where, remedy="split it"
        )
    names = set(intake.names)
    absent = dict.fromkeys(field.name for field in intake.signature.inputs if field.required and field.nullable)
    whole = [field for field in intake.signature.inputs if field.type == "int64" and field.shape is None]
    ready: list[object] = []
    for row in rows:
        if isinstance(row, dict):
            told = cast("dict[str, Any]", row)
            if absent or not told.keys() <= names:
                told = {**absent, **{name: value for name, value in told.items() if name in names}}
            for field in whole:
                value = told.get(field.name)
                if isinstance(value, float) and value.is_integer():
                    told = {**told, field.name: int(value)}
            row = told
        ready.append(row)
    return intake.of_records(ready, where)


def _by_column(columns: Mapping[str, Any], intake: Intake, where: str) -> Asked:
    """Columns that may be missing may be absent: they are null then."""
    found = dict(columns)
    lengths = [len(values) for values in found.values() if hasattr(values, "__len__") and not isinstance(values, str)]
    for field in intake.signature.inputs:
        if field.required and field.nullable and field.name not in found and lengths:
            found[field.name] = [None] * min(lengths[0], intake.max_rows)
        elif isinstance(found.get(field.name), list):
            found[field.name] = _numbers(found[field.name], field)
    return intake.of_columns(found, where)


def _numbers(values: list[Any], field: Field) -> Any:
    """Numbers as pandas would have them: 3.0 is 3 where a whole number is wanted, since pandas makes floats of integers
    beside which something is missing. A long column becomes an array, which is checked as a whole.
    """
    if field.type not in ("float64", "int64") or field.shape is not None:
        return values
    kinds = set(map(type, values))
    if len(values) >= MANY and kinds <= {float, int, type(None)}:
        import numpy as np

        try:
            if kinds == {int}:
                return np.array(values, np.int64 if field.type == "int64" else np.float64)
            if field.type == "float64" or int not in kinds:
                return np.array(values, np.float64)  # None is NaN there
        except OverflowError:
            return values  # the intake says which
    if field.type == "int64" and float in kinds:
        return [int(value) if isinstance(value, float) and value.is_integer() else value for value in values]
    return values


def _known(columns: Mapping[str, Any], intake: Intake) -> dict[str, Any]:
    return {name: values for name, values in columns.items() if name in intake.names}


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _says(value: object) -> str:
    kinds: dict[type, str] = {dict: "object", list: "list", str: "text", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), "number")
