"""Records of evaluation datasets: what is given, what is told back, and how one that comes again is merged.

A record is known by its inputs. Its values are whatever JSON can carry, NaN included, which programs write into JSON
though it has none; they are kept as ASCII text, so that every database keeps every character.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec
from msgspec import UNSET

from perennial.errors import Invalid, TooLarge

__all__ = ["EvaluationRecord", "GivenRecord", "Source", "SourceType", "Written", "extended", "merged", "written"]

MAX_RECORD = 1 << 20  # characters of JSON
MAX_DEPTH = 32
MAX_FIELDS = 500  # that a schema lists of inputs, of outputs and of expectations
MAX_FIELD = 250  # characters of a field's name that a schema lists
USER_TAG = "mlflow.user"  # who made or changed a record, as the client says
MAX_USER = 255

SourceType = Literal["UNSPECIFIED", "TRACE", "HUMAN", "DOCUMENT", "CODE"]
Fields = dict[str, str]


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where a record comes from."""

    source_type: SourceType
    source_data: dict[str, Any] | None = None


class GivenRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A record as it is sent. Outputs that are left out stay as they are; null takes them away."""

    inputs: dict[str, Any]
    outputs: Any = UNSET
    expectations: dict[str, Any] | None = None
    tags: dict[str, Any] | None = None
    source: Source | None = None


class EvaluationRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A record as it is told back; times are microseconds."""

    id: str
    inputs: dict[str, Any]
    outputs: Any
    expectations: dict[str, Any] | None
    tags: dict[str, Any]
    source: Source | None
    created: int
    created_by: str | None
    updated: int
    updated_by: str | None


class Written(msgspec.Struct, kw_only=True):
    """The values of a record as they are kept: JSON in texts."""

    input_hash: str
    inputs: str
    outputs: str | None
    expectations: str | None
    tags: str
    source_type: str | None
    source_data: str | None
    user: str | None

    @property
    def size(self) -> int:
        texts = (self.inputs, self.outputs, self.expectations, self.tags, self.source_data)
        return sum(len(text) for text in texts if text is not None)


def written(given: GivenRecord, where: str) -> Written:
    """A new record's values as texts.

    Raises:
        Invalid: A value is nested too deeply. TooLarge: It is too long.
    """
    made = Written(
        inputs=_text(given.inputs, f"{where}.inputs"),
        input_hash=hashlib.sha256(json.dumps(given.inputs, sort_keys=True).encode()).hexdigest(),
        outputs=None if given.outputs is None else _text({} if given.outputs is UNSET else given.outputs, where),
        expectations=None if given.expectations is None else _text(given.expectations, f"{where}.expectations"),
        tags=_text(given.tags or {}, f"{where}.tags"),
        source_type=given.source.source_type if given.source else None,
        source_data=_text(given.source.source_data or {}, f"{where}.source") if given.source else None,
        user=user_of(given.tags),
    )
    return _bounded(made, where)


def merged(before: Written, given: GivenRecord, new: Written, where: str) -> Written:
    """A record whose inputs came again: new outputs stand for the old, expectations and tags add up, the source stays.

    Raises:
        TooLarge: It has become too long.
    """
    made = Written(
        input_hash=before.input_hash,
        inputs=before.inputs,
        outputs=before.outputs if given.outputs is UNSET else new.outputs,
        expectations=_joined(before.expectations, given.expectations),
        tags=_joined(before.tags, given.tags) or "{}",
        source_type=before.source_type,
        source_data=before.source_data,
        user=new.user,
    )
    return _bounded(made, where)


def extended(schema: str | None, records: Iterable[GivenRecord]) -> str:
    """The fields of a dataset and the type that each first had, with those of these records.

    Lists at most 500 fields each of inputs, outputs and expectations. Outputs that are no object have one type.
    """
    found: dict[str, Any] = (
        json.loads(schema) if schema else {"inputs": {}, "outputs": {}, "expectations": {}, "version": "1.0"}
    )
    for record in records:
        _extend(found["inputs"], record.inputs)
        _extend(found["expectations"], record.expectations or {})
        if isinstance(record.outputs, dict):
            if isinstance(found["outputs"], dict):
                _extend(found["outputs"], record.outputs)
        elif record.outputs is not UNSET and record.outputs is not None and not found["outputs"]:
            found["outputs"] = _type_of(record.outputs)
    return json.dumps(found)


def user_of(tags: Mapping[str, Any] | None) -> str | None:
    """Who acts, as a client's tags say."""
    user = (tags or {}).get(USER_TAG)
    if isinstance(user, str) and 0 < len(user) <= MAX_USER and user.isprintable():
        return user
    return None


def _extend(fields: Fields, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if name not in fields and len(name) <= MAX_FIELD and len(fields) < MAX_FIELDS:
            fields[name] = _type_of(value)


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {bool: "boolean", int: "integer", float: "float", str: "string", list: "array", dict: "object"}
    return kinds.get(type(value), "unknown")


def _joined(before: str | None, new: Mapping[str, Any] | None) -> str | None:
    if not new:
        return before
    return json.dumps((json.loads(before) if before else {}) | dict(new))


def _bounded(made: Written, where: str) -> Written:
    if made.size > MAX_RECORD:
        raise TooLarge(
            f"a record of {made.size} characters of JSON",
            where=where,
            remedy=f"at most {MAX_RECORD}: log large values as artifacts and name them here",
        )
    return made


def _text(value: Any, where: str) -> str:
    try:
        text = json.dumps(value)
    except RecursionError as error:
        raise _too_deep(where) from error
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_deeper(value, MAX_DEPTH):
        raise _too_deep(where)
    return text


def _too_deep(where: str) -> Invalid:
    return Invalid(f"the JSON is nested deeper than {MAX_DEPTH} levels", where=where, remedy="flatten it")


def _is_deeper(value: Any, limit: int) -> bool:
    if isinstance(value, dict | list):
        parts: Iterable[Any] = value.values() if isinstance(value, dict) else value
        return limit == 0 or any(_is_deeper(part, limit - 1) for part in parts)
    return False
