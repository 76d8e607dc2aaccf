"""A stored table reads back as it was, and a version that extends another stores only the new rows."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pytest

from perennial.data.digest import in_canonical_order, logical_digest
from perennial.data.manifest import files_of
from perennial.data.tables import read_manifest, read_table, write_table
from perennial.store.objects import ObjectStore

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
