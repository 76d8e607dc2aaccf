"""Take over what DVC tracks: each output becomes a dataset, its bytes read from DVC's cache into the store.

Read are `*.dvc` files and `dvc.lock`, as DVC 1 to 3 write them, and both layouts of the cache: `files/md5/ab/cdef...`
and `ab/cdef...`. The MD5 of every file is checked while it is read. Only what the work tree names is taken; what other
commits of Git name is theirs.
"""

from __future__ import annotations

import configparser
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from perennial.data.files.add import commit_tree
from perennial.data.files.kinds import EXECUTABLE, FILE
from perennial.data.files.tables import scan_entries
from perennial.data.files.tree import Entry, write_tree
from perennial.errors import Corrupt, DataError, NotFound, PerennialError
from perennial.store.decoding import ready

if TYPE_CHECKING:
    from perennial.data.catalog import Catalog
    from perennial.data.files.rows import Rows
    from perennial.store.source import Stored

__all__ = ["Imported", "import_dvc"]

TEXT_BYTES = 512  # DVC before 3.0 looked at so many to tell text, whose MD5 it took with the line ends of Unix
_BINARY = bytes(set(range(256)) - set(b"\n\r\t\f\b") - set(range(32, 256)))


@dataclass(frozen=True, kw_only=True)
class Imported:
    """One output of DVC and what became of it. `version` is None when nothing did; then `problem` says why."""

    path: str
    name: str
    version: int | None = None
    files: int = 0
    problem: str = ""


class _Out(Struct, kw_only=True):
    """An output, as DVC's files have it. `hash` is empty before DVC 3."""

    path: str
    md5: str
    hash: str
    isexec: bool


class _Inside(Struct, kw_only=True):
    """A file of a folder, as a `.dir` file has it."""

    md5: str
    relpath: str
    isexec: bool = False


def import_dvc(path: str | Path, catalog: Catalog, *, prefix: str = "", dry_run: bool = False) -> list[Imported]:
    """Add every output that a project of DVC tracks as a version of a dataset; one that fails hides no other.

    Args:
        path: Of the project: the folder that holds `.dvc`.
        catalog: Where to.
        prefix: What the names begin with; the rest is the path of the output, with dots for slashes.
        dry_run: Only look what is there.

    Raises:
        NotFound: DVC does not track this folder.
    """
    project = Path(path).resolve()
    if not (project / ".dvc").is_dir():
        raise NotFound("DVC tracks nothing here", where=str(path), remedy="name the folder that holds .dvc")
    caches = _caches(project)
    done: list[Imported] = []
    taken: set[str] = set()
    for where, out, problem in _outs(project):
        name = prefix + where.replace("/", ".")
        if not problem and name in taken:
            problem = f"another output is called {name} already"
        if problem or out is None:
            done.append(Imported(path=where, name=name, problem=problem))
            continue
        taken.add(name)
        try:
            done.append(_import(where, out, name, caches, catalog, dry_run=dry_run))
        except PerennialError as error:
            done.append(Imported(path=where, name=name, problem=str(error)))
    return done


def _import(where: str, out: _Out, name: str, caches: list[Path], catalog: Catalog, *, dry_run: bool) -> Imported:
    if not out.md5:
        raise NotFound("DVC has not stored this output yet", remedy="run: dvc commit")
    is_file = not out.md5.endswith(".dir")
    is_legacy = not out.hash
    if is_file:
        inside = [_Inside(md5=out.md5, relpath=PurePosixPath(where).name, isexec=out.isexec)]
    else:
        inside = _inside(_cached(out.md5, caches, where))
    paths = [_cached(file.md5, caches, file.relpath) for file in inside]
    if dry_run:
        return Imported(path=where, name=name, files=len(inside))
    with catalog.objects.until_committed():
        entries: list[Entry] = []
        for file, cached, put in zip(inside, paths, catalog.objects.put_files(paths), strict=True):
            _check(cached, file.md5, put, is_legacy=is_legacy)
            kind = EXECUTABLE if file.isexec else FILE
            entries.append(Entry(os.fsencode(file.relpath), kind, put.size, bytes.fromhex(put.digest)))
        entries.sort(key=lambda entry: entry.path)
        stored = write_tree(entries, catalog.objects.put_many, is_file=is_file)
        version = commit_tree(
            stored,
            name,
            catalog,
            source={"kind": "dvc", "path": where, "md5": out.md5},
            look=lambda: _rows(entries, name, catalog),
        )
    return Imported(path=where, name=name, version=version.version, files=version.files)


def _rows(entries: list[Entry], name: str, catalog: Catalog) -> Rows | None:
    scan = scan_entries(entries, catalog.objects, catalog.scratch, name)
    if scan is None:
        return None
    from perennial.data.files.rows import look_at

    return look_at(scan, name, catalog)


