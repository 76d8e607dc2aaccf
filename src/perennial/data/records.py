"""The tables of datasets: versions, tags, schemas, remotes."""

from __future__ import annotations

import sqlalchemy as sa

from perennial.data.manifest import files_of, named_by
from perennial.store.tables import digest_column, metadata

__all__ = ["remotes", "schemas", "tags", "versions"]

versions = sa.Table(
    "dataset_versions",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.Text, nullable=False, server_default="table"),
    sa.Column("logical", sa.String(64), nullable=False),
    digest_column("manifest", expand=named_by),  # null when the version was removed: its bytes may go, its line stays
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("files", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("size_bytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("schema", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("parent", sa.Integer),
    sa.Column("run_id", sa.Text),
    sa.Column("violations", sa.LargeBinary, nullable=False),
    sa.Column("changes", sa.LargeBinary, nullable=False),
    sa.Column("source", sa.LargeBinary),
    sa.Column("note", sa.Text, nullable=False, server_default=""),
    digest_column("quarantine", expand=files_of),
    digest_column("statistics"),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("accepted_by", sa.Text),
    sa.Column("removed_at", sa.BigInteger),
    sa.UniqueConstraint("name", "logical"),
)

tags = sa.Table(
    "dataset_tags",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("tag", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(["name", "version"], ["dataset_versions.name", "dataset_versions.version"]),
)

schemas = sa.Table(
    "dataset_schemas",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("schema", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # proposed, accepted, rejected
    sa.Column("changes", sa.LargeBinary, nullable=False),
    sa.Column("is_compatible", sa.Boolean, nullable=False),
    sa.Column("dataset_version", sa.Integer),  # that showed the change; null when a person wrote it
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("decided_at", sa.BigInteger),
    sa.Column("decided_by", sa.Text),
)

remotes = sa.Table(
    "remotes",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
)
