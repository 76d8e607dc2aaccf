"""Tables of monitoring: how far each detector has come, and what was found."""

from __future__ import annotations

import sqlalchemy as sa

from perennial.store.tables import metadata

__all__ = ["detectors", "findings"]

detectors = sa.Table(
    "detectors",
    metadata,
    sa.Column("endpoint", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("cursor", sa.BigInteger, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
)

findings = sa.Table(
    "findings",
    metadata,
    sa.Column("endpoint", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False, index=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("severity", sa.Text, nullable=False),
    sa.Column("window_from", sa.BigInteger, nullable=False),
    sa.Column("window_to", sa.BigInteger, nullable=False),
    sa.Column("says", sa.Text, nullable=False),
    sa.Column("evidence", sa.Text, nullable=False),
)
