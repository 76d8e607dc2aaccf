"""Bytes of logged files in the object store of the workspace, where garbage collection frees what nothing names."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from perennial.errors import Corrupt, NotFound
from perennial.tracking.body import Body
from perennial.tracking.bytes import Bytes
from perennial.types import Digest

if TYPE_CHECKING:
    from perennial.store.objects import ObjectStore
    from perennial.store.workspace_folder import WorkspaceFolder

__all__ = ["BytesHere"]


class BytesHere:
    """The object store as `Bytes`."""

    is_elsewhere = False

    def __init__(self, setting: str, objects: ObjectStore, folder: WorkspaceFolder) -> None:
        self._objects = objects

    @contextmanager
    def keeping(self, body: Body) -> Generator[None]:
        with self._objects.until_committed():
            put = self._objects.put(body.data) if body.path is None else self._objects.put_file(body.path)
            if put != body.digest:
                raise Corrupt("the file changed on the way through the disk", where=str(body.path or put))
            yield

    def read(self, digest: str, size: int) -> Iterator[bytes]:
        try:
            yield from self._objects.blocks(Digest(digest))
        except NotFound as error:
            raise Corrupt(error.what, remedy=error.remedy) from error

    def free(self, digest: str, is_named: Callable[[], bool]) -> None:
        """Garbage collection does it."""

    def stored(self) -> Iterator[str]:
        return iter(())


def _is_bytes(one: BytesHere) -> Bytes:  # pyright: ignore[reportUnusedFunction]  # lets the checker compare the two
    return one
