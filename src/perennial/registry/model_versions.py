"""Versions as MLflow's clients register, describe, stage and delete them.

A version that a client registers is *unreviewed*: it names files, nobody has looked at them, and nothing serves it. It
stands in one line with the versions of loops, which clients see here too, and may describe and tag but not delete. Each
change is one transaction with its event.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import sqlalchemy as sa

from perennial.errors import Forbidden, Invalid, NotFound
from perennial.registry import names
from perennial.registry.numbering import next_version, touch
from perennial.registry.reading import RegisteredVersion, current_stage, find_model, find_version, load_versions
from perennial.registry.records import aliases, version_tags, versions
from perennial.registry.searching import search_versions
from perennial.registry.sources import Source, settle
from perennial.registry.tags import delete_tag, set_tag
from perennial.store.records import Records, Transaction
from perennial.tracking.logged_models import LoggedModels

__all__ = ["ModelVersions", "VersionPage"]

MODEL_VERSIONS_TAG = "mlflow.modelVersions"  # of a logged model: the versions that it was registered as


class VersionPage(msgspec.Struct, frozen=True, kw_only=True):
    """Versions of one page of a search, and the token of the next page; empty on the last."""

    versions: list[RegisteredVersion]
    next_page_token: str


class ModelVersions:
    """Versions as clients see them. Safe for concurrent use."""

    def __init__(self, records: Records, logged_models: LoggedModels) -> None:
        self._records = records
        self._logged_models = logged_models

    def create(
        self,
        *,
        name: str,
        source: str,
        run_id: str | None = None,
        model_id: str | None = None,
        run_link: str = "",
        description: str = "",
        tags: dict[str, str] | None = None,
    ) -> RegisteredVersion:
        """Register files as the next version of a model.

        Args:
            name: Of a registered model.
            source: `models:/m-ID` for a logged model, `models:/NAME/VERSION` for a copy, `runs:/ID/PATH`, an address.
            run_id: The run that made it.
            model_id: The logged model that it is.
            run_link: Where to read about the run.
            description: For people.
            tags: Of the version.

        Raises:
            NotFound: There is no such model.
            Invalid: The source leads nowhere, or to where this request may not point; or a tag cannot be one.
        """
        names.model_name(name)
        given = names.tags(tags or {})
        for parameter, text in (("source", source), ("run_link", run_link), ("description", description)):
            names.plain_text(text, parameter)
        for parameter, text in (("run_id", run_id), ("model_id", model_id)):
            names.plain_text(text or "", parameter)

        def change(tx: Transaction) -> RegisteredVersion:
            find_model(tx.connection, name)
            settled = settle(tx.connection, self._logged_models, source, run_id or None, model_id or None)
            version = next_version(tx, name)
            tx.connection.execute(
                sa.insert(versions).values(
                    name=name,
                    version=version,
                    origin="client",
                    state="unreviewed",
                    run_id=settled.run_id,
                    verdicts="[]",
                    reason="",
                    at=tx.now,
                    source=settled.source,
                    storage=settled.storage,
                    model_id=settled.model_id,
                    run_link=run_link,
                    description=description,
                    updated=tx.now,
                )
            )
            if given:
                rows = [{"name": name, "version": version, "key": key, "value": value} for key, value in given.items()]
                tx.connection.execute(sa.insert(version_tags), rows)
            self._tell_logged_model(settled, name, version)
            tx.event(
                "model.registered",
                f"model/{name}/{version}",
                {"package": None, "run": settled.run_id, "origin": "client", "model": settled.model_id},
            )
            return _load(tx.connection, name, version)

        return self._records.write(change)

    def get(self, *, name: str, version: int) -> RegisteredVersion:
        """One version.

        Raises:
            NotFound: There is none, or it was deleted.
        """
        names.model_name(name)
        return self._records.read(lambda connection: _load(connection, name, version))

    def search(
        self, *, filter: str = "", order_by: list[str] | None = None, max_results: int = 200_000, page_token: str = ""
    ) -> VersionPage:
        """Versions that a filter lets through, those changed last first unless ordered otherwise.

        Args:
            filter: Comparisons of `name`, `run_id`, `source_path`, `version_number`, `creation_timestamp`,
                `last_updated_timestamp` and `tags.KEY`, joined by AND.
            order_by: `name`, `version_number`, `creation_timestamp`, `last_updated_timestamp`, each with ASC or DESC.
            max_results: Of one page, at most 200,000.
            page_token: Of the page before.

        Raises:
            Invalid: One of these cannot be read.
        """

        def query(connection: sa.Connection) -> VersionPage:
            page = search_versions(
                connection, filter=filter, order_by=order_by or [], max_results=max_results, page_token=page_token
            )
            return VersionPage(versions=load_versions(connection, page.rows), next_page_token=page.next_page_token)

        return self._records.read(query)

    def describe(self, *, name: str, version: int, description: str) -> RegisteredVersion:
        """Replace the description, whoever made the version.

        Raises:
            NotFound: There is no such version.
        """
        names.plain_text(description, "description")

        def change(tx: Transaction) -> RegisteredVersion:
            find_version(tx.connection, name, version)
            _update(tx, name, version, description=description)
            tx.event("model.described", f"model/{name}/{version}", {})
            return _load(tx.connection, name, version)

        return self._records.write(change)

    def set_tag(self, *, name: str, version: int, key: str, value: str) -> None:
        """Set a tag; one that is there is replaced.

        Raises:
            NotFound: There is no such version. Invalid: The key or value cannot be one.
        """
        names.model_name(name)
        self._records.write(lambda tx: set_tag(tx, name, version, key, value))

    def delete_tag(self, *, name: str, version: int, key: str) -> None:
        """Take a tag away; it need not be there.

        Raises:
            NotFound: There is no such version. Invalid: The key cannot be one.
        """
        names.model_name(name)
        self._records.write(lambda tx: delete_tag(tx, name, version, key))

    def move(self, *, name: str, version: int, stage: str, archive_existing: bool = False) -> RegisteredVersion:
        """Move a version to another stage.

        Args:
            name: Of the model.
            version: Its number.
            stage: None, Staging or Archived, in any letter case.
            archive_existing: Move the versions that are there to Archived; for Staging only.

        Raises:
            NotFound: There is no such version. Invalid: There is no such stage, or nothing could be archived from it.
            Forbidden: The stage is Production, or the version is live.
        """
        names.model_name(name)
        wanted = names.own_stage(name, version, stage)
        if archive_existing and wanted != "Staging":
            raise Invalid(
                f"Model version transition cannot archive existing model versions because '{stage}' is not an Active "
                "stage. Valid stages are Staging, Production",
                where="archive_existing_versions",
            )

        def change(tx: Transaction) -> RegisteredVersion:
            find_version(tx.connection, name, version)
            before = _load(tx.connection, name, version).stage
            if before == "Production":
                raise Forbidden(
                    f"{name} version {version} is live, and leaves the stage Production only when another one is",
                    remedy=f"perennial deploy {name}@VERSION, or perennial rollback {name}",
                )
            others = [] if not archive_existing else _others(tx.connection, name, version, wanted)
            for other in others:
                _update(tx, name, other, stage="Archived")
                tx.event("model.staged", f"model/{name}/{other}", {"from": wanted, "to": "Archived"})
            _update(tx, name, version, stage=wanted)
            touch(tx, name)
            tx.event("model.staged", f"model/{name}/{version}", {"from": before, "to": wanted})
            return _load(tx.connection, name, version)

        return self._records.write(change)

    def delete(self, *, name: str, version: int) -> None:
        """Delete a version that a client registered, with its tags and aliases; its number is not given again.

        Raises:
            NotFound: There is no such version. Forbidden: It has a package, or an endpoint serves it.
        """
        names.model_name(name)

        def change(tx: Transaction) -> None:
            row = find_version(tx.connection, name, version)
            pointing = _load(tx.connection, name, version).aliases
            if row.package is not None or names.RESERVED_ALIASES & set(pointing):
                raise Forbidden(
                    f"{name} version {version} cannot be deleted: Perennial tests and serves it and keeps it on record",
                    remedy=f"change what is served: perennial deploy {name}@VERSION, or perennial rollback {name}",
                )
            gone = {"source": None, "storage": None, "run_link": None, "description": "", "removed": tx.now}
            _update(tx, name, version, **gone)
            for table in (version_tags, aliases):
                tx.connection.execute(sa.delete(table).where(table.c.name == name, table.c.version == version))
            touch(tx, name)
            tx.event("model.removed", f"model/{name}/{version}", {"aliases": list(pointing)})

        self._records.write(change)

    def _tell_logged_model(self, settled: Source, name: str, version: int) -> None:
        """A logged model knows the versions that it was registered as."""
        if settled.model_id is None:
            return
        try:
            known = self._logged_models.get(model_id=settled.model_id).tags.get(MODEL_VERSIONS_TAG, "[]")
        except NotFound:  # a copy outlives the logged model that its original was made of
            return
        try:
            listed = json.loads(known)
        except ValueError:
            listed = None
        entry = {"name": name, "version": version}
        told = [*listed, entry] if isinstance(listed, list) and entry not in listed else [entry]
        # With spaces, as clients write it themselves.
        self._logged_models.set_tags(model_id=settled.model_id, tags={MODEL_VERSIONS_TAG: json.dumps(told)})


def _load(connection: sa.Connection, name: str, version: int) -> RegisteredVersion:
    return load_versions(connection, [find_version(connection, name, version)])[0]


def _update(tx: Transaction, name: str, version: int, **values: Any) -> None:
    where = (versions.c.name == name) & (versions.c.version == version)
    tx.connection.execute(sa.update(versions).where(where).values(updated=tx.now, **values))


def _others(connection: sa.Connection, name: str, version: int, stage: str) -> list[int]:
    query = sa.select(versions.c.version).where(
        versions.c.name == name, versions.c.version != version, versions.c.removed.is_(None), current_stage() == stage
    )
    return list(connection.execute(query).scalars())
