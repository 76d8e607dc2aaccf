"""Registered models and their versions as MLflow's clients see them, read for a whole page at once.

A version that a loop made shows the same fields as one that a client registered: its files are those of its package,
under an address that the artifact proxy answers. The version that is live is in the stage Production.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec
import sqlalchemy as sa

from perennial.errors import NotFound
from perennial.registry.records import aliases, model_tags, models, version_tags, versions

__all__ = [
    "RegisteredModel",
    "RegisteredVersion",
    "current_stage",
    "find_model",
    "find_version",
    "latest_versions",
    "load_models",
    "load_versions",
    "shown_source",
]

SHOWS = "perennial models list shows what there is"
CHUNK = 500  # names in one query; SQLite and PostgreSQL bind some tens of thousands at most


class RegisteredVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version. `source` is where its files came from, `storage` where they lie; moments are microseconds.

    `state` tells what Perennial knows of it: "unreviewed" is a version that a client registered.
    """

    name: str
    version: int
    state: str
    stage: str
    description: str
    source: str
    storage: str
    run_id: str | None
    run_link: str | None
    model_id: str | None
    created: int
    updated: int
    tags: dict[str, str]
    aliases: list[str]


class RegisteredModel(msgspec.Struct, frozen=True, kw_only=True):
    """One model: what is kept under a name. `latest` is the highest version of each stage."""

    name: str
    description: str
    created: int
    updated: int
    tags: dict[str, str]
    aliases: dict[str, int]
    latest: list[RegisteredVersion]


def find_model(connection: sa.Connection, name: str) -> sa.Row[Any]:
    """The row of a model.

    Raises:
        NotFound: There is none of this name.
    """
    row = connection.execute(sa.select(models).where(models.c.name == name)).first()
    if row is None:
        raise NotFound(f"Registered Model with name={name} not found", remedy=SHOWS)
    return row


def find_version(connection: sa.Connection, name: str, version: int) -> sa.Row[Any]:
    """The row of a version that is not removed.

    Raises:
        NotFound: There is none.
    """
    where = (versions.c.name == name) & (versions.c.version == version) & versions.c.removed.is_(None)
    row = connection.execute(sa.select(versions).where(where)).first()
    if row is None:
        raise NotFound(
            f"Model Version (name={name}, version={version}) not found",
            remedy=SHOWS,
        )
    return row


def shown_source() -> sa.ColumnElement[str]:
    """Where the files of a version come from, as SQL."""
    package = sa.literal("mlflow-artifacts:/packages/") + versions.c.name + "/" + sa.cast(versions.c.version, sa.Text)
    return sa.func.coalesce(versions.c.source, package)


def current_stage() -> sa.ColumnElement[str]:
    """The stage of a version, as SQL."""
    live = sa.select(aliases.c.version).where(aliases.c.name == versions.c.name, aliases.c.alias == "live")
    return sa.case((versions.c.version == live.scalar_subquery(), "Production"), else_=versions.c.stage)


def latest_versions(connection: sa.Connection, names: Sequence[str]) -> dict[str, list[RegisteredVersion]]:
    """The highest version of each stage, by model, lowest first."""
    found: dict[str, list[RegisteredVersion]] = {name: [] for name in names}
    for some in _chunks(names):
        staged = (
            sa.select(versions.c.name, versions.c.version, current_stage().label("stage"))
            .where(versions.c.name.in_(some), versions.c.removed.is_(None))
            .subquery()
        )
        highest = (
            sa.select(staged.c.name, sa.func.max(staged.c.version).label("version"))
            .group_by(staged.c.name, staged.c.stage)
            .subquery()
        )
        where = (versions.c.name == highest.c.name) & (versions.c.version == highest.c.version)
        query = sa.select(versions).join(highest, where).order_by(versions.c.name, versions.c.version)
        for version in load_versions(connection, connection.execute(query).all()):
            found[version.name].append(version)
    return found


def load_models(connection: sa.Connection, rows: Sequence[sa.Row[Any]]) -> list[RegisteredModel]:
    """Models with everything that hangs on them, in the order of their rows."""
    names = [row.name for row in rows]
    latest = latest_versions(connection, names)
    tags: dict[str, dict[str, str]] = {name: {} for name in names}
    pointing: dict[str, dict[str, int]] = {name: {} for name in names}
    for some in _chunks(names):
        query = sa.select(model_tags).where(model_tags.c.name.in_(some)).order_by(model_tags.c.key)
        for row in connection.execute(query):
            tags[row.name][row.key] = row.value
        for row in _aliases(connection, some):
            pointing[row.name][row.alias] = row.version
    return [
        RegisteredModel(
            name=row.name,
            description=row.description,
            created=row.created,
            updated=row.updated,
            tags=tags[row.name],
            aliases=pointing[row.name],
            latest=latest[row.name],
        )
        for row in rows
    ]


def load_versions(connection: sa.Connection, rows: Sequence[sa.Row[Any]]) -> list[RegisteredVersion]:
    """Versions with everything that hangs on them, in the order of their rows."""
    tags: dict[tuple[str, int], dict[str, str]] = {}
    pointing: dict[tuple[str, int], list[str]] = {}
    numbers = [row.version for row in rows]
    for some in _chunks(dict.fromkeys(row.name for row in rows)):
        query = sa.select(version_tags).where(
            version_tags.c.name.in_(some), version_tags.c.version.between(min(numbers), max(numbers))
        )
        for row in connection.execute(query.order_by(version_tags.c.key)):
            tags.setdefault((row.name, row.version), {})[row.key] = row.value
        for row in _aliases(connection, some):
            pointing.setdefault((row.name, row.version), []).append(row.alias)
    return [_version(row, tags, pointing) for row in rows]


def _version(
    row: sa.Row[Any], tags: dict[tuple[str, int], dict[str, str]], pointing: dict[tuple[str, int], list[str]]
) -> RegisteredVersion:
    key = (row.name, row.version)
    source = row.source or f"mlflow-artifacts:/packages/{row.name}/{row.version}"
    return RegisteredVersion(
        name=row.name,
        version=row.version,
        state=row.state,
        stage="Production" if "live" in pointing.get(key, ()) else row.stage,
        description=row.description,
        source=source,
        storage=row.storage or source,
        run_id=row.run_id,
        run_link=row.run_link,
        model_id=row.model_id,
        created=row.at,
        updated=row.updated,
        tags=tags.get(key, {}),
        aliases=pointing.get(key, []),
    )


def _aliases(connection: sa.Connection, names: Sequence[str]) -> Iterable[sa.Row[Any]]:
    return connection.execute(sa.select(aliases).where(aliases.c.name.in_(names)).order_by(aliases.c.alias))


def _chunks(names: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(names)
    while some := list(islice(rest, CHUNK)):
        yield some
