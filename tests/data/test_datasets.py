"""Dataset versions: content once, drafts until accepted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from perennial.clock import FixedClock
from perennial.data.collect import Draft, draft
from perennial.data.datasets import Datasets, DatasetVersion
from perennial.data.records import versions
from perennial.data.tables import read_table, write_table
from perennial.errors import DataError, NotFound
from perennial.store.actor import acting
from perennial.store.events import Events
from perennial.store.objects import ObjectStore
from perennial.store.records import Records, create_tables
from perennial.types import Micros

FRAME = pl.DataFrame({"person": [1, 2, 3], "wage": [1.0, 2.0, 3.0]})


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    with Records.open(f"sqlite:///{tmp_path / 'records.db'}", clock=FixedClock(Micros(5))) as records:
        create_tables(records)
        yield records


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "objects")


def commit(records: Records, objects: ObjectStore, frame: pl.DataFrame) -> tuple[Draft, DatasetVersion]:
    datasets = Datasets(records)
    known = datasets.list(name="people")
    last = datasets.get(name="people") if known else None
    made = draft(frame, name="people", target="wage", previous=last and last.schema, previous_rows=last and last.rows)
    manifest, logical = write_table(made.table, objects, previous=None if last is None else last.manifest)
    version = datasets.commit(
        name="people",
        logical=logical,
        manifest=manifest,
        rows=made.table.num_rows,
        schema=made.schema,
        state="accepted" if made.is_acceptable else "draft",
        parent=last and last.version,
        violations=made.violations,
        changes=made.changes,
    )
    return made, version


def test_the_same_rows_again_are_the_same_version(records: Records, objects: ObjectStore) -> None:
    _, first = commit(records, objects, FRAME)
    _, again = commit(records, objects, FRAME.reverse())
    assert (first, first.version, first.at) == (again, 1, 5)
    assert [event.kind for event in Events(records).list()] == ["data.committed"]


def test_new_rows_are_the_next_version_and_read_back(records: Records, objects: ObjectStore) -> None:
    commit(records, objects, FRAME)
    _, second = commit(records, objects, pl.concat([FRAME, pl.DataFrame({"person": [4], "wage": [4.5]})]))
    assert (second.version, second.parent, second.rows, second.changes) == (2, 1, 4, {"rows": 1, "columns": 0})
    assert read_table(second.manifest, objects).column("wage").to_pylist() == [1.0, 2.0, 3.0, 4.5]
    datasets = Datasets(records)
    assert datasets.get(name="people") == second
    assert datasets.get(name="people", version=1).rows == 3
    assert [version.version for version in datasets.list()] == [2, 1]


def test_a_changed_schema_waits_as_a_draft_until_a_person_accepts_it(records: Records, objects: ObjectStore) -> None:
    datasets = Datasets(records)
    commit(records, objects, FRAME)
    made, waiting = commit(records, objects, FRAME.rename({"person": "persons"}))
    assert waiting.state == "draft"
    assert datasets.get(name="people").version == 1
    refusal = made.refusal(waiting.version)
    assert "was it renamed to 'persons'?" in refusal.what
    assert "perennial data accept people@2" in refusal.remedy
    with acting("ada", "cli"):
        accepted = datasets.accept(name="people", version=2)
    assert (accepted.state, accepted.accepted_by) == ("accepted", "ada")
    assert datasets.accept(name="people", version=2) == accepted
    assert datasets.get(name="people") == accepted
    assert [event.kind for event in Events(records).list()] == ["data.committed", "data.drafted", "data.accepted"]


def test_an_unknown_version_is_not_found(records: Records) -> None:
    with pytest.raises(NotFound, match="'people' with an accepted version"):
        Datasets(records).get(name="people")
    with pytest.raises(NotFound, match="version 3"):
        Datasets(records).accept(name="people", version=3)


def test_a_refused_commit_stores_nothing(records: Records, objects: ObjectStore) -> None:
    with pytest.raises(DataError):
        commit(records, objects, FRAME.drop("wage"))
    assert Datasets(records).list() == []


def test_the_records_know_which_objects_a_version_needs(records: Records, objects: ObjectStore) -> None:
    _, version = commit(records, objects, FRAME)
    expand = versions.c.manifest.info["expand"]
    assert all(objects.has(digest) for digest in expand(objects.get(version.manifest), objects.get))


def test_a_number_from_elsewhere_is_kept_when_it_is_free(records: Records, objects: ObjectStore) -> None:
    datasets = Datasets(records)
    _, here = commit(records, objects, FRAME)

    def pulled(logical: str, number: int) -> int:
        commit = datasets.commit(
            name="people", logical=logical, manifest=here.stored, rows=1, schema=here.schema, number=number
        )
        return commit.version

    assert pulled("a" * 64, 7) == 7
    assert pulled("b" * 64, 7) == 8
    assert pulled("a" * 64, 3) == 7  # known by its content
