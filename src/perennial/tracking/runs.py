"""Runs and what is logged to them.

Parameters are written once, tags are replaced, the same metric point counts once: every write can be repeated. A run's
points and its life are not events of the workspace; what comes of it, a model version, is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from perennial.errors import Invalid, NotFound, TooLarge
from perennial.store.actor import current_actor
from perennial.store.records import Records, Transaction
from perennial.tracking import records as tables
from perennial.tracking.records import experiments, runs

__all__ = ["Artifact", "Experiment", "MetricPoint", "Run", "RunStatus", "Runs", "StepRecord"]

MAX_KEY = 250  # characters
MAX_PARAM = 6_000
MAX_TAG = 8_000
MAX_NAME = 500
MAX_PATH = 1_000
MAX_ERROR = 10_000
MAX_BATCH = 1_000  # points in one call
MAX_PARAMS = 100  # parameters or tags in one call
MAX_PAGE = 10_000
INT64 = 2**63
_KEY = re.compile(r"[\w./\- :]+")

RunStatus = Literal["running", "scheduled", "finished", "failed", "killed"]
StepState = Literal["done", "cached", "failed"]


class MetricPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a metric; "NaN", "Infinity" and "-Infinity" are texts, as JSON has no numbers for them."""

    key: str
    value: float | Literal["NaN", "Infinity", "-Infinity"]
    step: int = 0
    at: int


class StepRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What one step of a run did.

    `output` is the stored result as its room describes it, with at least its `digest`; `cached_from` the run that made
    it; `log` a digest; times are microseconds.
    """

    name: str
    fingerprint: str | None
    state: StepState
    cached_from: str | None = None
    log: str | None = None
    output: dict[str, Any] | None = None
    error: str | None = None
    started: int
    ended: int


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a run, by digest."""

    path: str
    digest: str
    size: int


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """What the runs of one loop, or of one MLflow experiment, are kept under."""

    id: int
    name: str
    lifecycle: Literal["active", "deleted"]
    created: int


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run, with the newest value of each metric. `dataset`: name -> logical digest."""

    id: str
    loop: str
    kind: str
    name: str
    person: str
    status: RunStatus
    lifecycle: Literal["active", "deleted"]
    seed: int | None
    bundle: str | None
    git_commit: str
    git_diff: str | None
    environment: str | None
    reason: str
    error: str | None
    started: int
    ended: int | None
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, MetricPoint]
    dataset: dict[str, str]
    artifacts: list[Artifact]
    steps: list[StepRecord]


class Runs:
    """The runs of a workspace. Safe for concurrent use; every write can be repeated."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def start(
        self,
        *,
        loop: str,
        kind: str = "run",
        name: str = "",
        run_id: str | None = None,
        seed: int | None = None,
        bundle: str | None = None,
        git_commit: str = "",
        git_diff: str | None = None,
        environment: str | None = None,
        params: dict[str, str] | None = None,
        reason: str = "",
        dataset: dict[str, str] | None = None,
    ) -> Run:
        """Begin a run of a loop; its experiment is made when it is the first.

        Args:
            loop: The experiment's name.
            kind: What for, for example "run" or "retrain".
            name: For people; made up from the id when empty.
            run_id: To begin a certain run, again too: what it had logged is kept.
            seed: Of random draws.
            bundle: Digest of the code.
            git_commit: Of the project, empty without git.
            git_diff: Digest of what was not committed.
            environment: Digest of the list of installed packages.
            params: Parameters.
            reason: Why it runs.
            dataset: Name -> logical digest of the data it uses.

        Raises:
            Invalid: A name, parameter or digest that cannot be stored; names it.
        """
        _text("loop", loop, MAX_NAME)
        _text("reason", reason, MAX_ERROR, empty=True)

        def change(tx: Transaction) -> Run:
            experiment = _experiment(tx, loop)
            run = run_id or tx.new_id()
            row = tx.connection.execute(sa.select(runs).where(runs.c.id == run)).first()
            if row is None:
                tx.connection.execute(
                    sa.insert(runs).values(
                        id=_run_id(run),
                        experiment=experiment,
                        kind=_text("kind", kind, MAX_KEY),
                        name=_text("name", name or f"{loop}-{run[:8]}", MAX_NAME),
                        person=current_actor().person,
                        status="running",
                        lifecycle="active",
                        seed=seed,
                        bundle=bundle,
                        git_commit=git_commit,
                        git_diff=git_diff,
                        environment=environment,
                        reason=reason,
                        started=tx.now,
                    )
                )
            else:
                tx.connection.execute(
                    sa.update(runs).where(runs.c.id == run).values(status="running", ended=None, error=None)
                )
            _put_params(tx, run, params or {})
            rows = [
                {"run": run, "dataset": _text("dataset", key, MAX_NAME), "digest": digest, "context": ""}
                for key, digest in (dataset or {}).items()
            ]
            _upsert(tx, tables.inputs, rows)
            return _get(tx.connection, run)

        return self._records.write(change)

    def log_params(self, *, run_id: str, params: dict[str, str]) -> None:
        """Log parameters, each once.

        Raises:
            Invalid: A parameter has another value already, or a key or value cannot be stored; nothing is logged then.
            NotFound: There is no such run.
        """

        def change(tx: Transaction) -> None:
            _writable(tx, run_id)
            _put_params(tx, run_id, params)

        self._records.write(change)

    def set_tags(self, *, run_id: str, tags: dict[str, str]) -> None:
        """Set tags; a tag that is there is replaced.

        Raises:
            Invalid: A key or value cannot be stored. NotFound: There is no such run.
        """
        rows = _pairs("tags", run_id, tags, MAX_TAG)

        def change(tx: Transaction) -> None:
            _writable(tx, run_id)
            _upsert(tx, tables.tags, rows)

        self._records.write(change)

    def log_metrics(self, *, run_id: str, metrics: list[MetricPoint]) -> None:
        """Log points of metrics; a point that is there already counts once.

        Raises:
            Invalid: A key, step or time cannot be stored; nothing is logged then.
            TooLarge: More than 1,000 points in one call. NotFound: There is no such run.
        """
        if len(metrics) > MAX_BATCH:
            raise TooLarge(f"{len(metrics)} points in one call", remedy=f"send at most {MAX_BATCH} at a time")
        rows = [_point(run_id, f"metrics[{i}]", point) for i, point in enumerate(metrics)]

        def change(tx: Transaction) -> None:
            _writable(tx, run_id)
            _upsert(tx, tables.metrics, rows)
            latest = tables.metrics_latest
            known = tx.connection.execute(
                sa.select(latest).where(latest.c.run == run_id, latest.c.key.in_({row["key"] for row in rows}))
            )
            best: dict[str, dict[str, Any]] = {}
            for row in [*(dict(found) for found in known.mappings()), *rows]:
                if row["key"] not in best or _rank(row) > _rank(best[row["key"]]):
                    best[row["key"]] = row
            _upsert(tx, latest, list(best.values()))

        self._records.write(change)

    def add_artifact(self, *, run_id: str, path: str, digest: str, size: int) -> Artifact:
        """Name an object as a file of the run; a file of that path is replaced.

        Args:
            run_id: Of the run.
            path: Relative, with forward slashes.
            digest: Of bytes that are in the object store.
            size: In bytes.

        Raises:
            Invalid: The path leads elsewhere. NotFound: There is no such run.
        """
        _text("path", path, MAX_PATH)
        if path != "/".join(part for part in path.split("/") if part not in ("", ".", "..")) or set(path) & set("\\:%"):
            raise Invalid(
                f"{path!r} cannot be the path of an artifact", remedy="use a relative path such as plots/roc.svg"
            )
        row = {"run": run_id, "path": path, "digest": digest, "size": size}

        def change(tx: Transaction) -> Artifact:
            _writable(tx, run_id)
            _upsert(tx, tables.artifacts, [row])
            return Artifact(path=path, digest=digest, size=size)

        return self._records.write(change)

    def step(self, *, run_id: str, step: StepRecord) -> None:
        """Record what a step did; a later attempt of the same run replaces it.

        Raises:
            NotFound: There is no such run.
        """
        row = msgspec.structs.asdict(step) | {"run": run_id, "error": step.error and step.error[:MAX_ERROR]}
        row["output"] = None if step.output is None else msgspec.json.encode(step.output).decode()
        row["output_digest"] = (step.output or {}).get("digest")

        def change(tx: Transaction) -> None:
            _writable(tx, run_id)
            _upsert(tx, tables.steps, [row])

        self._records.write(change)

    def finish(self, *, run_id: str, status: RunStatus, error: str | None = None) -> Run:
        """End a run.

        Raises:
            NotFound: There is no such run.
        """

        def change(tx: Transaction) -> Run:
            _writable(tx, run_id)
            tx.connection.execute(
                sa.update(runs)
                .where(runs.c.id == run_id)
                .values(status=status, error=error and error[:MAX_ERROR], ended=tx.now)
            )
            return _get(tx.connection, run_id)

        return self._records.write(change)

    def get(self, *, run_id: str) -> Run:
        """One run with everything but the history of its metrics.

        Raises:
            NotFound: There is no such run.
        """
        return self._records.read(lambda connection: _get(connection, run_id))

    def list(self, *, loop: str | None = None, limit: int = 100) -> list[Run]:
        """The newest runs, of one loop or of all."""
        query = sa.select(runs.c.id).where(runs.c.lifecycle == "active").order_by(runs.c.started.desc(), runs.c.id)
        if loop is not None:
            query = query.join(experiments).where(experiments.c.name == loop)
        query = query.limit(max(0, min(limit, MAX_PAGE)))
        return self._records.read(lambda connection: _load(connection, connection.scalars(query).all()))

    def with_tag(self, *, loop: str, key: str, value: str) -> Run | None:
        """The newest finished run of a loop that has this tag; None when there is none."""
        query = (
            sa.select(runs.c.id)
            .join(experiments)
            .join(tables.tags, tables.tags.c.run == runs.c.id)
            .where(experiments.c.name == loop, runs.c.status == "finished", runs.c.lifecycle == "active")
            .where(tables.tags.c.key == key, tables.tags.c.value == value)
            .order_by(runs.c.started.desc(), runs.c.id)
            .limit(1)
        )

        def find(connection: sa.Connection) -> Run | None:
            run_id = connection.scalar(query)
            return None if run_id is None else _get(connection, run_id)

        return self._records.read(find)

    def history(self, *, run_id: str, key: str, limit: int = MAX_PAGE) -> list[MetricPoint]:
        """All points of one metric by time, step and value."""
        table = tables.metrics
        query = (
            sa.select(table)
            .where(table.c.run == run_id, table.c.key == key)
            .order_by(table.c.at, table.c.step, table.c.value, table.c.special)
            .limit(max(0, min(limit, MAX_PAGE)))
        )
        return self._records.read(lambda connection: [_metric(row) for row in connection.execute(query).mappings()])

    def experiments(self) -> list[Experiment]:
        """All experiments, by name."""
        columns = (experiments.c.id, experiments.c.name, experiments.c.lifecycle, experiments.c.created)
        query = sa.select(*columns).order_by(experiments.c.name)
        return self._records.read(
            lambda connection: [Experiment(**dict(row)) for row in connection.execute(query).mappings()]
        )

    def cached_step(self, *, fingerprint: str) -> StepRecord | None:
        """The newest step that was run with this fingerprint; its `cached_from` names the run that did it."""
        table = tables.steps
        query = (
            sa.select(table)
            .where(table.c.fingerprint == fingerprint, table.c.state == "done")
            .order_by(table.c.ended.desc(), table.c.run)
            .limit(1)
        )

        def find(connection: sa.Connection) -> StepRecord | None:
            row = connection.execute(query).mappings().first()
            return None if row is None else msgspec.structs.replace(_step(row), cached_from=row["run"])

        return self._records.read(find)


