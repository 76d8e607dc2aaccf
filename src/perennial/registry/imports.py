"""Take in registered models that an import read from another store.

Their versions keep their numbers and are *unreviewed*, as if a client had registered them: nothing that another server
called live or Production is served here for that. Versions, tags and aliases that are here stay as they are.
"""

from __future__ import annotations

import sqlalchemy as sa

from perennial.errors import Conflict, Forbidden, Invalid, NotFound, PerennialError
from perennial.registry import names
from perennial.registry.records import aliases, model_tags, models, version_tags, versions
from perennial.store.prepared import upserting
from perennial.store.records import Records, Transaction
from perennial.tracking.importing.carried import CarriedModel, CarriedVersion, Outcome
from perennial.tracking.imports import content_of, known_import, note_import

__all__ = ["ModelImports"]

_TAGS, _VERSION_TAGS = upserting(model_tags, keep=True), upserting(version_tags, keep=True)
_ALIASES = upserting(aliases, keep=True)


class ModelImports:
    """The way of foreign models into the registry. Safe for concurrent use; every call may be repeated."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def adopt(self, *, models: list[CarriedModel]) -> list[Outcome]:
        """Take models with their versions; says of each, in their order, what became of it."""
        return self._records.write(lambda tx: [self._one(model) for model in models])

    def _one(self, model: CarriedModel) -> Outcome:
        try:
            return self._records.write(lambda tx: _take(tx, model))  # within the transaction: a savepoint
        except PerennialError as error:
            if not isinstance(error, Invalid | Conflict | Forbidden | NotFound):
                raise  # the disk, not the model
            return Outcome(id=model.name, what="refused", why=error.what, remedy=error.remedy)


def _take(tx: Transaction, model: CarriedModel) -> Outcome:
    name = names.model_name(model.name)
    names.plain_text(model.description, "description")
    digest = content_of(model)
    held = tx.connection.execute(sa.select(models.c.last).where(models.c.name == name)).scalar()
    known = known_import(tx, "model", model.identity)
    if held is not None and (known is None or known[0] != name):
        raise Conflict(
            f"there is another model {name!r} here, which was not imported from this store: their versions would mix",
            remedy="rename one of the two, then import again; or import into another workspace (--home)",
        )
    if held is not None and known is not None and known[1] == digest:
        return Outcome(id=name, what="same")
    if held is None:
        row = {"description": model.description, "created": model.created, "updated": model.updated}
        tx.connection.execute(sa.insert(models).values(name=name, **row, last=model.last))
    elif held < model.last:
        tx.connection.execute(sa.update(models).where(models.c.name == name).values(last=model.last, updated=tx.now))
    query = sa.select(versions.c.version).where(versions.c.name == name)
    present = set(tx.connection.scalars(query).all())
    fresh = [version for version in model.versions if version.version not in present]
    for version in fresh:
        _add(tx, name, version)
    _TAGS.many(tx.connection, [(name, key, value) for key, value in names.tags(model.tags).items()])
    there = present | {version.version for version in fresh}
    pointed = [
        (name, names.own_alias(name, alias), number) for alias, number in model.aliases.items() if number in there
    ]
    _ALIASES.many(tx.connection, pointed)
    note_import(tx, "model", model.identity, name, digest, model.source)
    added = [version.version for version in fresh]
    tx.event("model.imported", f"model/{name}", {"versions": added, "content": digest})
    return Outcome(id=name, what="added" if held is None else "updated")


def _add(tx: Transaction, name: str, version: CarriedVersion) -> None:
    texts = {"source": version.source, "storage": version.storage, "run_link": version.run_link}
    for parameter, text in (texts | {"description": version.description}).items():
        names.plain_text(text, parameter)
    if version.version < 1:
        raise Invalid(f"a version cannot have the number {version.version}", where=f"model {name}")
    tx.connection.execute(
        sa.insert(versions).values(
            name=name,
            version=version.version,
            origin="client",
            state="unreviewed",
            run_id=version.run_id,
            verdicts="[]",
            reason="imported",
            at=version.created,
            model_id=version.model_id,
            description=version.description,
            stage=names.own_stage(name, version.version, version.stage),
            updated=version.updated,
            **texts,
        )
    )
    tags = names.tags(version.tags)
    _VERSION_TAGS.many(tx.connection, [(name, version.version, key, value) for key, value in tags.items()])
