"""Bytes of logged files in a bucket of S3, each under its digest below a folder of this workspace's own.

The records say what counts: bytes are put before a row names them, and removed after no row does. One process owns the
records, so a lock on the name keeps the two apart.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from perennial.data.remote.place import Place
from perennial.errors import ConfigError, Corrupt, Forbidden, Invalid, NotFound, StoreError
from perennial.store.hashing import new_hasher
from perennial.tracking.body import Body
from perennial.tracking.bytes import Bytes, NamedLocks

if TYPE_CHECKING:
    from perennial.store.objects import ObjectStore
    from perennial.store.workspace_folder import WorkspaceFolder

__all__ = ["BytesS3"]

PIECE_BYTES = 8 << 20  # of one request that reads
_FOLDER = "artifacts/"


class BytesS3:
    """A bucket as `Bytes`."""

    is_elsewhere = True

    def __init__(self, setting: str, objects: ObjectStore, folder: WorkspaceFolder) -> None:
        try:
            self._place = Place(f"{setting.rstrip('/')}/{folder.id}")
        except Invalid as error:
            raise ConfigError(error.what, where="setting artifacts", remedy="use s3://bucket/prefix") from error
        self._locks = NamedLocks()

    @contextmanager
    def keeping(self, body: Body) -> Generator[None]:
        digest = body.digest
        with self._locks.holding(digest):
            with _telling():
                if body.path is None:
                    self._place.put(_FOLDER + digest, body.data)
                else:
                    self._place.put_file(_FOLDER + digest, body.path)
            yield

    def read(self, digest: str, size: int) -> Iterator[bytes]:
        hasher, held = new_hasher(), b""
        for start in range(0, size, PIECE_BYTES):
            if held:
                yield held
            length = min(PIECE_BYTES, size - start)
            with _telling():
                held = self._place.get_range(_FOLDER + digest, start, length)
            if held is None:
                raise Corrupt(f"the bucket has no {digest}", where=self._place.url, remedy="restore it there")
            hasher.update(held)
        if hasher.hexdigest() != digest:
            raise Corrupt(
                f"object {digest} is damaged: its bytes in the bucket are not what was stored",
                where=self._place.url,
                remedy="log the file again, or restore the object there",
            )
        yield held or b""

    def free(self, digest: str, is_named: Callable[[], bool]) -> None:
        # Without waiting: who holds the name is about to name it, or does what we would do.
        with self._locks.holding(digest, wait=False) as is_ours, _telling():
            if is_ours and not is_named():
                self._place.remove(_FOLDER + digest)

    def stored(self) -> Iterator[str]:
        with _telling():
            for name, _ in self._place.list(_FOLDER):
                yield name.removeprefix(_FOLDER)


@contextmanager
def _telling() -> Generator[None]:
    """What the settings name and cannot be used is our failure, not the mistake of who asks for a file."""
    try:
        yield
    except (NotFound, Forbidden, ConfigError) as error:
        raise StoreError(
            f"the bucket of the artifacts: {error.what}", where=error.where, remedy=error.remedy
        ) from error


def _is_bytes(one: BytesS3) -> Bytes:  # pyright: ignore[reportUnusedFunction]  # lets the checker compare the two
    return one
