"""Read the SQLite file of an MLflow server or client, of any schema from MLflow 1.30 to 3.

Which tables and columns there are is asked of the file, as they came one after the other. Runs are read in groups, each
in one look at the database, so that a server that still writes is held up for a moment only.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from perennial.errors import DataError
from perennial.tracking.importing.carried import CarriedModelMetric, CarriedVersion
from perennial.tracking.importing.found import (
    Damaged,
    FoundExperiment,
    FoundLoggedModel,
    FoundModel,
    FoundRun,
    Told,
    micros,
    number,
    points_of,
    whole,
)
from perennial.tracking.importing.mlflow_words import (
    STATUS,
    experiment_identity,
    lifecycle,
    logged_model_status,
    skip_registry,
    text,
)
from perennial.tracking.importing.places import Where
from perennial.tracking.inputs import CONTEXT_TAG
from perennial.tracking.run import Input, MetricPoint, ModelLink, spelled

__all__ = ["MlflowSqlite"]

GROUP = 100  # runs that are read together
BUSY_S = 30.0
REPAIR = "repair a copy of it (sqlite3 FILE .recover), then import that"

# What stands in tables that we have no place for: kind -> table.
OUTSIDE = {
    "traces": "trace_info",
    "assessments of traces": "assessments",
    "evaluation datasets": "evaluation_datasets",
    "webhooks": "webhooks",
    "scorers": "scorers",
    "gateway endpoints": "endpoints",
    "gateway secrets": "secrets",
    "review queues": "review_queues",
    "MCP servers": "mcp_servers",
    "issues of traces": "issues",
    "jobs": "jobs",
}
Row = dict[str, Any]


class MlflowSqlite:
    """A SQLite store of MLflow. Reads only."""

    kind = "MLflow database"

    def __init__(self, path: Path, artifacts: Path | None) -> None:
        """
        Raises:
            DataError: This is no database of MLflow's.
        """
        self.source = str(path.resolve())
        self.told = Told()
        self._where = Where(path.resolve().parent, artifacts)
        self._file = sqlite3.connect(
            f"file:{quote(self.source)}?mode=ro", uri=True, isolation_level=None, timeout=BUSY_S
        )
        # Text that is no UTF-8 is found where it is used, and spoils that run alone.
        self._file.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        try:
            self._tables = {
                name: {row[1] for row in self._file.execute(f'PRAGMA table_info("{name}")')}
                for (name,) in self._file.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            }
        except sqlite3.DatabaseError as error:
            self._file.close()
            raise DataError(f"this is no SQLite database: {error}", where=self.source, remedy="name another") from error
        if not {"experiments", "runs", "metrics", "params", "tags"} <= self._tables.keys():
            self._file.close()
            raise DataError(
                "this database is not MLflow's: it has no tables experiments, runs, metrics, params, tags",
                where=self.source,
                remedy="name the file of the server's --backend-store-uri sqlite:///FILE",
            )
        for kind, table in OUTSIDE.items():
            if table in self._tables:
                count = self._file.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]  # noqa: S608  a name of ours
                self.told.skip(kind, "Perennial has no place for them", count)

    def close(self) -> None:
        self._file.close()

    def experiments(self) -> list[FoundExperiment]:
        tags: dict[Any, dict[str, str]] = {}
        for row in self._rows("experiment_tags"):
            tags.setdefault(row["experiment_id"], {})[row["key"]] = text(row["value"])
        return list(self._experiments(tags))

    def _experiments(self, tags: Mapping[Any, dict[str, str]]) -> Iterator[FoundExperiment]:
        for row in self._rows("experiments", order="experiment_id"):
            key = str(row["experiment_id"])
            try:
                created = micros(row.get("creation_time") or 0, "creation_time")
                uri = text(row["artifact_location"])
                yield FoundExperiment(
                    key=key,
                    identity=experiment_identity(key, created, uri),
                    name=text(row["name"]),
                    uri=uri if self._where.is_remote(uri) else "",
                    lifecycle=lifecycle(row["lifecycle_stage"]),
                    created=created,
                    updated=micros(row.get("last_update_time") or row.get("creation_time") or 0, "last_update_time"),
                    tags=dict(sorted(tags.get(row["experiment_id"], {}).items())),
                )
            except Damaged as error:
                self.told.damaged(f"experiment {key}", str(error), "mend its row in the database")

    def runs(self, experiments: Mapping[str, FoundExperiment]) -> Iterator[FoundRun]:
        ids = [row[0] for row in self._file.execute("SELECT run_uuid FROM runs ORDER BY start_time, run_uuid")]
        for start in range(0, len(ids), GROUP):
            for held in self._groups(ids[start : start + GROUP]):
                yield from self._runs(held, experiments)

    def _groups(self, ids: Sequence[str]) -> Iterator[_Held]:
        """What hangs on these runs, read at one moment; one by one when some of it cannot be read."""
        try:
            self._file.execute("BEGIN")
            try:
                held = self._held(ids)
            finally:
                self._file.execute("ROLLBACK")
        except sqlite3.DatabaseError as error:
            if len(ids) > 1:
                for one in ids:
                    yield from self._groups([one])
            else:
                self.told.damaged(f"run {ids[0]}", f"the database cannot be read there: {error}", REPAIR)
            return
        yield held

    def _runs(self, held: _Held, experiments: Mapping[str, FoundExperiment]) -> Iterator[FoundRun]:
        for row in held.runs:
            if str(row["experiment_id"]) not in experiments:
                self.told.damaged(f"run {row['run_uuid']}", f"its experiment {row['experiment_id']} is not there")
                continue
            try:
                yield self._run(row, held, experiments)
            except Damaged as error:
                self.told.damaged(f"run {row['run_uuid']}", str(error), "mend its rows in the database")

    def _held(self, ids: Sequence[str]) -> _Held:
        held = _Held()
        held.runs = sorted(self._among("runs", "run_uuid", ids), key=lambda row: ids.index(row["run_uuid"]))
        for table, into in (("params", held.params), ("tags", held.tags)):
            for row in self._among(table, "run_uuid", ids):
                into.setdefault(row["run_uuid"], []).append((row["key"], row["value"]))
        has_nan = "is_nan" in self._tables["metrics"]
        nan = "CASE is_nan WHEN 1 THEN 'nan' ELSE value END" if has_nan else "value"
        query = (
            f"SELECT run_uuid, key, timestamp, step, {nan} FROM metrics "  # noqa: S608  one of the two above
            "WHERE run_uuid IN (SELECT value FROM json_each(?))"
        )
        metrics = held.metrics
        for run, key, at, step, value in self._file.execute(query, (json.dumps(ids),)):
            keys = metrics.setdefault(run, {})
            points = keys.get(key)
            if points is None:
                keys[key] = [(at, step, value)]
            else:
                points.append((at, step, value))
        for row in self._among("latest_metrics", "run_uuid", ids):
            held.latest.setdefault(row["run_uuid"], []).append(row)
        self._read_inputs(ids, held)
        return held

    def _read_inputs(self, ids: Sequence[str], held: _Held) -> None:
        rows = [
            *self._among("inputs", "destination_id", ids, "destination_type = 'RUN'"),
            *self._among("inputs", "source_id", ids, "source_type IN ('RUN_INPUT', 'RUN_OUTPUT')"),
        ]
        datasets = {
            row["dataset_uuid"]: row
            for row in self._among(
                "datasets", "dataset_uuid", [r["source_id"] for r in rows if r["source_type"] == "DATASET"]
            )
        }
        tags: dict[str, dict[str, str]] = {}
        for row in self._among("input_tags", "input_uuid", [row["input_uuid"] for row in rows]):
            tags.setdefault(row["input_uuid"], {})[text(row["name"])] = text(row["value"])
        for row in rows:
            match row["source_type"]:
                case "DATASET" if row["source_id"] in datasets:
                    found = (datasets[row["source_id"]], tags.get(row["input_uuid"], {}))
                    held.inputs.setdefault(row["destination_id"], []).append(found)
                case "RUN_INPUT" | "RUN_OUTPUT" as role:
                    link = (row["destination_id"], role == "RUN_OUTPUT", row.get("step") or 0)
                    held.models.setdefault(row["source_id"], []).append(link)
                case other:
                    self.told.skip("inputs of other kinds", "Perennial knows datasets and models", example=str(other))

    def _run(self, row: Row, held: _Held, experiments: Mapping[str, FoundExperiment]) -> FoundRun:
        run, uri = text(row["run_uuid"]), text(row["artifact_uri"])
        tags = _pairs(held.tags.get(run, []))
        metrics = {text(key): points_of(points) for key, points in sorted(held.metrics.get(run, {}).items())}
        latest = [
            MetricPoint(
                key=text(found["key"]),
                value="NaN" if found.get("is_nan") else spelled(number(found["value"], "a newest value")),
                step=whole(found["step"], "a step"),
                at=micros(found["timestamp"], "the time of a newest value"),
            )
            for found in sorted(held.latest.get(run, []), key=lambda found: found["key"])
        ]
        status = STATUS.get(text(row["status"]).lower())
        if status is None:
            raise Damaged(f"its status is {row['status']!r}")
        return FoundRun(
            id=run,
            identity=f"mlflow:{run}",
            experiment=str(row["experiment_id"]),
            name=text(row["name"]) or tags.get("mlflow.runName", "") or run[:8],
            person=text(row["user_id"]),
            status=status,
            lifecycle=lifecycle(row["lifecycle_stage"]),
            git_commit=tags.get("mlflow.source.git.commit", "") or text(row["source_version"]),
            started=micros(row["start_time"] or 0, "start_time"),
            ended=None if row["end_time"] is None else micros(row["end_time"], "end_time"),
            deleted=None if row.get("deleted_time") is None else micros(row["deleted_time"], "deleted_time"),
            params=_pairs(held.params.get(run, [])),
            tags=tags,
            metrics=metrics,
            latest=latest,
            inputs=[_input(*used) for used in held.inputs.get(run, [])],
            models=[
                ModelLink(model=text(model), role="output" if made else "input", step=whole(step, "a step"))
                for model, made, step in held.models.get(run, [])
            ],
            uri=uri,
            files=[self._where.of(uri, run)],
        )

    def logged_models(self, experiments: Mapping[str, FoundExperiment]) -> Iterator[FoundLoggedModel]:
        params, tags, metrics = (
            self._by("model_id", table)
            for table in ("logged_model_params", "logged_model_tags", "logged_model_metrics")
        )
        for row in self._rows("logged_models", order="creation_timestamp_ms, model_id"):
            model = str(row["model_id"])
            try:
                if str(row["experiment_id"]) not in experiments:
                    raise Damaged(f"its experiment {row['experiment_id']} is not there")
                uri = text(row["artifact_location"])
                updated = micros(row["last_updated_timestamp_ms"], "last_updated_timestamp_ms")
                yield FoundLoggedModel(
                    id=model,
                    identity=f"mlflow:{model}",
                    experiment=str(row["experiment_id"]),
                    name=text(row["name"]),
                    type=row["model_type"],
                    status=logged_model_status(row["status"]),
                    run=row["source_run_id"] or None,
                    created=micros(row["creation_timestamp_ms"], "creation_timestamp_ms"),
                    updated=updated,
                    deleted=updated if lifecycle(row["lifecycle_stage"]) == "deleted" else None,
                    params=_pairs([(found["param_key"], found["param_value"]) for found in params.get(model, [])]),
                    tags=_pairs([(found["tag_key"], found["tag_value"]) for found in tags.get(model, [])]),
                    metrics=[_model_metric(found) for found in metrics.get(model, [])],
                    uri=uri,
                    files=[self._where.of(uri, model)],
                )
            except Damaged as error:
                self.told.damaged(f"logged model {model}", str(error), "mend its rows in the database")

    def models(self) -> Iterator[FoundModel]:
        versions, aliases = self._by("name", "model_versions"), self._by("name", "registered_model_aliases")
        tags, version_tags = self._by("name", "registered_model_tags"), self._by("name", "model_version_tags")
        for row in self._rows("registered_models", order="name"):
            name = text(row["name"])
            try:
                if text(row.get("workspace")) not in ("", "default"):
                    self.told.skip(
                        "models of other workspaces", "names would mix", example=f"{row['workspace']}/{name}"
                    )
                    continue
                created = micros(row["creation_time"] or 0, "creation_time")
                labels: dict[int, dict[str, str]] = {}
                for found in version_tags.get(name, []):
                    labels.setdefault(found["version"], {})[text(found["key"])] = text(found["value"])
                numbers = [whole(found["version"], "a version") for found in versions.get(name, [])]
                model = FoundModel(
                    identity=f"mlflow:{name}@{created}",
                    name=name,
                    description=text(row["description"]),
                    created=created,
                    updated=micros(row["last_updated_time"] or 0, "last_updated_time"),
                    last=max(numbers, default=0),
                    tags=_pairs([(found["key"], found["value"]) for found in tags.get(name, [])]),
                    aliases={
                        text(found["alias"]): whole(found["version"], "an alias") for found in aliases.get(name, [])
                    },
                    versions=[_version(found, labels.get(found["version"], {})) for found in versions.get(name, [])],
                )
            except Damaged as error:
                self.told.damaged(f"model {name}", str(error), "mend its rows in the database")
                continue
            if (taken := skip_registry(model, self.told)) is not None:
                yield taken

    def _rows(self, table: str, *, order: str = "1", where: str = "1", values: Sequence[object] = ()) -> Iterator[Row]:
        if table not in self._tables:
            return
        found = self._file.execute(f'SELECT * FROM "{table}" WHERE {where} ORDER BY {order}', values)  # noqa: S608  of this file
        names = [column[0] for column in found.description]
        for row in found:
            yield dict(zip(names, row, strict=True))

    def _among(self, table: str, column: str, ids: Sequence[str], also: str = "1") -> list[Row]:
        chosen = f'"{column}" IN (SELECT value FROM json_each(?)) AND {also}'  # noqa: S608  of this file
        return list(self._rows(table, where=chosen, values=(json.dumps(list(ids)),)))

    def _by(self, column: str, table: str) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        for row in self._rows(table, order="rowid"):
            found.setdefault(str(row[column]), []).append(row)
        return found


class _Held:
    """What hangs on a group of runs, by run."""

    def __init__(self) -> None:
        self.runs: list[Row] = []
        self.params: dict[str, list[tuple[Any, Any]]] = {}
        self.tags: dict[str, list[tuple[Any, Any]]] = {}
        self.metrics: dict[str, dict[str, list[tuple[object, object, object]]]] = {}
        self.latest: dict[str, list[Row]] = {}
        self.inputs: dict[str, list[tuple[Row, dict[str, str]]]] = {}
        self.models: dict[str, list[tuple[Any, bool, Any]]] = {}


def _pairs(rows: Sequence[tuple[Any, Any]]) -> dict[str, str]:
    return dict(sorted((text(key), text(value)) for key, value in rows))


def _input(row: Row, tags: dict[str, str]) -> Input:
    return Input(
        name=text(row["name"]),
        digest=text(row["digest"]),
        source_type=text(row["dataset_source_type"]),
        source=text(row["dataset_source"]),
        schema=row["dataset_schema"],
        profile=row["dataset_profile"],
        context=tags.get(CONTEXT_TAG, ""),
        tags=dict(sorted(tags.items())),
    )


def _model_metric(row: Row) -> CarriedModelMetric:
    return CarriedModelMetric(
        key=text(row["metric_name"]),
        value=spelled(number(row["metric_value"], "a metric")),
        step=whole(row["metric_step"], "a step"),
        at=micros(row["metric_timestamp_ms"], "the time of a metric"),
        run=text(row["run_id"]),
        dataset=text(row["dataset_name"]),
        digest=text(row["dataset_digest"]),
    )


def _version(row: Row, tags: dict[str, str]) -> CarriedVersion:
    source = text(row["source"])
    return CarriedVersion(
        version=whole(row["version"], "a version"),
        created=micros(row["creation_time"] or 0, "creation_time"),
        updated=micros(row["last_updated_time"] or 0, "last_updated_time"),
        description=text(row["description"]),
        stage=text(row["current_stage"]) or "None",
        source=source,
        storage=text(row.get("storage_location")) or source,
        run_id=row["run_id"] or None,
        run_link=text(row["run_link"]),
        model_id=source.removeprefix("models:/") if source.startswith("models:/m-") else None,
        tags=dict(sorted(tags.items())),
    )
