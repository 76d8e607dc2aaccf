"""What lies on a remote, byte for byte (docs/decisions/0014): names, bundles with their indexes, and sealed records.

Nothing here is ever changed once it is written, apart from tags.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from typing import TypeVar

import msgspec
from blake3 import blake3
from msgspec import Struct

from perennial.data.datasets import DatasetVersion
from perennial.data.schema import Schema
from perennial.errors import ConfigError, Corrupt
from perennial.store.decoding import ready
from perennial.store.hashing import digest_of

__all__ = [
    "CHUNKS",
    "FORMAT",
    "MARKER",
    "PIECE",
    "WHOLE",
    "Accepted",
    "Entry",
    "Marker",
    "Pointer",
    "Reference",
    "bundle_path",
    "escaped",
    "index_path",
    "opened",
    "parts_of",
    "parts_payload",
    "path_of",
    "read_index",
    "reference_path",
    "schema_path",
    "sealed",
    "tag_path",
    "write_index",
]

FORMAT = 1
MARKER = "perennial-remote.json"
PIECE, CHUNKS, WHOLE = (
    b"p",
    b"c",
    b"w",
)  # bytes; an object as the list of its chunks; a whole object, as one of its cuts
PIECE_LIMIT = 16 << 20  # four times what is sent in one piece: no answer fills the memory
LONG = 100  # an escaped name over this is cut, and told apart by its digest

_ENTRY = struct.Struct("<c32sI")
_PART = struct.Struct("<32sI")
_PLAIN = re.compile(r"[a-z0-9_.-]")

T = TypeVar("T")


class Entry(Struct, frozen=True, gc=False):
    """One payload in a bundle. `digest`: of the payload's bytes; for a list, of the object that it lists."""

    kind: bytes
    digest: bytes
    offset: int
    length: int


class Marker(Struct, frozen=True, kw_only=True):
    """Says that this place is ours."""

    says: str = "datasets of perennial"


class Reference(Struct, frozen=True, kw_only=True):
    """One dataset version: all that is needed to commit it elsewhere.

    `parent`: the content that it was compared with. `bundles`: where its objects lay when it was pushed.
    """

    version: DatasetVersion
    parent: str | None
    bundles: list[str]


class Pointer(Struct, frozen=True, kw_only=True):
    """A tag."""

    name: str
    tag: str
    logical: str
    at: int
    by: str


class Accepted(Struct, frozen=True, kw_only=True):
    """A schema that was accepted where it was pushed from."""

    name: str
    schema: Schema
    at: int
    by: str


class _Sealed(Struct, frozen=True, kw_only=True):
    format: int
    digest: str
    body: msgspec.Raw


def bundle_path(bundle: str) -> str:
    return f"bundles/{bundle}"


def index_path(bundle: str) -> str:
    return f"index/{bundle}"


def reference_path(name: str, logical: str) -> str:
    return f"datasets/{escaped(name)}/{logical}.json"


def tag_path(name: str, tag: str) -> str:
    return f"tags/{escaped(name)}/{escaped(tag)}.json"


def schema_path(name: str, schema: Schema) -> str:
    return f"schemas/{escaped(name)}/{digest_of(msgspec.json.encode(schema))}.json"


def path_of(record: Reference | Pointer | Accepted) -> str:
    """Where a record lies."""
    if isinstance(record, Reference):
        return reference_path(record.version.name, record.version.logical)
    return tag_path(record.name, record.tag) if isinstance(record, Pointer) else schema_path(record.name, record.schema)


def escaped(name: str) -> str:
    """A name as one part of a path, on file systems that do not tell upper from lower case too.

    >>> escaped("salary.survey"), escaped("Öl/2"), escaped(".x")
    ('salary.survey', '=C3=96l=2F2', '=2Ex')
    """
    text = "".join(
        char if _PLAIN.fullmatch(char) and (at or char != ".") else "".join(f"={byte:02X}" for byte in char.encode())
        for at, char in enumerate(name)
    )
    return text if len(text) <= LONG else f"{text[:32]}={digest_of(name.encode())}"


def sealed(value: Struct) -> bytes:
    """A record as JSON with its digest."""
    body = msgspec.json.encode(value)
    return msgspec.json.encode(_Sealed(format=FORMAT, digest=digest_of(body), body=msgspec.Raw(body))) + b"\n"


def opened(data: bytes, kind: type[T], where: str) -> T:
    """The record in sealed bytes.

    Raises:
        ConfigError: It was written by a newer program.
        Corrupt: It is damaged.
    """
    try:
        told = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        number = msgspec.json.decode(told.get("format", b"null"), type=int)
        if number > FORMAT:
            raise ConfigError(
                f"the remote has format {number}; this program knows up to {FORMAT}",
                where=where,
                remedy="install a newer perennial; nothing was touched",
            )
        found = msgspec.json.decode(data, type=ready(_Sealed))
        if digest_of(bytes(found.body)) != found.digest:
            raise Corrupt("a record on the remote is damaged: it is not what was written", where=where, remedy=_MEND)
        return msgspec.json.decode(found.body, type=ready(kind))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Corrupt(f"a record on the remote cannot be read: {error}", where=where, remedy=_MEND) from error


def write_index(entries: Iterable[Entry]) -> bytes:
    """The index of a bundle, whose payloads lie one behind the other in this order; its digest names both."""
    return b"".join(_ENTRY.pack(entry.kind, entry.digest, entry.length) for entry in entries)


def read_index(data: bytes, bundle: str) -> list[Entry]:
    """The entries of a bundle.

    Raises:
        Corrupt: These are not the bytes that the name stands for.
        ConfigError: It holds what this program does not know.
    """
    if digest_of(data) != bundle or len(data) % _ENTRY.size:
        raise Corrupt("an index on the remote is damaged", where=index_path(bundle), remedy=_MEND)
    entries: list[Entry] = []
    offset = 0
    for kind, digest, length in _ENTRY.iter_unpack(data):
        if kind not in (PIECE, CHUNKS, WHOLE) or (kind == PIECE and length > PIECE_LIMIT):
            remedy = "install a newer perennial, or look who can write there"
            raise ConfigError(
                "an index on the remote holds what this program does not know", where=bundle, remedy=remedy
            )
        entries.append(Entry(kind, digest, offset, length))
        offset += length
    return entries


def parts_payload(parts: Iterable[tuple[bytes, int]]) -> bytes:
    """A list of parts as it is stored: its own digest, then digest and length of each."""
    entries = b"".join(_PART.pack(raw, length) for raw, length in parts)
    return blake3(entries).digest() + entries


def parts_of(payload: bytes) -> list[tuple[bytes, int]] | None:
    """Digest and length of each part; None when the list is damaged."""
    if (len(payload) - 32) % _PART.size or blake3(payload[32:]).digest() != payload[:32]:
        return None
    return list(_PART.iter_unpack(payload[32:]))


_MEND = "remove it there, then push again from a workspace that holds it"
