"""The tables and columns of an MLflow 3 database that hold something of ours, as facts, and a small store in them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

TABLES = {
    "experiments": "experiment_id INTEGER PRIMARY KEY, name, artifact_location, lifecycle_stage, creation_time BIGINT, "
    "last_update_time BIGINT, workspace",
    "experiment_tags": "key, value, experiment_id INTEGER, PRIMARY KEY (key, experiment_id)",
    "runs": "run_uuid PRIMARY KEY, name, source_type, source_name, entry_point_name, user_id, status, "
    "start_time BIGINT, end_time BIGINT, source_version, lifecycle_stage, artifact_uri, experiment_id INTEGER, "
    "deleted_time BIGINT",
    "params": "key, value, run_uuid, PRIMARY KEY (key, run_uuid)",
    "tags": "key, value, run_uuid, PRIMARY KEY (key, run_uuid)",
    "metrics": "key, value FLOAT, timestamp BIGINT, run_uuid, step BIGINT, is_nan BOOLEAN, "
    "PRIMARY KEY (key, timestamp, step, run_uuid, value, is_nan)",
    "latest_metrics": "key, value FLOAT, timestamp BIGINT, step BIGINT, is_nan BOOLEAN, run_uuid, "
    "PRIMARY KEY (key, run_uuid)",
    "datasets": "dataset_uuid, experiment_id INTEGER, name, digest, dataset_source_type, dataset_source, "
    "dataset_schema, dataset_profile, PRIMARY KEY (experiment_id, name, digest)",
    "inputs": "input_uuid, source_type, source_id, destination_type, destination_id, step BIGINT",
    "input_tags": "input_uuid, name, value, PRIMARY KEY (input_uuid, name)",
    "logged_models": "model_id PRIMARY KEY, experiment_id INTEGER, name, artifact_location, "
    "creation_timestamp_ms BIGINT, last_updated_timestamp_ms BIGINT, status INTEGER, lifecycle_stage, "
    "model_type, source_run_id, status_message",
    "logged_model_params": "model_id, experiment_id INTEGER, param_key, param_value",
    "logged_model_tags": "model_id, experiment_id INTEGER, tag_key, tag_value",
    "logged_model_metrics": "model_id, metric_name, metric_timestamp_ms BIGINT, metric_step BIGINT, "
    "metric_value FLOAT, experiment_id INTEGER, run_id, dataset_uuid, dataset_name, dataset_digest",
    "registered_models": "name PRIMARY KEY, creation_time BIGINT, last_updated_time BIGINT, description, workspace",
    "registered_model_tags": "key, value, name, workspace",
    "registered_model_aliases": "alias, version INTEGER, name, workspace",
    "model_versions": "name, version INTEGER, creation_time BIGINT, last_updated_time BIGINT, description, user_id, "
    "current_stage, source, run_id, status, status_message, run_link, storage_location, workspace",
    "model_version_tags": "key, value, name, version INTEGER, workspace",
    "trace_info": "request_id PRIMARY KEY, experiment_id INTEGER",
}
# What MLflow 2 does not have.
ONLY_IN_3 = ("logged_models", "logged_model_params", "logged_model_tags", "logged_model_metrics")
COLUMNS_OF_3 = {"inputs": "step", "experiments": "workspace", "registered_models": "workspace"}


class Database:
    """A store to fill."""

    def __init__(self, path: Path, *, version: int = 3) -> None:
        self.path = path
        self.folder = path.parent / "art"
        self.file = sqlite3.connect(path)
        for name, columns in TABLES.items():
            if version < 3 and name in ONLY_IN_3:
                continue
            kept = [one for one in columns.split(", ") if version > 2 or COLUMNS_OF_3.get(name) != one.split(" ")[0]]
            self.file.execute(f"CREATE TABLE {name} ({', '.join(kept)})")
        self.version = version

    def add(self, table: str, **row: object) -> None:
        names = ", ".join(row)
        self.file.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(row))})", list(row.values()))
        self.file.commit()

    def experiment(self, number: int, name: str, location: str | None = None, life: str = "active") -> None:
        where = f"file://{self.folder}/{number}" if location is None else location
        times = {"creation_time": 1000 + number, "last_update_time": 2000 + number}
        self.add("experiments", experiment_id=number, name=name, artifact_location=where, lifecycle_stage=life, **times)

    def run(self, run: str, experiment: int = 1, uri: str | None = None, **more: object) -> Path:
        folder = self.folder / str(experiment) / run / "artifacts"
        row = {
            "run_uuid": run,
            "name": f"run {run[:4]}",
            "source_type": "LOCAL",
            "source_name": "",
            "entry_point_name": "",
            "user_id": "ada",
            "status": "FINISHED",
            "start_time": 10,
            "end_time": 20,
            "source_version": "",
            "lifecycle_stage": "active",
            "artifact_uri": f"file://{folder}" if uri is None else uri,
            "experiment_id": experiment,
        }
        self.add("runs", **(row | more))
        return folder

    def point(self, run: str, key: str, value: float, at: int = 1, step: int = 0) -> None:
        is_nan = value != value
        row = {"key": key, "value": 0.0 if is_nan else value, "timestamp": at, "step": step, "run_uuid": run}
        self.add("metrics", **row, is_nan=int(is_nan))

    def param(self, run: str, key: str, value: str) -> None:
        self.add("params", key=key, value=value, run_uuid=run)

    def tag(self, run: str, key: str, value: str) -> None:
        self.add("tags", key=key, value=value, run_uuid=run)

    def model(self, name: str, created: int = 5) -> None:
        self.add("registered_models", name=name, creation_time=created, last_updated_time=6, description="all about it")

    def model_version(self, name: str, version: int, source: str, stage: str = "None", run: str | None = None) -> None:
        row = {"creation_time": 7, "last_updated_time": 8, "description": f"v{version}", "status": "READY"}
        self.add("model_versions", name=name, version=version, current_stage=stage, source=source, run_id=run, **row)
