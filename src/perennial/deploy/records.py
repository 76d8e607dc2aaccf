"""Tables of deployment: what each endpoint serves, and how each rollout went."""

from __future__ import annotations

import sqlalchemy as sa

from perennial.store.tables import metadata

__all__ = ["endpoints", "interval_levels", "rollouts", "serving"]

endpoints = sa.Table(
    "endpoints",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("live", sa.Integer),
    sa.Column("live_since", sa.BigInteger),
    sa.Column("previous", sa.Integer),
    sa.Column("pinned", sa.Text),
    sa.Column("stopped", sa.Text),
)

rollouts = sa.Table(
    "rollouts",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("endpoint", sa.Text, nullable=False, index=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("against", sa.Integer),
    sa.Column("stages", sa.Text, nullable=False),
    sa.Column("stage", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("because", sa.Text, nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("started", sa.BigInteger, nullable=False),
    sa.Column("stage_since", sa.BigInteger, nullable=False),
    sa.Column("ended", sa.BigInteger),
    sa.Column("revision", sa.Integer, nullable=False),
)

# One row: the revision of the whole serving spec, raised whenever any endpoint's arms change.
serving = sa.Table(
    "serving",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("revision", sa.Integer, nullable=False),
)

# How much the intervals of a version may miss at present, where they follow the labels.
interval_levels = sa.Table(
    "interval_levels",
    metadata,
    sa.Column("endpoint", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("alpha", sa.Float, nullable=False),
    sa.Column("labels", sa.Integer, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
