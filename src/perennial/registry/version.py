"""What is kept of one model version, and how it is found by number or alias."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from perennial.errors import NotFound, Refused
from perennial.models.facts.verdict import Verdict
from perennial.registry.records import aliases, versions
from perennial.registry.tags import load_tags
from perennial.store.decoding import ready
from perennial.types import Digest

__all__ = ["ModelVersion", "State", "find", "made_of", "no_package", "package_of"]

State = Literal["candidate", "refused", "approved", "rejected", "unreviewed"]


class ModelVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a model: what it is made of, how it came about and who let it pass.

    `package`, `bundle`, `declaration` and `evaluation` are object digests; `trained_until` is the newest moment in its
    training data, in microseconds; `at` is when it was registered. A version that a client registered has no package
    but a `source`, and `storage`, where its files lie; `stage` is what clients moved it to.
    """

    name: str
    version: int
    package: str | None
    origin: str
    state: State
    run_id: str | None
    dataset: str | None
    dataset_version: int | None
    bundle: str | None
    declaration: str | None
    evaluation: str | None
    verdicts: list[Verdict]
    trained_until: int | None
    reason: str
    at: int
    decided_by: str | None
    decided_at: int | None
    comment: str | None
    source: str | None = None
    storage: str | None = None
    model_id: str | None = None
    run_link: str | None = None
    description: str = ""
    stage: str = "None"
    updated: int = 0
    tags: dict[str, str] = {}


def find(connection: sa.Connection, name: str, version: int | None = None, alias: str | None = None) -> ModelVersion:
    """One version, by number or alias; without either the newest.

    Raises:
        NotFound: There is none.
    """
    query = sa.select(versions).where(versions.c.name == name, versions.c.removed.is_(None))
    if alias is not None:
        chosen = sa.select(aliases.c.version).where(aliases.c.name == name, aliases.c.alias == alias)
        query = query.where(versions.c.version == chosen.scalar_subquery())
    elif version is not None:
        query = query.where(versions.c.version == version)
    row = connection.execute(query.order_by(versions.c.version.desc()).limit(1)).mappings().first()
    if row is None:
        what = f"{name}@{alias}" if alias is not None else name if version is None else f"{name} version {version}"
        raise NotFound(f"there is no model {what}", remedy="perennial models list shows what there is")
    tags = load_tags(connection, name=row["name"], version=row["version"])
    return made_of(row, tags.get((row["name"], row["version"])))


def made_of(row: sa.RowMapping, tags: dict[str, str] | None = None) -> ModelVersion:
    """The version of this row."""
    values: dict[str, Any] = dict(row)
    del values["removed"]
    values["verdicts"] = msgspec.json.decode(values["verdicts"], type=ready(list[Verdict]))
    return ModelVersion(**values, tags=tags or {})


def package_of(version: ModelVersion) -> Digest:
    """The package of a version.

    Raises:
        Refused: A client registered it, and it has none.
    """
    if version.package is None:
        raise no_package(version.name, version.version)
    return Digest(version.package)


def no_package(name: str, version: int) -> Refused:
    """Why nothing can be done with a version that only names files."""
    return Refused(
        f"{name} version {version} is unreviewed: a client registered it, and it has no package that could be tested "
        "and served",
        remedy=f"download its model (mlflow artifacts download -u models:/{name}/{version} -d FOLDER), then bring it "
        f"in with some rows of input: perennial deploy FOLDER/model.pkl --name {name} --sample ROWS.parquet",
    )