def _experiment(tx: Transaction, name: str) -> int:
    found = tx.connection.execute(sa.select(experiments.c.id).where(experiments.c.name == name)).scalar()
    if found is not None:
        return found
    values = {"name": name, "lifecycle": "active", "created": tx.now, "updated": tx.now}
    return tx.connection.execute(sa.insert(experiments).values(**values).returning(experiments.c.id)).scalar_one()


def _writable(tx: Transaction, run_id: str) -> None:
    state = tx.connection.execute(sa.select(runs.c.lifecycle).where(runs.c.id == run_id)).scalar()
    if state is None:
        raise NotFound(f"there is no run {run_id}", remedy="perennial runs list")
    if state != "active":
        raise Invalid(f"run {run_id} is deleted", remedy="restore it first")


def _put_params(tx: Transaction, run_id: str, given: dict[str, str]) -> None:
    table = tables.params
    rows = _pairs("params", run_id, given, MAX_PARAM)
    known = {
        row.key: row.value
        for row in tx.connection.execute(sa.select(table).where(table.c.run == run_id, table.c.key.in_(given)))
    }
    for row in rows:
        if known.get(row["key"], row["value"]) != row["value"]:
            raise Invalid(
                f"parameter {row['key']!r} of run {run_id} is {known[row['key']]!r} already",
                remedy="parameters are written once; use a tag for what changes",
            )
    _upsert(tx, table, rows)


