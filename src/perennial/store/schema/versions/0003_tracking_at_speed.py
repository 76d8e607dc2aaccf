"""Tracking at speed."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa
from alembic import op

__all__ = ["upgrade"]

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "metric_chunks",
        sa.Column("run", sa.String(length=32), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=16), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("min_at", sa.BigInteger(), nullable=False),
        sa.Column("max_at", sa.BigInteger(), nullable=False),
        sa.Column("min_step", sa.BigInteger(), nullable=False),
        sa.Column("max_step", sa.BigInteger(), nullable=False),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("low_step", sa.BigInteger(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
        sa.Column("high_step", sa.BigInteger(), nullable=True),
        sa.Column("points", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run", "key", "digest", name=op.f("pk_metric_chunks")),
    )
    op.create_table(
        "metric_points",
        sa.Column("run", sa.String(length=32), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("is_nan", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run", "key", "at", "step", "value", "is_nan", name=op.f("pk_metric_points")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "model_tags",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", "key", name=op.f("pk_model_tags")),
    )
    op.create_table(
        "model_version_tags",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", "version", "key", name=op.f("pk_model_version_tags")),
    )
    op.create_table(
        "models",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_models")),
    )
    op.create_table(
        "imported",
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("ours", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("what", "id", name=op.f("pk_imported")),
    )
    op.create_index(op.f("ix_imported_ours"), "imported", ["ours"], unique=False)
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("parts", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
    )
    op.create_table(
        "input_datasets",
        sa.Column("experiment", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("source_type", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("schema", sa.Text(), nullable=True),
        sa.Column("profile", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["experiment"], ["experiments.id"], name=op.f("fk_input_datasets_experiment_experiments")
        ),
        sa.PrimaryKeyConstraint("experiment", "name", "digest", name=op.f("pk_input_datasets")),
    )
    op.create_table(
        "logged_models",
        sa.Column("id", sa.String(length=34), nullable=False),
        sa.Column("experiment", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("run", sa.String(length=32), nullable=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.Column("deleted", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["experiment"], ["experiments.id"], name=op.f("fk_logged_models_experiment_experiments")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_logged_models")),
    )
    op.create_index(
        "ix_logged_models_experiment_created", "logged_models", ["experiment", "created", "id"], unique=False
    )
    op.create_index("ix_logged_models_run", "logged_models", ["run"], unique=False)
    op.create_table(
        "upload_parts",
        sa.Column("upload", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["upload"], ["uploads.id"], name=op.f("fk_upload_parts_upload_uploads")),
        sa.PrimaryKeyConstraint("upload", "number", name=op.f("pk_upload_parts")),
    )
    op.create_table(
        "input_tags",
        sa.Column("run", sa.String(length=32), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name=op.f("fk_input_tags_run_runs")),
        sa.PrimaryKeyConstraint("run", "dataset", "digest", "key", name=op.f("pk_input_tags")),
    )
    op.create_table(
        "logged_model_metrics",
        sa.Column("model", sa.String(length=34), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("run", sa.String(length=32), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("is_nan", sa.SmallInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model"], ["logged_models.id"], name=op.f("fk_logged_model_metrics_model_logged_models")
        ),
        sa.PrimaryKeyConstraint(
            "model",
            "key",
            "dataset",
            "digest",
            "run",
            "at",
            "step",
            "value",
            "is_nan",
            name=op.f("pk_logged_model_metrics"),
        ),
    )
    op.create_table(
        "logged_model_params",
        sa.Column("model", sa.String(length=34), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model"], ["logged_models.id"], name=op.f("fk_logged_model_params_model_logged_models")
        ),
        sa.PrimaryKeyConstraint("model", "key", name=op.f("pk_logged_model_params")),
    )
    op.create_table(
        "logged_model_tags",
        sa.Column("model", sa.String(length=34), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["model"], ["logged_models.id"], name=op.f("fk_logged_model_tags_model_logged_models")),
        sa.PrimaryKeyConstraint("model", "key", name=op.f("pk_logged_model_tags")),
    )
    op.create_table(
        "run_models",
        sa.Column("run", sa.String(length=32), nullable=False),
        sa.Column("model", sa.String(length=34), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name=op.f("fk_run_models_run_runs")),
        sa.PrimaryKeyConstraint("run", "model", "role", name=op.f("pk_run_models")),
    )
    op.create_index("ix_run_models_model", "run_models", ["model"], unique=False)
    _move_metrics()
    _move_artifacts()
    for table in ("params", "tags"):  # rows in the order of their key: what searches probe
        _remade(
            table,
            sa.Column("run", sa.String(length=32), nullable=False),
            sa.Column("key", sa.Text(), nullable=False),
            sa.Column("value", sa.Text(), nullable=False),
            sa.ForeignKeyConstraint(["run"], ["runs.id"], name=op.f(f"fk_{table}_run_runs")),
            sa.PrimaryKeyConstraint("run", "key", name=op.f(f"pk_{table}")),
        )
    op.add_column("runs", sa.Column("deleted", sa.BigInteger(), nullable=True))
    op.add_column("experiments", sa.Column("artifact_location", sa.Text(), server_default="", nullable=False))
    op.add_column("inputs", sa.Column("position", sa.Integer(), server_default="0", nullable=False))
    _add_default_experiment()
    _add_models()
    _add_evaluation_datasets()


def _add_evaluation_datasets() -> None:
    op.create_table(
        "evaluation_datasets",
        sa.Column("id", sa.String(length=34), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=8), nullable=False),
        sa.Column("schema", sa.Text(), nullable=True),
        sa.Column("records", sa.Integer(), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=True),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation_datasets")),
    )
    op.create_index("ix_evaluation_datasets_created", "evaluation_datasets", ["created", "id"], unique=False)
    op.create_index(op.f("ix_evaluation_datasets_name"), "evaluation_datasets", ["name"], unique=False)
    op.create_table(
        "evaluation_dataset_experiments",
        sa.Column("dataset", sa.String(length=34), nullable=False),
        sa.Column("experiment", sa.Integer(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset"],
            ["evaluation_datasets.id"],
            name=op.f("fk_evaluation_dataset_experiments_dataset_evaluation_datasets"),
        ),
        sa.PrimaryKeyConstraint("dataset", "experiment", name=op.f("pk_evaluation_dataset_experiments")),
    )
    op.create_index(
        "ix_evaluation_dataset_experiments_experiment", "evaluation_dataset_experiments", ["experiment"], unique=False
    )
    op.create_table(
        "evaluation_dataset_tags",
        sa.Column("dataset", sa.String(length=34), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset"],
            ["evaluation_datasets.id"],
            name=op.f("fk_evaluation_dataset_tags_dataset_evaluation_datasets"),
        ),
        sa.PrimaryKeyConstraint("dataset", "key", name=op.f("pk_evaluation_dataset_tags")),
    )
    op.create_table(
        "evaluation_records",
        sa.Column("id", sa.String(length=35), nullable=False),
        sa.Column("dataset", sa.String(length=34), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("input_hash", sa.String(length=64), nullable=False),
        sa.Column("inputs", sa.Text(), nullable=False),
        sa.Column("outputs", sa.Text(), nullable=True),
        sa.Column("expectations", sa.Text(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("source_type", sa.Text(), nullable=True),
        sa.Column("source_data", sa.Text(), nullable=True),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=True),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["dataset"], ["evaluation_datasets.id"], name=op.f("fk_evaluation_records_dataset_evaluation_datasets")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation_records")),
    )
    op.create_index("ix_evaluation_records_dataset", "evaluation_records", ["dataset", "number"], unique=True)
    op.create_index("ix_evaluation_records_input_hash", "evaluation_records", ["dataset", "input_hash"], unique=True)


def _add_models() -> None:
    with op.batch_alter_table("model_versions") as batch:
        batch.add_column(sa.Column("source", sa.Text(), nullable=True))
        batch.add_column(sa.Column("storage", sa.Text(), nullable=True))
        batch.add_column(sa.Column("model_id", sa.Text(), nullable=True))
        batch.add_column(sa.Column("run_link", sa.Text(), nullable=True))
        batch.add_column(sa.Column("description", sa.Text(), server_default="", nullable=False))
        batch.add_column(sa.Column("stage", sa.Text(), server_default="None", nullable=False))
        batch.add_column(sa.Column("updated", sa.BigInteger(), server_default="0", nullable=False))
        batch.add_column(sa.Column("removed", sa.BigInteger(), nullable=True))
        batch.alter_column("package", existing_type=sa.String(length=64), nullable=True)
    op.drop_index("model_versions_by_run", table_name="model_versions")
    op.create_index("model_versions_by_run", "model_versions", ["name", "run_id"], unique=False)
    op.execute(sa.text("UPDATE model_versions SET updated = coalesce(decided_at, at)"))
    op.execute(
        sa.text(
            "INSERT INTO models (name, description, created, updated, last) "
            "SELECT name, '', min(at), max(updated), max(version) FROM model_versions GROUP BY name"
        )
    )


def _add_default_experiment() -> None:
    op.execute(
        sa.text(
            "INSERT INTO experiments (id, name, artifact_location, lifecycle, created, updated) "
            "SELECT 0, 'Default', '', 'active', :now, :now "
            "WHERE NOT EXISTS (SELECT 1 FROM experiments WHERE id = 0 OR name = 'Default')"
        ).bindparams(sa.bindparam("now", int(time.time() * 1_000_000), sa.BigInteger))
    )


def _move_metrics() -> None:
    """Infinity is a number on both databases, and need not be a word."""
    value = "CASE special WHEN 'Infinity' THEN {high} WHEN '-Infinity' THEN {low} ELSE value END"
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    high = "'Infinity'::float8" if is_postgresql else "9e999"
    low = "'-Infinity'::float8" if is_postgresql else "-9e999"
    value = value.format(high=high, low=low)
    is_nan = "CASE special WHEN 'NaN' THEN 1 ELSE 0 END"
    op.execute(
        sa.text(
            "INSERT INTO metric_points (run, key, at, step, value, is_nan) "
            f"SELECT run, key, at, step, {value}, {is_nan} FROM metrics"
        )
    )
    op.drop_table("metrics")
    op.execute(
        sa.text(
            "CREATE TABLE moved AS SELECT l.run, l.key, r.experiment, l.at, l.step, "
            f"{value} AS value, {is_nan} AS is_nan FROM metrics_latest l JOIN runs r ON r.id = l.run"
        )
    )
    op.drop_table("metrics_latest")
    op.create_table(
        "metrics_latest",
        sa.Column("run", sa.String(length=32), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("experiment", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("is_nan", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run", "key", name=op.f("pk_metrics_latest")),
        sqlite_with_rowid=False,
    )
    op.execute(sa.text("INSERT INTO metrics_latest SELECT run, key, experiment, at, step, value, is_nan FROM moved"))
    op.drop_table("moved")
    columns = ["experiment", "key", "is_nan", "value", "run"]
    op.create_index("ix_metrics_latest_value", "metrics_latest", columns, unique=False)


def _move_artifacts() -> None:
    """The files of a run lie below its root in one tree of paths."""
    op.execute(
        sa.text(
            "CREATE TABLE moved AS "
            "SELECT CAST(r.experiment AS TEXT) || '/' || r.id || '/artifacts/' || a.path AS path, "
            "a.digest, a.size, r.started AS at FROM artifacts a JOIN runs r ON r.id = a.run"
        )
    )
    op.drop_table("artifacts")
    op.create_table(
        "artifacts",
        sa.Column("path", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=True),
        sa.Column("elsewhere", sa.String(length=64), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("path", name=op.f("pk_artifacts")),
    )
    op.execute(sa.text("INSERT INTO artifacts (path, digest, size, at) SELECT path, digest, size, at FROM moved"))
    op.drop_table("moved")
    op.create_index(op.f("ix_artifacts_elsewhere"), "artifacts", ["elsewhere"], unique=False)


def _remade(table: str, *parts: Any) -> None:
    op.execute(sa.text(f"CREATE TABLE moved AS SELECT * FROM {table}"))
    op.drop_table(table)
    op.create_table(table, *parts, sqlite_with_rowid=False)
    op.execute(sa.text(f"INSERT INTO {table} SELECT * FROM moved"))
    op.drop_table("moved")
