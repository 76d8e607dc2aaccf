"""What one frame of a spool says: points, parameters, tags, a file, the begin or the end of a run."""

from __future__ import annotations

from typing import Any

import msgspec

from perennial.store.decoding import ready
from perennial.tracking.run import RunStatus

__all__ = ["Ended", "File", "Message", "Params", "Points", "Started", "Tags", "decode", "encode", "encode_points"]


class Points(msgspec.Struct, frozen=True, array_like=True, tag="p"):
    """The values of one call of `log`."""

    at: int
    step: int
    values: dict[str, float]


class Params(msgspec.Struct, frozen=True, array_like=True, tag="params"):
    """At most as many as one call takes."""

    params: dict[str, str]


class Tags(msgspec.Struct, frozen=True, array_like=True, tag="tags"):
    """At most as many as one call takes."""

    tags: dict[str, str]


class File(msgspec.Struct, frozen=True, array_like=True, tag="file"):
    """A file; `data` is None when its bytes are in the object store already."""

    path: str
    digest: str
    size: int
    data: bytes | None = None


class Started(msgspec.Struct, frozen=True, array_like=True, tag="start"):
    """What `Runs.start` is given: all of it while nobody answers, else what was found out of code and machine."""

    arguments: dict[str, Any]


class Ended(msgspec.Struct, frozen=True, array_like=True, tag="finish"):
    """How the run ended."""

    status: RunStatus
    error: str | None
    at: int


Message = Points | Params | Tags | File | Started | Ended

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(ready(Message))


def encode(message: Message) -> bytes:
    return _encoder.encode(message)


def encode_points(at: int, step: int, values: dict[str, float]) -> bytes:
    """`encode(Points(...))`, for the one call that is hot."""
    return _encoder.encode(("p", at, step, values))


def decode(payload: bytes) -> Message:
    """Raises:
    msgspec.MsgspecError: It is none that this program knows.
    """
    return _decoder.decode(payload)
