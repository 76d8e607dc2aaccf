"""Tables of retraining: the loops that are known, what was decided and why, and the jobs that do it."""

from __future__ import annotations

import sqlalchemy as sa

from perennial.store.tables import digest_column, metadata
from perennial.tracking.records import bundle_files

__all__ = ["decisions", "jobs", "loops", "passes"]

loops = sa.Table(
    "loops",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    digest_column("bundle", expand=bundle_files, nullable=False),
    sa.Column("declaration", sa.Text, nullable=False),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)

decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("endpoint", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False, index=True),
    sa.Column("trigger", sa.Text, nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("live", sa.Integer),
    sa.Column("job", sa.Text),
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("loop", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("holder", sa.Text),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("ended", sa.BigInteger),
    sa.Column("result", sa.Text),
    sa.Column("error", sa.Text),
)

# One row: how far the reconciler has come, so that others can wait until everything due by a moment is done.
passes = sa.Table(
    "passes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("clock", sa.BigInteger, nullable=False),
    sa.Column("idle", sa.Boolean, nullable=False),
    sa.Column("problem", sa.Text, nullable=False),
)
