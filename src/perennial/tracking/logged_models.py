"""Logged models: the files that a client saved as one model, with where they came from and how they measured.

They are what MLflow's `log_model` makes. A model of the registry is made of one, or of a loop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from perennial.errors import Invalid, NotFound
from perennial.store.prepared import Prepared, upserting
from perennial.store.records import Records, Transaction
from perennial.tracking import records as tables
from perennial.tracking.experiments import location_of, root_below
from perennial.tracking.metric_log import Entry, writable
from perennial.tracking.names import MAX_EXPERIMENT_TAG, MAX_NAME, MAX_PARAM, checked_pairs, checked_text
from perennial.tracking.points import Written
from perennial.tracking.records import experiments, logged_models
from perennial.tracking.run import MetricPoint, spelled
from perennial.tracking.search.logged_models import DatasetFilter, ModelOrder, logged_model_query

__all__ = ["LoggedModel", "LoggedModels", "ModelMetric", "ModelPage", "ModelStatus"]

MAX_PAGE = 10_000
_BAD = "/:.%\"'"

ModelStatus = Literal["pending", "ready", "upload_failed"]

_PARAMS, _TAGS = upserting(tables.logged_model_params), upserting(tables.logged_model_tags)
_METRICS = upserting(tables.logged_model_metrics, keep=True)
_MODEL = Prepared(sa.select(logged_models.c.deleted).where(logged_models.c.id == sa.bindparam("id")), ("id",))


class ModelMetric(msgspec.Struct, frozen=True, kw_only=True):
    """A point that was measured with a model; on which dataset, empty when nobody said."""

    key: str
    value: float | Literal["NaN", "Infinity", "-Infinity"]
    step: int
    at: int
    run: str
    dataset: str
    digest: str


class LoggedModel(msgspec.Struct, frozen=True, kw_only=True):
    """One logged model; times are microseconds, `run` is the one that made it."""

    id: str
    experiment: int
    name: str
    type: str | None
    status: ModelStatus
    run: str | None
    created: int
    updated: int
    artifact_uri: str
    tags: dict[str, str]
    params: dict[str, str]
    metrics: list[ModelMetric]


class ModelPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some models; `next_page_token` asks for more, None at the end."""

    models: list[LoggedModel]
    next_page_token: str | None


