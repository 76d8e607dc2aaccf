"""A hundred thousand small files, and one file larger than what is chunked at a time."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from perennial.data.catalog import Catalog
from perennial.data.files.add import add
from perennial.data.files.checkout import checkout
from perennial.data.files.places import read_place
from perennial.data.files.status import status
from perennial.data.files.tree import entries_of, read_tree

COUNT = 100_000


@pytest.mark.long
def test_a_hundred_thousand_files_cost_what_changed(catalog: Catalog, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    for group in range(100):
        (folder / f"{group:02d}").mkdir(parents=True)
        for index in range(COUNT // 100):
            (folder / f"{group:02d}" / f"{index:04d}").write_bytes(b"%d/%d" % (group, index))
    first = add(folder, "many", catalog)
    assert first.files == COUNT
    place = read_place(catalog.places, folder)
    assert place is not None
    assert status(place, catalog.places).differences == []

    (folder / "31" / "0415").write_bytes(b"edited")
    before = set(catalog.objects.digests())
    second = add(folder, "many", catalog)
    new = set(catalog.objects.digests()) - before
    assert second.changes == {"added": 0, "modified": 1, "deleted": 0}
    assert len(new) == 3  # the file, its page, the root
    assert sum(catalog.objects.size(digest) for digest in new) < 250_000

    shutil.rmtree(folder)
    checkout(first, folder, catalog)
    assert (folder / "31" / "0415").read_bytes() == b"31/415"
    assert sum(len(names) for _, _, names in os.walk(folder)) == COUNT
    assert checkout(second, folder, catalog).written == 1
    assert sum(1 for _ in entries_of(read_tree(catalog.objects.get(second.stored)), catalog.objects.get)) == COUNT


@pytest.mark.long
def test_a_file_in_many_chunks_that_grows_costs_what_is_new(catalog: Catalog, tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    with open(path, "wb") as file:
        for _ in range(16):
            file.write(os.urandom(16 << 20))
    add(path, "large", catalog)
    before = stored_bytes(catalog)
    data = path.read_bytes()
    path.write_bytes(data[: 100 << 20] + os.urandom(1 << 20) + data[100 << 20 :])
    second = add(path, "large", catalog)
    assert stored_bytes(catalog) - before < 16 << 20
    checkout(second, tmp_path / "again.bin", catalog)
    assert (tmp_path / "again.bin").read_bytes() == path.read_bytes()


def stored_bytes(catalog: Catalog) -> int:
    return sum(path.stat().st_size for path in catalog.folder.objects.rglob("*") if path.is_file())
