"""Unpack a zip or tar archive of a stranger into a new folder, or refuse it and name the member that is wrong.

Only regular files with plain names below the folder come out of here: no links or devices, no name that leads
elsewhere or that another name equals on a disk that ignores case, and no more of them, larger or better compressed
than the limits allow. The content decides what an archive is, not its name. What was written before a refusal stays in
the folder, which is a scratch folder of the caller's.
"""

from __future__ import annotations

import gzip
import io
import re
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from perennial.errors import Invalid, TooLarge
from perennial.store.files import Files, LocalFiles

__all__ = ["Limits", "is_archive", "unpack"]

BLOCK = 1 << 20
HEADER = 1 << 20  # bytes: a tar header (a long name, say) may make its reader hold so much at once
FREE = 16 << 20  # bytes: below this the ratio says nothing; a few empty pages compress a thousandfold
MAX_NAME = 1000  # bytes of a path
_ZIP, _GZIP = b"PK\x03\x04", b"\x1f\x8b"
_TAR_MAGIC_AT = 257
_DRIVE = re.compile(r"[A-Za-z]:")
_UNSIGNED = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_REMEDY = "do not use this archive; ask who made it for one with plain files only"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an archive may hold: members, bytes when unpacked, and how often its own size that may be."""

    count: int = 10_000
    size: int = 5 * 1024**3
    ratio: int = 100


@dataclass(kw_only=True)
class _Target:
    """The folder to fill, and what was written so far."""

    folder: Path
    archive: Path
    limits: Limits
    files: Files
    packed: int
    written: int = 0
    names: dict[str, bool] = field(default_factory=dict[str, bool])  # as compared -> is it a file
    paths: list[str] = field(default_factory=list[str])

    def take(self, name: str, is_folder: bool) -> Path | None:
        """Where this member goes; None for a folder, which is made when a file is in it."""
        parts = self._parts(name)
        for depth in range(1, len(parts)):
            if self.names.setdefault(_compared(parts[:depth]), False):
                self._refuse(name, "lies below a file of the same name")
        if not parts or is_folder:
            if parts and self.names.setdefault(_compared(parts), False):
                self._refuse(name, "is there twice, names compared without case")
            return None
        if _compared(parts) in self.names:
            self._refuse(name, "is there twice, names compared without case")
        self.names[_compared(parts)] = True
        self.paths.append("/".join(parts))
        return self.folder.joinpath(*parts)

    def write(self, path: Path, name: str, content: IO[bytes]) -> None:
        self.files.mkdirs(path.parent)
        with self.files.append(path, exclusive=True, mode=0o600) as file:
            while block := content.read(BLOCK):
                self.grow(self.written + len(block), name)
                self.written += len(block)
                file.write(block)

    def grow(self, size: int, name: str) -> None:
        """Refuse to become this large."""
        if size > self.limits.size:
            raise TooLarge(
                f"the archive holds more than {self.limits.size} bytes, reached in {shown(name)}",
                where=str(self.archive),
                remedy="raise the limit (max_model_bytes) if you know what is in it",
            )
        if size > FREE and size > self.limits.ratio * self.packed:
            raise TooLarge(
                f"the archive unpacks to more than {self.limits.ratio} times its size, reached in {shown(name)}",
                where=str(self.archive),
                remedy=_REMEDY,
            )

    def count(self, members: int) -> None:
        if members > self.limits.count:
            raise TooLarge(
                f"the archive holds more than {self.limits.count} members", where=str(self.archive), remedy=_REMEDY
            )

    def _parts(self, name: str) -> list[str]:
        reason = (
            "has a name that is none"
            if _UNSIGNED.search(name) or len(name.encode(errors="replace")) > MAX_NAME
            else "has an absolute name"
            if name.startswith("/")
            else "has a backslash in its name"
            if "\\" in name
            else "names a drive"
            if _DRIVE.match(name)
            else "leads out of the folder"
            if ".." in name.split("/")
            else ""
        )
        if reason:
            self._refuse(name, reason)
        return [part for part in name.split("/") if part not in ("", ".")]

    def _refuse(self, name: str, reason: str) -> None:
        raise refused(self.archive, name, reason)


def unpack(archive: Path, folder: Path, *, limits: Limits | None = None, files: Files | None = None) -> list[str]:
    """Unpack into a folder that does not exist yet; the paths of the files in it.

    Args:
        archive: zip, tar or tar.gz, told by its content.
        folder: Where to; its parent is a scratch folder (`store.scratch`).
        limits: Of members and sizes.
        files: Of the store.

    Raises:
        Invalid: It is no such archive, is damaged, or a member is not a plain file with a plain name; names it.
        TooLarge: It goes over a limit.
    """
    if folder.exists():
        raise Invalid("an archive is unpacked into a new folder only", where=str(folder), remedy="name another one")
    files = files or LocalFiles()
    files.mkdirs(folder)
    limits = limits or Limits()
    target = _Target(folder=folder, archive=archive, limits=limits, files=files, packed=archive.stat().st_size)
    try:
        if _begins(archive) == "zip":
            _unpack_zip(archive, target)
        else:
            _unpack_tar(archive, target, is_packed=_begins(archive) == "gzip")
    except (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise Invalid(f"the archive is damaged: {error}", where=str(archive), remedy="fetch it again") from error
    return target.paths


def is_archive(path: Path) -> bool:
    """Whether the content begins like one that `unpack` takes."""
    return path.is_file() and _begins(path) != ""


def refused(archive: Path, name: str, reason: str) -> Invalid:
    return Invalid(f"the archive's member {shown(name)} {reason}", where=str(archive), remedy=_REMEDY)


def shown(name: str) -> str:
    return ascii(name if len(name) <= 200 else f"{name[:200]}...")


def _begins(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(_TAR_MAGIC_AT + 5)
    if head.startswith(_ZIP):
        return "zip"
    if head.startswith(_GZIP):
        return "gzip"
    return "tar" if head[_TAR_MAGIC_AT:] == b"ustar" else ""


def _compared(parts: list[str]) -> str:
    """A name as the least distinguishing disk sees it: without case, in one form of accents."""
    return "/".join(unicodedata.normalize("NFC", unicodedata.normalize("NFD", part).casefold()) for part in parts)


def _unpack_zip(archive: Path, target: _Target) -> None:
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        target.count(len(members))
        for member in members:
            name = member.orig_filename  # `filename` ends at a NUL byte
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise refused(archive, name, "is a link or a device")
            if member.flag_bits & 0x1:
                raise refused(archive, name, "is encrypted")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise refused(archive, name, f"is compressed by method {member.compress_type}, which is not read here")
            path = target.take(name, name.endswith("/") or kind == stat.S_IFDIR)
            if path is None:
                continue
            target.grow(target.written + member.file_size, name)  # as it is told; what comes is counted as well
            with opened.open(member) as content:
                target.write(path, name, content)


def _unpack_tar(archive: Path, target: _Target, *, is_packed: bool) -> None:
    with archive.open("rb") as raw:
        stream = cast("IO[bytes]", gzip.GzipFile(fileobj=raw) if is_packed else raw)
        bounded = cast("IO[bytes]", _Bounded(stream, target))
        with tarfile.open(fileobj=bounded, mode="r:") as opened:
            for member in _members(opened, target):
                if member.isdir():
                    target.take(member.name, True)
                    continue
                if not member.isreg() or member.issparse():
                    what = "is a sparse file" if member.issparse() else "is a link or a device"
                    raise refused(archive, member.name, what)
                path = target.take(member.name, False)
                content = opened.extractfile(member)
                assert path is not None
                assert content is not None
                with content:
                    target.write(path, member.name, content)


def _members(opened: tarfile.TarFile, target: _Target) -> Iterator[tarfile.TarInfo]:
    count = 0
    while (member := opened.next()) is not None:
        count += 1
        target.count(count)
        yield member


class _Bounded(io.RawIOBase):
    """What a tar archive is read through: never much at once, and never further than the limits allow."""

    def __init__(self, stream: IO[bytes], target: _Target) -> None:
        self._stream = stream
        self._target = target

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= max(HEADER, BLOCK):
            raise Invalid(
                "a header of the archive is larger than a header may be",
                where=str(self._target.archive),
                remedy=_REMEDY,
            )
        data = self._stream.read(size)
        self._check(self._stream.tell())
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._check(offset)
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def _check(self, position: int) -> None:
        headers = 2048 * (len(self._target.paths) + 64)
        self._target.grow(max(0, position - headers), "its headers")
