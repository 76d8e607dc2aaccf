"""What is remembered about a folder is a memory: when it is lost or stale, the files themselves decide."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perennial.data.catalog import Catalog
from perennial.data.datasets import Datasets, DatasetVersion
from perennial.data.files.add import add
from perennial.data.files.checkout import checkout
from perennial.data.files.places import all_places, read_place
from perennial.errors import StoreError
from perennial.store.failpoints import arm
from perennial.store.gc import collect_garbage
from perennial.store.objects import ObjectStore
from perennial.store.records import Records
from perennial.store.verify import verify
from perennial.workspace import Owned

from .machines import content

Differences = Callable[[Path], dict[str, str]]


def test_every_way_to_differ_is_told(catalog: Catalog, folder: Path, differences: Differences) -> None:
    add(folder, "images", catalog)
    (folder / "run.sh").chmod(0o644)
    (folder / "loop").unlink()
    (folder / "loop").symlink_to("elsewhere")
    (folder / "empty").unlink()
    (folder / "empty").symlink_to("run.sh")
    (folder / "none").rmdir()
    (folder / "cats" / "tom.png").write_bytes(b"TOM" * 1000)
    (folder / "new").write_bytes(b"")
    assert differences(folder) == {
        "run.sh": "modified",
        "loop": "modified",
        "empty": "modified",
        "none": "deleted",
        "cats/tom.png": "modified",
        "new": "added",
    }


def test_a_touched_file_is_read_once_and_is_unchanged(catalog: Catalog, folder: Path, differences: Differences) -> None:
    add(folder, "images", catalog)
    for path in folder.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    assert differences(folder) == {}


def test_damaged_memory_hides_no_other_place_and_costs_only_hashing(
    catalog: Catalog, folder: Path, tmp_path: Path
) -> None:
    version = add(folder, "images", catalog)
    checkout(version, tmp_path / "other", catalog)
    (first, _) = sorted(catalog.places.glob("*.place"))
    for damage in (b"", b"\x00", first.read_bytes()[:100]):
        first.write_bytes(damage)
        places, problems = all_places(catalog.places)
        assert (len(places), len(problems)) == (1, 1)
        assert str(first) in problems[0].where
        assert add(folder, "images", catalog) == version
        assert checkout(version, tmp_path / "other", catalog).written == 0
        assert all_places(catalog.places)[1] == []


class Meddling(Datasets):
    """Somebody removes the version before and collects garbage, just before the next one is committed."""

    def __init__(self, records: Records, objects: ObjectStore) -> None:
        super().__init__(records)
        self.meddled = False
        self._all = records
        self._objects = objects

    def commit(self, **values: Any) -> DatasetVersion:  # type: ignore[override]
        if not self.meddled:
            self.meddled = True
            self.remove(name="images", version=1)
            assert collect_garbage(self._all, self._objects).objects > 0
        return super().commit(**values)


def test_F35_what_is_taken_over_survives_the_removal_of_the_version_before(
    workspace: Owned, catalog: Catalog, folder: Path, tmp_path: Path
) -> None:
    add(folder, "images", catalog)
    (folder / "new").write_bytes(b"new")
    with ObjectStore(catalog.folder.objects) as another:
        meddling = Meddling(workspace.records, another)
        careless = Catalog(meddling, catalog.schemas, catalog.remotes, catalog.objects, catalog.folder, catalog.clock)
        version = add(folder, "images", careless)
    assert meddling.meddled
    assert version.version == 2
    assert verify(workspace.records, catalog.objects).is_sound
    checkout(version, tmp_path / "again", catalog)
    assert content(tmp_path / "again") == content(folder)


@pytest.mark.parametrize("failpoint", ["objects.pack.appended", "objects.whole.written", "records.changed"])
def test_F04_a_full_disk_leaves_no_version_and_the_next_add_works(
    catalog: Catalog, folder: Path, failpoint: str, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(lambda: arm(""))
    arm(f"{failpoint}=full")
    with pytest.raises(StoreError, match="full"):
        add(folder, "images", catalog)
    arm("")
    assert catalog.datasets.list() == []
    assert read_place(catalog.places, folder) is None
    assert add(folder, "images", catalog).version == 1


def test_two_checkouts_at_one_place_follow_each_other(catalog: Catalog, folder: Path, tmp_path: Path) -> None:
    first = add(folder, "images", catalog)
    before = content(folder)
    target = tmp_path / "out"
    failed: list[BaseException] = []
    barrier = threading.Barrier(3)

    def work() -> None:
        barrier.wait()
        try:
            checkout(first, target, catalog)
        except BaseException as error:  # told to the test
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert content(target) == before
