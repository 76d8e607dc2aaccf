"""Experiments: what the runs of one loop, or of one client's project, are kept under.

A deleted experiment and its runs stay until garbage is collected, and keep the name; until then all can be restored.
"""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit

import msgspec
import sqlalchemy as sa

from perennial.errors import AlreadyExists, Conflict, Invalid, NotFound
from perennial.store.prepared import selecting_among, upserting
from perennial.store.records import Records, Transaction
from perennial.tracking import records as tables
from perennial.tracking.names import MAX_EXPERIMENT_TAG, MAX_NAME, checked_key, checked_pairs, checked_text
from perennial.tracking.records import experiments, runs
from perennial.tracking.search.experiments import EXPERIMENT_PAGE, experiment_query

__all__ = [
    "DEFAULT",
    "Experiment",
    "ExperimentPage",
    "Experiments",
    "View",
    "experiment_of",
    "location_of",
    "root_below",
]

DEFAULT = 0  # the experiment of runs that name none
MAX_LOCATION = 2048

View = Literal["active", "deleted", "all"]

_SET_TAGS = upserting(tables.experiment_tags)
_ROWS = selecting_among(sa.select(experiments), experiments.c.id)
_TAGS = selecting_among(
    sa.select(tables.experiment_tags).order_by(tables.experiment_tags.c.key), tables.experiment_tags.c.experiment
)


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """One experiment; times are microseconds."""

    id: int
    name: str
    artifact_location: str
    lifecycle: Literal["active", "deleted"]
    created: int
    updated: int
    tags: dict[str, str]


class ExperimentPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some experiments; `next_page_token` asks for more, None at the end."""

    experiments: list[Experiment]
    next_page_token: str | None


class Experiments:
    """The experiments of a workspace. Safe for concurrent use; every write is one transaction."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def create(self, *, name: str, artifact_location: str = "", tags: dict[str, str] | None = None) -> Experiment:
        """Make an experiment.

        Args:
            name: Nobody else has it, a deleted experiment neither.
            artifact_location: Where its artifacts lie; empty means in this workspace.
            tags: Its tags.

        Raises:
            AlreadyExists: There is one of this name, active or deleted.
            Invalid: The name, location or a tag cannot be stored.
        """
        checked_text("name", name, MAX_NAME)
        _check_location(artifact_location)
        pairs = checked_pairs("tags", tags or {}, MAX_EXPERIMENT_TAG)

        def change(tx: Transaction) -> Experiment:
            found = tx.connection.execute(sa.select(experiments).where(experiments.c.name == name)).first()
            if found is not None:
                raise AlreadyExists(
                    f"Experiment(name={name}) already exists"
                    + (" in deleted state" if found.lifecycle == "deleted" else ""),
                    remedy="restore it, or take another name"
                    if found.lifecycle == "deleted"
                    else "use it, or another name",
                )
            number = insert_experiment(tx, name, artifact_location)
            _SET_TAGS.many(tx.connection, [(number, key, value) for key, value in pairs])
            return _load(tx.connection, [number])[0]

        return self._records.write(change)

    def get(self, *, id: int | None = None, name: str | None = None) -> Experiment:
        """One experiment, also a deleted one, by number or name.

        Raises:
            NotFound: There is none.
        """

        def query(connection: sa.Connection) -> Experiment:
            found = id
            if name is not None:
                found = connection.scalar(sa.select(experiments.c.id).where(experiments.c.name == name))
            for experiment in _load(connection, [] if found is None else [found]):
                return experiment
            raise NotFound(
                f"Could not find experiment with name '{name}'"
                if name is not None
                else f"No Experiment with id={id} exists",
                remedy="perennial runs experiments lists them",
            )

        return self._records.read(query)

    def search(
        self,
        *,
        filter: str = "",
        order_by: list[str] | None = None,
        view: View = "active",
        limit: int = 1000,
        page_token: str = "",
    ) -> ExperimentPage:
        """Experiments that a filter lets through, newest first unless ordered otherwise.

        Raises:
            Invalid: The filter, an order or the token cannot be read, or the limit is not 1 to 50,000.
        """
        if not 0 < limit <= EXPERIMENT_PAGE:
            raise Invalid(
                f"Invalid value for request parameter max_results. It must be at most {EXPERIMENT_PAGE} and positive, "
                f"but got value {limit}"
            )

        def query(connection: sa.Connection) -> ExperimentPage:
            asked, token_of = experiment_query(filter, order_by or [], view, limit, page_token, connection.dialect.name)
            ids = list(connection.scalars(asked))
            return ExperimentPage(experiments=_load(connection, ids[:limit]), next_page_token=token_of(len(ids)))

        return self._records.read(query)

    def rename(self, *, id: int, name: str) -> Experiment:
        """Give an active experiment another name.

        Raises:
            NotFound: There is none. Conflict: It is deleted. AlreadyExists: The name is taken.
        """
        checked_text("new_name", name, MAX_NAME)

        def change(tx: Transaction) -> Experiment:
            current = _load(tx.connection, [id])
            if current and current[0].lifecycle == "deleted":
                raise Conflict("Cannot rename experiment in non-active lifecycle_stage", remedy="restore it first")
            _found(current, id)
            holder = tx.connection.scalar(sa.select(experiments.c.id).where(experiments.c.name == name))
            if holder not in (None, id):
                raise AlreadyExists(f"Experiment(name={name}) already exists", remedy="take another name")
            self._update(tx, id, name=name)
            return _load(tx.connection, [id])[0]

        return self._records.write(change)

    def delete(self, *, id: int) -> Experiment:
        """Hide an experiment and its runs, until they are restored or garbage is collected.

        Raises:
            NotFound: There is no active one.
        """
        return self._move(id, "active", "deleted")

    def restore(self, *, id: int) -> Experiment:
        """Bring a deleted experiment back, with all its runs.

        Raises:
            NotFound: There is no deleted one.
        """
        return self._move(id, "deleted", "active")

    def set_tags(self, *, id: int, tags: dict[str, str]) -> None:
        """Set tags; a tag that is there is replaced.

        Raises:
            NotFound: There is no such experiment. Invalid: A key or value cannot be stored, or it is deleted.
        """
        pairs = checked_pairs("tags", tags, MAX_EXPERIMENT_TAG)

        def change(tx: Transaction) -> None:
            _check_active(_found(_load(tx.connection, [id]), id))
            _SET_TAGS.many(tx.connection, [(id, key, value) for key, value in pairs])
            self._update(tx, id)

        self._records.write(change)

    def delete_tag(self, *, id: int, key: str) -> None:
        """Take a tag away.

        Raises:
            NotFound: There is no such experiment or tag.
        """
        checked_key(key)
        table = tables.experiment_tags.c

        def change(tx: Transaction) -> None:
            _check_active(_found(_load(tx.connection, [id]), id))
            done = tx.connection.execute(
                sa.delete(tables.experiment_tags).where(table.experiment == id, table.key == key)
            )
            if not done.rowcount:
                raise NotFound(f"No tag with name: {key} in experiment with id {id}")
            self._update(tx, id)

        self._records.write(change)

    def _move(self, id: int, before: str, after: str) -> Experiment:
        def change(tx: Transaction) -> Experiment:
            found = _load(tx.connection, [id])
            if not found or found[0].lifecycle != before:
                raise NotFound(f"No {before} Experiment with id={id} exists")
            self._update(tx, id, lifecycle=after)
            deleted = tx.now if after == "deleted" else None
            tx.connection.execute(
                sa.update(runs)
                .where(runs.c.experiment == id, runs.c.lifecycle == before)
                .values(lifecycle=after, deleted=deleted)
            )
            return _load(tx.connection, [id])[0]

        return self._records.write(change)

    def _update(self, tx: Transaction, id: int, **values: object) -> None:
        tx.connection.execute(sa.update(experiments).where(experiments.c.id == id).values(updated=tx.now, **values))


