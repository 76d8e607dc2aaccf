"""Tables of the registry: versions that never change their content, and the names that point at them."""

from __future__ import annotations

import sqlalchemy as sa

from perennial.store.tables import digest_column, metadata

__all__ = ["aliases", "versions"]

versions = sa.Table(
    "model_versions",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    digest_column("package", nullable=False),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text),
    sa.Column("dataset", sa.Text),
    sa.Column("dataset_version", sa.Integer),
    digest_column("bundle"),
    digest_column("declaration"),
    digest_column("evaluation"),
    sa.Column("verdicts", sa.Text, nullable=False),
    sa.Column("trained_until", sa.BigInteger),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("decided_by", sa.Text),
    sa.Column("decided_at", sa.BigInteger),
    sa.Column("comment", sa.Text),
)
sa.Index("model_versions_by_run", versions.c.name, versions.c.run_id, unique=True)
sa.Index("model_versions_by_package", versions.c.package)

aliases = sa.Table(
    "model_aliases",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("alias", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
)
