"""How much room datasets take in the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from perennial.data.files.check import objects_in
from perennial.errors import PerennialError
from perennial.types import Digest

if TYPE_CHECKING:
    from perennial.store.objects import ObjectStore

__all__ = ["Usage", "usage"]


class Usage(Struct, frozen=True, kw_only=True):
    """One dataset.

    Attributes:
        name: Of the dataset.
        versions: That are there.
        content_bytes: Of all versions, each as if it were alone.
        stored_bytes: Of its different files; large ones share what they have in common, so the disk holds less.
        own_bytes: The part of it that no other dataset names, so that it would go with this one.
        unreadable: Versions whose manifest cannot be read, which are not counted.
    """

    name: str
    versions: int
    content_bytes: int
    stored_bytes: int
    own_bytes: int
    unreadable: int


def usage(versions: Iterable[Mapping[str, Any]], objects: ObjectStore) -> list[Usage]:
    """Of each dataset, by name, from its versions as `datasets.list` tells them."""
    held: dict[str, dict[Digest, int]] = {}
    counts: Counter[str] = Counter()
    content: Counter[str] = Counter()
    unreadable: Counter[str] = Counter()
    for version in versions:
        if version["manifest"] is None:
            continue
        name = version["name"]
        files = held.setdefault(name, {})
        counts[name] += 1
        try:
            for _, digest, size in objects_in(Digest(version["manifest"]), objects):
                files[digest] = size
                content[name] += size
        except PerennialError:
            unreadable[name] += 1
    named = Counter(digest for files in held.values() for digest in files)
    return [
        Usage(
            name=name,
            versions=counts[name],
            content_bytes=content[name],
            stored_bytes=sum(held[name].values()),
            own_bytes=sum(size for digest, size in held[name].items() if named[digest] == 1),
            unreadable=unreadable[name],
        )
        for name in sorted(held)
    ]
