"""What a segment of captured predictions holds: one frame per answered request, one per shadow answer.

A request is one frame, so that after any crash it is there with all its rows or not at all. Rows lie as the caller
sent them (checked, before the features). Ids sort by time: 12 hex of milliseconds, 6 of the segment, 8 of a count.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

__all__ = ["Frame", "Output", "Predicted", "Row", "Shadowed", "decode", "encode", "first_id", "moment_of", "row_ids"]

Output: TypeAlias = "dict[str, Any]"
"""What a model says of one row: "prediction" and, of a classifier, "probabilities"; "error" when it has none."""

Row: TypeAlias = "dict[str, Any]"
"""One checked row of a request: the columns of the signature as JSON values."""

_COUNT = 18  # characters of an id before its count
RETRYABLE = frozenset({503, 504})  # answers after which the same key may be tried again, and is computed anew


class Predicted(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="p", omit_defaults=True):
    """One request and its answer. Lists have one entry per row; no `entities` where the signature names no key.

    `request` is the digest of what the client's own key stands for; empty when the key was made here.
    """

    id: str
    key: str
    request: str = ""
    endpoint: str
    at: int
    status: int = 200
    versions: list[int]
    arms: list[str]
    entities: list[object] = []
    inputs: list[Row]
    outputs: list[Output]
    latency_us: int
    shadow_version: int | None = None


class Shadowed(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="s", omit_defaults=True):
    """The shadow version's answer to the request whose first row is `id`; `at` is that request's moment."""

    id: str
    endpoint: str
    at: int
    version: int
    outputs: list[Output]
    latency_us: int


Frame: TypeAlias = "Predicted | Shadowed"

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Frame] = msgspec.msgpack.Decoder(Predicted | Shadowed)


def encode(frame: Frame) -> bytes:
    return _encoder.encode(frame)


def decode(payload: bytes) -> Frame:
    return _decoder.decode(payload)


def moment_of(prediction_id: str) -> int:
    """When it was asked for, in microseconds, to the millisecond before.

    >>> moment_of("0000000000010000020000000f")
    1000
    """
    return int(prediction_id[:12], 16) * 1000


def first_id(moment: int) -> str:
    """No prediction asked for at or after this moment has an id before this text."""
    return f"{moment // 1000:012x}"


def row_ids(first: str, rows: int) -> list[str]:
    """The ids of a request's rows.

    >>> row_ids("0000000000010000020000000f", 2)
    ['0000000000010000020000000f', '00000000000100000200000010']
    """
    prefix, count = first[:_COUNT], int(first[_COUNT:], 16)
    return [f"{prefix}{count + row:08x}" for row in range(rows)]