def _outs(project: Path) -> Iterator[tuple[str, _Out | None, str]]:
    """Path from the project, output, and what is wrong, of everything that DVC's files name."""
    for folder, folders, names in os.walk(project):
        folders[:] = sorted(name for name in folders if name not in (".dvc", ".git"))
        for name in sorted(names):
            if not (name.endswith(".dvc") or name == "dvc.lock"):
                continue
            path = Path(folder, name)
            try:
                for at, out in _read(path):
                    inside = os.path.normpath(Path(folder, at, out.path))
                    yield os.path.relpath(inside, project), out, ""
            except (OSError, ValueError) as error:
                yield os.path.relpath(path, project), None, f"this cannot be read as a file of DVC: {error}"


def _read(path: Path) -> Iterator[tuple[str, _Out]]:
    """The outputs of one file of DVC, each with the folder that its path is from.

    Of YAML as DVC writes it, the lists called `outs` are read, and the scalars of their items.

    Raises:
        ValueError: An item says something that this does not understand.
    """
    folder, outs = ".", list[dict[str, str]]()
    inside: int | None = None  # where the word "outs" begins, while its list is read
    keys, last = -1, ""
    for line in path.read_text("utf-8").splitlines():
        text = line.lstrip(" ")
        if not text or text.startswith("#"):
            continue
        indent = len(line) - len(text)
        if inside is not None and indent <= inside and not (indent == inside and text.startswith("- ")):
            inside = None
        if inside is None:
            key, _, value = text.partition(":")
            if key == "outs" and not value.strip():
                inside, keys = indent, -1
            elif key == "wdir" and indent == 0:
                folder = _scalar(value)
            continue
        if text.startswith("- ") and keys in (-1, indent + 2):
            outs.append({})
            text, indent, keys = text[2:].lstrip(" "), indent + 2, indent + 2
        if not outs:
            raise ValueError(f"line {text[:80]!r} is not understood")
        if indent > keys:  # a long scalar goes on, or something within what we do not need
            outs[-1][last] = f"{outs[-1].get(last, '')} {text}".strip()
            continue
        last, colon, value = text.partition(":")
        if not colon or indent != keys:
            raise ValueError(f"line {text[:80]!r} is not understood")
        outs[-1][last] = value.strip()
    for out in outs:
        yield (
            folder,
            _Out(
                path=_scalar(out.get("path", "")),
                md5=_scalar(out.get("md5", "")),
                hash=_scalar(out.get("hash", "")),
                isexec=out.get("isexec") == "true",
            ),
        )


def _scalar(text: str) -> str:
    text = text.strip()
    if text.startswith("'") and text.endswith("'") and len(text) > 1:
        return text[1:-1].replace("''", "'")
    return str(json.loads(text)) if text.startswith('"') else text


def _inside(path: Path) -> list[_Inside]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=ready(list[_Inside]))
    except (msgspec.MsgspecError, OSError) as error:
        raise Corrupt(f"DVC's list of a folder cannot be read: {error}", where=str(path)) from error


def _caches(project: Path) -> list[Path]:
    """The folders where DVC keeps files: what its configuration names, and its own."""
    found: list[Path] = []
    for name in ("config.local", "config"):
        config = configparser.ConfigParser(strict=False, interpolation=None)
        try:
            config.read(project / ".dvc" / name)
        except (configparser.Error, UnicodeDecodeError) as error:
            raise DataError(f"DVC's configuration cannot be read: {error}", where=f".dvc/{name}") from error
        if config.has_option("cache", "dir"):
            found.append(Path(project, ".dvc", config.get("cache", "dir")))
    return [*found, project / ".dvc" / "cache"]


def _cached(md5: str, caches: list[Path], what: str) -> Path:
    plain = md5.removesuffix(".dir")
    if len(plain) != 32 or not set(plain) <= set("0123456789abcdef"):
        raise DataError(f"{md5[:80]!r} is not an MD5", where=what)
    for cache in caches:
        for layout in (cache / "files" / "md5", cache):
            path = layout / md5[:2] / md5[2:]
            if path.is_file():
                return path
    raise NotFound(f"DVC's cache does not hold {md5}", where=what, remedy="get it with: dvc pull")


def _check(path: Path, md5: str, put: Stored, *, is_legacy: bool) -> None:
    """The MD5 of a file, which must be as it was when it was put."""
    with open(path, "rb") as file:
        is_right = _is_right(file, md5, is_legacy=is_legacy)
        told = os.fstat(file.fileno())
    if not is_right or (told.st_size, told.st_mtime_ns, told.st_ino) != (put.size, put.mtime_ns, put.inode):
        raise Corrupt(
            f"DVC's cache holds other bytes than those of {md5}",
            where=str(path),
            remedy="remove that file, then: dvc pull",
        )


def _is_right(file: BufferedReader, md5: str, *, is_legacy: bool) -> bool:
    if hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == md5:
        return True
    file.seek(0)
    start = file.read(TEXT_BYTES)
    is_text = b"\0" not in start and len(start.translate(None, _BINARY)) >= 0.7 * len(start)
    if not (is_legacy and is_text):
        return False
    file.seek(0)
    hasher = hashlib.md5(usedforsecurity=False)
    while block := file.read(1 << 20):
        hasher.update(block.replace(b"\r\n", b"\n"))
    return hasher.hexdigest() == md5
