"""Registered models as MLflow's clients keep them: names with tags, aliases and a description, whatever their versions.

A model is here as soon as a loop registers a version of it, or a client creates it. What a client may not undo is what
Perennial answers for: a model that holds a package is neither renamed nor deleted, and the aliases `live` and
`candidate` move only through a rollout. Each change is one transaction with its event.
"""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from perennial.errors import AlreadyExists, Forbidden, Invalid, NotFound
from perennial.registry import names
from perennial.registry.numbering import touch
from perennial.registry.reading import (
    RegisteredModel,
    RegisteredVersion,
    find_model,
    find_version,
    latest_versions,
    load_models,
    load_versions,
)
from perennial.registry.records import aliases, facts, model_tags, models, version_tags, versions
from perennial.registry.searching import search_models
from perennial.registry.versions import point
from perennial.store.records import Records, Transaction

__all__ = ["ModelPage", "Registered"]


class ModelPage(msgspec.Struct, frozen=True, kw_only=True):
    """Models of one page of a search, and the token of the next page; empty on the last."""

    models: list[RegisteredModel]
    next_page_token: str


class Registered:
    """Registered models. Safe for concurrent use."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def create(self, *, name: str, description: str = "", tags: dict[str, str] | None = None) -> RegisteredModel:
        """Make a model without versions.

        Raises:
            AlreadyExists: There is one of this name.
            Invalid: The name or a tag cannot be one.
        """
        names.model_name(name)
        given = names.tags(tags or {})
        names.plain_text(description, "description")

        def change(tx: Transaction) -> RegisteredModel:
            if _exists(tx.connection, name):
                raise _taken(name)
            row = {"name": name, "description": description, "created": tx.now, "updated": tx.now, "last": 0}
            tx.connection.execute(sa.insert(models).values(row))
            if given:
                rows = [{"name": name, "key": key, "value": value} for key, value in given.items()]
                tx.connection.execute(sa.insert(model_tags), rows)
            tx.event("model.created", f"model/{name}", {})
            return _load(tx.connection, name)

        return self._records.write(change)

    def get(self, *, name: str) -> RegisteredModel:
        """One model with the newest version of each stage.

        Raises:
            NotFound: There is none of this name.
        """
        names.model_name(name)
        return self._records.read(lambda connection: _load(connection, name))

    def search(
        self, *, filter: str = "", order_by: list[str] | None = None, max_results: int = 100, page_token: str = ""
    ) -> ModelPage:
        """Models that a filter lets through, by name unless ordered otherwise.

        Args:
            filter: Comparisons of `name` and `tags.KEY` joined by AND.
            order_by: `name`, `timestamp` or `last_updated_timestamp`, each with ASC or DESC.
            max_results: Of one page, at most 1,000.
            page_token: Of the page before.

        Raises:
            Invalid: One of these cannot be read.
        """

        def query(connection: sa.Connection) -> ModelPage:
            page = search_models(
                connection, filter=filter, order_by=order_by or [], max_results=max_results, page_token=page_token
            )
            return ModelPage(models=load_models(connection, page.rows), next_page_token=page.next_page_token)

        return self._records.read(query)

    def latest(self, *, name: str, stages: list[str] | None = None) -> list[RegisteredVersion]:
        """The highest version of each of these stages, or of every stage.

        Raises:
            NotFound: There is no such model. Invalid: There is no such stage.
        """
        names.model_name(name)
        wanted = {names.stage_name(stage) for stage in stages or names.STAGES}

        def query(connection: sa.Connection) -> list[RegisteredVersion]:
            find_model(connection, name)
            return [version for version in latest_versions(connection, [name])[name] if version.stage in wanted]

        return self._records.read(query)

    def at_alias(self, *, name: str, alias: str) -> RegisteredVersion:
        """The version that an alias points at; `latest` is the highest.

        Raises:
            NotFound: There is no such model, or it has no version yet. Invalid: There is no such alias.
        """
        names.model_name(name)
        names.alias_name(alias)
        chosen = sa.select(aliases.c.version).where(aliases.c.name == name, aliases.c.alias == alias)
        if alias.lower() == "latest":
            chosen = sa.select(sa.func.max(versions.c.version)).where(
                versions.c.name == name, versions.c.removed.is_(None)
            )

        def query(connection: sa.Connection) -> RegisteredVersion:
            find_model(connection, name)
            version = connection.execute(chosen).scalar()
            if version is None and alias.lower() == "latest":
                raise NotFound(f"Latest version not found for model {name}: it has no version yet.")
            if version is None:
                raise Invalid(f"Registered model alias {alias} not found.", where=f"model {name}")
            return load_versions(connection, [find_version(connection, name, version)])[0]

        return self._records.read(query)

    def describe(self, *, name: str, description: str) -> RegisteredModel:
        """Replace the description.

        Raises:
            NotFound: There is no such model.
        """
        names.plain_text(description, "description")

        def change(tx: Transaction) -> RegisteredModel:
            find_model(tx.connection, name)
            described = {"description": description, "updated": tx.now}
            tx.connection.execute(sa.update(models).where(models.c.name == name).values(described))
            tx.event("model.described", f"model/{name}", {})
            return _load(tx.connection, name)

        return self._records.write(change)

    def set_tag(self, *, name: str, key: str, value: str) -> None:
        """Set a tag; one that is there is replaced.

        Raises:
            NotFound: There is no such model. Invalid: The key or value cannot be one.
        """
        names.model_name(name)
        names.tags({key: value})
        where = (model_tags.c.name == name) & (model_tags.c.key == key)

        def change(tx: Transaction) -> None:
            find_model(tx.connection, name)
            tx.connection.execute(sa.delete(model_tags).where(where))
            tx.connection.execute(sa.insert(model_tags).values(name=name, key=key, value=value))
            tx.event("model.tagged", f"model/{name}", {"key": key})

        self._records.write(change)

    def delete_tag(self, *, name: str, key: str) -> None:
        """Take a tag away; it need not be there.

        Raises:
            NotFound: There is no such model. Invalid: The key cannot be one.
        """
        names.model_name(name)
        names.tag_key(key)
        where = (model_tags.c.name == name) & (model_tags.c.key == key)

        def change(tx: Transaction) -> None:
            find_model(tx.connection, name)
            if tx.connection.execute(sa.delete(model_tags).where(where)).rowcount:
                tx.event("model.untagged", f"model/{name}", {"key": key})

        self._records.write(change)

    def set_alias(self, *, name: str, alias: str, version: int) -> None:
        """Let an alias of a client's own point at a version, from wherever it points now.

        Raises:
            NotFound: There is no such version. Invalid: It cannot be an alias. Forbidden: It says what is served.
        """
        names.model_name(name)
        names.own_alias(name, alias)

        def change(tx: Transaction) -> None:
            find_version(tx.connection, name, version)
            point(tx, name, alias, version)

        self._records.write(change)

    def delete_alias(self, *, name: str, alias: str) -> None:
        """Take an alias away; it need not be there.

        Raises:
            NotFound: There is no such model. Forbidden: It says what is served.
        """
        names.model_name(name)
        names.own_alias(name, alias)

        def change(tx: Transaction) -> None:
            find_model(tx.connection, name)
            point(tx, name, alias, None)

        self._records.write(change)

    def rename(self, *, name: str, new_name: str) -> RegisteredModel:
        """Give a model another name, with all that hangs on it.

        Raises:
            NotFound: There is no such model. AlreadyExists: The new name is taken.
            Forbidden: It holds a package: loops and endpoints know it by its name.
        """
        names.model_name(new_name, parameter="new_name")

        def change(tx: Transaction) -> RegisteredModel:
            find_model(tx.connection, name)
            _check_is_only_of_clients(tx.connection, name, "renamed")
            if new_name != name and _exists(tx.connection, new_name):
                raise _taken(new_name)
            for table in (models, model_tags, facts, versions, version_tags, aliases):
                tx.connection.execute(sa.update(table).where(table.c.name == name).values(name=new_name))
            now = {"updated": tx.now}
            tx.connection.execute(sa.update(versions).where(versions.c.name == new_name).values(now))
            touch(tx, new_name)
            tx.event("model.renamed", f"model/{name}", {"to": new_name})
            return _load(tx.connection, new_name)

        return self._records.write(change)

    def delete(self, *, name: str) -> None:
        """Delete a model with all its versions, which nobody but clients made; the name may be used again.

        Raises:
            NotFound: There is no such model. Forbidden: It holds a package, which stays on record.
        """
        names.model_name(name)

        def change(tx: Transaction) -> None:
            model = find_model(tx.connection, name)
            _check_is_only_of_clients(tx.connection, name, "deleted")
            for table in (aliases, version_tags, versions, facts, model_tags, models):
                tx.connection.execute(sa.delete(table).where(table.c.name == name))
            tx.event("model.removed", f"model/{name}", {"last": model.last})

        self._records.write(change)


def _load(connection: sa.Connection, name: str) -> RegisteredModel:
    return load_models(connection, [find_model(connection, name)])[0]


def _exists(connection: sa.Connection, name: str) -> bool:
    return connection.execute(sa.select(models.c.name).where(models.c.name == name)).first() is not None


def _taken(name: str) -> AlreadyExists:
    return AlreadyExists(f"Registered Model (name={name}) already exists.")


def _check_is_only_of_clients(connection: sa.Connection, name: str, verb: str) -> None:
    served = sa.select(aliases.c.version).where(aliases.c.name == name, aliases.c.alias.in_(names.RESERVED_ALIASES))
    ours = sa.select(versions.c.version).where(versions.c.name == name, versions.c.package.is_not(None))
    found = connection.execute(served.union(ours).limit(1)).first()
    if found is not None:
        raise Forbidden(
            f"{name} cannot be {verb}: it holds version {found.version}, which Perennial tests and serves under this "
            "name and keeps on record",
            remedy=f"change what is served: perennial deploy {name}@VERSION, or perennial rollback {name}",
        )
