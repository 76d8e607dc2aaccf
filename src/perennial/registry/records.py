"""Tables of the registry: models, versions that never change their content, and the names that point at them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
import sqlalchemy as sa

from perennial.store.tables import digest_column, metadata
from perennial.tracking.records import bundle_files
from perennial.types import Digest

__all__ = ["aliases", "model_tags", "models", "version_tags", "versions"]


class _Evaluation(msgspec.Struct):
    answers: Digest | None = None


def _package_files(package: bytes, _get: Callable[[Digest], bytes]) -> Iterable[Digest]:
    from perennial.models.package import files_of  # here, because most who declare tables open no package

    return files_of(package)


def _answers(evaluation: bytes, _get: Callable[[Digest], bytes]) -> Iterable[Digest]:
    answers = msgspec.json.decode(evaluation, type=_Evaluation).answers
    return [answers] if answers else []


# `last` is the highest number that was ever given: numbers are not used again.
models = sa.Table(
    "models",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("updated", sa.BigInteger, nullable=False),
    sa.Column("last", sa.Integer, nullable=False),
)

model_tags = sa.Table(
    "model_tags",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

# A version has a `package`, or only a `source` where a client registered files that nobody has looked at: it is
# *unreviewed* then. `storage` is where the source's files lie; `removed` is when a client deleted it.
versions = sa.Table(
    "model_versions",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    digest_column("package", expand=_package_files),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text),
    sa.Column("dataset", sa.Text),
    sa.Column("dataset_version", sa.Integer),
    digest_column("bundle", expand=bundle_files),
    digest_column("declaration"),
    digest_column("evaluation", expand=_answers),
    sa.Column("verdicts", sa.Text, nullable=False),
    sa.Column("trained_until", sa.BigInteger),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("decided_by", sa.Text),
    sa.Column("decided_at", sa.BigInteger),
    sa.Column("comment", sa.Text),
    sa.Column("source", sa.Text),
    sa.Column("storage", sa.Text),
    sa.Column("model_id", sa.Text),
    sa.Column("run_link", sa.Text),
    sa.Column("description", sa.Text, nullable=False, server_default=""),
    sa.Column("stage", sa.Text, nullable=False, server_default="None"),
    sa.Column("updated", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("removed", sa.BigInteger),
)
sa.Index("model_versions_by_run", versions.c.name, versions.c.run_id)
sa.Index("model_versions_by_package", versions.c.package)

version_tags = sa.Table(
    "model_version_tags",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

aliases = sa.Table(
    "model_aliases",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("alias", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
)
