"""Which data a run used, and which models it read or made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from perennial.store.prepared import upserting
from perennial.store.records import Records, Transaction
from perennial.tracking import records as tables
from perennial.tracking.names import checked_text
from perennial.tracking.run import Input, ModelLink

__all__ = ["CONTEXT_TAG", "dataset_summaries", "put_inputs"]

CONTEXT_TAG = "mlflow.data.context"  # the tag that says what a dataset was used for
MAX_SUMMARIES = 1000
_LIMITS = {"name": 500, "digest": 64, "source_type": 36, "source": 65_535, "schema": 1_048_575, "profile": 16_777_215}
_TAG_KEY, _TAG_VALUE = 255, 500

_DATASETS = upserting(tables.input_datasets, keep=True)
_INPUTS = upserting(tables.inputs, keep=True)
_INPUT_TAGS = upserting(tables.input_tags, keep=True)
_MODELS = upserting(tables.run_models)


def put_inputs(
    tx: Transaction, run: str, experiment: int, datasets: Sequence[Input], models: Sequence[ModelLink]
) -> None:
    """Write these as part of a transaction. The first tags of a dataset in a run are kept.

    Raises:
        Invalid: A text is too long or cannot be stored; names it.
    """
    for number, used in enumerate(datasets):
        where = f"datasets[{number}].dataset"
        for name, longest in _LIMITS.items():
            value: str | None = getattr(used, name)
            if value is not None:
                checked_text(f"{where}.{name}", value, longest, empty=name not in ("name", "digest"))
        for key, value in used.tags.items():
            checked_text(f"datasets[{number}].tags.key", key, _TAG_KEY)
            checked_text(f"datasets[{number}].tags.value", value, _TAG_VALUE, empty=True)
    fresh = [used for used in datasets if not _is_known(tx.connection, run, used)]
    _DATASETS.many(
        tx.connection,
        [(experiment, d.name, d.digest, d.source_type, d.source, d.schema, d.profile) for d in datasets],
    )
    held = sa.select(sa.func.count()).where(tables.inputs.c.run == run)
    first: int = tx.connection.execute(held).scalar_one()
    _INPUTS.many(
        tx.connection,
        [
            (run, used.name, used.digest, used.context or used.tags.get(CONTEXT_TAG, ""), position)
            for position, used in enumerate(fresh, first)
        ],
    )
    _INPUT_TAGS.many(
        tx.connection, [(run, d.name, d.digest, key, value) for d in fresh for key, value in d.tags.items()]
    )
    _MODELS.many(tx.connection, [(run, link.model, link.role, link.step) for link in models])


def dataset_summaries(records: Records, experiments: Sequence[int]) -> list[tuple[int, str, str, str]]:
    """Experiment, name, digest and context of datasets that runs of these experiments used, each once."""
    used, runs = tables.inputs.c, tables.runs.c
    query = (
        sa.select(runs.experiment, used.dataset, used.digest, used.context)
        .select_from(tables.inputs.join(tables.runs, runs.id == used.run))
        .where(runs.experiment.in_(experiments), runs.lifecycle == "active")
        .distinct()
        .order_by(runs.experiment, used.dataset, used.digest, used.context)
        .limit(MAX_SUMMARIES)
    )
    rows: Any = records.read(lambda connection: connection.execute(query).all())
    return [tuple(row) for row in rows]


def _is_known(connection: sa.Connection, run: str, used: Input) -> bool:
    table = tables.inputs.c
    query = sa.select(table.run).where(table.run == run, table.dataset == used.name, table.digest == used.digest)
    return connection.execute(query).first() is not None