class LoggedModels:
    """The logged models of a workspace. Safe for concurrent use; every write is one transaction."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def create(
        self,
        *,
        experiment: int,
        name: str = "",
        type: str | None = None,
        run_id: str | None = None,
        params: dict[str, str] | None = None,
        tags: dict[str, str] | None = None,
    ) -> LoggedModel:
        """Announce a model whose files are about to be uploaded; it is `pending` until `finalize`.

        Raises:
            NotFound: There is no such experiment. Invalid: A name, tag or parameter cannot be stored.
        """
        if name:
            checked_text("name", name, MAX_NAME)
        if set(name) & set(_BAD):
            raise Invalid(
                f"Invalid model name ({name!r}) provided. Model name must be a non-empty string and cannot contain the "
                f"following characters: {' '.join(_BAD)}"
            )
        pairs = checked_pairs("tags", tags or {}, MAX_EXPERIMENT_TAG)
        values = checked_pairs("params", params or {}, MAX_PARAM, free=True)

        def change(tx: Transaction) -> LoggedModel:
            state = tx.connection.scalar(sa.select(experiments.c.lifecycle).where(experiments.c.id == experiment))
            if state is None:
                raise NotFound(f"No Experiment with id={experiment} exists")
            if state != "active":
                raise Invalid(f"The experiment {experiment} must be in the 'active' state. Current state is {state}.")
            model = f"m-{tx.new_id()}"
            row = {"id": model, "experiment": experiment, "name": name or f"model-{model[2:10]}", "type": type}
            times = {"created": tx.now, "updated": tx.now}
            tx.connection.execute(sa.insert(logged_models).values(**row, **times, status="pending", run=run_id))
            _PARAMS.many(tx.connection, [(model, key, value) for key, value in values])
            _TAGS.many(tx.connection, [(model, key, value) for key, value in pairs])
            return _load(tx.connection, [model])[0]

        return self._records.write(change)

    def get(self, *, model_id: str, deleted: bool = False) -> LoggedModel:
        """One model; `deleted`: also one that was deleted.

        Raises:
            NotFound: There is none.
        """

        def query(connection: sa.Connection) -> LoggedModel:
            if not deleted:
                _check(connection, model_id)
            for model in _load(connection, [model_id]):
                return model
            raise _missing(model_id)

        return self._records.read(query)

    def finalize(self, *, model_id: str, status: ModelStatus) -> LoggedModel:
        """Say that all files are there, or that uploading them failed.

        Raises:
            NotFound: There is no such model.
        """
        return self._change(model_id, lambda tx: None, status=status)

    def delete(self, *, model_id: str) -> None:
        """Hide a model until garbage is collected.

        Raises:
            NotFound: There is no such model.
        """

        def change(tx: Transaction) -> None:
            _check(tx.connection, model_id)
            statement = sa.update(logged_models).where(logged_models.c.id == model_id)
            tx.connection.execute(statement.values(deleted=tx.now, updated=tx.now))

        self._records.write(change)

    def set_tags(self, *, model_id: str, tags: dict[str, str]) -> LoggedModel:
        """Set tags; a tag that is there is replaced.

        Raises:
            NotFound: There is no such model. Invalid: A key or value cannot be stored.
        """
        pairs = checked_pairs("tags", tags, MAX_EXPERIMENT_TAG)
        return self._change(
            model_id, lambda tx: _TAGS.many(tx.connection, [(model_id, key, value) for key, value in pairs])
        )

    def delete_tag(self, *, model_id: str, key: str) -> None:
        """Take a tag away.

        Raises:
            NotFound: There is no such model or tag.
        """
        table = tables.logged_model_tags.c

        def change(tx: Transaction) -> None:
            _check(tx.connection, model_id)
            done = tx.connection.execute(
                sa.delete(tables.logged_model_tags).where(table.model == model_id, table.key == key)
            )
            if not done.rowcount:
                raise NotFound(f"No tag with key {key!r} found for model with ID {model_id!r}.")

        self._records.write(change)

    def log_params(self, *, model_id: str, params: dict[str, str]) -> None:
        """Log parameters of a model.

        Raises:
            NotFound: There is no such model. Invalid: A key or value cannot be stored.
        """
        pairs = checked_pairs("params", params, MAX_PARAM, free=True)
        self._change(model_id, lambda tx: _PARAMS.many(tx.connection, [(model_id, key, value) for key, value in pairs]))

    def log_metrics(
        self, *, run_id: str, model_id: str, metrics: list[MetricPoint], dataset: str = "", digest: str = ""
    ) -> None:
        """Log points that a run measured with a model, on a dataset if it is named: to the run and to the model.

        Raises:
            NotFound: There is no such run or model. Invalid: A key, step or time cannot be stored, or it is deleted.
        """
        from perennial.tracking.run_rows import entry_of

        entry = entry_of(run_id, metrics)

        def change(tx: Transaction) -> None:
            number = writable(tx, run_id)
            _check(tx.connection, model_id)
            rows, written = _measured(entry, model_id, dataset, digest), Written({})
            for key, points in entry.points.items():
                written.add(number, run_id, key, points)
            written.write(tx.connection)
            _METRICS.many(tx.connection, rows)

        self._records.write(change)

    def search(
        self,
        *,
        experiments: list[int],
        filter: str = "",
        datasets: list[DatasetFilter] | None = None,
        order_by: list[ModelOrder] | None = None,
        limit: int = 50,
        page_token: str = "",
    ) -> ModelPage:
        """Models of these experiments that a filter lets through, newest first unless ordered otherwise.

        Raises:
            Invalid: The filter, an order or the token cannot be read, or the limit is out of range.
        """
        if not 0 < limit <= MAX_PAGE:
            raise Invalid(f"max_results must be between 1 and {MAX_PAGE}, it is {limit}")

        def query(connection: sa.Connection) -> ModelPage:
            asked, token_of = logged_model_query(
                experiments, filter, datasets or [], order_by or [], limit, page_token, connection.dialect.name
            )
            ids = connection.scalars(asked).all()
            return ModelPage(models=_load(connection, ids[:limit]), next_page_token=token_of(len(ids)))

        return self._records.read(query)

    def _change(self, model_id: str, put: Any, **values: object) -> LoggedModel:
        def change(tx: Transaction) -> LoggedModel:
            _check(tx.connection, model_id)
            put(tx)
            statement = sa.update(logged_models).where(logged_models.c.id == model_id)
            tx.connection.execute(statement.values(updated=tx.now, **values))
            return _load(tx.connection, [model_id])[0]

        return self._records.write(change)


def _measured(entry: Entry, model: str, dataset: str, digest: str) -> list[tuple[object, ...]]:
    return [
        (model, key, dataset, digest, entry.run, at, step, 0.0 if math.isnan(value) else value, int(math.isnan(value)))
        for key, points in entry.points.items()
        for at, step, value in points
    ]


def _check(connection: sa.Connection, model_id: str) -> None:
    found = _MODEL.row(connection, model_id)
    if found is None or found[0] is not None:
        raise _missing(model_id)


def _missing(model_id: str) -> NotFound:
    return NotFound(f"Logged model with ID '{model_id}' not found.")


def _load(connection: sa.Connection, ids: Sequence[str]) -> list[LoggedModel]:
    """These models, in this order."""
    query = (
        sa.select(logged_models, experiments.c.artifact_location)
        .select_from(logged_models.join(experiments))
        .where(logged_models.c.id.in_(ids))
    )
    rows = {row.id: row for row in connection.execute(query)}
    params, tags = (
        _pairs(connection, tables.logged_model_params, ids),
        _pairs(connection, tables.logged_model_tags, ids),
    )
    metrics: dict[str, list[ModelMetric]] = {model: [] for model in ids}
    table = tables.logged_model_metrics
    ordered = sa.select(table).where(table.c.model.in_(ids)).order_by(table.c.model, table.c.key, table.c.at)
    for row in connection.execute(ordered):
        metrics[row.model].append(
            ModelMetric(
                key=row.key,
                value="NaN" if row.is_nan else spelled(row.value),
                step=row.step,
                at=row.at,
                run=row.run,
                dataset=row.dataset,
                digest=row.digest,
            )
        )
    return [
        LoggedModel(
            id=row.id,
            experiment=row.experiment,
            name=row.name,
            type=row.type,
            status=row.status,
            run=row.run,
            created=row.created,
            updated=row.updated,
            artifact_uri=root_below(location_of(row.experiment, row.artifact_location), f"models/{row.id}/artifacts"),
            tags=tags[row.id],
            params=params[row.id],
            metrics=metrics[row.id],
        )
        for row in (rows[model] for model in ids if model in rows)
    ]


def _pairs(connection: sa.Connection, table: sa.Table, ids: Sequence[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {model: {} for model in ids}
    query = sa.select(table).where(table.c.model.in_(ids)).order_by(table.c.model, table.c.key)
    for model, key, value in connection.execute(query):
        found[model][key] = value
    return found
