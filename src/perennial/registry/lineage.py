"""Where a version comes from and what became of it; and the other way round, what learned from a dataset version.

Read from records alone: the version's line, its run with the data that the run used, and the events about it. What was
never recorded is absent here and never inferred.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec
import sqlalchemy as sa

from perennial.data.records import versions as dataset_versions
from perennial.errors import NotFound
from perennial.models.facts.verdict import Verdict
from perennial.registry.records import test_set_uses, test_sets, versions
from perennial.store.decoding import ready
from perennial.store.events import events
from perennial.tracking.records import inputs, run_models, runs

__all__ = [
    "Decision",
    "Learned",
    "Lineage",
    "LiveSpan",
    "Look",
    "Parent",
    "TrainingRun",
    "UsedData",
    "learned_from",
    "lineage",
]

DECISIONS = ("model.registered", "model.refused", "model.approved", "model.rejected")


class UsedData(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset version that a model learned from.

    `logical` is the digest of its content. Where a client named data that are not kept here, `version` and what
    follows it are None. `removed_at`: its bytes were given up then.
    """

    name: str
    logical: str
    version: int | None = None
    manifest: str | None = None
    rows: int | None = None
    columns: int | None = None
    parent: int | None = None
    source: dict[str, Any] | None = None
    collected_by: str | None = None
    at: int | None = None
    accepted_by: str | None = None
    removed_at: int | None = None


class TrainingRun(msgspec.Struct, frozen=True, kw_only=True):
    """The run that made a version. `environment` is the digest of the list of what was installed."""

    id: str
    kind: str
    person: str
    status: str
    seed: int | None
    git_commit: str
    git_diff: str | None
    environment: str | None
    reason: str
    started: int
    ended: int | None


class Parent(msgspec.Struct, frozen=True, kw_only=True):
    """Another version that this one has to do with; `how` says in which way."""

    name: str
    version: int
    how: str


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody registered, refused, approved or rejected; `package` is the digest that it was about."""

    what: str
    at: int
    by: str
    comment: str
    package: str | None


class LiveSpan(msgspec.Struct, frozen=True, kw_only=True):
    """From when until when it was live (None: it still is), and who or what made it so."""

    since: int
    until: int | None
    by: str


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """The look at a test set by which it was judged: the `number`th of `planned` that these `rows` are good for."""

    test_set: str
    rows: int
    number: int
    planned: int


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a version was made of, and what was done with it. All digests are of stored objects."""

    name: str
    version: int
    package: str | None
    bundle: str | None
    declaration: str | None
    evaluation: str | None
    source: str | None
    datasets: list[UsedData]
    run: TrainingRun | None
    judged_by: Look | None
    parents: list[Parent]
    decisions: list[Decision]
    live: list[LiveSpan]


class Learned(msgspec.Struct, frozen=True, kw_only=True):
    """A model version that learned from some data; `through` lists the dataset versions in between, nearest first."""

    name: str
    version: int
    state: str
    at: int
    run_id: str | None
    through: list[str]


def lineage(connection: sa.Connection, name: str, version: int) -> Lineage:
    """The lineage of one version.

    Raises:
        NotFound: There is no such version.
    """
    where = (versions.c.name == name) & (versions.c.version == version) & versions.c.removed.is_(None)
    row = connection.execute(sa.select(versions).where(where)).one_or_none()
    if row is None:
        raise NotFound(
            f"there is no model {name} version {version}", remedy="perennial models list shows what there is"
        )
    live = _live_spans(connection, name)
    return Lineage(
        name=name,
        version=version,
        package=row.package,
        bundle=row.bundle,
        declaration=row.declaration,
        evaluation=row.evaluation,
        source=row.source,
        datasets=_used(connection, row),
        run=_run(connection, row.run_id),
        judged_by=_look(connection, name, version),
        parents=_parents(connection, row, live),
        decisions=_decisions(connection, row),
        live=[span for number, span in live if number == version],
    )


