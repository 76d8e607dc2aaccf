"""What lies in a folder: every file, symbolic link and empty folder, with what the file system says about it.

Links are recorded and never followed, so a loop of them is harmless. Nothing heavy is imported here: `status` rests on
this.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from pathlib import Path

from msgspec import Struct

from perennial.data.files.kinds import EXECUTABLE, FILE, FOLDER, LINK
from perennial.errors import DataError, NotFound
from perennial.store.outside import UNFINISHED

__all__ = ["IGNORE_FILE", "Seen", "look", "shown", "shown_path", "unreadable", "walk"]

IGNORE_FILE = b".perennialignore"


class Seen(Struct, array_like=True, gc=False):
    """One path below a folder. `content`: the raw digest of a file when it is known, the target of a link."""

    path: bytes
    kind: int
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    content: bytes = b""

    def is_as(self, other: Seen) -> bool:
        """Whether the file system says the same about both."""
        return (
            self.ctime_ns == other.ctime_ns
            and self.mtime_ns == other.mtime_ns
            and self.size == other.size
            and self.inode == other.inode
            and self.kind == other.kind
        )


def walk(root: Path, *, leave_out: Path | None = None) -> list[Seen]:
    """Everything below a folder, by path; without `leave_out`, what the ignore file names and what a kill left.

    Raises:
        DataError: Something cannot be read, or is neither file, link nor folder.
    """
    ignored = _ignored(root)
    left_out = (leave_out.name.encode(), leave_out.stat().st_ino) if leave_out and leave_out.exists() else None
    prefix = os.fsencode(root) + b"/"
    start = len(prefix)
    found: list[Seen] = []
    folders = [prefix]
    while folders:
        folder = folders.pop()
        try:
            is_empty = True
            with os.scandir(folder) as entries:
                for entry in entries:
                    is_empty = False
                    if entry.name.endswith(UNFINISHED):
                        continue
                    path = entry.path[start:]
                    is_folder = entry.is_dir(follow_symlinks=False)
                    if ignored is not None and ignored.match(path + b"/" if is_folder else path):
                        continue
                    if is_folder:
                        if left_out is None or (entry.name, entry.inode()) != left_out:
                            folders.append(entry.path + b"/")
                        continue
                    told = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(mode := told.st_mode):  # written out: most of the time goes here
                        kind = EXECUTABLE if mode & stat.S_IXUSR else FILE
                        found.append(Seen(path, kind, told.st_size, told.st_mtime_ns, told.st_ctime_ns, told.st_ino))
                    elif (seen := _seen(path, entry.path, told)) is not None:
                        found.append(seen)
            if is_empty and len(folder) > start:
                found.append(Seen(folder[start:-1], FOLDER, 0, 0, 0, 0))
        except FileNotFoundError:
            continue  # removed meanwhile: it is not there
        except OSError as error:
            raise unreadable(folder, error) from error
    found.sort(key=_path)
    return found


def look(path: Path) -> Seen:
    """One file, under its own name; a link is followed, since a person named it.

    Raises:
        NotFound: There is no such file.
        DataError: It is no file.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        raise NotFound("there is no such file or folder", where=shown(os.fsencode(path))) from None
    except OSError as error:
        raise unreadable(os.fsencode(path), error) from error
    seen = _seen(os.fsencode(path.name), os.fsencode(path), status)
    if seen is None:
        raise NotFound("there is no such file or folder", where=shown(os.fsencode(path)))
    return seen


def shown(path: bytes) -> str:
    r"""A path as text that can be printed and read back: what is not printable UTF-8 is escaped, and so is a backslash.

    >>> shown(b"caf\xc3\xa9"), shown(b"caf\xe9"), shown(b"two\nlines")
    ('café', 'caf\\xe9', 'two\\nlines')
    """
    text = path.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
    return text if text.isprintable() else "".join(_escaped(character) for character in text)


def shown_path(path: Path) -> str:
    return shown(os.fsencode(path))


def _escaped(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def _seen(path: bytes, where: bytes, status: os.stat_result) -> Seen | None:
    mode = status.st_mode
    content = b""
    if stat.S_ISREG(mode):
        kind, size = EXECUTABLE if mode & stat.S_IXUSR else FILE, status.st_size
    elif stat.S_ISLNK(mode):
        kind, size = LINK, 0
        try:
            content = os.readlink(where)  # noqa: PTH115  of bytes
        except FileNotFoundError:
            return None
    else:
        raise DataError(
            "this is neither a file, a link nor a folder, so it has no content to keep",
            where=shown(where),
            remedy=f"remove it, or name it in the folder's {IGNORE_FILE.decode()}",
        )
    return Seen(path, kind, size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, content)


def _path(seen: Seen) -> bytes:
    return seen.path


def _ignored(root: Path) -> re.Pattern[bytes] | None:
    """One expression for all patterns of the ignore file, or None when it names nothing.

    As in .gitignore: `#` begins a comment; a pattern with a slash before its end is about the path from the root, else
    about any name; one that ends in a slash is about folders. There is no `!`.
    """
    try:
        lines = (root / os.fsdecode(IGNORE_FILE)).read_bytes().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unreadable(os.fsencode(root / os.fsdecode(IGNORE_FILE)), error) from error
    patterns: list[bytes] = []
    for line in (line.strip() for line in lines):
        if line.startswith(b"!"):
            raise DataError(
                f"a pattern cannot begin with an exclamation mark: {shown(line)}",
                where=shown(os.fsencode(root / os.fsdecode(IGNORE_FILE))),
                remedy="name only what is left out",
            )
        if line and not line.startswith(b"#"):
            body = line.rstrip(b"/")
            anywhere = b"" if b"/" in body else b"(?:.*/)?"
            ending = b"/" if line.endswith(b"/") else b"/?"
            glob = fnmatch.translate(os.fsdecode(body.lstrip(b"/"))).removesuffix(r"\Z")
            patterns.append(b"(?:" + anywhere + os.fsencode(glob) + ending + b")\\Z")
    return re.compile(b"|".join(patterns), re.DOTALL) if patterns else None


def unreadable(path: bytes, error: OSError) -> DataError:
    """The error for what the file system would not let us read."""
    named = os.fsencode(error.filename) if isinstance(error.filename, bytes | str) else path
    return DataError(
        f"this cannot be read: {error.strerror}",
        where=shown(named),
        remedy=f"give yourself the right to read it, or name it in {IGNORE_FILE.decode()}",
    )
