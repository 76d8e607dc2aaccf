"""The table of dataset versions."""

from __future__ import annotations

import sqlalchemy as sa

from perennial.data.manifest import files_of
from perennial.store.tables import digest_column, metadata

__all__ = ["versions"]

versions = sa.Table(
    "dataset_versions",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("logical", sa.String(64), nullable=False),
    digest_column("manifest", expand=files_of, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("schema", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("parent", sa.Integer),
    sa.Column("run_id", sa.Text),
    sa.Column("violations", sa.LargeBinary, nullable=False),
    sa.Column("changes", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("accepted_by", sa.Text),
    sa.UniqueConstraint("name", "logical"),
)