def learned_from(connection: sa.Connection, dataset: str, version: int) -> list[Learned]:
    """The model versions that learned from a dataset version, directly or through data made of it.

    Data count as made of it where a run that used it committed them as its own result, or where rows were appended to
    it. Each model version is told once, with the shortest way.

    Raises:
        NotFound: There is no such dataset version.
    """
    known = _dataset(connection, dataset, version)
    if known is None:
        raise NotFound(f"there is no dataset {dataset}@{version}", remedy="perennial data list shows what there is")
    found: dict[tuple[str, int], Learned] = {}
    seen = {(dataset, version)}
    waiting: list[tuple[sa.Row[Any], list[str]]] = [(known, [])]
    while waiting:  # breadth first: the shortest way is found first
        data, through = waiting.pop(0)
        for model in _learned_directly(connection, data):
            one = Learned(
                name=model.name,
                version=model.version,
                state=model.state,
                at=model.at,
                run_id=model.run_id,
                through=through,
            )
            found.setdefault((model.name, model.version), one)
        for made in _made_of(connection, data):
            if (made.name, made.version) not in seen:
                seen.add((made.name, made.version))
                waiting.append((made, [*through, f"{made.name}@{made.version}"]))
    return sorted(found.values(), key=lambda one: (one.name, one.version))


def _learned_directly(connection: sa.Connection, data: sa.Row[Any]) -> list[sa.Row[Any]]:
    used = sa.select(inputs.c.run).where(inputs.c.dataset == data.name, inputs.c.digest == data.logical)
    named = (versions.c.dataset == data.name) & (versions.c.dataset_version == data.version)
    query = sa.select(versions).where(named | versions.c.run_id.in_(used), versions.c.removed.is_(None))
    return list(connection.execute(query.order_by(versions.c.name, versions.c.version)))


def _made_of(connection: sa.Connection, data: sa.Row[Any]) -> list[sa.Row[Any]]:
    """Dataset versions that a run made of these data, and those to which rows were appended."""
    used = sa.select(inputs.c.run).where(inputs.c.dataset == data.name, inputs.c.digest == data.logical)
    read_too = sa.exists().where(  # what a run collected for itself is not made of what it collected beside it
        inputs.c.run == dataset_versions.c.run_id,
        inputs.c.dataset == dataset_versions.c.name,
        inputs.c.digest == dataset_versions.c.logical,
    )
    results = sa.select(dataset_versions).where(dataset_versions.c.run_id.in_(used), ~read_too)
    next_ones = sa.select(dataset_versions).where(
        dataset_versions.c.name == data.name, dataset_versions.c.parent == data.version
    )
    appended = [row for row in connection.execute(next_ones) if "cursor" in (_json(row.source) or {})]
    return [*connection.execute(results.order_by(dataset_versions.c.name, dataset_versions.c.version)), *appended]


def _used(connection: sa.Connection, row: sa.Row[Any]) -> list[UsedData]:
    """What the version names first, then whatever else its run used."""
    found: dict[tuple[str, str], UsedData] = {}
    if row.dataset is not None and row.dataset_version is not None:
        data = _dataset(connection, row.dataset, row.dataset_version)
        if data is not None:
            found[data.name, data.logical] = _used_data(data)
    if row.run_id is not None:
        query = sa.select(inputs).where(inputs.c.run == row.run_id).order_by(inputs.c.position, inputs.c.dataset)
        for used in connection.execute(query):
            same = sa.select(dataset_versions).where(
                dataset_versions.c.name == used.dataset, dataset_versions.c.logical == used.digest
            )
            data = connection.execute(same).first()
            told = UsedData(name=used.dataset, logical=used.digest) if data is None else _used_data(data)
            found.setdefault((used.dataset, used.digest), told)
    return list(found.values())


def _used_data(row: sa.Row[Any]) -> UsedData:
    schema = _json(row.schema) or {}
    return UsedData(
        name=row.name,
        version=row.version,
        logical=row.logical,
        manifest=row.manifest,
        rows=row.rows,
        columns=len(schema.get("columns", ())),
        parent=row.parent,
        source=_json(row.source),
        collected_by=row.run_id,
        at=row.at,
        accepted_by=row.accepted_by,
        removed_at=row.removed_at,
    )


