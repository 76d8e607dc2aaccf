"""Tables of tracking: experiments, runs and what hangs on them, in the shapes that are searched and drawn.

A metric lives in three places, each for one question. `metric_points` takes new points one row each; when a metric has
many, they move to `metric_chunks`, compressed columns with their extremes beside them, which is what pictures read.
`metrics_latest` is what searches and lists see. NaN is no value for every database, so it is a flag beside the number;
the infinities are numbers on both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
import sqlalchemy as sa

from perennial.store.decoding import ready
from perennial.store.records import digest_column, metadata
from perennial.types import Digest

__all__ = [
    "artifacts",
    "bundle_files",
    "evaluation_dataset_experiments",
    "evaluation_dataset_tags",
    "evaluation_datasets",
    "evaluation_records",
    "experiment_tags",
    "experiments",
    "imported",
    "input_datasets",
    "input_tags",
    "inputs",
    "logged_model_metrics",
    "logged_model_params",
    "logged_model_tags",
    "logged_models",
    "metric_chunks",
    "metric_points",
    "metrics_latest",
    "params",
    "run_models",
    "runs",
    "steps",
    "tags",
    "upload_parts",
    "uploads",
]


class _Bundle(msgspec.Struct):
    files: dict[str, str]


def bundle_files(bundle: bytes, _get: Callable[[Digest], bytes]) -> Iterable[Digest]:
    """The files that a bundle of code names."""
    return [Digest(digest) for digest in msgspec.json.decode(bundle, type=ready(_Bundle)).files.values()]


# Empty `artifact_location`: below the experiment's own number in the artifacts of this workspace.
experiments = sa.Table(
    "experiments",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("artifact_location", sa.Text, nullable=False, server_default=""),
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
    sa.Column("deleted", sa.BigInteger),
    sa.Index("ix_runs_experiment_started", "experiment", "started", "id"),
)

params = sa.Table(
    "params",
    metadata,
    sa.Column("run", sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)

tags = sa.Table(
    "tags",
    metadata,
    sa.Column("run", sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)

# The whole point is the key: the same point again, from a client that retries, is the same row. No foreign keys here
# and below: whoever writes looks at the run once for a whole batch.
metric_points = sa.Table(
    "metric_points",
    metadata,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("at", sa.BigInteger, primary_key=True),
    sa.Column("step", sa.BigInteger, primary_key=True),
    sa.Column("value", sa.Double, primary_key=True),
    sa.Column("is_nan", sa.SmallInteger, primary_key=True),
    sqlite_with_rowid=False,
)

# `digest` names the points (16 bytes of BLAKE3), so that a batch that comes twice is one chunk. `low` and `high` are
# the extremes of the numbers among them, with the steps at which they stand; both are missing when all are NaN.
metric_chunks = sa.Table(
    "metric_chunks",
    metadata,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("digest", sa.LargeBinary(16), primary_key=True),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("min_at", sa.BigInteger, nullable=False),
    sa.Column("max_at", sa.BigInteger, nullable=False),
    sa.Column("min_step", sa.BigInteger, nullable=False),
    sa.Column("max_step", sa.BigInteger, nullable=False),
    sa.Column("low", sa.Double),
    sa.Column("low_step", sa.BigInteger),
    sa.Column("high", sa.Double),
    sa.Column("high_step", sa.BigInteger),
    sa.Column("points", sa.LargeBinary, nullable=False),
)

metrics_latest = sa.Table(
    "metrics_latest",
    metadata,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("experiment", sa.Integer, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("step", sa.BigInteger, nullable=False),
    sa.Column("value", sa.Double, nullable=False),
    sa.Column("is_nan", sa.SmallInteger, nullable=False),
    sa.Index("ix_metrics_latest_value", "experiment", "key", "is_nan", "value", "run"),
    sqlite_with_rowid=False,
)

# What a client tells of a dataset; one of ours is described by its own room.
input_datasets = sa.Table(
    "input_datasets",
    metadata,
    sa.Column("experiment", sa.ForeignKey("experiments.id"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("source_type", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("schema", sa.Text),
    sa.Column("profile", sa.Text),
)

inputs = sa.Table(
    "inputs",
    metadata,
    sa.Column("run", sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("dataset", sa.Text, primary_key=True),
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("context", sa.Text, nullable=False),
    sa.Column(
        "position", sa.Integer, nullable=False, server_default="0"
    ),  # told in the order in which they were logged
)

input_tags = sa.Table(
    "input_tags",
    metadata,
    sa.Column("run", sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("dataset", sa.Text, primary_key=True),
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

# Every file that was logged, by its path below `mlflow-artifacts:/`: those of a run lie below its root. The bytes are
# an object here (`digest`), or one of that name in the bucket that the settings name (`elsewhere`).
artifacts = sa.Table(
    "artifacts",
    metadata,
    sa.Column("path", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), primary_key=True),
    digest_column("digest"),
    sa.Column("elsewhere", sa.String(64), index=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)

uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("parts", sa.Integer, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)

upload_parts = sa.Table(
    "upload_parts",
    metadata,
    sa.Column("upload", sa.ForeignKey("uploads.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    digest_column("digest", nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
)

logged_models = sa.Table(
    "logged_models",
    metadata,
    sa.Column("id", sa.String(34), primary_key=True),
    sa.Column("experiment", sa.ForeignKey("experiments.id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("type", sa.Text),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("run", sa.String(32)),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("updated", sa.BigInteger, nullable=False),
    sa.Column("deleted", sa.BigInteger),
    sa.Index("ix_logged_models_experiment_created", "experiment", "created", "id"),
    sa.Index("ix_logged_models_run", "run"),
)

logged_model_params = sa.Table(
    "logged_model_params",
    metadata,
    sa.Column("model", sa.ForeignKey("logged_models.id"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

logged_model_tags = sa.Table(
    "logged_model_tags",
    metadata,
    sa.Column("model", sa.ForeignKey("logged_models.id"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

# A metric of a model counts once for each dataset it was measured on; empty names mean none.
logged_model_metrics = sa.Table(
    "logged_model_metrics",
    metadata,
    sa.Column("model", sa.ForeignKey("logged_models.id"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("dataset", sa.Text, primary_key=True),
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("at", sa.BigInteger, primary_key=True),
    sa.Column("step", sa.BigInteger, primary_key=True),
    sa.Column("value", sa.Double, primary_key=True),
    sa.Column("is_nan", sa.SmallInteger, primary_key=True),
)

# Which models a run read (`input`) or made (`output`).
run_models = sa.Table(
    "run_models",
    metadata,
    sa.Column("run", sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("model", sa.String(34), primary_key=True),
    sa.Column("role", sa.Text, primary_key=True),
    sa.Column("step", sa.BigInteger, nullable=False),
    sa.Index("ix_run_models_model", "model"),
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

# `records` says how many there are, `last` is the highest number that one of them ever had.
evaluation_datasets = sa.Table(
    "evaluation_datasets",
    metadata,
    sa.Column("id", sa.String(34), primary_key=True),
    sa.Column("name", sa.Text, nullable=False, index=True),
    sa.Column("digest", sa.String(8), nullable=False),
    sa.Column("schema", sa.Text),
    sa.Column("records", sa.Integer, nullable=False),
    sa.Column("last", sa.Integer, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.Text),
    sa.Column("updated", sa.BigInteger, nullable=False),
    sa.Column("updated_by", sa.Text),
    sa.Index("ix_evaluation_datasets_created", "created", "id"),
)

evaluation_dataset_tags = sa.Table(
    "evaluation_dataset_tags",
    metadata,
    sa.Column("dataset", sa.ForeignKey("evaluation_datasets.id"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

# No foreign key to the experiment: that it was used there stays true when the experiment is gone for good.
evaluation_dataset_experiments = sa.Table(
    "evaluation_dataset_experiments",
    metadata,
    sa.Column("dataset", sa.ForeignKey("evaluation_datasets.id"), primary_key=True),
    sa.Column("experiment", sa.Integer, primary_key=True, autoincrement=False),
    sa.Index("ix_evaluation_dataset_experiments_experiment", "experiment"),
)

# One row for each set of inputs. Values are JSON as text, for nobody searches in them; `size` is their length.
evaluation_records = sa.Table(
    "evaluation_records",
    metadata,
    sa.Column("id", sa.String(35), primary_key=True),
    sa.Column("dataset", sa.ForeignKey("evaluation_datasets.id"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("input_hash", sa.String(64), nullable=False),
    sa.Column("inputs", sa.Text, nullable=False),
    sa.Column("outputs", sa.Text),
    sa.Column("expectations", sa.Text),
    sa.Column("tags", sa.Text, nullable=False),
    sa.Column("source_type", sa.Text),
    sa.Column("source_data", sa.Text),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.Text),
    sa.Column("updated", sa.BigInteger, nullable=False),
    sa.Column("updated_by", sa.Text),
    sa.Index("ix_evaluation_records_dataset", "dataset", "number", unique=True),
    sa.Index("ix_evaluation_records_input_hash", "dataset", "input_hash", unique=True),
)

# What came from another store: an experiment, a run, a model. `id` tells it apart from everything that was ever
# imported, `ours` is what it is here, `digest` names what was taken, so that the same again changes nothing.
imported = sa.Table(
    "imported",
    metadata,
    sa.Column("what", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("ours", sa.Text, nullable=False, index=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