def experiment_of(tx: Transaction, name: str) -> int:
    """The number of the experiment of this name; it is made when there is none.

    Raises:
        Invalid: It is deleted.
    """
    found = tx.connection.execute(
        sa.select(experiments.c.id, experiments.c.lifecycle).where(experiments.c.name == name)
    ).first()
    if found is None:
        return insert_experiment(tx, checked_text("loop", name, MAX_NAME), "")
    if found.lifecycle == "deleted":
        raise Invalid(f"the experiment {name!r} is deleted", remedy="restore it, or take another name")
    return found.id


def insert_experiment(tx: Transaction, name: str, artifact_location: str) -> int:
    """A new row, whose name nobody has."""
    values = {"name": name, "artifact_location": artifact_location, "lifecycle": "active"}
    statement = sa.insert(experiments).values(**values, created=tx.now, updated=tx.now)
    return tx.connection.execute(statement.returning(experiments.c.id)).scalar_one()


def root_below(location: str, below: str) -> str:
    """The address of what lies below this location; a query of some store's stays at the end."""
    path, mark, query = location.partition("?")
    return f"{path.rstrip('/')}/{below}{mark}{query}"


def location_of(id: int, artifact_location: str) -> str:
    """Where the artifacts of an experiment lie."""
    return artifact_location or f"mlflow-artifacts:/{id}"


def _load(connection: sa.Connection, ids: list[int]) -> list[Experiment]:
    """These experiments, in this order."""
    rows = {row[0]: row for row in _ROWS(connection, ids)}
    tags: dict[int, dict[str, str]] = {number: {} for number in ids}
    for number, key, value in _TAGS(connection, ids):
        tags[number][key] = value
    return [
        Experiment(
            id=number,
            name=name,
            artifact_location=location_of(number, location),
            lifecycle=lifecycle,
            created=created,
            updated=updated,
            tags=tags[number],
        )
        for number, name, location, lifecycle, created, updated in (rows[number] for number in ids if number in rows)
    ]


def _found(experiments: list[Experiment], id: int) -> Experiment:
    if not experiments:
        raise NotFound(f"No Experiment with id={id} exists", remedy="perennial runs experiments lists them")
    return experiments[0]


def _check_active(experiment: Experiment) -> None:
    if experiment.lifecycle != "active":
        raise Invalid(f"The experiment {experiment.id} must be in the 'active' state, it is deleted")


def _check_location(location: str) -> None:
    if not location:
        return
    checked_text("artifact_location", location, MAX_LOCATION)
    parts = urlsplit(location)
    is_local = parts.scheme in ("", "file", "http", "https", "mlflow-artifacts")
    strays = parts.query or parts.fragment if is_local else ".." in parts.query or parts.fragment
    if parts.scheme == "runs" or strays or re.search(r"(^|/)\.\.(/|$)", parts.path):
        raise Invalid(
            f"Invalid artifact_location: '{location}'",
            remedy="name a folder of a store, without parent steps, query and fragment",
        )
