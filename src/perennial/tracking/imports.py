"""Take in what an import read from another store: experiments, runs and logged models, each whole or not at all.

The same again changes nothing. What changed in the other store meanwhile is brought up to date; what was deleted here
stays deleted. A thing that cannot be kept is refused alone, by name, and the others of the call are taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

import msgspec
import sqlalchemy as sa

from perennial.errors import Conflict, Invalid, NotFound, PerennialError
from perennial.store.hashing import digest_of
from perennial.store.prepared import upserting
from perennial.store.records import Records, Transaction
from perennial.tracking import records as tables
from perennial.tracking.experiments import DEFAULT, location_of
from perennial.tracking.importing.carried import (
    Carried,
    CarriedExperiment,
    CarriedLoggedModel,
    CarriedMetric,
    CarriedRun,
    Outcome,
    Placed,
)
from perennial.tracking.inputs import put_inputs
from perennial.tracking.loading import run_root
from perennial.tracking.names import checked_text
from perennial.tracking.points import write_columns
from perennial.tracking.records import experiments, imported, logged_models, runs
from perennial.tracking.run import Artifact
from perennial.tracking.tree import below, checked

if TYPE_CHECKING:
    from perennial.tracking.chunks import Columns

__all__ = ["Imports", "content_of", "known_import", "note_import"]

MAX_TEXT = 1 << 20  # characters of one value; stores of others allow more than our own doors do
MAX_KEY = 500
MAX_ID = 32
DEFAULT_NAME = "Default"

_EXPERIMENT_TAGS = upserting(tables.experiment_tags)
_DEFAULT_TAGS = upserting(tables.experiment_tags, keep=True)
_PARAMS, _TAGS = upserting(tables.params), upserting(tables.tags)
_LATEST = upserting(tables.metrics_latest)
_ARTIFACTS = upserting(tables.artifacts)
_MODEL_PARAMS, _MODEL_TAGS = upserting(tables.logged_model_params), upserting(tables.logged_model_tags)
_MODEL_METRICS = upserting(tables.logged_model_metrics, keep=True)
_IMPORTED = upserting(imported)

One = TypeVar("One", CarriedRun, CarriedLoggedModel)


class Imports:
    """The way of foreign records into these. Safe for concurrent use; every call may be repeated."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def experiments(self, *, source: str, experiments: list[CarriedExperiment]) -> list[Placed]:
        """Find or make an experiment for each of these, in their order.

        One whose name is taken becomes `NAME (imported)`; runs of `Default` go to `Default`.

        Args:
            source: The store that they come from, for people.
            experiments: With their tags.

        Raises:
            Invalid: A name or tag cannot be stored.
        """

        def change(tx: Transaction) -> list[Placed]:
            return [_place(tx, source, one) for one in experiments]

        return self._records.write(change)

    def points(self, *, run_id: str, experiment: int, metrics: list[CarriedMetric]) -> None:
        """Take points of a run that has too many for one call; they show when `runs` brings the run itself.

        Raises:
            Invalid: Columns of different lengths, or a key that cannot be stored.
        """
        columns = _columns(metrics)
        self._records.write(lambda tx: write_columns(tx.connection, experiment, run_id, columns))

    def runs(self, *, runs: list[CarriedRun]) -> list[Outcome]:
        """Take runs with all that hangs on them; says of each, in their order, what became of it."""
        return self._records.write(lambda tx: [self._one(one, _take_run) for one in runs])

    def logged_models(self, *, models: list[CarriedLoggedModel]) -> list[Outcome]:
        """Take logged models; says of each, in their order, what became of it."""
        return self._records.write(lambda tx: [self._one(one, _take_model) for one in models])

    def _one(self, one: One, take: Callable[[Transaction, One], Outcome]) -> Outcome:
        try:
            return self._records.write(lambda tx: take(tx, one))  # within the transaction: a savepoint
        except PerennialError as error:
            if not isinstance(error, Invalid | Conflict | NotFound):
                raise  # the disk, not the run
            return Outcome(id=one.id, what="refused", why=error.what, remedy=error.remedy)


def content_of(one: Carried) -> str:
    """Names what is carried; the same content has the same name, wherever its store lies by now."""
    if not isinstance(one, CarriedLoggedModel):
        one = msgspec.structs.replace(one, source="")
    return digest_of(msgspec.json.encode(one, order="deterministic"))


