"""Plain values that everything shares: names for ids, JSON, and the one canonical form of JSON.

Canonical JSON is what is hashed and compared: keys sorted, no spaces, UTF-8, finite numbers only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NewType, TypeAlias

__all__ = [
    "JSON",
    "Digest",
    "JSONObject",
    "Micros",
    "PredictionId",
    "RunId",
    "canonical_json",
]

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
JSONObject: TypeAlias = "Mapping[str, JSON]"

Digest = NewType("Digest", str)
"""BLAKE3 of some bytes, 64 lower-case hex characters."""

Micros = NewType("Micros", int)
"""A moment: microseconds since 1970-01-01T00:00:00Z."""

RunId = NewType("RunId", str)
PredictionId = NewType("PredictionId", str)


def canonical_json(value: JSON) -> bytes:
    """The one byte string that stands for this JSON value.

    Raises:
        ValueError: The value holds NaN or an infinity, which JSON does not have.

    >>> canonical_json({"b": 1, "a": [True, None]})
    b'{"a":[true,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
