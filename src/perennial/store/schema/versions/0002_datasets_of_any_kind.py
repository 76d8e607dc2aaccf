"""Datasets of any kind."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__ = ["upgrade"]

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # SQLite cannot take a NOT NULL away: the table is made anew. First, while no other table points at it.
    with op.batch_alter_table("dataset_versions") as batch:
        batch.add_column(sa.Column("kind", sa.Text(), server_default="table", nullable=False))
        batch.add_column(sa.Column("files", sa.BigInteger(), server_default="0", nullable=False))
        batch.add_column(sa.Column("size_bytes", sa.BigInteger(), server_default="0", nullable=False))
        batch.add_column(sa.Column("source", sa.LargeBinary(), nullable=True))
        batch.add_column(sa.Column("note", sa.Text(), server_default="", nullable=False))
        batch.add_column(sa.Column("quarantine", sa.String(length=64), nullable=True))
        batch.add_column(sa.Column("statistics", sa.String(length=64), nullable=True))
        batch.add_column(sa.Column("removed_at", sa.BigInteger(), nullable=True))
        batch.alter_column("manifest", existing_type=sa.String(length=64), nullable=True)
    op.create_table(
        "dataset_schemas",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("schema", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("changes", sa.LargeBinary(), nullable=False),
        sa.Column("is_compatible", sa.Boolean(), nullable=False),
        sa.Column("dataset_version", sa.Integer(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", "version", name=op.f("pk_dataset_schemas")),
    )
    op.create_table(
        "remotes",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_remotes")),
    )
    op.create_table(
        "dataset_tags",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["name", "version"],
            ["dataset_versions.name", "dataset_versions.version"],
            name=op.f("fk_dataset_tags_name_dataset_versions"),
        ),
        sa.PrimaryKeyConstraint("name", "tag", name=op.f("pk_dataset_tags")),
    )
