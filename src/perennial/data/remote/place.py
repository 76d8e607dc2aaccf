"""One remote as bytes below names: a local folder, or a bucket of S3, Google Cloud Storage or Azure.

What the bytes mean is `layout`'s business. Credentials and the endpoint come from the environment, are read by the
client library and are never shown: of a server's answer only its status is told.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError

from perennial.data.remotes import check_url
from perennial.errors import ConfigError, Forbidden, NotFound, PerennialError, StoreError, Unavailable
from perennial.store.files import LocalFiles

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

__all__ = ["Place"]

TIMEOUT_S = 300  # of one request; the largest carries a bundle of about 8 MiB
RETRIES = 6  # of one request, with growing pauses of about 6 s together
RETRY_S = 120  # after which no request is tried again
LEFTOVER_S = 3600  # a half-written file of that age belongs to nobody
PART_BYTES = 16 << 20  # of a large file, sent by one request: 10,000 of them are allowed
TRIES = 3  # for an answer that broke off in the middle, on top of the client library's own

_AWS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
)
_STATUS = re.compile(r"status code: (\d{3})")
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "bucket does not exist")

T = TypeVar("T")


class Place:
    """A remote. Safe for concurrent use; each call is one request, repeated within a budget when it breaks off.

    Every call raises NotFound when there is no such bucket, Forbidden when the credentials do not do, Unavailable
    when the other side does not answer or breaks off, StoreError when it cannot take the bytes.
    """

    def __init__(self, url: str, *, make: bool = False, retries: int = RETRIES) -> None:
        """`make`: the folder of a local remote may be made.

        Raises:
            Invalid: Not the address of a remote.
            NotFound: There is no such folder.
            ConfigError: The environment has no credentials, or ones that cannot be used.
        """
        check_url(url)
        self.url = url
        self._retries = retries
        self._folder: Path | None = None
        parts = urlsplit(url)
        if parts.scheme == "file":
            self._folder = Path(unquote(parts.path))
            if not make and not self._folder.is_dir():
                raise NotFound("there is no such folder", where=url, remedy="push to it first, or mend the address")
        self._store = self._telling("opened", lambda: self._open(parts.scheme, parts.netloc, parts.path.strip("/")))

    def put(self, name: str, data: bytes | bytearray, *, once: bool = False) -> bool:
        """Write bytes under a name, all or nothing. `once`: only when nothing has it; says whether it was written."""
        try:
            self._telling(
                name,
                lambda: obstore.put(
                    self._store, name, data, mode="create" if once else "overwrite", use_multipart=False
                ),
            )
        except FileExistsError:
            return False
        if (folder := self._folder) is not None:  # the others acknowledge what is durable
            self._telling(name, lambda: _force(folder, name))
        return True

    def put_file(self, name: str, path: Path) -> None:
        """Write a file's bytes under a name, all or nothing; a large one goes in several requests."""
        self._telling(name, lambda: obstore.put(self._store, name, path, chunk_size=PART_BYTES, max_concurrency=2))
        if (folder := self._folder) is not None:
            self._telling(name, lambda: _force(folder, name))

    def remove(self, name: str) -> None:
        """Remove what lies under a name; nothing there is fine."""
        with suppress(FileNotFoundError):
            self._telling(name, lambda: obstore.delete(self._store, name))

    def get(self, name: str, *, limit: int) -> bytes | None:
        """All bytes under a name, None when there is none.

        Raises:
            StoreError: There are more than `limit`.
        """

        def read() -> bytes:
            found = obstore.get(self._store, name)
            if found.meta["size"] > limit:
                raise StoreError(f"{name} has {found.meta['size']} bytes", where=self.url, remedy="it is not ours")
            return bytes(found.bytes())

        return self._reading(name, read)

    def get_range(self, name: str, start: int, length: int) -> bytes | None:
        """Bytes out of the middle; fewer when it is shorter than that, None when there is none."""
        try:
            return self._reading(name, lambda: bytes(obstore.get_range(self._store, name, start=start, length=length)))
        except EOFError:
            return b""

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Name and size of everything below a prefix, in no order."""
        listing = obstore.list(self._store, prefix, chunk_size=1000)
        while True:
            try:
                page = self._telling(prefix, lambda: next(listing))
            except StopIteration:
                return
            yield from ((str(found["path"]), int(found["size"])) for found in page)

    def _open(self, scheme: str, bucket: str, prefix: str) -> ObjectStore:
        from obstore import store

        if self._folder is not None:
            opened = store.LocalStore(self._folder, mkdir=True)
            _sweep(self._folder)
            return opened
        client: ClientConfig = {"timeout": timedelta(seconds=TIMEOUT_S), "connect_timeout": timedelta(seconds=10)}
        if scheme == "s3":  # options given here replace what the library reads from the environment
            client["allow_http"] = os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true")
        retry: RetryConfig = {"max_retries": self._retries, "retry_timeout": timedelta(seconds=RETRY_S)}
        where = prefix or None
        if scheme == "gs":
            return store.GCSStore(bucket, prefix=where, client_options=client, retry_config=retry)
        if scheme == "az":
            return store.AzureStore(bucket, prefix=where, client_options=client, retry_config=retry)
        if not any(os.environ.get(name) for name in _AWS) and os.environ.get("AWS_EC2_METADATA_DISABLED") != "false":
            raise ConfigError(
                "there are no credentials for S3 in the environment",
                where=self.url,
                remedy="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_ENDPOINT_URL for a server of your "
                "own); on a machine with a role of its own set AWS_EC2_METADATA_DISABLED=false",
            )
        return store.S3Store(bucket, prefix=where, client_options=client, retry_config=retry)

    def _reading(self, name: str, read: Callable[[], bytes]) -> bytes | None:
        for turn in range(1, TRIES + 1):
            try:
                return self._telling(name, read)
            except FileNotFoundError:
                return None
            except Unavailable:
                if turn == TRIES or self._folder is not None:
                    raise
                time.sleep(0.2 * turn)
        raise AssertionError

    def _telling(self, name: str, call: Callable[[], T]) -> T:
        """The call's result; its errors become ours, but for those that tell about the name.

        These are FileNotFoundError, FileExistsError, and EOFError when there is no such range.
        """
        try:
            return call()
        except (StopIteration, PerennialError):
            raise
        except AlreadyExistsError as error:
            raise FileExistsError(name) from error
        except (BaseError, OSError, ValueError) as error:
            text = str(error)
            if isinstance(error, FileNotFoundError) and not any(says in text for says in _NO_BUCKET):
                raise
            if "InvalidRange" in text or "status code: 416" in text:
                raise EOFError(name) from None
            raise self._told(name, text) from None  # its text may hold what the server answered

    def _told(self, name: str, text: str) -> PerennialError:
        if any(says in text for says in _NO_BUCKET):
            return NotFound("there is no such bucket", where=self.url, remedy="make it, or mend the address")
        if (status := _STATUS.search(text)) is not None:
            code = int(status[1])
            if code in (401, 403):
                return Forbidden(
                    f"the remote does not let us ({code})",
                    where=f"{self.url}: {name}",
                    remedy="give the credentials in the environment the right to list, read and write there",
                )
            says = f"the remote answered {code}"
            return Unavailable(says, where=f"{self.url}: {name}", remedy="try again; what was sent is not sent again")
        if self._folder is not None and (number := _OS_ERROR.search(text)) is not None:
            says = os.strerror(int(number[1]))
            return StoreError(f"the remote cannot be used: {says}", where=f"{self.url}: {name}", remedy="mend that")
        if "BadScheme" in text:
            remedy = "set AWS_ALLOW_HTTP=true if it is meant to"
            return ConfigError("the address of the server begins with http://", where=self.url, remedy=remedy)
        return Unavailable(
            "the remote does not answer, or broke off",
            where=f"{self.url}: {name}",
            remedy="look at the network and the address, then try again; what was sent is not sent again",
        )


def _sweep(folder: Path) -> None:
    """Remove what a process that was killed left: the library writes to NAME#NUMBER first."""
    for path in folder.glob("*/*#*"):
        try:
            if time.time() - path.stat().st_mtime > LEFTOVER_S:
                LocalFiles().remove(path)
        except FileNotFoundError:  # it has its name now
            continue


def _force(folder: Path, name: str) -> None:
    files, path = LocalFiles(), folder / name
    with files.append(path) as file:
        file.fsync()
    while path != folder:
        path = path.parent
        files.sync_folder(path)
