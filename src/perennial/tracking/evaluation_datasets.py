"""Evaluation datasets: sets of inputs, with what is expected of them, that models are judged on again and again.

They are what MLflow keeps under this name. A dataset version of a loop is another thing (see `data`): that is a table
of bytes and never changes, this is a list of records that people add to.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec
import sqlalchemy as sa
from blake3 import blake3

from perennial.errors import Invalid, NotFound, TooLarge
from perennial.store.prepared import upserting
from perennial.store.records import Records, Transaction
from perennial.tracking import records as tables
from perennial.tracking.evaluation_record import EvaluationRecord, GivenRecord, extended, user_of
from perennial.tracking.evaluation_rows import drop_records, prepare, put_records, record_page
from perennial.tracking.names import checked_text
from perennial.tracking.records import evaluation_datasets, evaluation_records, experiments
from perennial.tracking.search.conditions import page_token as token_of_page
from perennial.tracking.search.conditions import read_token
from perennial.tracking.search.evaluation_datasets import evaluation_dataset_query

__all__ = ["EvaluationDataset", "EvaluationDatasetPage", "EvaluationDatasets", "EvaluationRecordPage", "Upserted"]

MAX_NAME = 255  # characters
MAX_KEY = 255
MAX_TAG = 5_000
MAX_TAGS = 100  # in one call
MAX_EXPERIMENTS = 1_000  # in one call
MAX_UPSERT = 10_000  # records in one call
MAX_RECORDS = 1_000_000  # of a dataset
MAX_PAGE = 1_000  # datasets that are told at once, whatever is asked for
MAX_ASKED = 50_000
MAX_RECORD_PAGE = 10_000

_TAGS = upserting(tables.evaluation_dataset_tags)
_USED = upserting(tables.evaluation_dataset_experiments, keep=True)
_d, _r = evaluation_datasets.c, evaluation_records.c
_tag, _used = tables.evaluation_dataset_tags.c, tables.evaluation_dataset_experiments.c


class EvaluationDataset(msgspec.Struct, frozen=True, kw_only=True):
    """One dataset without its records; times are microseconds.

    `schema` is JSON: the fields of its records and their types; None while it never had any. The digest is another one
    after every change of the records.
    """

    id: str
    name: str
    digest: str
    schema: str | None
    records: int
    created: int
    created_by: str | None
    updated: int
    updated_by: str | None
    tags: dict[str, str]
    experiments: list[int]


class EvaluationDatasetPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some datasets; `next_page_token` asks for more, None at the end."""

    datasets: list[EvaluationDataset]
    next_page_token: str | None


class EvaluationRecordPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some records; `next_page_token` asks for more, None at the end."""

    records: list[EvaluationRecord]
    next_page_token: str | None


class Upserted(msgspec.Struct, frozen=True, kw_only=True):
    """How many records were new, and how many there were already."""

    inserted: int
    updated: int


class EvaluationDatasets:
    """The evaluation datasets of a workspace. Safe for concurrent use; every write is one transaction."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def create(
        self, *, name: str, experiments: list[int] | None = None, tags: dict[str, str] | None = None
    ) -> EvaluationDataset:
        """Make a dataset without records. Several may have the same name. The tag `mlflow.user` says who makes it.

        Raises:
            NotFound: There is no such experiment.
            Invalid: The name or a tag cannot be stored.
        """
        checked_text("name", name, MAX_NAME)
        pairs = _checked_tags(tags or {})

        def change(tx: Transaction) -> EvaluationDataset:
            dataset, user = f"d-{tx.new_id()}", user_of(tags)
            row = {"id": dataset, "name": name, "digest": _digest("", name), "records": 0, "last": 0}
            times = {"created": tx.now, "created_by": user, "updated": tx.now, "updated_by": user}
            tx.connection.execute(sa.insert(evaluation_datasets).values(**row, **times))
            _TAGS.many(tx.connection, [(dataset, key, value) for key, value in pairs])
            _use(tx.connection, dataset, experiments or [])
            return _load(tx.connection, [dataset])[0]

        return self._records.write(change)

    def get(self, *, id: str) -> EvaluationDataset:
        """One dataset.

        Raises:
            NotFound: There is none.
        """
        return self._records.read(lambda connection: _one(connection, id))

    def search(
        self,
        *,
        experiments: list[int] | None = None,
        filter: str = "",
        order_by: list[str] | None = None,
        limit: int = MAX_PAGE,
        page_token: str = "",
    ) -> EvaluationDatasetPage:
        """Datasets that a filter lets through, newest first unless ordered otherwise; of any of these experiments.

        A page has at most 1,000 of them.

        Raises:
            Invalid: The filter, an order or the token cannot be read, or the limit is out of range.
        """
        if not 0 < limit <= MAX_ASKED:
            raise Invalid(f"Invalid value {limit} for parameter 'max_results' supplied: it is 1 to {MAX_ASKED}")
        limit = min(limit, MAX_PAGE)
        numbers = experiments or []
        if len(numbers) > MAX_EXPERIMENTS:
            raise TooLarge(f"{len(numbers)} experiments in one search", remedy=f"at most {MAX_EXPERIMENTS}")

        def query(connection: sa.Connection) -> EvaluationDatasetPage:
            asked, token_of = evaluation_dataset_query(
                numbers, filter, order_by or [], limit, page_token, connection.dialect.name
            )
            ids = connection.scalars(asked).all()
            return EvaluationDatasetPage(datasets=_load(connection, ids[:limit]), next_page_token=token_of(len(ids)))

        return self._records.read(query)

    def delete(self, *, id: str) -> None:
        """Delete a dataset with its records, for good. One that is not there is no mistake."""

        def change(tx: Transaction) -> None:
            found = tx.connection.execute(sa.select(_d.name, _d.records).where(_d.id == id)).first()
            if found is None:
                return
            for column in (_r.dataset, _tag.dataset, _used.dataset, _d.id):
                tx.connection.execute(sa.delete(column.table).where(column == id))
            tx.event("evaluation_dataset.deleted", id, {"name": found.name, "records": found.records})

        self._records.write(change)

    def set_tags(self, *, id: str, tags: dict[str, str]) -> EvaluationDataset:
        """Set tags; a tag that is there is replaced.

        Raises:
            NotFound: There is no such dataset. Invalid: A key or value cannot be stored.
        """
        pairs = _checked_tags(tags)

        def change(tx: Transaction) -> EvaluationDataset:
            _one(tx.connection, id)
            _TAGS.many(tx.connection, [(id, key, value) for key, value in pairs])
            return _one(tx.connection, id)

        return self._records.write(change)

    def delete_tag(self, *, id: str, key: str) -> None:
        """Take a tag away. A tag or dataset that is not there is no mistake."""
        tag = sa.delete(tables.evaluation_dataset_tags).where(_tag.dataset == id, _tag.key == key)

        def change(tx: Transaction) -> None:
            tx.connection.execute(tag)

        self._records.write(change)

    def add_experiments(self, *, id: str, experiments: list[int]) -> EvaluationDataset:
        """Say that a dataset is used in these experiments too.

        Raises:
            NotFound: There is no such dataset or experiment.
        """

        def change(tx: Transaction) -> EvaluationDataset:
            _one(tx.connection, id)
            _use(tx.connection, id, experiments)
            _update(tx, id)
            return _one(tx.connection, id)

        return self._records.write(change)

    def remove_experiments(self, *, id: str, experiments: list[int]) -> EvaluationDataset:
        """Say that a dataset is not used in these experiments. Where it was not, nothing changes.

        Raises:
            NotFound: There is no such dataset.
        """
        _check_number(experiments)
        gone = sa.delete(tables.evaluation_dataset_experiments).where(
            _used.dataset == id, _used.experiment.in_(experiments)
        )

        def change(tx: Transaction) -> EvaluationDataset:
            _one(tx.connection, id)
            if tx.connection.execute(gone).rowcount:
                _update(tx, id)
            return _one(tx.connection, id)

        return self._records.write(change)

    def upsert(self, *, id: str, records: list[GivenRecord]) -> Upserted:
        """Add records. One whose inputs are there already is merged: its outputs are replaced if there are any, its
        expectations and tags are added to.

        Raises:
            NotFound: There is no such dataset. Invalid: A value is nested too deeply.
            TooLarge: There are too many records, or one is too long.
        """
        if len(records) > MAX_UPSERT:
            raise TooLarge(f"{len(records)} records in one call", remedy=f"send at most {MAX_UPSERT} at a time")
        prepared = [prepare(record, f"records[{place}]") for place, record in enumerate(records)]

        def change(tx: Transaction) -> Upserted:
            before = tx.connection.execute(sa.select(evaluation_datasets).where(_d.id == id)).first()
            if before is None:
                raise _missing(id)
            put = put_records(tx, id, before.last, prepared)
            total = before.records + put.inserted
            if total > MAX_RECORDS:
                raise TooLarge(
                    f"the dataset {id} would have {total} records", remedy=f"at most {MAX_RECORDS}: begin another one"
                )
            if records:
                _update(
                    tx,
                    id,
                    digest=_digest(before.digest, put.change),
                    schema=extended(before.schema, records),
                    records=total,
                    last=before.last + put.inserted,
                    updated_by=put.user or before.updated_by,
                )
            return Upserted(inserted=put.inserted, updated=len(records) - put.inserted)

        return self._records.write(change)

    def records(self, *, id: str, limit: int = 1000, page_token: str = "") -> EvaluationRecordPage:
        """Records in the order in which they came. A page ends early where they are long.

        Raises:
            NotFound: There is no such dataset. Invalid: The limit is not positive, or the token cannot be read.
        """
        if limit < 1:
            raise Invalid(f"Invalid value {limit} for parameter 'max_results' supplied: it is at least 1")
        after = read_token(page_token, int) if page_token else 0
        if not 0 <= after < 2**31:
            raise Invalid("Invalid page token", where="page_token", remedy="use next_page_token as it was answered")

        def query(connection: sa.Connection) -> EvaluationRecordPage:
            if connection.scalar(sa.select(_d.id).where(_d.id == id)) is None:
                raise _missing(id)
            found, end = record_page(connection, id, after, min(limit, MAX_RECORD_PAGE))
            return EvaluationRecordPage(records=found, next_page_token=None if end is None else token_of_page(end))

        return self._records.read(query)

    def delete_records(self, *, id: str, record_ids: list[str]) -> int:
        """Delete records, for good; how many there were. One that is not there is no mistake.

        Raises:
            NotFound: There is no such dataset. TooLarge: There are too many for one call.
        """
        if len(record_ids) > MAX_UPSERT:
            raise TooLarge(f"{len(record_ids)} records in one call", remedy=f"send at most {MAX_UPSERT} at a time")

        def change(tx: Transaction) -> int:
            before = _one(tx.connection, id)
            done = drop_records(tx, id, record_ids)
            if done:
                digest = _digest(before.digest, *sorted(record_ids))
                _update(tx, id, digest=digest, records=before.records - done)
                tx.event("evaluation_dataset.records_deleted", id, {"name": before.name, "records": done})
            return done

        return self._records.write(change)


