"""Prediction capture."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__ = ["upgrade"]

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("prediction_chunks", sa.Column("layout", sa.Text(), nullable=False, server_default=""))
    for column in (
        sa.Column("first", sa.Text(), nullable=False, server_default=""),
        sa.Column("opened", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("worker", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("state", sa.Text(), nullable=False, server_default="closed"),
        sa.Column("cut_bytes", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("stored", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("reserved", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("issued", sa.BigInteger(), nullable=True),
        sa.Column("closed_stored", sa.BigInteger(), nullable=True),
        sa.Column("dropped", sa.BigInteger(), nullable=True),
        sa.Column("deleted", sa.BigInteger(), nullable=True),
    ):
        op.add_column("prediction_segments", column)
    op.add_column("prediction_labels", sa.Column("told", sa.BigInteger(), nullable=True))
    op.add_column("prediction_labels", sa.Column("source", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "prediction_feedback",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("prediction_id", sa.Text(), nullable=True),
        sa.Column("entity", sa.Text(), nullable=True),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("told", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("says", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_prediction_feedback")),
        sa.UniqueConstraint("endpoint", "key", name=op.f("uq_prediction_feedback_endpoint")),
    )
    op.create_index("prediction_feedback_by_state", "prediction_feedback", ["state", "seq"], unique=False)
    op.create_table(
        "prediction_queue",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("guard", sa.Text(), nullable=False),
        sa.Column("says", sa.Text(), nullable=False),
        sa.Column("classes", sa.LargeBinary(), nullable=True),
        sa.Column("value", sa.LargeBinary(), nullable=True),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=True),
        sa.Column("answered", sa.BigInteger(), nullable=True),
        sa.Column("is_published", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prediction_queue")),
    )
    op.create_index("prediction_queue_by_endpoint", "prediction_queue", ["endpoint", "answered", "at"], unique=False)
    # What was taken up of the segments of before is in their chunks.
    op.execute(
        "UPDATE prediction_segments SET stored = (SELECT COALESCE(SUM(prediction_chunks.rows), 0) "
        "FROM prediction_chunks WHERE prediction_chunks.segment = prediction_segments.name "
        "AND prediction_chunks.kind = 'prediction')"
    )
