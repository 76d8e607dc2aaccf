"""One line for each call of MLflow's REST surface, and how a request becomes the arguments that the line declares.

Names are accepted as snake_case and as camelCase, null counts as absent, whole numbers may come as texts, repeated
arguments of a GET are lists: what protocol buffers' JSON allows. A field without a default is required.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from perennial.api.auth import Caller
from perennial.api.operations import Permission
from perennial.api.signatures import depth_exceeds
from perennial.errors import Invalid
from perennial.store.decoding import ready
from perennial.tracking.names import is_unicode
from perennial.workspace import Services

__all__ = [
    "MAX_DEPTH",
    "MS",
    "PREFIX",
    "PREFIX_3",
    "Endpoint",
    "Pair",
    "decode",
    "json_object",
    "lean",
    "milliseconds",
    "pairs",
    "read_query",
]

PREFIX, PREFIX_3 = "/api/2.0/mlflow/", "/api/3.0/mlflow/"
MAX_BODY = 1 << 20
MAX_DEPTH = 64
MS = 1000  # MLflow counts milliseconds, we count microseconds
_INT64 = 2**63


class Endpoint(NamedTuple):
    """One call. `path` is in full, with {names} of its variable parts, which become fields of the request.

    `answer` runs on a thread of its own and gives something that JSON can carry.
    """

    method: str
    path: str
    permission: Permission
    request: type[msgspec.Struct]
    answer: Callable[[Services, Any, Caller], Any]
    says: str
    max_body: int = MAX_BODY


class Pair(msgspec.Struct, frozen=True):
    """A tag or parameter on the wire."""

    key: str = ""
    value: str = ""


def decode(request: type[msgspec.Struct], given: Mapping[str, Any]) -> Any:
    """The request's struct out of plain values.

    Raises:
        Invalid: A required field is missing, a value has the wrong type, or a field comes in both spellings.
    """
    named = _snake(given)
    for field in msgspec.structs.fields(request):
        if field.required and named.get(field.encode_name) in (None, "", []):
            raise Invalid(
                f"Missing value for required parameter '{field.encode_name}'. "
                "See the API docs for more information about request parameters.",
            )
    try:
        return msgspec.convert(named, ready(request), strict=False)
    except msgspec.ValidationError as error:
        says, _, path = str(error).partition(" - at ")
        where = path.strip("`").removeprefix("$.") or "the request"
        value = named.get(re.split(r"[.\[]", where)[0])
        raise Invalid(f"Invalid value {_shown(value)} for parameter '{where}' supplied: {says}") from error


def json_object(body: bytes, content_type: str) -> dict[str, Any]:
    """The arguments of a request with a body. What is no JSON object counts as empty: MLflow's own way.

    Raises:
        Invalid: The body is not declared to be JSON, or is nested too deeply.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Invalid(f"Bad Request. Content-Type must be application/json, it is {kind or 'missing'}")
    if depth_exceeds(body, MAX_DEPTH):
        raise Invalid(f"the JSON is nested deeper than {MAX_DEPTH} levels")
    try:
        found = json.loads(body.decode(), parse_int=_bounded) if body else {}  # unlike msgspec it takes a bare NaN
    except (ValueError, RecursionError):
        found = {}
    return found if isinstance(found, dict) else {}


def lean(answer: Any) -> Any:
    """Without what is missing or an empty list, which MLflow leaves out."""
    if isinstance(answer, dict):
        return {
            name: lean(value) if isinstance(value, dict | list) else value
            for name, value in answer.items()
            if value is not None and value != []
        }
    if isinstance(answer, list):
        return [lean(item) for item in answer] if answer and isinstance(answer[0], dict) else answer
    return answer


def _bounded(text: str) -> int:
    if len(text) > 20:  # more digits than any number of 64 bits
        raise ValueError("a number is too long")
    return int(text)


def read_query(query: bytes, request: type[msgspec.Struct]) -> dict[str, Any]:
    """The arguments of a GET; those that the request declares as lists may be repeated."""
    lists = {field.encode_name for field in msgspec.structs.fields(request) if _is_list(field.type)}
    found: dict[str, Any] = {}
    try:
        given = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=2_000, errors="strict")
    except (ValueError, UnicodeDecodeError) as error:
        raise Invalid(f"the query of the address cannot be read: {error}") from error
    for name, value in given:
        plain = _snaked(name)
        if plain in lists:
            found.setdefault(name, []).append(value)
        else:
            found[name] = value
    return found


def milliseconds(value: int | None) -> int | None:
    """Microseconds as the wire tells them."""
    return None if value is None else value // MS


def pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags or parameters as the wire tells them."""
    return [{"key": key, "value": value} for key, value in values.items()]


def _snake(given: Mapping[str, Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for name, value in given.items():
        plain = _snaked(name)
        if plain != name and plain in given:
            raise Invalid(f"the field '{plain}' is given twice, also as '{name}'")
        _check_text(name, name)
        value = _snaked_values(value, name)
        if value is not None:
            named[plain] = value
    return named


def _snaked_values(value: Any, name: str) -> Any:
    if isinstance(value, str):
        _check_text(value, name)
    elif isinstance(value, dict):
        return _snake(value)
    elif isinstance(value, list):
        return [_snaked_values(item, name) for item in value]
    return value


def _check_text(text: str, name: str) -> None:
    """Here once for whatever comes in: what no database keeps, none can be searched for either."""
    if not ("\0" not in text and (text.isascii() or is_unicode(text))):
        raise Invalid(
            f"Invalid value for parameter {name!a} supplied: it holds a NUL or half a character",
            remedy="send Unicode without them",
        )


@lru_cache(maxsize=1024)
def _snaked(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda found: "_" + found[1].lower(), name)


def _is_list(kind: Any) -> bool:
    return "list[" in str(kind)


def _shown(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text if len(text) < 200 else text[:200] + "..."