def known_import(tx: Transaction, what: str, identity: str) -> tuple[str, str] | None:
    """What this is here and the digest of what was taken; None when it never was."""
    query = sa.select(imported.c.ours, imported.c.digest).where(imported.c.what == what, imported.c.id == identity)
    row = tx.connection.execute(query).first()
    return None if row is None else (row.ours, row.digest)


def note_import(tx: Transaction, what: str, identity: str, ours: str, digest: str, source: str) -> None:
    """Remember that this was taken."""
    _IMPORTED.many(tx.connection, [(what, identity, ours, digest, source, tx.now)])


def _place(tx: Transaction, source: str, one: CarriedExperiment) -> Placed:
    checked_text("name", one.name, MAX_KEY)
    tags = _pairs(one.tags)
    if one.name == DEFAULT_NAME and _row(tx, DEFAULT) is not None:
        _DEFAULT_TAGS.many(tx.connection, [(DEFAULT, *pair) for pair in tags])
        return _placed(tx, DEFAULT, is_new=False)
    digest = digest_of(msgspec.json.encode(one, order="deterministic"))
    known = known_import(tx, "experiment", one.identity)
    if known is not None and _row(tx, int(known[0])) is not None:
        number = int(known[0])
        if known[1] != digest:
            _EXPERIMENT_TAGS.many(tx.connection, [(number, *pair) for pair in tags])
            note_import(tx, "experiment", one.identity, known[0], digest, source)
        return _placed(tx, number, is_new=False)
    values = {"artifact_location": one.artifact_location, "lifecycle": one.lifecycle}
    statement = sa.insert(experiments).values(
        name=_free_name(tx, one.name), **values, created=one.created, updated=one.updated
    )
    number = tx.connection.execute(statement.returning(experiments.c.id)).scalar_one()
    _EXPERIMENT_TAGS.many(tx.connection, [(number, *pair) for pair in tags])
    note_import(tx, "experiment", one.identity, str(number), digest, source)
    return _placed(tx, number, is_new=True)


def _row(tx: Transaction, number: int) -> tuple[int, str, str] | None:
    """Number, name and artifact location of an experiment."""
    columns = sa.select(experiments.c.id, experiments.c.name, experiments.c.artifact_location)
    row = tx.connection.execute(columns.where(experiments.c.id == number)).first()
    return None if row is None else (row.id, row.name, row.artifact_location)


def _placed(tx: Transaction, number: int, *, is_new: bool) -> Placed:
    row = _row(tx, number)
    assert row is not None
    number, name, location = row
    return Placed(id=number, name=name, artifact_uri=location_of(number, location), is_new=is_new)


def _free_name(tx: Transaction, name: str) -> str:
    tries = (name, f"{name} (imported)", *(f"{name} (imported {count})" for count in range(2, 100)))
    for free in tries:
        if tx.connection.execute(sa.select(experiments.c.id).where(experiments.c.name == free)).first() is None:
            return free
    raise Conflict(f"{name!r} was imported from {len(tries) - 1} stores already", remedy="rename some experiments")


def _take_run(tx: Transaction, run: CarriedRun) -> Outcome:
    _check_id(run.id)
    for where, text in (("name", run.name), ("user", run.person), ("source version", run.git_commit)):
        checked_text(where, text, MAX_TEXT, empty=True)
    columns, params, tags = _columns(run.metrics), _pairs(run.params), _pairs(run.tags)
    digest = content_of(run)
    held = tx.connection.execute(sa.select(runs.c.lifecycle, runs.c.experiment).where(runs.c.id == run.id)).first()
    known = known_import(tx, "run", run.identity)
    if held is not None and known is None:
        raise Conflict(
            f"there is another run {run.id} here, which was not imported from this store",
            remedy="import into another workspace (--home)",
        )
    if held is not None and known is not None and known[1] == digest:
        return Outcome(id=run.id, what="same")
    experiment = run.experiment if held is None else held.experiment
    row = {"name": run.name, "person": run.person, "status": run.status, "git_commit": run.git_commit}
    row |= {"started": run.started, "ended": run.ended}
    if held is None:
        home = _row(tx, experiment)
        if home is None:
            raise NotFound(f"there is no experiment {experiment}", remedy="import again")
        life = {"lifecycle": run.lifecycle, "deleted": run.deleted}
        told = {"kind": "imported", "reason": f"imported from {run.source}"[:MAX_TEXT]}
        tx.connection.execute(sa.insert(runs).values(id=run.id, experiment=experiment, **row, **life, **told))
    else:
        tx.connection.execute(sa.update(runs).where(runs.c.id == run.id).values(**row))
    _PARAMS.many(tx.connection, [(run.id, *pair) for pair in params])
    _TAGS.many(tx.connection, [(run.id, *pair) for pair in tags])
    write_columns(tx.connection, experiment, run.id, columns)
    latest = [
        (run.id, point.key, experiment, point.at, point.step, *_split(float(point.value))) for point in run.latest
    ]
    _LATEST.many(tx.connection, latest)
    put_inputs(tx, run.id, experiment, run.inputs, run.models)
    _put_files(tx, _root(tx, experiment, run.id), run.files)
    note_import(tx, "run", run.identity, run.id, digest, run.source)
    return Outcome(id=run.id, what="added" if held is None else "updated")


