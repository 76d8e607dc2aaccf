"""Bytes on their way in, hashed as they come: in memory while they are few, then in a private file.

Whoever breaks off leaves nothing behind: the file lies in a scratch folder that ends with the body.
"""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from perennial.errors import TooLarge
from perennial.store.files import AppendFile, LocalFiles, store_error
from perennial.store.hashing import new_hasher
from perennial.store.objects import SMALL_BYTES
from perennial.store.scratch import scratch_folder
from perennial.types import Digest

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Body"]


class Body:
    """One body. For one thread at a time; a context manager.

    `path` is the file that holds it once it has more than a small object, else None and `data` has it all.
    """

    def __init__(self, scratch: Path, *, limit: int | None = None, with_sha256: bool = False) -> None:
        """
        Args:
            scratch: Below which the file lies.
            limit: In bytes; None where the sizes of the parts were limited.
            with_sha256: Hash it in this way, too, because the sender told that hash.
        """
        self.size = 0
        self.path: Path | None = None
        self._scratch = scratch
        self._limit = limit
        self._data = bytearray()
        self._hasher = new_hasher()
        self._sha256 = hashlib.sha256() if with_sha256 else None
        self._file: AppendFile | None = None
        self._undo = ExitStack()

    @property
    def data(self) -> bytes:
        return bytes(self._data)

    @property
    def digest(self) -> Digest:
        return Digest(self._hasher.hexdigest())

    @property
    def sha256(self) -> bytes:
        return self._sha256.digest() if self._sha256 else b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take in the next bytes.

        Raises:
            TooLarge: There are more than the limit.
            StoreError, ReadOnly: The disk would not do it.
        """
        self.size += len(data)
        if self._limit is not None and self.size > self._limit:
            raise TooLarge(
                f"the file is larger than {self._limit} bytes", remedy="raise the setting max_artifact_bytes"
            )
        self._hasher.update(data)
        if self._sha256 is not None:
            self._sha256.update(data)
        if self._file is None and self.size <= SMALL_BYTES:
            self._data += data
            return
        try:
            if self._file is None:
                folder = self._undo.enter_context(scratch_folder(self._scratch))
                self.path = folder / "body"
                self._file = LocalFiles().append(self.path, exclusive=True, mode=0o600)
                self._undo.callback(self._file.close)
                self._file.write(self.data)
                self._data.clear()
            self._file.write(memoryview(data))
        except OSError as error:
            raise store_error("the file was not taken in", error, self._scratch) from error

    def close(self) -> None:
        """Remove what lies in the file."""
        self._undo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
