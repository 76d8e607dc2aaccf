from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from perennial.errors import Conflict, NotFound, StoreError
from perennial.store.backup import backup, restore
from perennial.store.events import Events
from perennial.store.files import LocalFiles
from perennial.store.objects import SMALL_BYTES, ObjectStore
from perennial.store.owner import OwnerLock
from perennial.store.records import Records, create_tables
from perennial.store.tables import import_tables
from perennial.store.verify import verify
from perennial.store.workspace_folder import WorkspaceFolder, create_folder
from perennial.testing.crash import Acknowledge, run_in_child
from perennial.testing.faults import FailingCalls
from perennial.types import Digest, Micros


@pytest.fixture
def folder(tmp_path: Path) -> WorkspaceFolder:
    """A workspace with a few records, objects of two kinds and predictions that wait to be ingested."""
    folder = create_folder(tmp_path / "project" / ".perennial", now=Micros(1))
    with (
        OwnerLock(folder.root) as lock,
        Records.open(folder.records_url) as records,
        ObjectStore(folder.objects) as store,
    ):
        create_tables(records, import_tables())
        records.fence(lock.acquire(now=Micros(1)).epoch)
        for data in (b"small", bytes(SMALL_BYTES + 1)):
            digest = store.put(data)
            records.write(lambda tx, digest=digest: tx.event("stored", digest, {}))
    (folder.segments / "1.seg").write_bytes(b"frames")
    (folder.serving_cache / "can be made again").write_bytes(b"")
    return folder


def check(folder: WorkspaceFolder) -> int:
    """Everything in a workspace is sound and every object that an event names can be read; how many events."""
    with (
        OwnerLock(folder.root) as lock,
        Records.open(folder.records_url) as records,
        ObjectStore(folder.objects) as store,
    ):
        records.fence(lock.acquire(now=Micros(2)).epoch)  # no lower than in the copied records
        assert verify(records, store).problems == []
        found = Events(records).list(limit=100_000)
        for event in found:
            store.get(Digest(event.subject))
        return len(found)


def test_F34_a_backup_restored_elsewhere_is_complete_and_sound(folder: WorkspaceFolder, tmp_path: Path) -> None:
    assert backup(folder, tmp_path / "backup") == tmp_path / "backup"
    restored = restore(tmp_path / "backup", tmp_path / "elsewhere" / ".perennial")
    assert (restored.id, restored.created) == (folder.id, folder.created)
    assert check(restored) == 2
    assert (restored.segments / "1.seg").read_bytes() == b"frames"
    assert not list(restored.serving_cache.parent.glob("cache/*"))
    assert check(folder) == 2


def test_F34_a_backup_under_load_holds_every_object_that_its_records_name(
    folder: WorkspaceFolder, tmp_path: Path
) -> None:
    stop, written = threading.Event(), []

    def load() -> None:
        with Records.open(folder.records_url) as records, ObjectStore(folder.objects) as store:
            while not stop.is_set():
                digest = store.put(f"object {len(written)}".encode() * (1 + len(written) % 7 * 4000))
                records.write(lambda tx, digest=digest: tx.event("stored", digest, {}))
                written.append(digest)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        counts = [check(restore(backup(folder, tmp_path / f"b{n}"), tmp_path / f"r{n}")) for n in range(4)]
    finally:
        stop.set()
        thread.join()
    assert 2 <= counts[0] <= counts[-1] <= 2 + len(written)
    assert len(set(counts)) > 1  # it did run under load


def test_nothing_is_overwritten(folder: WorkspaceFolder, tmp_path: Path) -> None:
    backup(folder, tmp_path / "backup")
    with pytest.raises(Conflict, match="something here"):
        backup(folder, tmp_path / "backup")
    with pytest.raises(Conflict, match="something here"):
        restore(tmp_path / "backup", folder.root)
    with pytest.raises(NotFound):
        restore(tmp_path / "nowhere", tmp_path / "new")


def test_F04_a_disk_that_fills_up_leaves_no_half_a_backup(folder: WorkspaceFolder, tmp_path: Path) -> None:
    number = 0
    while True:
        number += 1
        calls = FailingCalls(number, errno.ENOSPC)
        target = tmp_path / f"backup{number}"
        try:
            backup(folder, target, files=LocalFiles(calls))
        except StoreError:
            assert not target.exists() or check(restore(target, tmp_path / f"again{number}")) == 2
            continue
        if not calls.has_failed:
            break
    assert number > 10
    assert not list(tmp_path.glob(".backup*"))


def test_F01_a_backup_that_was_killed_is_made_anew(folder: WorkspaceFolder, tmp_path: Path) -> None:
    def work(acknowledge: Acknowledge) -> None:
        backup(folder, tmp_path / "backup")

    assert run_in_child(work, "backup.records_copied=kill").was_killed
    assert not (tmp_path / "backup").exists()
    backup(folder, tmp_path / "backup")
    assert check(restore(tmp_path / "backup", tmp_path / "restored")) == 2
    assert not list(tmp_path.glob(".backup*"))
