"""A stored table reads back as it was, and a version that extends another stores only the new rows."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pytest

from perennial.data import tables
from perennial.data.digest import BLOCK_ROWS, in_canonical_order, logical_digest
from perennial.data.manifest import files_of
from perennial.data.tables import read_manifest, read_table, write_batches, write_table
from perennial.errors import Conflict, DataError
from perennial.store.gc import collect_garbage
from perennial.store.objects import ObjectStore
from perennial.store.records import Records, create_tables
from perennial.store.tables import import_tables

ROWS = [{"i": i // 2, "s": None if i % 7 == 0 else f"text {i % 5}", "f": i / 3, "b": bytes([i])} for i in range(100)]


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path)


def test_an_ordered_table_reads_back_row_for_row(objects: ObjectStore) -> None:
    table = pa.Table.from_pylist(ROWS)
    manifest, logical = write_table(table, objects, order_matters=True)
    assert read_table(manifest, objects).to_pylist() == ROWS
    assert logical == logical_digest(read_table(manifest, objects), order_matters=True)


def test_an_appended_table_stores_only_the_new_rows(objects: ObjectStore) -> None:
    first, _ = write_table(pa.Table.from_pylist(ROWS[:60]), objects, order_matters=True)
    second, _ = write_table(pa.Table.from_pylist(ROWS), objects, order_matters=True, previous=first)
    assert [file.rows for file in read_manifest(second, objects).files] == [60, 40]
    assert read_table(second, objects).to_pylist() == ROWS
    changed = [{**ROWS[0], "i": -1}, *ROWS[1:]]
    third, _ = write_table(pa.Table.from_pylist(changed), objects, order_matters=True, previous=second)
    assert [file.rows for file in read_manifest(third, objects).files] == [100]


def test_new_rows_anywhere_in_an_unordered_table_are_all_that_is_stored(objects: ObjectStore) -> None:
    rows = [*ROWS, *ROWS[:10]]  # equal rows count
    first, _ = write_table(pa.Table.from_pylist(ROWS), objects)
    shuffled = random.Random(0).sample(rows, len(rows))
    second, logical = write_table(pa.Table.from_pylist(shuffled), objects, previous=first)
    assert [file.rows for file in read_manifest(second, objects).files] == [100, 10]
    assert logical == logical_digest(pa.Table.from_pylist(rows), order_matters=False)
    assert read_table(second, objects) == in_canonical_order(pa.Table.from_pylist(rows))


def test_an_unordered_table_without_an_old_row_is_stored_anew(objects: ObjectStore) -> None:
    first, _ = write_table(pa.Table.from_pylist(ROWS), objects)
    second, _ = write_table(pa.Table.from_pylist([*ROWS[1:], *ROWS[-3:]]), objects, previous=first)
    assert len(read_manifest(second, objects).files) == 1


def test_an_unordered_table_that_lost_a_row_keeps_the_files_that_are_still_whole(objects: ObjectStore) -> None:
    first, _ = write_table(pa.Table.from_pylist(ROWS[:60]), objects)
    second, _ = write_table(pa.Table.from_pylist(ROWS[:80]), objects, previous=first)
    third, logical = write_table(pa.Table.from_pylist(ROWS[:79]), objects, previous=second)
    assert [file.rows for file in read_manifest(third, objects).files] == [60, 19]
    assert logical == logical_digest(pa.Table.from_pylist(ROWS[:79]), order_matters=False)


@pytest.mark.parametrize("ordered", [True, False])
def test_the_same_table_again_adds_no_object(objects: ObjectStore, ordered: bool) -> None:
    table = pa.Table.from_pylist(ROWS)
    first = write_table(table, objects, order_matters=ordered)
    assert write_table(table, objects, order_matters=ordered) == first
    assert write_table(table, objects, order_matters=ordered, previous=first[0]) == first


def test_a_manifest_names_its_files(objects: ObjectStore) -> None:
    first, _ = write_table(pa.Table.from_pylist(ROWS[:60]), objects, order_matters=True)
    second, _ = write_table(pa.Table.from_pylist(ROWS), objects, order_matters=True, previous=first)
    assert len(files_of(objects.get(second))) == 2
    assert all(objects.has(digest) for digest in files_of(objects.get(second)))


def test_nested_columns_are_stored_too(objects: ObjectStore) -> None:
    table = pa.table({"l": [[1, 2], None, []], "s": [{"a": 1}, {"a": None}, None]})
    first, logical = write_table(table, objects)
    _, again = write_table(table.take([2, 0, 1]), objects, previous=first)
    assert logical == again


NUMBERS = pa.table({"i": range(3 * BLOCK_ROWS + 7), "s": [f"text {i % 7}" for i in range(3 * BLOCK_ROWS + 7)]})


def cut(table: pa.Table, rows: int) -> list[pa.Table]:
    return [table.slice(start, rows) for start in range(0, table.num_rows, rows)]


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "FILE_ROWS", BLOCK_ROWS)


@pytest.mark.usefixtures("small_files")
def test_a_stream_is_one_table_in_files_of_bounded_size_however_it_comes(objects: ObjectStore) -> None:
    made = {write_batches(cut(NUMBERS, rows), objects) for rows in (1000, BLOCK_ROWS, 10**6)}
    ((manifest, logical, rows),) = made
    assert rows == NUMBERS.num_rows
    found = read_manifest(manifest, objects)
    assert [file.rows for file in found.files] == [BLOCK_ROWS] * 3 + [7]
    assert found.files[-1].logical == found.logical == logical
    assert read_table(manifest, objects) == NUMBERS


@pytest.mark.usefixtures("small_files")
def test_a_stream_with_new_rows_at_its_end_adds_files_only(objects: ObjectStore) -> None:
    first, _, _ = write_batches(cut(NUMBERS.slice(0, BLOCK_ROWS * 2 + 3), 999), objects)
    second, whole, _ = write_batches(cut(NUMBERS, 5000), objects, previous=first)
    files = read_manifest(second, objects).files
    assert files[:3] == read_manifest(first, objects).files
    assert [file.rows for file in files[3:]] == [BLOCK_ROWS + 4]
    appended, logical, rows = write_batches(
        cut(NUMBERS.slice(BLOCK_ROWS * 2 + 3), 700), objects, previous=first, append=True
    )
    assert (appended, logical, rows) == (second, whole, NUMBERS.num_rows)
    assert write_batches([NUMBERS], objects)[1] == whole


@pytest.mark.usefixtures("small_files")
def test_a_stream_that_changed_keeps_what_comes_before_the_change(objects: ObjectStore) -> None:
    first, _, _ = write_batches([NUMBERS], objects)
    changed = pa.concat_tables([NUMBERS.slice(0, BLOCK_ROWS + 1), NUMBERS.slice(BLOCK_ROWS + 2)])
    second, _, _ = write_batches([changed], objects, previous=first)
    old, new = (read_manifest(manifest, objects).files for manifest in (first, second))
    assert [file in old for file in new] == [True, False, False, False]
    assert read_table(second, objects) == changed


def test_a_stream_goes_on_behind_a_table_that_was_in_memory(objects: ObjectStore) -> None:
    small = NUMBERS.slice(0, 100)
    first, _ = write_table(small, objects)
    second, logical, _ = write_batches([NUMBERS.slice(100)], objects, previous=first, append=True)
    files = read_manifest(second, objects).files
    assert files[0].digest == read_manifest(first, objects).files[0].digest
    assert read_table(second, objects).num_rows == NUMBERS.num_rows
    assert logical == write_batches([read_table(second, objects)], objects)[1]


def test_a_stream_that_changes_its_columns_on_the_way_is_refused(objects: ObjectStore) -> None:
    other = NUMBERS.set_column(0, "i", NUMBERS.column("i").cast(pa.float64()))
    with pytest.raises(DataError, match=r"column 'i' \(float64\) comes where 'i' \(int64\) was") as caught:
        write_batches([NUMBERS, other], objects)
    assert caught.value.where == f"from row {NUMBERS.num_rows} on"
    with pytest.raises(DataError, match="no rows"):
        write_batches([], objects)


@pytest.mark.parametrize("how", ["table", "batches", "append"])
def test_F35_a_version_never_rests_on_files_of_one_that_was_removed_meanwhile(tmp_path: Path, how: str) -> None:
    with Records.open(f"sqlite:///{tmp_path}/records.db") as records, ObjectStore(tmp_path / "objects") as objects:
        create_tables(records, import_tables())
        table = pa.Table.from_pylist(ROWS)
        if how == "table":
            first, _ = write_table(table.slice(0, 60), objects, order_matters=True)
        else:
            first, _, _ = write_batches([table.slice(0, 60)], objects)
        objects.close()
        for notes in (tmp_path / "objects" / "pins").glob("*.pins"):
            notes.unlink()  # as an hour after its process ended
        assert collect_garbage(records, objects).objects > 0
        if how == "append":
            with pytest.raises(Conflict, match="was removed meanwhile"):
                write_batches([table.slice(60)], objects, previous=first, append=True)
            return
        second = (
            write_table(table, objects, order_matters=True, previous=first)[0]
            if how == "table"
            else write_batches([table], objects, previous=first)[0]
        )
        assert read_table(second, objects).to_pylist() == ROWS


def test_F35_what_a_new_version_shares_with_an_older_one_stays_when_that_is_removed(tmp_path: Path) -> None:
    with Records.open(f"sqlite:///{tmp_path}/records.db") as records:
        create_tables(records, import_tables())
        table = pa.Table.from_pylist(ROWS)
        with ObjectStore(tmp_path / "objects") as objects:
            first, _ = write_table(table.slice(0, 60), objects, order_matters=True)
        for notes in (tmp_path / "objects" / "pins").glob("*.pins"):
            notes.unlink()
        with ObjectStore(tmp_path / "objects") as objects:
            second, _ = write_table(table, objects, order_matters=True, previous=first)
            collect_garbage(records, objects)  # nothing is committed: only what this process relies on stays
            assert read_table(second, objects).to_pylist() == ROWS
