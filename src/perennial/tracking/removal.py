"""Erase what was deleted a while ago, for good: rows, points, files. Until then everything can be restored.

The bytes of the files go with the next collection of garbage, as nothing names them any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from perennial.store.records import Transaction
from perennial.tracking import records as tables
from perennial.tracking.artifacts import remove_below
from perennial.tracking.loading import run_root
from perennial.tracking.points import remove_points
from perennial.tracking.records import experiments, logged_models, runs
from perennial.tracking.tree import below

__all__ = ["Spare", "deleted_before", "erase_experiment", "erase_model", "erase_run"]

Spare = Callable[[str], bool]
"""Whether the files below this address must stay, since a registered version is made of them."""

_OF_RUN = (tables.params, tables.tags, tables.input_tags, tables.inputs, tables.run_models, tables.steps)
_OF_MODEL = (tables.logged_model_metrics, tables.logged_model_params, tables.logged_model_tags)


def deleted_before(connection: sa.Connection, moment: int) -> tuple[list[str], list[str], list[int]]:
    """Runs, logged models and experiments that were deleted before this moment, in microseconds."""
    gone = sa.select(experiments.c.id).where(experiments.c.lifecycle == "deleted", experiments.c.updated <= moment)
    numbers = list(connection.scalars(gone))
    of_runs = sa.select(runs.c.id).where(
        sa.or_((runs.c.lifecycle == "deleted") & (runs.c.deleted <= moment), runs.c.experiment.in_(numbers))
    )
    of_models = sa.select(logged_models.c.id).where(
        sa.or_(logged_models.c.deleted <= moment, logged_models.c.experiment.in_(numbers))
    )
    return list(connection.scalars(of_runs)), list(connection.scalars(of_models)), numbers


def erase_run(tx: Transaction, run: str, spare: Spare) -> None:
    """Erase a run. What its files leave in a bucket is for `Artifacts.free`."""
    query = sa.select(runs.c.experiment, experiments.c.artifact_location).join(experiments).where(runs.c.id == run)
    row = tx.connection.execute(query).first()
    if row is None:
        return
    _files(tx, run_root(row.experiment, row.artifact_location, run), spare)
    remove_points(tx.connection, run)
    _delete(tx, _OF_RUN, "run", run)
    tx.connection.execute(sa.delete(runs).where(runs.c.id == run))


def erase_model(tx: Transaction, model: str, root: str, spare: Spare) -> None:
    """Erase a logged model whose files lie at `root`."""
    _files(tx, root, spare)
    _delete(tx, _OF_MODEL, "model", model)
    tx.connection.execute(sa.delete(tables.run_models).where(tables.run_models.c.model == model))
    tx.connection.execute(sa.delete(logged_models).where(logged_models.c.id == model))


def erase_experiment(tx: Transaction, number: int) -> None:
    """Erase an experiment that has no runs and models any more; its name is free then."""
    _delete(
        tx, (tables.experiment_tags, tables.input_datasets, tables.evaluation_dataset_experiments), "experiment", number
    )
    tx.connection.execute(sa.delete(experiments).where(experiments.c.id == number))


def _delete(tx: Transaction, which: tuple[sa.Table, ...], column: str, value: Any) -> None:
    for table in which:
        tx.connection.execute(sa.delete(table).where(table.c[column] == value))


def _files(tx: Transaction, root: str, spare: Spare) -> None:
    path = below(root)
    if path is not None and not spare(root):
        remove_below(tx, path)