def _run(connection: sa.Connection, run_id: str | None) -> TrainingRun | None:
    row = connection.execute(sa.select(runs).where(runs.c.id == run_id)).one_or_none() if run_id else None
    if row is None:
        return None
    return TrainingRun(**{name: getattr(row, name) for name in TrainingRun.__struct_fields__})


def _look(connection: sa.Connection, name: str, version: int) -> Look | None:
    query = (
        sa.select(test_set_uses.c.test_set, test_sets.c.rows, test_set_uses.c.number, test_set_uses.c.planned)
        .join(test_sets, test_sets.c.digest == test_set_uses.c.test_set)
        .where(test_set_uses.c.name == name, test_set_uses.c.version == version)
    )
    row = connection.execute(query).mappings().first()
    return None if row is None else Look(**{str(key): value for key, value in row.items()})


def _parents(connection: sa.Connection, row: sa.Row[Any], live: list[tuple[int, LiveSpan]]) -> list[Parent]:
    found: list[Parent] = []
    copied = str(row.source or "").removeprefix("models:/").rpartition("/")
    if str(row.source or "").startswith("models:/") and copied[0] and copied[2].isdecimal():
        found.append(Parent(name=copied[0], version=int(copied[2]), how="it is a copy of it"))
    for verdict in msgspec.json.decode(row.verdicts, type=ready(list[Verdict])):
        if verdict.kind == "label_shift":
            how = "its answers, corrected for new shares of the classes"
            found.append(Parent(name=row.name, version=int(verdict.evidence["version"]), how=how))
    if row.run_id is not None:
        read = sa.select(run_models.c.model).where(run_models.c.run == row.run_id, run_models.c.role == "input")
        query = sa.select(versions.c.name, versions.c.version).where(
            versions.c.model_id.in_(read), versions.c.removed.is_(None)
        )
        found += [
            Parent(name=parent.name, version=parent.version, how="its training began from it")
            for parent in connection.execute(query.order_by(versions.c.name, versions.c.version))
            if (parent.name, parent.version) != (row.name, row.version)
        ]
    for number, span in live:
        if span.since <= row.at and (span.until is None or row.at < span.until) and number != row.version:
            found.append(Parent(name=row.name, version=number, how="it was live when this one was registered"))
    return found


def _decisions(connection: sa.Connection, row: sa.Row[Any]) -> list[Decision]:
    query = (
        sa.select(events.c.at, events.c.kind, events.c.actor, events.c.payload)
        .where(events.c.subject == f"model/{row.name}/{row.version}", events.c.kind.in_(DECISIONS))
        .order_by(events.c.seq)
    )
    told: list[Decision] = []
    for event in connection.execute(query):
        payload = _json(event.payload) or {}
        told.append(
            Decision(
                what=event.kind.removeprefix("model."),
                at=event.at,
                by=str(payload.get("by") or event.actor),
                comment=str(payload.get("comment") or payload.get("reason") or ""),
                package=payload.get("package") or row.package,
            )
        )
    return told


def _live_spans(connection: sa.Connection, name: str) -> list[tuple[int, LiveSpan]]:
    """Which version was live when, oldest first, from the moves of the alias `live`."""
    query = (
        sa.select(events.c.at, events.c.actor, events.c.payload)
        .where(events.c.subject == f"model/{name}", events.c.kind == "alias.moved")
        .order_by(events.c.seq)
    )
    spans: list[tuple[int, LiveSpan]] = []
    for event in connection.execute(query):
        payload = _json(event.payload) or {}
        if payload.get("alias") != "live":
            continue
        if spans and spans[-1][1].until is None:
            number, span = spans[-1]
            spans[-1] = (number, msgspec.structs.replace(span, until=event.at))
        if payload.get("to") is not None:
            spans.append((payload["to"], LiveSpan(since=event.at, until=None, by=event.actor)))
    return spans


def _dataset(connection: sa.Connection, name: str, version: int) -> sa.Row[Any] | None:
    where = (dataset_versions.c.name == name) & (dataset_versions.c.version == version)
    return connection.execute(sa.select(dataset_versions).where(where)).one_or_none()


def _json(data: bytes | None) -> dict[str, Any] | None:
    return None if data is None else cast("dict[str, Any]", msgspec.json.decode(data))