def _take_model(tx: Transaction, model: CarriedLoggedModel) -> Outcome:
    _check_id(model.id.removeprefix("m-"))
    checked_text("name", model.name, MAX_KEY)
    params, tags = _pairs(model.params), _pairs(model.tags)
    digest = content_of(model)
    held = tx.connection.execute(sa.select(logged_models.c.experiment).where(logged_models.c.id == model.id)).first()
    known = known_import(tx, "logged model", model.identity)
    if held is not None and known is None:
        raise Conflict(
            f"there is another logged model {model.id} here, which was not imported from this store",
            remedy="import into another workspace (--home)",
        )
    if held is not None and known is not None and known[1] == digest:
        return Outcome(id=model.id, what="same")
    row = {"name": model.name, "type": model.type, "status": model.status, "run": model.run, "updated": model.updated}
    experiment = model.experiment if held is None else held.experiment
    home = _row(tx, experiment)
    if home is None:
        raise NotFound(f"there is no experiment {experiment}", remedy="import again")
    if held is None:
        life = {"created": model.created, "deleted": model.deleted}
        tx.connection.execute(sa.insert(logged_models).values(id=model.id, experiment=experiment, **row, **life))
    else:
        tx.connection.execute(sa.update(logged_models).where(logged_models.c.id == model.id).values(**row))
    _MODEL_PARAMS.many(tx.connection, [(model.id, *pair) for pair in params])
    _MODEL_TAGS.many(tx.connection, [(model.id, *pair) for pair in tags])
    points = [
        (model.id, p.key, p.dataset, p.digest, p.run, p.at, p.step, *_split(float(p.value))) for p in model.metrics
    ]
    _MODEL_METRICS.many(tx.connection, points)
    root = f"{location_of(experiment, home[2]).rstrip('/')}/models/{model.id}/artifacts"
    _put_files(tx, below(root), model.files)
    note_import(tx, "logged model", model.identity, model.id, digest, "")
    return Outcome(id=model.id, what="added" if held is None else "updated")


def _root(tx: Transaction, experiment: int, run: str) -> str | None:
    home = _row(tx, experiment)
    return None if home is None else below(run_root(experiment, home[2], run))


def _put_files(tx: Transaction, root: str | None, files: Iterable[Artifact]) -> None:
    if root is not None:
        rows = [(checked(f"{root}/{file.path}"), file.digest, None, file.size, tx.now) for file in files]
        _ARTIFACTS.many(tx.connection, rows)


def _columns(metrics: list[CarriedMetric]) -> dict[str, Columns]:
    import numpy as np

    from perennial.tracking.chunks import Columns

    found: dict[str, Columns] = {}
    for metric in metrics:
        checked_text("metric", metric.key, MAX_KEY)
        if len(metric.at) % 8 or not len(metric.at) == len(metric.step) == len(metric.value):
            raise Invalid(f"the columns of metric {metric.key!r} do not fit together", remedy="import again")
        columns = (
            np.frombuffer(metric.at, "<i8"),
            np.frombuffer(metric.step, "<i8"),
            np.frombuffer(metric.value, "<f8"),
        )
        found[metric.key] = Columns(*columns)
    return found


def _pairs(given: Mapping[str, str]) -> list[tuple[str, str]]:
    for key, value in given.items():
        checked_text("key", key, MAX_KEY)
        checked_text(f"value of {key}", value, MAX_TEXT, empty=True)
    return list(given.items())


def _split(value: float) -> tuple[float, int]:
    return (0.0, 1) if value != value else (value, 0)


def _check_id(text: str) -> None:
    if not text or len(text) > MAX_ID or not text.isascii() or not text.replace("-", "a").replace("_", "a").isalnum():
        raise Invalid(f"{text[:80]!r} cannot be the id of a run or model here", remedy="leave it out of that store")
