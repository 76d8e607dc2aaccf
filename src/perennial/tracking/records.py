"""Tables of tracking. `runs` and what hangs on it are shaped so that MLflow's surface needs no others.

NaN and the infinities are no values for every database, so that a metric has its `special` beside the number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
import sqlalchemy as sa

from perennial.store.records import digest_column, metadata
from perennial.types import Digest

__all__ = [
    "artifacts",
    "bundle_files",
    "experiment_tags",
    "experiments",
    "inputs",
    "metrics",
    "metrics_latest",
    "params",
    "runs",
    "steps",
    "tags",
]


class _Bundle(msgspec.Struct):
    files: dict[str, str]


def bundle_files(bundle: bytes, _get: Callable[[Digest], bytes]) -> Iterable[Digest]:
    """The files that a bundle of code names."""
    return [Digest(digest) for digest in msgspec.json.decode(bundle, type=_Bundle).files.values()]


experiments = sa.Table(
    "experiments",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("lifecycle", sa.Text, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("updated", sa.BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

experiment_tags = sa.Table(
    "experiment_tags",
    metadata,
    sa.Column("experiment", sa.ForeignKey("experiments.id"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("experiment", sa.ForeignKey("experiments.id"), nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("person", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("lifecycle", sa.Text, nullable=False),
    sa.Column("seed", sa.BigInteger),
    digest_column("bundle", expand=bundle_files),
    sa.Column("git_commit", sa.Text, nullable=False),
    digest_column("git_diff"),
    digest_column("environment"),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("started", sa.BigInteger, nullable=False),
    sa.Column("ended", sa.BigInteger),
    sa.Index("ix_runs_experiment_started", "experiment", "started", "id"),
)

params = sa.Table(
    "params",
    metadata,
    sa.Column("run", sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

tags = sa.Table(
    "tags",
    metadata,
    sa.Column("run", sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

# The whole point is the key: the same point again, from a client that retries, is the same row.
metrics = sa.Table(
    "metrics",
    metadata,
    sa.Column("run", sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("at", sa.BigInteger, primary_key=True),
    sa.Column("step", sa.BigInteger, primary_key=True),
    sa.Column("value", sa.Double, primary_key=True),
    sa.Column("special", sa.Text, primary_key=True),
    sqlite_with_rowid=False,
)

metrics_latest = sa.Table(
    "metrics_latest",
    metadata,
    sa.Column("run", sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("step", sa.BigInteger, nullable=False),
    sa.Column("value", sa.Double, nullable=False),
    sa.Column("special", sa.Text, nullable=False),
    sa.Index("ix_metrics_latest_key_value", "key", "value"),
)

inputs = sa.Table(
    "inputs",
    metadata,
    sa.Column("run", sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("dataset", sa.Text, primary_key=True),
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("context", sa.Text, nullable=False),
)

artifacts = sa.Table(
    "artifacts",
    metadata,
    sa.Column("run", sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("path", sa.Text, primary_key=True),
    digest_column("digest", nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
)

steps = sa.Table(
    "steps",
    metadata,
    sa.Column("run", sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.String(64), index=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("cached_from", sa.String(32)),
    digest_column("log"),
    sa.Column("output", sa.Text),
    digest_column("output_digest"),
    sa.Column("error", sa.Text),
    sa.Column("started", sa.BigInteger, nullable=False),
    sa.Column("ended", sa.BigInteger, nullable=False),
)
