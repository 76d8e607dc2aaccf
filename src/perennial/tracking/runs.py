"""Runs and what is logged to them.

Parameters are written once, tags are replaced, the same metric point counts once: every write can be repeated. A run's
points and its life are not events of the workspace; what comes of it, a model version, is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from perennial.errors import Invalid, NotFound
from perennial.store.actor import current_actor
from perennial.store.prepared import Prepared, upserting
from perennial.store.records import Records, Transaction
from perennial.tracking import records as tables
from perennial.tracking.artifacts import record
from perennial.tracking.experiments import DEFAULT, View, experiment_of
from perennial.tracking.histories import HistoryPage, Outline, outline, page, thinned
from perennial.tracking.loading import load_head, load_runs, run_root, step_of
from perennial.tracking.metric_log import MetricLog, writable
from perennial.tracking.names import (
    MAX_ERROR,
    MAX_KEY,
    MAX_NAME,
    MAX_TAG,
    checked_pairs,
    checked_text,
)
from perennial.tracking.points import compact
from perennial.tracking.records import experiments, runs
from perennial.tracking.run import (
    Artifact,
    Input,
    MetricPoint,
    ModelLink,
    Run,
    RunHead,
    RunPage,
    RunStatus,
    StepRecord,
    StepState,
)
from perennial.tracking.run_rows import entry_of, put_params, put_tags
from perennial.tracking.search.runs import NAME_TAG, run_query
from perennial.tracking.tree import File, below, checked

if TYPE_CHECKING:
    pass

__all__ = [
    "Artifact",
    "DatasetSummary",
    "MetricPoint",
    "Run",
    "RunPage",
    "RunStatus",
    "Runs",
    "StepRecord",
    "StepState",
]

MAX_PAGE = 50_000  # runs in one answer
MAX_EXPERIMENTS = 1_000

_RUN_COLUMNS = [column.name for column in runs.columns]
_NEW = Prepared(sa.insert(runs).values({name: sa.bindparam(name) for name in _RUN_COLUMNS}), _RUN_COLUMNS)
_HEAD = Prepared(
    sa.update(runs)
    .where(runs.c.id == sa.bindparam("run"))
    .values(
        status=sa.bindparam("new_status", type_=sa.Text),
        ended=sa.bindparam("new_ended", type_=sa.BigInteger),
        name=sa.bindparam("new_name", type_=sa.Text),
    ),
    ("new_status", "new_ended", "new_name", "run"),
)
_INPUTS, _STEP = upserting(tables.inputs), upserting(tables.steps)
_ID = Prepared(sa.select(runs.c.experiment).where(runs.c.id == sa.bindparam("run")), ("run",))
_EXPERIMENT = Prepared(
    sa.select(experiments.c.lifecycle, experiments.c.name, experiments.c.artifact_location).where(
        experiments.c.id == sa.bindparam("id", type_=sa.Integer)
    ),
    ("id",),
)


class DatasetSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset that runs of an experiment used, and for what."""

    experiment: int
    name: str
    digest: str
    context: str


