"""The files that were logged: what lies at which path, for runs, logged models and everything else MLflow keeps there.

A path names bytes by digest. It becomes visible, or is replaced, in one transaction after its bytes are durable; where
these lie is `bytes`' business, what may be a path is `tree`'s.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from itertools import pairwise

import sqlalchemy as sa

from perennial.config import Settings
from perennial.errors import Forbidden, Invalid, NotFound, PerennialError
from perennial.store.objects import ObjectStore
from perennial.store.prepared import upserting
from perennial.store.records import Records, Transaction
from perennial.store.workspace_folder import WorkspaceFolder
from perennial.tracking.body import Body
from perennial.tracking.bytes import Bytes, open_bytes
from perennial.tracking.loading import run_root
from perennial.tracking.records import artifacts, experiments, logged_models, runs
from perennial.tracking.run import Artifact
from perennial.tracking.tree import Entry, File, below, checked, checked_folder, children, inside
from perennial.types import Digest

__all__ = ["PACKAGES", "Artifacts", "keep", "record", "refuse_closed", "remove_below"]

PACKAGES = "packages"  # below it the packages of registered versions are shown, and nothing else lies there
_RUN = re.compile(r"[A-Za-z0-9][\w-]{0,255}")
_UPSERT = upserting(artifacts)
_log = logging.getLogger("perennial.tracking")


class Artifacts:
    """The logged files of a workspace. Safe for concurrent use; every write can be repeated.

    `bytes` is where new ones go; `here` is the object store, where those that we made ourselves lie in any case.
    """

    def __init__(self, records: Records, objects: ObjectStore, settings: Settings, folder: WorkspaceFolder) -> None:
        self.records = records
        self.objects = objects
        self.here: Bytes = open_bytes("", objects, folder)
        self.bytes: Bytes = open_bytes(settings.artifacts, objects, folder) if settings.artifacts else self.here
        self.scratch = folder.tmp
        self.limit = settings.max_artifact_bytes

    def add(self, *, path: str, digest: str, size: int) -> File:
        """Name an object as the file at this path; one that is there is replaced.

        Args:
            path: Below the top of all artifacts, for example 0/RUN/artifacts/plots/roc.svg.
            digest: Of bytes that are in the object store of this workspace.
            size: In bytes.

        Raises:
            Invalid: The path leads elsewhere, lies below a deleted run, or a file is where a folder should be; or the
                object has another size.
            NotFound: There is no such object.
        """
        file = File(path=checked(path), digest=digest, size=size)
        with self.objects.until_committed():
            self._check_object(digest, size)
            return _replace(self, file)

    def add_for_run(self, *, run_id: str, path: str, digest: str, size: int) -> Artifact:
        """`add` for a path below the root of a run.

        Raises:
            Invalid, NotFound: As for `add`; or there is no such run, or its artifacts lie in a store of its client's.
        """
        checked(path)

        def root(connection: sa.Connection) -> str:
            query = sa.select(runs.c.experiment, experiments.c.artifact_location).join_from(runs, experiments)
            found = connection.execute(query.where(runs.c.id == run_id)).first()
            if found is None:
                raise NotFound(f"there is no run {run_id}", remedy="perennial runs list")
            uri = run_root(found.experiment, found.artifact_location, run_id)
            if (folder := below(uri)) is None:
                raise Invalid(f"the artifacts of run {run_id} lie at {uri}, not here", remedy="write them there")
            return folder

        self.add(path=f"{self.records.read(root)}/{path}", digest=digest, size=size)
        return Artifact(path=path, digest=digest, size=size)

    def list(self, *, path: str = "") -> list[Entry]:
        """What a folder holds, by name; nothing for a file and where there is nothing.

        Raises:
            Invalid: The path leads elsewhere.
        """
        folder = checked_folder(path)
        return self.records.read(lambda connection: children(connection, folder))

    def get(self, *, path: str) -> File:
        """The file at a path.

        Raises:
            NotFound: There is nothing.
            Invalid: The path leads elsewhere, or to a folder.
        """
        name = checked(checked_folder(path))

        def find(connection: sa.Connection) -> File:
            row = connection.execute(sa.select(artifacts).where(artifacts.c.path == name)).first()
            if row is not None:
                digest, is_elsewhere = row.digest or row.elsewhere, row.digest is None
                return File(path=name, digest=digest, size=row.size, elsewhere=is_elsewhere)
            if connection.execute(sa.select(artifacts.c.path).where(inside(name)).limit(1)).first() is not None:
                raise Invalid(f"{name} is a folder", remedy="list it, or name a file in it")
            raise NotFound(f"there is no artifact {name}", remedy="list the folder above it")

        return self.records.read(find)

    def delete(self, *, path: str) -> int:
        """Remove the file at a path, or everything below it; says how many files these were, none is fine.

        Raises:
            Invalid: The path leads elsewhere, or is the top.
        """
        name = checked(checked_folder(path))
        _refuse_packages(name)

        def change(tx: Transaction) -> tuple[int, list[str]]:
            found = tx.connection.execute(sa.select(artifacts.c.path).where(artifacts.c.path == name)).first()
            count = tx.connection.scalar(sa.select(sa.func.count()).where(inside(name))) or 0
            count += found is not None
            if count:
                tx.event("artifact.deleted", f"artifact/{name}", {"files": count})
            return count, _remove(tx, sa.or_(artifacts.c.path == name, inside(name)))

        count, unnamed = self.records.write(change)
        _free_later(self, unnamed)
        return count

    def free(self, *, digests: list[str] | None = None) -> None:
        """Remove from the bucket what no path names any more, of these digests or of all that lies there."""
        if self.bytes.is_elsewhere:
            for digest in self.bytes.stored() if digests is None else digests:
                self.bytes.free(digest, lambda digest=digest: self.records.read(lambda c: _is_named(c, digest)))

    def _check_object(self, digest: str, size: int) -> None:
        if self.objects.pin([Digest(digest)]):
            raise NotFound(f"there is no object {digest}", remedy="put the bytes into the object store first")
        if (stored := self.objects.size(Digest(digest))) != size:
            raise Invalid(f"object {digest} has {stored} bytes, not {size}")


def keep(service: Artifacts, path: str, body: Body, also: Callable[[Transaction], None] = lambda tx: None) -> File:
    """Store a body and let a path name it, in one transaction with what else there is to do.

    Raises:
        Invalid: As for `Artifacts.add`; nothing was stored when the path alone tells.
    """
    store = service.bytes
    file = File(path=checked(path), digest=body.digest, size=body.size, elsewhere=store.is_elsewhere)
    _refuse_packages(path)
    with store.keeping(body):
        return _replace(service, file, also)


def record(tx: Transaction, file: File) -> list[str]:
    """Let a path name bytes; gives the names in the bucket that nothing names any more.

    Raises:
        Invalid: It lies below a deleted run or model, or a file is where a folder should be.
    """
    refuse_closed(tx.connection, file.path)
    _refuse_overlap(tx.connection, file.path)
    known = tx.connection.scalar(sa.select(artifacts.c.elsewhere).where(artifacts.c.path == file.path))
    here, there = (None, file.digest) if file.elsewhere else (file.digest, None)
    _UPSERT.many(tx.connection, [(file.path, here, there, file.size, tx.now)])
    return [known] if known and not _is_named(tx.connection, known) else []


def remove_below(tx: Transaction, root: str) -> list[str]:
    """Remove all files below a folder; gives the names in the bucket that nothing names any more.

    Hand them to `Artifacts.free` when this is committed.
    """
    return _remove(tx, inside(checked(root)))


def refuse_closed(connection: sa.Connection, path: str) -> None:
    """Raises:
    Invalid: The path lies below a run or logged model that is deleted.
    Forbidden: It lies in the folder that only shows packages.
    """
    _refuse_packages(path)
    parts = path.split("/")
    owners = [one for one, behind in pairwise(parts) if behind == "artifacts"]
    for owner in filter(_RUN.fullmatch, owners):
        if connection.scalar(sa.select(runs.c.lifecycle).where(runs.c.id == owner)) == "deleted":
            raise Invalid(f"The run {owner} must be in the 'active' state, it is deleted", remedy="restore it first")
        if connection.scalar(sa.select(logged_models.c.deleted).where(logged_models.c.id == owner)) is not None:
            raise Invalid(f"The logged model {owner} is deleted", remedy="log the files to another one")


def _replace(service: Artifacts, file: File, also: Callable[[Transaction], None] = lambda tx: None) -> File:
    def change(tx: Transaction) -> list[str]:
        also(tx)
        return record(tx, file)

    _free_later(service, service.records.write(change))
    return file


def _free_later(service: Artifacts, unnamed: list[str]) -> None:
    """What was asked for is done and durable: when the bucket does not answer, its space is freed another time."""
    try:
        service.free(digests=unnamed)
    except PerennialError as error:
        _log.warning("not freed yet, `artifacts.free` does it: %s", error)


def _refuse_packages(path: str) -> None:
    if path == PACKAGES or path.startswith(f"{PACKAGES}/"):
        raise Forbidden(
            f"{PACKAGES}/ shows the packages of registered versions and is read-only", remedy="use another folder"
        )


def _refuse_overlap(connection: sa.Connection, path: str) -> None:
    """A path is a file or a folder, never both: whoever downloads them all could not have both."""
    parts = path.split("/")
    above = ["/".join(parts[:count]) for count in range(1, len(parts))]
    if above:
        found = connection.scalar(sa.select(artifacts.c.path).where(artifacts.c.path.in_(above)).limit(1))
        if found is not None:
            raise Invalid(f"{found} is a file, so that nothing can lie below it", remedy="choose another name")
    if connection.execute(sa.select(artifacts.c.path).where(inside(path)).limit(1)).first() is not None:
        raise Invalid(f"{path} is a folder, so that it cannot be a file", remedy="choose another name")


def _remove(tx: Transaction, which: sa.ColumnElement[bool]) -> list[str]:
    names = tx.connection.scalars(
        sa.select(artifacts.c.elsewhere).where(which, artifacts.c.elsewhere.is_not(None)).distinct()
    ).all()
    tx.connection.execute(sa.delete(artifacts).where(which))
    return [name for name in names if not _is_named(tx.connection, name)]


def _is_named(connection: sa.Connection, name: str) -> bool:
    query = sa.select(artifacts.c.path).where(artifacts.c.elsewhere == name).limit(1)
    return connection.execute(query).first() is not None
