"""A file or folder becomes a version: whatever is in it, at the cost of what changed."""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from perennial.data.catalog import Catalog
from perennial.data.files.add import add
from perennial.data.files.checkout import checkout
from perennial.data.files.places import Place, read_place
from perennial.data.files.status import status
from perennial.data.files.tree import entries_of, read_tree
from perennial.data.files.walk import walk
from perennial.errors import DataError, Invalid, NotFound
from perennial.store.gc import collect_garbage
from perennial.store.verify import verify
from perennial.workspace import Owned

from .machines import content, owned


def test_every_kind_of_file_comes_back_as_it_was(catalog: Catalog, folder: Path, tmp_path: Path) -> None:
    version = add(folder, "images", catalog)
    checkout(version, tmp_path / "again", catalog)
    assert content(tmp_path / "again") == content(folder)
    assert (version.kind, version.files) == ("files", 8)
    assert version.size_bytes == sum(
        path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()
    )


def test_one_file_comes_back_under_its_name(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("one")
    version = add(tmp_path / "notes.txt", "notes", catalog)
    (tmp_path / "elsewhere").mkdir()
    checkout(version, tmp_path / "elsewhere", catalog)
    assert (tmp_path / "elsewhere" / "notes.txt").read_text() == "one"


def test_the_same_files_are_the_same_version_wherever_they_lie(catalog: Catalog, folder: Path, tmp_path: Path) -> None:
    first = add(folder, "images", catalog)
    folder.rename(tmp_path / "moved")
    assert add(tmp_path / "moved", "images", catalog) == first
    assert len(catalog.datasets.list(name="images")) == 1


def test_a_version_says_what_changed(catalog: Catalog, folder: Path) -> None:
    add(folder, "images", catalog)
    (folder / "empty").unlink()
    (folder / "run.sh").chmod(0o644)
    (folder / "cats" / "tom.png").write_bytes(b"tam" * 1000)
    (folder / "new").write_bytes(b"new")
    second = add(folder, "images", catalog, note="tidied", tag="tidy")
    assert second.changes == {"added": 1, "modified": 2, "deleted": 1}
    assert (second.version, second.parent, second.note) == (2, 1, "tidied")
    assert catalog.datasets.get(name="images", version="tidy") == second


def test_a_change_within_one_tick_of_the_clock_is_seen(catalog: Catalog, folder: Path) -> None:
    """The same size, the same times, the same inode: only reading tells."""
    file = folder / "cats" / "tom.png"
    for text in (b"one", b"two", b"six"):
        with open(file, "r+b") as opened:
            opened.write(text)
        version = add(folder, "images", catalog)
        entries = {
            entry.path: entry
            for entry in entries_of(read_tree(catalog.objects.get(version.stored)), catalog.objects.get)
        }
        digest = entries[b"cats/tom.png"].digest
        assert digest is not None
        assert catalog.objects.get(digest).startswith(text)


def test_an_unchanged_folder_is_not_read_again(catalog: Catalog, folder: Path) -> None:
    version = add(folder, "images", catalog)
    place = settled(catalog, folder)
    for digest in {seen.content for seen in place.seen}:
        catalog.objects.packed.erase(digest)  # what is not read is not stored again either
    assert add(folder, "images", catalog) == version
    assert not any(catalog.objects.packed.holds(seen.content) for seen in place.seen)


def test_what_was_removed_and_collected_is_read_again(workspace: Owned, catalog: Catalog, folder: Path) -> None:
    first = add(folder, "images", catalog)
    catalog.datasets.remove(name="images", version=1)
    for pins in (catalog.folder.objects / "pins").glob("*.pins"):
        os.utime(pins, (0, 0))
    catalog.objects.close()
    assert collect_garbage(workspace.records, catalog.objects).objects > 0
    again = add(folder, "images", catalog)
    assert (again.version, again.logical) == (1, first.logical)
    assert verify(workspace.records, catalog.objects).is_sound


def test_ignored_files_and_the_workspace_are_left_out(catalog: Catalog, tmp_path: Path) -> None:
    project = catalog.folder.root.parent
    for name in ("keep.txt", "drop.tmp", "build/x", "deep/build/y", "deep/drop.tmp", "deep/only.txt", "other/only.txt"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(name)
    (project / ".perennialignore").write_text("# made anew\n*.tmp\nbuild/\ndeep/only.txt\n\n")
    checkout(add(project, "project", catalog), tmp_path / "again", catalog)
    assert set(content(tmp_path / "again")) == {".perennialignore", "keep.txt", "other/only.txt"}


def test_an_empty_folder_is_a_version(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "void").mkdir()
    version = add(tmp_path / "void", "void", catalog)
    assert (version.files, version.size_bytes) == (0, 0)
    checkout(version, tmp_path / "again", catalog)
    assert list((tmp_path / "again").iterdir()) == []


def test_what_is_no_file_is_refused_by_name(catalog: Catalog, folder: Path, tmp_path: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(DataError, match="neither a file") as caught:
        add(folder, "images", catalog)
    assert caught.value.where == str(folder / "pipe")
    (folder / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(folder, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{here}/s")
        os.close(here)
        with pytest.raises(DataError, match="neither a file"):
            add(folder, "images", catalog)
    assert catalog.datasets.list() == []


def test_what_may_not_be_read_is_refused_by_name(catalog: Catalog, folder: Path) -> None:
    secret = folder / "cats"
    catalog.objects.put(b"opened before")
    with unprivileged(secret):
        with pytest.raises(DataError, match="cannot be read") as caught:
            walk(secret)
        assert caught.value.where.startswith(str(secret))
    with unprivileged(folder / "empty"):
        with pytest.raises(DataError, match="could not be stored") as caught:
            list(catalog.objects.put_files([folder / "empty"]))
        assert str(folder / "empty") in caught.value.where
    assert catalog.objects.broken is None
    assert add(folder, "images", catalog).version == 1


@contextmanager
def unprivileged(path: Path) -> Iterator[None]:
    """This user may not read `path`; root becomes nobody for that."""
    mode = path.stat().st_mode
    path.chmod(0)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)
        yield
    finally:
        os.seteuid(user)
        path.chmod(mode)


def settled(catalog: Catalog, path: Path) -> Place:
    """A place whose files were all changed long enough ago to be known by how they look."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        place = read_place(catalog.places, path)
        assert place is not None
        if not status(place, catalog.places).hashed:
            return place
    raise AssertionError("files are hashed again and again")


def test_a_file_that_grows_while_it_is_read_is_refused_by_name(catalog: Catalog, tmp_path: Path) -> None:
    grows = tmp_path / "log.bin"
    grows.write_bytes(bytes(8 << 20))
    done = threading.Event()

    def write() -> None:
        with open(grows, "ab", buffering=0) as file:
            while not done.is_set():
                file.write(b"more")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with pytest.raises(DataError, match="could not be stored") as caught:
            add(grows, "log", catalog)
    finally:
        done.set()
        writer.join()
    assert str(grows) in caught.value.where
    assert catalog.datasets.list() == []


def test_nothing_there_and_paths_of_the_workspace_are_refused(catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file or folder"):
        add(tmp_path / "nothing", "nothing", catalog)
    with pytest.raises(Invalid, match="workspace itself"):
        add(catalog.folder.root, "self", catalog)
    with pytest.raises(Invalid, match="not a name"):
        add(tmp_path, "a@b", catalog)


@pytest.mark.parametrize("same", [True, False])
def test_two_adds_at_once_both_end_right(tmp_path: Path, folder: Path, same: bool) -> None:
    """Threads of one owner: what processes beside an owner do through it."""
    home = owned(tmp_path / "home" / ".perennial")
    catalog = home.workspace.data
    other = tmp_path / "other"
    checkout(add(folder, "seed", catalog), other, catalog)
    if not same:
        (other / "more").write_bytes(b"more")
    barrier = threading.Barrier(2)
    versions: list[int] = []

    def work(path: Path) -> None:
        barrier.wait()
        versions.append(add(path, "images", catalog).version)

    threads = [threading.Thread(target=work, args=(path,)) for path in (folder, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(versions) == ([1, 1] if same else [1, 2])
    assert verify(home.records, catalog.objects).is_sound
    home.workspace.close()


def test_two_processes_that_add_at_once_both_end_right(tmp_path: Path, folder: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "x").write_bytes(b"x")
    root = tmp_path / "home" / ".perennial"
    owned(root).workspace.close()
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=add_in_turn, args=(root, path)) for path in (folder, other)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    home = owned(root)
    assert len(home.workspace.datasets.list(name="images")) == 2
    assert verify(home.records, home.workspace.objects).is_sound
    home.workspace.close()


def add_in_turn(root: Path, path: Path) -> None:
    """What `perennial data add` does: own the workspace as soon as nobody else does."""
    from perennial.api.connect import open

    with open(root) as ws:
        add(path, "images", ws.data)
