"""The one tree of paths below which every logged file lies: which texts are paths, and what lies below one.

A path is a name in the records, never one on this machine's disk: that is what keeps `../../etc/passwd` out. It is
decoded once, where it comes in; what would still mean something to whoever decodes or joins it again is refused. Paths
are compared by their bytes, so that everything below a folder is one range of the index.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import msgspec
import sqlalchemy as sa

from perennial.errors import Invalid
from perennial.store.prepared import Prepared
from perennial.tracking.records import artifacts
from perennial.tracking.run import Artifact

__all__ = ["MAX_BYTES", "Entry", "File", "below", "checked", "checked_folder", "children", "inside", "listed"]

MAX_BYTES = 2_000  # of a path in UTF-8: what a row of PostgreSQL's index holds
BATCH, MOST = 16, 1024  # rows that are read at once, before what is left of a folder is jumped over
ROUTE = "/mlflow-artifacts/artifacts/"
# What is still encoded means something else to whoever decodes once more; U+FFFD stands for what was no UTF-8.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\#;?\ufffd\ud800-\udfff]|%[0-9A-Fa-f]{2}")
_DRIVE = re.compile(r"[A-Za-z]:|file:", re.IGNORECASE)


_a = artifacts.c
_BELOW = Prepared(
    sa.select(_a.path, sa.func.coalesce(_a.digest, _a.elsewhere), _a.size)
    .where(_a.path > sa.bindparam("first", type_=sa.Text), _a.path < sa.bindparam("last", type_=sa.Text))
    .order_by(_a.path),
    ("first", "last"),
)


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A logged file. `digest` names its bytes, `elsewhere` in the bucket of the settings, else in this workspace."""

    path: str
    digest: str
    size: int
    elsewhere: bool = False


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What a folder holds: `path` is the name in it; a folder has no size."""

    path: str
    is_dir: bool
    size: int | None = None


def checked(path: str) -> str:
    """The path of a file.

    Raises:
        Invalid: It is empty, too long, leads elsewhere, or holds what means something in an address.
    """
    parts = path.split("/")
    reason = (
        "it is empty"
        if not path
        else f"it has more than {MAX_BYTES} bytes"
        if len(path) > MAX_BYTES or len(path.encode(errors="replace")) > MAX_BYTES
        else f"it holds {found[0]!r}"
        if (found := _FORBIDDEN.search(path)) is not None
        else "it is absolute, or a part of it is empty"
        if "" in parts
        else "it leads to its own or a parent folder"
        if "." in parts or ".." in parts
        else "it names a drive"
        if any(_DRIVE.match(part) for part in parts)
        else ""
    )
    if reason:
        # The sentence is the one that MLflow's clients know, and no more.
        raise Invalid("Invalid path", where=f"{path[:200]!r}: {reason}")
    return path


def checked_folder(path: str) -> str:
    """The path of a folder or a file; empty for the top. A slash at its end and steps to the same folder are left out.

    Raises:
        Invalid: As for `checked`.
    """
    shorter = path.removesuffix("/") or path
    path = "/".join(part for part in shorter.split("/") if part != ".")
    return checked(path) if path else ""


def below(uri: str) -> str | None:
    """The path that an address in this tree stands for (`mlflow-artifacts:/0/...`, or our route); None elsewhere.

    Raises:
        Invalid: It leads out of the tree.
    """
    parts = urlsplit(uri)
    if parts.scheme == "mlflow-artifacts":
        return checked_folder(parts.path.lstrip("/"))
    if parts.scheme in ("http", "https") and ROUTE in parts.path:
        return checked_folder(parts.path.partition(ROUTE)[2])
    return None


def inside(folder: str) -> sa.ColumnElement[bool]:
    """Whether a row lies below this folder, which is not the top."""
    return sa.and_(artifacts.c.path > f"{folder}/", artifacts.c.path < f"{folder}0")  # "0" comes behind "/"


def listed(connection: sa.Connection, root: str) -> list[Artifact]:
    """All files below a folder, at any depth, with their paths from there."""
    rows = _BELOW.rows(connection, f"{root}/", f"{root}0")  # "0" comes behind "/"
    return [Artifact(path=path[len(root) + 1 :], digest=digest, size=size) for path, digest, size in rows]


def children(connection: sa.Connection, folder: str) -> list[Entry]:
    """What a folder holds, by name. Of a folder in it little is read, however much lies there."""
    table = artifacts.c
    start = f"{folder}/" if folder else ""
    query = sa.select(table.path, table.size).order_by(table.path)
    if folder:
        query = query.where(table.path < f"{folder}0")
    query = query.where(table.path >= sa.bindparam("lower")).limit(sa.bindparam("most", type_=sa.Integer))
    found: dict[str, Entry] = {}
    lower, most = start, BATCH
    while True:
        known = len(found)
        rows = connection.execute(query, {"lower": lower, "most": most}).all()
        for path, size in rows:
            name, slash, _ = path[len(start) :].partition("/")
            found[name + slash] = Entry(path=name, is_dir=bool(slash), size=None if slash else size)
        if len(rows) < most:
            return sorted(found.values(), key=lambda entry: entry.path)
        name, slash, _ = rows[-1][0][len(start) :].partition("/")
        lower = f"{start}{name}0" if slash else f"{start}{name}\x01"  # a file may be called like a folder, with more
        # Many at a time where most rows are entries, few where most are jumped over.
        most = min(4 * most, MOST) if 2 * (len(found) - known) > most else BATCH
