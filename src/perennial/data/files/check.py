"""Read everything that dataset versions name, and tell which version and path lose what is damaged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from perennial.data.files.tree import entries_of, read_tree
from perennial.data.files.walk import shown
from perennial.data.manifest import TableManifest
from perennial.errors import PerennialError
from perennial.store.decoding import ready
from perennial.store.hashing import new_hasher
from perennial.types import Digest

if TYPE_CHECKING:
    from perennial.store.objects import ObjectStore

__all__ = ["Damage", "check", "objects_in"]


@dataclass(frozen=True)
class Damage:
    """What a version lost. `path` is empty when it is the manifest."""

    dataset: str
    path: str
    digest: Digest
    says: str


def check(manifests: Mapping[str, str], objects: ObjectStore) -> tuple[int, list[Damage]]:
    """How many objects were read, each once, and every damage.

    Args:
        manifests: Digest of each version's manifest, and what the version is called.
        objects: Where they are.
    """
    told: dict[Digest, str] = {}  # what is wrong with each object, empty when nothing is
    damages: list[Damage] = []
    for manifest, dataset in manifests.items():
        try:
            for path, digest, _ in objects_in(Digest(manifest), objects):
                if digest not in told:
                    told[digest] = _problem(digest, objects)
                if told[digest]:
                    damages.append(Damage(dataset, path, digest, told[digest]))
        except PerennialError as error:
            damages.append(Damage(dataset, "", Digest(manifest), error.what))
    return len(told) + len(manifests), damages


def objects_in(manifest: Digest, objects: ObjectStore) -> Iterator[tuple[str, Digest, int]]:
    """Path, object and size of each file of a version; pages count as files without a path.

    Raises:
        NotFound, Corrupt: The manifest, or a page of it, is missing or damaged.
    """
    data = objects.get(manifest)
    if data.startswith(b"{"):
        for index, file in enumerate(msgspec.json.decode(data, type=ready(TableManifest)).files):
            yield f"part {index}", file.digest, objects.size(file.digest) if objects.has(file.digest) else 0
        return
    tree = read_tree(data)
    for page in tree.pages:
        yield "", Digest(page.digest.hex()), 0
    for entry in entries_of(tree, objects.get):
        if entry.digest is not None:
            yield shown(entry.path), entry.digest, entry.size


def _problem(digest: Digest, objects: ObjectStore) -> str:
    try:
        if objects.open_path(digest) is not None:
            return "" if objects.whole.is_sound(digest) else "its bytes are not what was stored"
        parts = objects.parts(digest)
        if not parts:
            objects.get(digest)
            return ""
        hasher = new_hasher()
        for part, _ in parts:
            hasher.update(objects.get(part))
        return "" if hasher.hexdigest() == digest else "its chunks do not make what was stored"
    except PerennialError as error:
        return error.what