class Runs:
    """The runs of a workspace. Safe for concurrent use; every write can be repeated."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._log = MetricLog(records)

    def start(
        self,
        *,
        loop: str | None = None,
        experiment: int | None = None,
        kind: str = "run",
        name: str = "",
        run_id: str | None = None,
        person: str = "",
        started: int | None = None,
        seed: int | None = None,
        bundle: str | None = None,
        git_commit: str = "",
        git_diff: str | None = None,
        environment: str | None = None,
        params: dict[str, str] | None = None,
        tags: dict[str, str] | None = None,
        reason: str = "",
        dataset: dict[str, str] | None = None,
    ) -> Run:
        """Begin a run.

        Args:
            loop: The name of its experiment, which is made when it is the first.
            experiment: The number of its experiment instead; without both, the default one.
            kind: What for, for example "run" or "retrain".
            name: For people; made up from the id when empty.
            run_id: To begin a certain run, again too: what it had logged is kept.
            person: Who runs it; by default who asks.
            started: When it began, in microseconds; by default now.
            seed: Of random draws.
            bundle: Digest of the code.
            git_commit: Of the project, empty without git.
            git_diff: Digest of what was not committed.
            environment: Digest of the list of installed packages.
            params: Parameters.
            tags: Tags.
            reason: Why it runs.
            dataset: Name -> logical digest of the data it uses.

        Raises:
            NotFound: There is no such experiment.
            Invalid: It is deleted, or a name, parameter or digest cannot be stored; names it.
        """
        checked_text("reason", reason, MAX_ERROR, empty=True)
        given = checked_pairs("tags", {k: v for k, v in (tags or {}).items() if k != NAME_TAG}, MAX_TAG)
        name = checked_text("run_name", name or (tags or {}).get(NAME_TAG, ""), MAX_TAG, empty=True)
        checked_text("kind", kind, MAX_KEY)
        checked_text("user_id", person, MAX_NAME, empty=True)

        def change(tx: Transaction) -> Run:
            number, of, location = _experiment(tx, loop, experiment)
            run = run_id or tx.new_id()
            is_new = _ID.row(tx.connection, run) is None
            head = RunHead(
                id=_checked_id(run) if is_new else run,
                experiment=number,
                loop=of,
                kind=kind,
                name=name or f"{loop or 'run'}-{run[:8]}",
                person=person or current_actor().person,
                status="running",
                lifecycle="active",
                seed=seed,
                bundle=bundle,
                git_commit=git_commit,
                git_diff=git_diff,
                environment=environment,
                reason=reason,
                error=None,
                started=tx.now if started is None else started,
                ended=None,
                artifact_uri=run_root(number, location, run),
            )
            if is_new:
                _NEW.run(tx.connection, *(getattr(head, column, None) for column in _RUN_COLUMNS))
            else:
                writable(tx, run)
                told = {"git_commit": git_commit, "git_diff": git_diff, "environment": environment}
                later = {key: value for key, value in told.items() if value}  # found out beside the run
                values = {"status": "running", "ended": None, "error": None, **later}
                tx.connection.execute(sa.update(runs).where(runs.c.id == run).values(values))
            put_params(tx, run, params or {})
            put_tags(tx, run, given)
            rows = [
                (run, checked_text("dataset", key, MAX_NAME), digest, "", position)
                for position, (key, digest) in enumerate((dataset or {}).items())
            ]
            _INPUTS.many(tx.connection, rows)
            if not is_new:
                return _get(tx.connection, run, whole=True)
            return Run(  # what is stored, without reading it back
                **msgspec.structs.asdict(head),
                params=dict(sorted((params or {}).items())),
                tags=dict(sorted(given)),
                metrics={},
                dataset=dict(sorted((dataset or {}).items())),
                inputs=[Input(name=key, digest=digest) for key, digest in sorted((dataset or {}).items())],
                models=[],
                artifacts=[],
                steps=[],
            )

        return self._records.write(change)

    def log_params(self, *, run_id: str, params: dict[str, str]) -> None:
        """Log parameters, each once.

        Raises:
            Invalid: A parameter has another value already, or a key or value cannot be stored; nothing is logged then.
            NotFound: There is no such run.
        """

        def change(tx: Transaction) -> None:
            writable(tx, run_id)
            put_params(tx, run_id, params)

        self._records.write(change)

    def set_tags(self, *, run_id: str, tags: dict[str, str]) -> None:
        """Set tags; a tag that is there is replaced. `mlflow.runName` is the run's name.

        Raises:
            Invalid: A key or value cannot be stored. NotFound: There is no such run.
        """
        pairs = checked_pairs("tags", tags, MAX_TAG)

        def change(tx: Transaction) -> None:
            writable(tx, run_id)
            put_tags(tx, run_id, pairs)

        self._records.write(change)

    def delete_tag(self, *, run_id: str, key: str) -> None:
        """Take a tag away.

        Raises:
            NotFound: There is no such run or tag.
        """
        table = tables.tags.c

        def change(tx: Transaction) -> None:
            writable(tx, run_id)
            if key == NAME_TAG:
                tx.connection.execute(sa.update(runs).where(runs.c.id == run_id).values(name=""))
                return
            done = tx.connection.execute(sa.delete(tables.tags).where(table.run == run_id, table.key == key))
            if not done.rowcount:
                raise NotFound(f"No tag with name: {key} in run with id {run_id}")

        self._records.write(change)

    def log_metrics(self, *, run_id: str, metrics: list[MetricPoint]) -> None:
        """Log points of metrics; a point that is there already counts once.

        Raises:
            Invalid: A key, step or time cannot be stored; nothing is logged then.
            TooLarge: More than 1,000 points in one call. NotFound: There is no such run.
        """
        self._log.write(entry_of(run_id, metrics))

    def log_batch(
        self, *, run_id: str, metrics: list[MetricPoint], params: dict[str, str], tags: dict[str, str]
    ) -> None:
        """Log metrics, parameters and tags, all or none.

        Raises:
            Invalid: As for each of them. TooLarge: More than 1,000 points, or 100 parameters or tags.
            NotFound: There is no such run.
        """
        entry, pairs = entry_of(run_id, metrics), checked_pairs("tags", tags, MAX_TAG)

        def change(tx: Transaction) -> None:
            writable(tx, run_id)
            put_params(tx, run_id, params)
            put_tags(tx, run_id, pairs)
            self._log.within(tx, [entry])

        self._records.write(change)

    def add_artifact(self, *, run_id: str, path: str, digest: str, size: int) -> Artifact:
        """Name an object as a file of the run; a file of that path is replaced.

        Args:
            run_id: Of the run.
            path: Relative, with forward slashes.
            digest: Of bytes that are in the object store.
            size: In bytes.

        Raises:
            Invalid: The path leads elsewhere, or the run's files lie in a store of the client's.
            NotFound: There is no such run.
        """

        def change(tx: Transaction) -> Artifact:
            writable(tx, run_id)
            root = _get(tx.connection, run_id).artifact_uri
            folder = below(root)
            if folder is None:
                raise Invalid(f"the artifacts of run {run_id} lie at {root}", remedy="write the file there")
            record(tx, File(path=checked(f"{folder}/{path}"), digest=digest, size=size))
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
            writable(tx, run_id)
            _STEP.many(tx.connection, [tuple(row[column.name] for column in tables.steps.columns)])

        self._records.write(change)

    def finish(self, *, run_id: str, status: RunStatus, error: str | None = None, ended: int | None = None) -> Run:
        """End a run; `ended` is in microseconds, by default now.

        Raises:
            NotFound: There is no such run.
        """

        def change(tx: Transaction) -> Run:
            _finish(tx, run_id, status=status, error=error and error[:MAX_ERROR], ended=ended)
            return _get(tx.connection, run_id, whole=True)

        return self._records.write(change)

    def update(
        self, *, run_id: str, status: RunStatus | None = None, ended: int | None = None, name: str | None = None
    ) -> RunHead:
        """Change a run's state, end or name; what is not given stays.

        Raises:
            NotFound: There is no such run. Invalid: It is deleted, or the name cannot be stored.
        """

        def change(tx: Transaction) -> RunHead:
            writable(tx, run_id)
            head = load_head(tx.connection, run_id)
            assert head is not None
            values: dict[str, object] = {}
            if name:
                values["name"] = checked_text("run_name", name, MAX_TAG)
            if ended is not None:
                values["ended"] = ended
            if status is not None:
                values["status"] = status
                if status in ("finished", "failed", "killed"):
                    compact(tx.connection, run_id)
            head = msgspec.structs.replace(head, **values)
            _HEAD.run(tx.connection, head.status, head.ended, head.name, run_id)
            return head

        return self._records.write(change)

    def delete(self, *, run_id: str) -> None:
        """Hide a run until it is restored or garbage is collected; one that is hidden already stays so.

        Raises:
            NotFound: There is no such run.
        """
        self._move(run_id, "deleted")

    def restore(self, *, run_id: str) -> None:
        """Bring a deleted run back.

        Raises:
            NotFound: There is no such run.
        """
        self._move(run_id, "active")

    def get(self, *, run_id: str) -> Run:
        """One run with everything but the history of its metrics; also a deleted one.

        Raises:
            NotFound: There is no such run.
        """
        return self._records.read(lambda connection: _get(connection, run_id, whole=True))

    def list(self, *, loop: str | None = None, limit: int = 100) -> list[Run]:
        """The newest runs, of one loop or of all, with their artifacts and steps."""
        query = sa.select(runs.c.id).where(runs.c.lifecycle == "active").order_by(runs.c.started.desc(), runs.c.id)
        if loop is not None:
            query = query.join(experiments).where(experiments.c.name == loop)
        query = query.limit(max(0, min(limit, MAX_PAGE)))
        return self._records.read(lambda connection: load_runs(connection, connection.scalars(query).all(), whole=True))

    def search(
        self,
        *,
        experiments: list[int],
        filter: str = "",
        order_by: Sequence[str] = (),
        view: View = "active",
        limit: int = 1000,
        page_token: str = "",
    ) -> RunPage:
        """Runs of these experiments that a filter lets through, newest first unless ordered otherwise.

        The language is MLflow's: `metrics.loss < 0.5 AND params.kind = 'a' AND tags.team ILIKE 'x%'`.

        Raises:
            Invalid: The filter, an order or the token cannot be read, or the limit is not 1 to 50,000.
        """
        if not 0 < limit <= MAX_PAGE:
            raise Invalid(f"Invalid value {limit} for parameter 'max_results' supplied: it must be 1 to {MAX_PAGE}")
        if len(experiments) > MAX_EXPERIMENTS:
            raise Invalid(f"{len(experiments)} experiments in one search", remedy=f"at most {MAX_EXPERIMENTS}")

        def query(connection: sa.Connection) -> RunPage:
            asked, token_of = run_query(experiments, filter, order_by, view, limit, page_token, connection.dialect.name)
            ids = connection.scalars(asked).all()
            return RunPage(runs=load_runs(connection, ids[:limit]), next_page_token=token_of(len(ids)))

        return self._records.read(query)

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
            return None if run_id is None else _get(connection, run_id, whole=True)

        return self._records.read(find)

    def history(self, *, run_id: str, key: str, limit: int = 10_000, page_token: str = "") -> HistoryPage:
        """Points of one metric by time, step and value; none for an unknown run or metric.

        Raises:
            Invalid: The limit is not 1 to 50,000, or the token cannot be read.
        """
        return page(self._records, run_id, key, limit=limit, page_token=page_token)

    def outline(self, *, run_id: str, key: str, points: int = 1000) -> Outline:
        """A metric thinned for a picture: the lowest and highest value in each of `points / 2` ranges of steps.

        Raises:
            Invalid: Fewer than 2 or more than 10,000 points are asked for.
        """
        return outline(self._records, run_id, key, points=points)

    def thinned(
        self,
        *,
        run_id: str,
        key: str,
        points: int,
        first_step: int | None = None,
        last_step: int | None = None,
    ) -> HistoryPage:
        """A metric between two steps, both included, thinned to `points` evenly chosen ones with the first and last.

        Raises:
            Invalid: Fewer than 1 or more than 10,000 points are asked for.
        """
        return thinned(self._records, run_id, key, points=points, first_step=first_step, last_step=last_step)

    def datasets(self, *, experiments: list[int]) -> list[DatasetSummary]:
        """Datasets that runs of these experiments used, each with what for, at most 1,000."""
        from perennial.tracking.inputs import dataset_summaries

        return [
            DatasetSummary(experiment=number, name=name, digest=digest, context=context)
            for number, name, digest, context in dataset_summaries(self._records, experiments)
        ]

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
            row = connection.execute(query).first()
            return None if row is None else msgspec.structs.replace(step_of(row), cached_from=row.run)

        return self._records.read(find)

    def log_inputs(self, *, run_id: str, datasets: list[Input], models: list[ModelLink] | None = None) -> None:
        """Tell which data a run used, and which models it read or made. A dataset's first tags in a run are kept.

        Raises:
            NotFound: There is no such run. Invalid: It is deleted, or a text is too long.
        """
        from perennial.tracking.inputs import put_inputs

        def change(tx: Transaction) -> None:
            put_inputs(tx, run_id, writable(tx, run_id), datasets, models or [])

        self._records.write(change)

    def _move(self, run_id: str, lifecycle: str) -> None:
        def change(tx: Transaction) -> None:
            deleted = tx.now if lifecycle == "deleted" else None
            done = tx.connection.execute(
                sa.update(runs).where(runs.c.id == run_id).values(lifecycle=lifecycle, deleted=deleted)
            )
            if not done.rowcount:
                raise NotFound(f"Run with id={run_id} not found", remedy="perennial runs list")

        self._records.write(change)


def _experiment(tx: Transaction, loop: str | None, number: int | None) -> tuple[int, str, str]:
    """Number, name and artifact location of the experiment that is asked for."""
    number = experiment_of(tx, loop) if loop is not None else DEFAULT if number is None else number
    found = _EXPERIMENT.row(tx.connection, number)
    if found is None:
        raise NotFound(f"No Experiment with id={number} exists")
    if found[0] != "active":
        raise Invalid(f"The experiment {number} must be in the 'active' state. Current state is {found[0]}.")
    return number, found[1], found[2]


def _finish(tx: Transaction, run_id: str, *, status: str, error: str | None, ended: int | None) -> None:
    writable(tx, run_id)
    compact(tx.connection, run_id)
    values = {"status": status, "error": error, "ended": tx.now if ended is None else ended}
    tx.connection.execute(sa.update(runs).where(runs.c.id == run_id).values(**values))


def _get(connection: sa.Connection, run_id: str, *, whole: bool = False) -> Run:
    for run in load_runs(connection, [run_id], whole=whole):
        return run
    raise NotFound(f"Run with id={run_id} not found", remedy="perennial runs list")


def _checked_id(run: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{32}", run):
        raise Invalid(f"{run!r} cannot be the id of a run", remedy="use 32 hex characters")
    return run
