"""Incidents of monitoring, their notices, and maintenance windows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__ = ["upgrade"]

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "incidents",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("kind_group", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("says", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("opened", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("findings", sa.Integer(), nullable=False),
        sa.Column("quiet_us", sa.BigInteger(), nullable=False),
        sa.Column("muted", sa.Integer(), nullable=True),
        sa.Column("told", sa.Text(), nullable=False),
        sa.Column("acknowledged_at", sa.BigInteger(), nullable=True),
        sa.Column("acknowledged_by", sa.Text(), nullable=True),
        sa.Column("explained_at", sa.BigInteger(), nullable=True),
        sa.Column("explained_by", sa.Text(), nullable=True),
        sa.Column("cause", sa.Text(), nullable=True),
        sa.Column("explanation", sa.Text(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("closed_by", sa.Text(), nullable=True),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("false_alarm_at", sa.BigInteger(), nullable=True),
        sa.Column("false_alarm_by", sa.Text(), nullable=True),
        sa.Column("false_alarm_comment", sa.Text(), nullable=False),
        sa.Column("promised", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_incidents")),
    )
    op.create_index("incidents_by_endpoint", "incidents", ["endpoint", "version", "kind_group"], unique=False)
    op.create_index("incidents_by_state", "incidents", ["state"], unique=False)
    op.create_table(
        "maintenance",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_maintenance")),
    )
    op.create_table(
        "incident_findings",
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("incident", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["incident"], ["incidents.number"], name=op.f("fk_incident_findings_incident_incidents")
        ),
        sa.PrimaryKeyConstraint("endpoint", "key", name=op.f("pk_incident_findings")),
    )
    op.create_index(op.f("ix_incident_findings_incident"), "incident_findings", ["incident"], unique=False)
    op.create_table(
        "notices",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("incident", sa.Integer(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("settled", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["incident"], ["incidents.number"], name=op.f("fk_notices_incident_incidents")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_notices")),
        sa.UniqueConstraint("key", name=op.f("uq_notices_key")),
    )
    op.create_index("notices_by_incident", "notices", ["incident", "severity", "target"], unique=True)
    op.create_index("notices_by_state", "notices", ["state", "number"], unique=False)
    op.add_column("findings", sa.Column("muted", sa.Integer(), nullable=True))
