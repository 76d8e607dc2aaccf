"""Tables of monitoring: how far each detector has come, what was found, and what became of it."""

from __future__ import annotations

import sqlalchemy as sa

from perennial.store.tables import digest_column, metadata

__all__ = ["detectors", "findings", "incident_findings", "incidents", "maintenance", "notices", "watched_windows"]

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
    sa.Column("muted", sa.Integer),  # the maintenance window in which it lies
)

# Windows that were looked at: what their rows add up to, what was estimated of them and what it came to. `alarms`,
# `estimates` and `entries` are JSON.
watched_windows = sa.Table(
    "watched_windows",
    metadata,
    sa.Column("endpoint", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("start", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("end", sa.BigInteger, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    digest_column("profile"),
    sa.Column("alarms", sa.Text, nullable=False),
    sa.Column("estimates", sa.Text, nullable=False),
    sa.Column("entries", sa.Text, nullable=False),
)

# One row for each incident; what is found and decided about it is an event as well. `kind_group` is its group,
# `promised` JSON.
incidents = sa.Table(
    "incidents",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("endpoint", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("kind_group", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("severity", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("says", sa.Text, nullable=False),
    sa.Column("since", sa.BigInteger, nullable=False),
    sa.Column("until", sa.BigInteger, nullable=False),
    sa.Column("opened", sa.BigInteger, nullable=False),
    sa.Column("last_at", sa.BigInteger, nullable=False),
    sa.Column("findings", sa.Integer, nullable=False),
    sa.Column("quiet_us", sa.BigInteger, nullable=False),
    sa.Column("muted", sa.Integer),
    sa.Column("told", sa.Text, nullable=False),
    sa.Column("acknowledged_at", sa.BigInteger),
    sa.Column("acknowledged_by", sa.Text),
    sa.Column("explained_at", sa.BigInteger),
    sa.Column("explained_by", sa.Text),
    sa.Column("cause", sa.Text),
    sa.Column("explanation", sa.Text, nullable=False),
    sa.Column("closed_at", sa.BigInteger),
    sa.Column("closed_by", sa.Text),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("false_alarm_at", sa.BigInteger),
    sa.Column("false_alarm_by", sa.Text),
    sa.Column("false_alarm_comment", sa.Text, nullable=False),
    sa.Column("promised", sa.Text),
)
sa.Index("incidents_by_endpoint", incidents.c.endpoint, incidents.c.version, incidents.c.kind_group)
sa.Index("incidents_by_state", incidents.c.state)

# Which incident a finding belongs to.
incident_findings = sa.Table(
    "incident_findings",
    metadata,
    sa.Column("endpoint", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("incident", sa.Integer, sa.ForeignKey("incidents.number"), nullable=False, index=True),
)

# Spans of event time in which nobody is told and nothing is retrained. An empty endpoint stands for all; no end: until
# somebody ends it.
maintenance = sa.Table(
    "maintenance",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("endpoint", sa.Text, nullable=False),
    sa.Column("since", sa.BigInteger, nullable=False),
    sa.Column("until", sa.BigInteger),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("ended_by", sa.Text),
)

# What is to be told to whom: written with the finding, sent later, at least once, under `key`.
notices = sa.Table(
    "notices",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("incident", sa.Integer, sa.ForeignKey("incidents.number"), nullable=False),
    sa.Column("severity", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("settled", sa.BigInteger),
    sa.Column("error", sa.Text, nullable=False),
)
sa.Index("notices_by_incident", notices.c.incident, notices.c.severity, notices.c.target, unique=True)
sa.Index("notices_by_state", notices.c.state, notices.c.number)
