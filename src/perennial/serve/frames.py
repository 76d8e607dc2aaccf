"""What a segment of captured predictions holds: frames, each whole or not there.

`Opened` tells who writes the segment, `Layout` how the rows of an endpoint lie in the frames behind it, `Answered` is
one answered request (with all its rows or not at all), `Shadowed` a shadow version's answer to it, `Fed` a label that a
client sent to the service, `Issued` reserves ids, `Closed` is the end of a segment that was not cut off. Ids sort by
time: 12 hex of milliseconds, 6 of the segment, 8 of a count. `Predicted` and `OldShadowed` were written before; they
are read for ever.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from perennial.serve.answer import Flag
from perennial.store.decoding import ready

__all__ = [
    "Answered",
    "Closed",
    "Fed",
    "Frame",
    "Issued",
    "Layout",
    "OldShadowed",
    "Opened",
    "Output",
    "Predicted",
    "Row",
    "Shadowed",
    "decode",
    "decode_head",
    "encode",
    "first_id",
    "moment_of",
    "row_ids",
]

Output: TypeAlias = "dict[str, Any]"
"""What a model says of one row: "prediction" and, of a classifier, "probabilities"; "error" when it has none."""

Row: TypeAlias = "dict[str, Any]"
"""One checked row of a request: the columns of the signature as JSON values."""

_COUNT = 18  # characters of an id before its count
RETRYABLE = frozenset({503, 504})  # answers after which the same key may be tried again, and is computed anew


class Opened(msgspec.Struct, frozen=True, array_like=True, tag="o"):
    """The first frame: which process of the service writes this segment (0, 1, ...), and when it began.

    `first` is the number of the first segment of the same writer: this one, until one is full.
    """

    worker: int
    pid: int
    at: int
    first: int = 0


class Layout(msgspec.Struct, frozen=True, array_like=True, tag="l"):
    """How rows lie in frames of this segment that name this `number`.

    `names`: the columns; `key`: the position of the entity among them, or None; `classes`: of the probabilities;
    `policy`: what was done to columns before they were written ("mask", "hash", "drop"; others are kept).
    """

    number: int
    endpoint: str
    names: list[str]
    key: int | None = None
    classes: list[Any] | None = None
    policy: dict[str, str] = {}


class Answered(msgspec.Struct, array_like=True, tag="a", gc=False):
    """One request and its answer.

    Attributes:
        id: Of the first row; the others count on.
        layout: The number of a `Layout` before this frame in the same segment.
        key: What makes a repetition of the request the same one: the client's own, or the id.
        request: Digest of what the client's own key stands for; empty when the key was made here.
        status: As it was answered: 200, 500, 503, 504.
        versions: The version that answered, one for all rows or one for each.
        arms: Likewise: live, canary, fallback, constant, person.
        rows: Values in the order of the layout, after its policy.
        values: Predictions; None where there is none.
        probabilities: In the order of the layout's classes.
        latency_us: From the request's last byte to this frame.
        shadow_version: The version that will answer these rows as well.
        source: The protocol that it came by.
    """

    id: str
    at: int
    layout: int
    key: str
    request: str
    status: int
    versions: int | list[int]
    arms: str | list[str]
    rows: list[Any]
    values: list[Any]
    probabilities: list[Any] | None = None
    errors: list[str | None] | None = None
    latency_us: int = 0
    shadow_version: int | None = None
    flags: list[list[Flag]] | None = None
    intervals: list[Any] | None = None
    sets: list[Any] | None = None
    message: str = ""
    source: str = ""


class Shadowed(msgspec.Struct, frozen=True, array_like=True, tag="s", gc=False):
    """The shadow version's answer to the request whose first row is `id`; `at` is that request's moment."""

    id: str
    at: int
    layout: int
    version: int
    values: list[Any]
    probabilities: list[Any] | None = None
    errors: list[str | None] | None = None
    latency_us: int = 0


class Fed(msgspec.Struct, frozen=True, array_like=True, tag="f"):
    """A label that a client sent to the service, for a prediction by its id, or by the entity's own key.

    `prediction` or `entity` is None; the entity is the text that `Privacy.entity` gives, as it lies in the rows. `at`
    is when the label came. `key` makes a repetition the same one.
    """

    endpoint: str
    at: int
    key: str
    value: Any
    prediction: str | None = None
    entity: str | None = None


class Issued(msgspec.Struct, frozen=True, array_like=True, tag="i"):
    """Ids with a count below `count` may have been given out; written before they are."""

    count: int


class Closed(msgspec.Struct, frozen=True, array_like=True, tag="c"):
    """The end of a segment: nothing follows. Rows that its writer gave ids to, and what became of them.

    Counted from the writer's first segment on. When a segment was full, the rows that are neither were still pending;
    in the last segment of a writer there are none of those.
    """

    issued: int
    stored: int
    dropped: int


class Predicted(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="p", omit_defaults=True):
    """Of before there were layouts: one request and its answer.

    Lists have one entry per row; no `entities` where the signature names no key. `request` is the digest of what the
    client's own key stands for; empty when the key was made here.
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


class OldShadowed(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag="s", omit_defaults=True):
    """The shadow version's answer to the request whose first row is `id`; `at` is that request's moment."""

    id: str
    endpoint: str
    at: int
    version: int
    outputs: list[Output]
    latency_us: int


Frame: TypeAlias = "Opened | Layout | Answered | Shadowed | Fed | Issued | Closed | Predicted | OldShadowed"


class _AnsweredHead(msgspec.Struct, frozen=True, array_like=True, tag="a"):
    id: str
    at: int
    layout: int
    key: str
    request: str
    status: int
    versions: msgspec.Raw
    arms: msgspec.Raw
    rows: msgspec.Raw
    values: msgspec.Raw
    probabilities: msgspec.Raw
    errors: msgspec.Raw
    latency_us: msgspec.Raw
    shadow_version: int | None = None


class _ShadowedHead(msgspec.Struct, frozen=True, array_like=True, tag="s"):
    id: str
    at: int
    layout: int
    version: int


Head: TypeAlias = "_AnsweredHead | _ShadowedHead | Layout | Predicted | OldShadowed | None"

_heads: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(ready(_AnsweredHead | _ShadowedHead | Layout))

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(
    ready(Opened | Layout | Answered | Shadowed | Fed | Issued | Closed)
)
_old: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(ready(Predicted | OldShadowed))


def encode(frame: Frame) -> bytes:
    return _encoder.encode(frame)


def decode(payload: bytes) -> Frame:
    """The frame; those of before there were layouts are maps, the others arrays."""
    return (_old if _is_map(payload) else _decoder).decode(payload)


def _is_map(payload: bytes) -> bool:
    return payload[0] & 0xF0 == 0x80 or payload[0] in (0xDE, 0xDF)


def decode_head(payload: bytes) -> Head:
    """What of a frame is needed to go on after a restart, without its rows; None of other frames."""
    if _is_map(payload):
        return _old.decode(payload)
    # A tagged array begins with its length (one byte, three from 16 on), then the tag: a text of one letter.
    at = 4 if payload[0] == 0xDC else 2
    return _heads.decode(payload) if payload[at : at + 1] in (b"a", b"s", b"l") else None


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