def _upsert(tx: Transaction, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows; those whose key is there replace what is not part of the key."""
    if rows:
        tx.connection.execute(_upserting(table, tx.connection.dialect.name), rows)


@cache
def _upserting(table: sa.Table, dialect: str) -> sa.Insert:
    """The statement, made once: making it costs more than running it."""
    insert = (postgresql if dialect == "postgresql" else sqlite).insert(table)
    keys = [column.name for column in table.primary_key]
    rest = [column.name for column in table.columns if column.name not in keys]
    if not rest:
        return insert.on_conflict_do_nothing(index_elements=keys)
    return insert.on_conflict_do_update(index_elements=keys, set_={name: insert.excluded[name] for name in rest})


def _get(connection: sa.Connection, run_id: str) -> Run:
    for run in _load(connection, [run_id]):
        return run
    raise NotFound(f"there is no run {run_id}", remedy="perennial runs list")


def _load(connection: sa.Connection, run_ids: Sequence[str]) -> list[Run]:
    """These runs, in this order."""
    found = connection.execute(
        sa.select(runs, experiments.c.name.label("loop")).join(experiments).where(runs.c.id.in_(run_ids))
    )
    rows = {row["id"]: {key: value for key, value in row.items() if key != "experiment"} for row in found.mappings()}

    def by_run(table: sa.Table) -> dict[str, list[Any]]:
        query = sa.select(table).where(table.c.run.in_(run_ids)).order_by(*table.primary_key.columns)
        parts: dict[str, list[Any]] = {run_id: [] for run_id in rows}
        for row in connection.execute(query).mappings():
            parts[row["run"]].append(row)
        return parts

    params, tags, points = by_run(tables.params), by_run(tables.tags), by_run(tables.metrics_latest)
    datasets, files, done = by_run(tables.inputs), by_run(tables.artifacts), by_run(tables.steps)
    return [
        Run(
            **rows[run],
            params={row["key"]: row["value"] for row in params[run]},
            tags={row["key"]: row["value"] for row in tags[run]},
            metrics={row["key"]: _metric(row) for row in points[run]},
            dataset={row["dataset"]: row["digest"] for row in datasets[run]},
            artifacts=[Artifact(path=row["path"], digest=row["digest"], size=row["size"]) for row in files[run]],
            steps=sorted(map(_step, done[run]), key=lambda step: (step.started, step.ended, step.name)),
        )
        for run in run_ids
        if run in rows
    ]


def _step(row: Any) -> StepRecord:
    values: dict[str, Any] = {name: row[name] for name in StepRecord.__struct_fields__}
    values["output"] = None if row["output"] is None else msgspec.json.decode(row["output"])
    return StepRecord(**values)


def _metric(row: Any) -> MetricPoint:
    return MetricPoint(key=row["key"], value=row["special"] or row["value"], step=row["step"], at=row["at"])


def _point(run_id: str, where: str, point: MetricPoint) -> dict[str, Any]:
    value = float(point.value)
    special = "" if math.isfinite(value) else "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if not -INT64 <= point.step < INT64 or not 0 <= point.at < INT64:
        raise Invalid("step and at must be whole numbers of 64 bits, at not negative", where=where)
    return {
        "run": run_id,
        "key": _key(f"{where}.key", point.key),
        "at": point.at,
        "step": point.step,
        "value": 0.0 if special else value,
        "special": special,
    }


def _rank(row: dict[str, Any]) -> tuple[Any, ...]:
    """The newest point is the greatest by step, time and value; NaN is above all numbers."""
    above = {"-Infinity": -1, "": 0, "Infinity": 1, "NaN": 2}[row["special"]]
    return row["step"], row["at"], above, row["value"]


def _pairs(what: str, run_id: str, given: dict[str, str], longest: int) -> list[dict[str, Any]]:
    if len(given) > MAX_PARAMS:
        raise TooLarge(f"{len(given)} {what} in one call", remedy=f"send at most {MAX_PARAMS} at a time")
    return [
        {
            "run": run_id,
            "key": _key(f"{what}[{i}].key", key),
            "value": _text(f"{what}[{i}].value", value, longest, empty=True),
        }
        for i, (key, value) in enumerate(given.items())
    ]


def _key(where: str, key: str) -> str:
    _text(where, key, MAX_KEY)
    if not _KEY.fullmatch(key) or key != "/".join(part for part in key.split("/") if part not in ("", ".", "..")):
        remedy = "use letters, digits, spaces and _ - . : /, without .. and doubled slashes"
        raise Invalid(f"{key!r} cannot be a key", where=where, remedy=remedy)
    return key


def _run_id(id: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{32}", id):
        raise Invalid(f"{id!r} cannot be the id of a run", remedy="use 32 hex characters")
    return id


def _text(where: str, text: str, longest: int, *, empty: bool = False) -> str:
    """Text that both databases keep as it is."""
    if not text and not empty:
        raise Invalid("a text is empty", where=where)
    if len(text) > longest:
        raise Invalid(f"a text of {len(text)} characters is too long", where=where, remedy=f"at most {longest}")
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise Invalid("a text holds a NUL or half a character", where=where, remedy="send Unicode without them")
    return text
