"""Where the bytes of logged files lie: in the object store of the workspace, or in a bucket.

The promise that both keep is here, and the table from which the setting `artifacts` chooses. What is visible is
decided by the records alone: bytes that nothing names are nobody's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from perennial.errors import ConfigError
from perennial.tracking.body import Body

if TYPE_CHECKING:
    from perennial.store.objects import ObjectStore
    from perennial.store.workspace_folder import WorkspaceFolder

__all__ = ["STORES", "Bytes", "NamedLocks", "open_bytes"]

STORES = MappingProxyType({"": "perennial.tracking.bytes_here:BytesHere", "s3": "perennial.tracking.bytes_s3:BytesS3"})


class Bytes(Protocol):
    """Bytes by digest. Safe for concurrent use."""

    is_elsewhere: bool
    """Whether rows of these name `elsewhere`."""

    def keeping(self, body: Body) -> AbstractContextManager[None]:
        """Store a body durably. Inside the block nobody removes it: name it in the records there."""
        ...

    def read(self, digest: str, size: int) -> Iterator[bytes]:
        """The bytes in pieces of bounded size; the last piece comes only when all of them are what was stored.

        Raises:
            Corrupt: They are not, or are gone.
        """
        ...

    def free(self, digest: str, is_named: Callable[[], bool]) -> None:
        """Remove bytes that nothing names any more; may be repeated."""
        ...

    def stored(self) -> Iterator[str]:
        """The digests of all that lies here and that `free` would remove."""
        ...


def open_bytes(setting: str, objects: ObjectStore, folder: WorkspaceFolder) -> Bytes:
    """The store that the setting names.

    Raises:
        ConfigError: It names none of ours, or one that cannot be opened.
    """
    scheme, separator, rest = setting.partition("://")
    if setting and (scheme not in STORES or not separator or not rest):
        remedy = "leave it empty, or use s3://bucket/prefix"
        raise ConfigError(f"artifacts cannot lie at {setting!r}", where="setting artifacts", remedy=remedy)
    module, _, name = STORES[scheme if setting else ""].partition(":")
    return getattr(import_module(module), name)(setting, objects, folder)


class NamedLocks:
    """One lock for each name, as long as somebody holds or wants it. Safe for concurrent use."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._held: dict[str, tuple[threading.Lock, int]] = {}

    @contextmanager
    def holding(self, name: str, *, wait: bool = True) -> Generator[bool]:
        """Alone with this name; gives False, and no lock, when it is taken and we would have to wait."""
        with self._guard:
            lock, users = self._held.get(name, (threading.Lock(), 0))
            self._held[name] = (lock, users + 1)
        is_ours = lock.acquire(blocking=wait)
        try:
            yield is_ours
        finally:
            if is_ours:
                lock.release()
            with self._guard:
                lock, users = self._held.pop(name)
                if users > 1:
                    self._held[name] = (lock, users - 1)