def _checked_tags(tags: dict[str, str]) -> list[tuple[str, str]]:
    if len(tags) > MAX_TAGS:
        raise TooLarge(f"{len(tags)} tags in one call", remedy=f"send at most {MAX_TAGS} at a time")
    return [
        (checked_text("tags.key", key, MAX_KEY), checked_text(f"tags[{key!r}]", value, MAX_TAG, empty=True))
        for key, value in tags.items()
    ]


def _check_number(numbers: Sequence[int]) -> None:
    if len(numbers) > MAX_EXPERIMENTS:
        raise TooLarge(f"{len(numbers)} experiments in one call", remedy=f"send at most {MAX_EXPERIMENTS} at a time")


def _use(connection: sa.Connection, dataset: str, numbers: Sequence[int]) -> None:
    _check_number(numbers)
    there = set(connection.scalars(sa.select(experiments.c.id).where(experiments.c.id.in_(numbers))))
    for number in numbers:
        if number not in there:
            raise NotFound(f"No Experiment with id={number} exists", remedy="perennial runs experiments lists them")
    _USED.many(connection, [(dataset, number) for number in there])


def _update(tx: Transaction, id: str, **values: object) -> None:
    tx.connection.execute(sa.update(evaluation_datasets).where(_d.id == id).values(updated=tx.now, **values))


def _digest(*parts: str) -> str:
    """Chained: of the digest before and of what changed."""
    return blake3(json.dumps(parts).encode()).hexdigest()[:8]


def _missing(id: str) -> NotFound:
    return NotFound(f"Evaluation dataset with id '{id}' not found", remedy="search tells which there are")


def _one(connection: sa.Connection, id: str) -> EvaluationDataset:
    for dataset in _load(connection, [id]):
        return dataset
    raise _missing(id)


def _load(connection: sa.Connection, ids: Sequence[str]) -> list[EvaluationDataset]:
    """These datasets, in this order."""
    rows = {row.id: row for row in connection.execute(sa.select(evaluation_datasets).where(_d.id.in_(ids)))}
    tags: dict[str, dict[str, str]] = {dataset: {} for dataset in ids}
    query = sa.select(tables.evaluation_dataset_tags).where(_tag.dataset.in_(ids)).order_by(_tag.dataset, _tag.key)
    for dataset, key, value in connection.execute(query):
        tags[dataset][key] = value
    used: dict[str, list[int]] = {dataset: [] for dataset in ids}
    among = sa.select(_used.dataset, _used.experiment).where(_used.dataset.in_(ids))
    for dataset, number in connection.execute(among.order_by(_used.dataset, _used.experiment)):
        used[dataset].append(number)
    return [
        EvaluationDataset(
            id=row.id,
            name=row.name,
            digest=row.digest,
            schema=row.schema,
            records=row.records,
            created=row.created,
            created_by=row.created_by,
            updated=row.updated,
            updated_by=row.updated_by,
            tags=tags[row.id],
            experiments=used[row.id],
        )
        for row in (rows[dataset] for dataset in ids if dataset in rows)
    ]
