from __future__ import annotations

import errno
from pathlib import Path

import pytest

from perennial.store import failpoints
from perennial.store.files import LocalFiles, store_error


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    files = LocalFiles()
    files.write_atomic(tmp_path / "a", b"first", 0o600)
    files.write_atomic(tmp_path / "a", iter([b"sec", b"ond"]))
    assert (tmp_path / "a").read_bytes() == b"second"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_blocks_that_raise_leave_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    files = LocalFiles()
    files.write_atomic(tmp_path / "a", b"first")
    with pytest.raises(ZeroDivisionError):
        files.write_atomic(tmp_path / "a", (bytes([1 // number]) for number in (1, 0)))
    assert (tmp_path / "a").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_folders_links_copies_and_removals_may_be_repeated(tmp_path: Path) -> None:
    files, folder = LocalFiles(), tmp_path / "a" / "b" / "c"
    for _ in range(2):
        files.mkdirs(folder)
        files.write_atomic(folder / "x", b"data")
        files.link(folder / "x", folder / "y")
        files.copy(folder / "x", folder / "z", 0o600)
    assert (folder / "y").read_bytes() == (folder / "z").read_bytes() == b"data"
    assert (folder / "z").stat().st_mode & 0o777 == 0o600
    for _ in range(2):
        files.remove(folder / "z")
    assert {path.name for path in folder.iterdir()} == {"x", "y"}


def test_an_appended_file_grows_and_an_exclusive_one_is_new(tmp_path: Path) -> None:
    files = LocalFiles()
    for text in (b"one", b"two"):
        with files.append(tmp_path / "log") as file:
            file.write(text)
            file.fsync()
    assert (tmp_path / "log").read_bytes() == b"onetwo"
    with pytest.raises(FileExistsError):
        files.append(tmp_path / "log", exclusive=True)


@pytest.mark.parametrize(
    "number, kind, says",
    [
        (errno.ENOSPC, "StoreError", "disk is full"),
        (errno.EROFS, "ReadOnly", "Read-only"),
        (errno.EACCES, "ReadOnly", "Permission denied"),
        (errno.EIO, "ReadOnly", "Input/output error"),
        (errno.EMFILE, "StoreError", "Too many open files"),
    ],
)
def test_F03_F04_F05_each_fault_of_the_disk_is_named_with_its_remedy(
    tmp_path: Path, number: int, kind: str, says: str
) -> None:
    import os

    error = store_error("it was not stored", OSError(number, os.strerror(number)), tmp_path)
    assert type(error).__name__ == kind
    assert says in error.what
    assert error.remedy


def test_failpoints_count_and_strike_at_the_chosen_time() -> None:
    failpoints.arm("owner.locked=error@2; records.committed=full")
    try:
        failpoints.failpoint("owner.locked")
        with pytest.raises(OSError, match=r"owner\.locked") as struck:
            failpoints.failpoint("owner.locked")
        assert struck.value.errno == errno.EIO
        failpoints.failpoint("owner.locked")
        with pytest.raises(OSError, match=r"records\.committed") as struck:
            failpoints.failpoint("records.committed")
        assert struck.value.errno == errno.ENOSPC
        assert failpoints.hits() == {"owner.locked": 3, "records.committed": 1}
        with pytest.raises(ValueError, match="not registered"):
            failpoints.failpoint("unheard.of")
    finally:
        failpoints.arm("")
    failpoints.failpoint("unheard.of")  # free when off
    with pytest.raises(ValueError, match="explode"):
        failpoints.arm("owner.locked=explode")
    assert failpoints.register("tests.own", "only here") in failpoints.FAILPOINTS
    del failpoints.FAILPOINTS["tests.own"]
