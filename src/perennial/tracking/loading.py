"""Read runs with what hangs on them, many in a few statements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from perennial.store.prepared import Prepared, selecting_among
from perennial.tracking import records as tables
from perennial.tracking.experiments import location_of, root_below
from perennial.tracking.records import experiments, runs
from perennial.tracking.run import Artifact, Input, MetricPoint, ModelLink, Run, RunHead, StepRecord, spelled
from perennial.tracking.tree import below, listed

__all__ = ["load_head", "load_runs", "run_root", "step_of"]

_NAMES = (
    "id", "experiment", "kind", "name", "person", "status", "lifecycle", "seed", "bundle", "git_commit", "git_diff",
    "environment", "reason", "error", "started", "ended",
)  # fmt: skip
_COLUMNS = [runs.c[name] for name in _NAMES]
_RUNS = selecting_among(
    sa.select(*_COLUMNS, experiments.c.name, experiments.c.artifact_location).select_from(runs.join(experiments)),
    runs.c.id,
)


def _of_runs(table: sa.Table, *columns: sa.Column[Any]) -> Callable[..., list[tuple[Any, ...]]]:
    query = sa.select(table.c.run, *columns).order_by(table.c.run, *(c for c in columns if c.primary_key))
    return selecting_among(query, table.c.run)


_p, _t, _m, _i = tables.params.c, tables.tags.c, tables.metrics_latest.c, tables.inputs.c
_PARAMS = _of_runs(tables.params, _p.key, _p.value)
_TAGS = _of_runs(tables.tags, _t.key, _t.value)
_METRICS = _of_runs(tables.metrics_latest, _m.key, _m.at, _m.step, _m.value, _m.is_nan)
_d = tables.input_datasets.c
_INPUTS = selecting_among(
    sa.select(_i.run, _i.dataset, _i.digest, _i.context, _d.source_type, _d.source, _d.schema, _d.profile)
    .select_from(
        tables.inputs.join(runs, runs.c.id == _i.run).join(
            tables.input_datasets,
            (_d.experiment == runs.c.experiment) & (_d.name == _i.dataset) & (_d.digest == _i.digest),
            isouter=True,
        )
    )
    .order_by(_i.run, _i.position, _i.dataset, _i.digest),
    _i.run,
)
_it = tables.input_tags.c
_INPUT_TAGS = _of_runs(tables.input_tags, _it.dataset, _it.digest, _it.key, _it.value)
_rm = tables.run_models.c
_MODELS = _of_runs(tables.run_models, _rm.model, _rm.role, _rm.step)
_STEPS = Prepared(sa.select(tables.steps).where(tables.steps.c.run == sa.bindparam("run")), ("run",))
_STEP_NAMES = [column.name for column in tables.steps.columns]


def run_root(experiment: int, artifact_location: str, run: str) -> str:
    """The address below which the artifacts of a run lie."""
    return root_below(location_of(experiment, artifact_location), f"{run}/artifacts")


def load_head(connection: sa.Connection, run: str) -> RunHead | None:
    """A run without what hangs on it."""
    for row in _RUNS(connection, [run]):
        return RunHead(
            **dict(zip(_NAMES, row, strict=False)), loop=row[-2], artifact_uri=run_root(row[1], row[-1], run)
        )
    return None


def load_runs(connection: sa.Connection, ids: Sequence[str], *, whole: bool = False) -> list[Run]:
    """These runs, in this order; `whole`: with their artifacts and steps."""
    rows = {row[0]: row for row in _RUNS(connection, ids)}
    params, tags = _pairs(_PARAMS(connection, ids), rows), _pairs(_TAGS(connection, ids), rows)
    metrics: dict[str, dict[str, MetricPoint]] = {run: {} for run in rows}
    for run, key, at, step, value, is_nan in _METRICS(connection, ids):
        metrics[run][key] = MetricPoint(key=key, value="NaN" if is_nan else spelled(value), step=step, at=at)
    inputs = _inputs(connection, ids)
    models: dict[str, list[ModelLink]] = {run: [] for run in rows}
    for run, model, role, step in _MODELS(connection, ids):
        models[run].append(ModelLink(model=model, role=role, step=step))
    found: list[Run] = []
    for run in ids:
        if run not in rows:
            continue
        row = rows[run]
        root = run_root(row[1], row[-1], run)
        found.append(
            Run(
                **dict(zip(_NAMES, row, strict=False)),
                loop=row[-2],
                artifact_uri=root,
                params=params[run],
                tags=tags[run],
                metrics=metrics[run],
                dataset={used.name: used.digest for used in inputs.get(run, ())},
                inputs=inputs.get(run, []),
                models=models[run],
                artifacts=_artifacts(connection, root) if whole else [],
                steps=_steps(connection, run) if whole else [],
            )
        )
    return found


def step_of(row: Sequence[Any]) -> StepRecord:
    """A row of the table of steps."""
    held = dict(zip(_STEP_NAMES, row, strict=True))
    values: dict[str, Any] = {name: held[name] for name in StepRecord.__struct_fields__}
    values["output"] = None if held["output"] is None else msgspec.json.decode(held["output"])
    return StepRecord(**values)


def _pairs(rows: list[tuple[Any, ...]], runs: Any) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {run: {} for run in runs}
    for run, key, value in rows:
        found[run][key] = value
    return found


def _inputs(connection: sa.Connection, ids: Sequence[str]) -> dict[str, list[Input]]:
    rows = _INPUTS(connection, ids)
    if not rows:
        return {}
    tags: dict[tuple[str, str, str], dict[str, str]] = {}
    for run, name, digest, key, value in _INPUT_TAGS(connection, ids):
        tags.setdefault((run, name, digest), {})[key] = value
    found: dict[str, list[Input]] = {}
    for run, name, digest, context, source_type, source, schema, profile in rows:
        used = Input(
            name=name,
            digest=digest,
            source_type=source_type or "",
            source=source or "",
            schema=schema,
            profile=profile,
            context=context,
            tags=tags.get((run, name, digest), {}),
        )
        found.setdefault(run, []).append(used)
    return found


def _artifacts(connection: sa.Connection, root: str) -> list[Artifact]:
    folder = below(root)
    return [] if folder is None else listed(connection, folder)  # else they lie in a store of the client's


def _steps(connection: sa.Connection, run: str) -> list[StepRecord]:
    done = map(step_of, _STEPS.rows(connection, run))
    return sorted(done, key=lambda step: (step.started, step.ended, step.name))
