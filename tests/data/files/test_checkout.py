"""A version is written out: whole at a new place, else only what differs; and nothing that a person did is lost."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from perennial.data.catalog import Catalog
from perennial.data.datasets import DatasetVersion
from perennial.data.files.add import add, commit_tree
from perennial.data.files.checkout import checkout
from perennial.data.files.kinds import FILE, LINK
from perennial.data.files.tree import Entry, write_tree
from perennial.data.inference import infer
from perennial.data.scan import scan
from perennial.data.tables import write_table
from perennial.errors import Conflict, Corrupt, DataError, Invalid
from perennial.store import outside
from perennial.store.failpoints import arm
from perennial.types import Digest

from .machines import content

Differences = Callable[[Path], dict[str, str]]


@pytest.fixture
def versions(catalog: Catalog, folder: Path) -> tuple[DatasetVersion, DatasetVersion]:
    """Two versions; the folder holds the second one."""
    first = add(folder, "images", catalog)
    (folder / "empty").unlink()
    (folder / "cats" / "tom.png").write_bytes(b"tam" * 1000)
    (folder / "dogs").mkdir()
    (folder / "dogs" / "rex.png").write_bytes(b"rex")
    return first, add(folder, "images", catalog)


def test_a_folder_goes_back_and_forth_between_versions(
    catalog: Catalog, folder: Path, versions: tuple[DatasetVersion, DatasetVersion], differences: Differences
) -> None:
    new = content(folder)
    done = checkout(versions[0], folder, catalog)
    assert (done.written, done.removed) == (2, 1)
    assert not (folder / "dogs").exists()
    assert (folder / "empty").exists()
    assert differences(folder) == {}
    checkout(versions[1], folder, catalog)
    assert content(folder) == new
    assert checkout(versions[1], folder, catalog).written == 0


def test_a_removed_folder_comes_back(catalog: Catalog, folder: Path, differences: Differences) -> None:
    before = content(folder)
    version = add(folder, "images", catalog)
    folder.rename(folder.with_name("gone"))
    assert set(differences(folder).values()) == {"deleted"}
    checkout(version, folder, catalog)
    assert content(folder) == before
    assert differences(folder) == {}


def test_what_a_person_changed_is_kept_and_named(
    catalog: Catalog, folder: Path, versions: tuple[DatasetVersion, DatasetVersion], differences: Differences
) -> None:
    (folder / "cats" / "tom.png").write_bytes(b"mine")
    (folder / "dogs" / "rex.png").write_bytes(b"mine too")
    (folder / "notes").write_bytes(b"no version knows me")
    before = content(folder)
    with pytest.raises(Conflict, match=r"changed by hand: cats/tom.png, dogs/rex.png"):
        checkout(versions[0], folder, catalog)
    assert content(folder) == before
    done = checkout(versions[0], folder, catalog, force=True)
    assert done.written == 2
    assert (folder / "cats" / "tom.png").read_bytes() == b"tom" * 1000
    assert (folder / "notes").read_bytes() == b"no version knows me"
    assert differences(folder) == {"notes": "added"}


def test_files_without_a_known_place_are_never_taken_for_ours(
    catalog: Catalog, versions: tuple[DatasetVersion, DatasetVersion], tmp_path: Path
) -> None:
    target = tmp_path / "there"
    (target / "cats").mkdir(parents=True)
    (target / "cats" / "tom.png").write_bytes(b"tom" * 1000)  # as the version has it
    (target / ".hidden").write_bytes(b"another's")
    with pytest.raises(Conflict, match=r"changed by hand: \.hidden"):
        checkout(versions[0], target, catalog)
    assert checkout(versions[0], target, catalog, force=True).kept == 1


@pytest.mark.parametrize("shape", ["file in the way of a folder", "folder in the way of a file", "link to elsewhere"])
def test_what_is_in_the_way_is_a_conflict_and_yields_to_force(
    catalog: Catalog, folder: Path, tmp_path: Path, shape: str
) -> None:
    version = add(folder, "images", catalog)
    before = content(folder)
    (tmp_path / "outside").mkdir()
    if shape.startswith("folder"):
        (folder / "empty").unlink()
        (folder / "empty").mkdir()
        (folder / "empty" / "mine").write_bytes(b"mine")
    else:
        (folder / "cats").rename(tmp_path / "cats")
        if shape.startswith("file"):
            (folder / "cats").write_bytes(b"mine")
        else:
            (folder / "cats").symlink_to(tmp_path / "outside")
    with pytest.raises(Conflict, match="changed by hand"):
        checkout(version, folder, catalog)
    checkout(version, folder, catalog, force=True)
    assert content(folder) == before
    assert list((tmp_path / "outside").iterdir()) == []


def test_files_of_a_version_that_was_removed_may_be_the_last_copy_and_are_kept(
    catalog: Catalog, folder: Path, versions: tuple[DatasetVersion, DatasetVersion]
) -> None:
    catalog.datasets.remove(name="images", version=2)
    before = content(folder)
    with pytest.raises(Conflict, match=r"of a version that was removed: cats/tom.png, dogs/rex.png"):
        checkout(versions[0], folder, catalog)
    assert content(folder) == before
    checkout(versions[0], folder, catalog, force=True)
    assert (folder / "cats" / "tom.png").read_bytes() == b"tom" * 1000


def test_what_a_killed_checkout_left_is_no_part_of_a_version(catalog: Catalog, folder: Path) -> None:
    first = add(folder, "images", catalog)
    outside.write_new(os.fsencode(folder / ".0123456789abcdef") + outside.UNFINISHED, b"half", 0o644)
    (folder / os.fsdecode(b".0123" + outside.UNFINISHED)).mkdir()
    assert add(folder, "images", catalog) == first


def test_an_ignored_link_is_not_written_through(catalog: Catalog, folder: Path, tmp_path: Path) -> None:
    (folder / "cats" / "deep").mkdir()
    (folder / "cats" / "deep" / "file").touch()
    version = add(folder, "images", catalog)
    (tmp_path / "outside").mkdir()
    (folder / "cats").rename(tmp_path / "cats")
    (folder / "cats").symlink_to(tmp_path / "outside")
    (folder / ".perennialignore").write_text("cats\n")
    with pytest.raises(Conflict):
        checkout(version, folder, catalog)
    with pytest.raises(Conflict, match="a link is where a folder shall be"):
        checkout(version, folder, catalog, force=True)
    assert list((tmp_path / "outside").iterdir()) == []


def test_linked_files_are_read_only_and_share_their_bytes(
    catalog: Catalog, folder: Path, tmp_path: Path, differences: Differences
) -> None:
    version = add(folder, "images", catalog)
    checkout(version, tmp_path / "linked", catalog, link=True)
    large = tmp_path / "linked" / "cats" / "large.bin"
    assert large.stat().st_nlink == 2
    for path in (large, tmp_path / "linked" / "empty", tmp_path / "linked" / "run.sh"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o222
    assert content(tmp_path / "linked") == content(folder)
    assert differences(tmp_path / "linked") == {}
    checkout(version, tmp_path / "linked", catalog, link=True)
    add(tmp_path / "linked", "images", catalog)


def test_F06_damaged_bytes_are_never_written_out(catalog: Catalog, folder: Path, tmp_path: Path) -> None:
    version = add(folder, "images", catalog)
    (whole,) = (path for path in (catalog.folder.objects / "whole").rglob("*") if path.is_file())
    whole.chmod(0o600)
    data = bytearray(whole.read_bytes())
    data[1000] ^= 1
    whole.write_bytes(data)
    for link in (False, True):
        with pytest.raises(Corrupt, match="damaged"):
            checkout(version, tmp_path / "again", catalog, link=link)
        assert not (tmp_path / "again").exists()


def test_F04_a_full_disk_leaves_no_half_folder(
    catalog: Catalog, folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    version = add(folder, "images", catalog)
    request.addfinalizer(lambda: arm(""))
    arm("data.checkout.filled=full")
    with pytest.raises(Exception, match="the disk is full"):
        checkout(version, tmp_path / "again", catalog)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "images"]
    arm("")
    checkout(version, tmp_path / "again", catalog)
    assert content(tmp_path / "again") == content(folder)


@pytest.mark.parametrize(
    "path", [b"/etc/passwd", b"../x", b"a/../../x", b"a//b", b"a/./b", b"", b"a\0b", b"here/link/x"]
)
def test_C11_names_that_leave_the_folder_are_refused(catalog: Catalog, tmp_path: Path, path: bytes) -> None:
    digest = bytes.fromhex(catalog.objects.put(b"evil"))
    entries = sorted(
        [Entry(path, FILE, 4, digest), Entry(b"here/link", LINK, 0, b"/tmp")], key=lambda entry: entry.path
    )
    stored = write_tree(entries, catalog.objects.put_many)
    version = commit_tree(stored, "evil", catalog, source={})
    with pytest.raises(DataError, match="cannot hold a path"):
        checkout(version, tmp_path / "there", catalog)
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize("target", [b"", b"a\0b"])
def test_C11_links_that_no_file_system_holds_are_refused_before_anything_is_written(
    catalog: Catalog, folder: Path, target: bytes
) -> None:
    entries = [Entry(b"link", LINK, 0, target), Entry(b"run.sh", FILE, 4, bytes.fromhex(catalog.objects.put(b"evil")))]
    version = commit_tree(write_tree(entries, catalog.objects.put_many), "evil", catalog, source={})
    before = content(folder)
    with pytest.raises(DataError, match="path or link"):
        checkout(version, folder, catalog, force=True)
    assert content(folder) == before


def test_C11_no_version_writes_into_the_workspace(catalog: Catalog) -> None:
    digest = bytes.fromhex(catalog.objects.put(b"evil"))
    stored = write_tree([Entry(b".perennial/evil", FILE, 4, digest)], catalog.objects.put_many)
    version = commit_tree(stored, "evil", catalog, source={})
    with pytest.raises(DataError, match="workspace itself"):
        checkout(version, catalog.folder.root.parent, catalog, force=True)
    with pytest.raises(Invalid, match="workspace itself"):
        checkout(version, catalog.folder.root / "x", catalog)


def test_two_names_that_the_file_system_takes_for_one_are_both_written_or_refused(
    catalog: Catalog, tmp_path: Path
) -> None:
    digest = bytes.fromhex(catalog.objects.put(b"x"))
    stored = write_tree(
        [Entry(b"Readme", FILE, 1, digest), Entry(b"readme", FILE, 1, digest)], catalog.objects.put_many
    )
    version = commit_tree(stored, "twins", catalog, source={})
    (tmp_path / "probe").touch()
    if (tmp_path / "PROBE").exists():
        with pytest.raises(DataError, match="the same name"):
            checkout(version, tmp_path / "twins", catalog)
    else:
        checkout(version, tmp_path / "twins", catalog)
        assert len(list((tmp_path / "twins").iterdir())) == 2


def test_a_table_is_written_as_parquet_files(catalog: Catalog, tmp_path: Path, differences: Differences) -> None:
    table = pl.DataFrame({"x": [1, 2, 3], "y": ["a", "b", "c"]}).to_arrow()
    manifest, logical = write_table(table, catalog.objects)
    version = catalog.datasets.commit(name="t", logical=logical, manifest=manifest, rows=3, schema=infer(table))
    checkout(version, tmp_path / "t", catalog)
    assert scan(tmp_path / "t").lazy().collect()["x"].to_list() == [1, 2, 3]
    assert differences(tmp_path / "t") == {}


def test_executables_and_times_do_not_make_a_version(catalog: Catalog, folder: Path) -> None:
    version = add(folder, "images", catalog)
    os.utime(folder / "empty", (1, 1))
    assert add(folder, "images", catalog) == version
    (folder / "empty").chmod(0o755)
    later = add(folder, "images", catalog)
    assert later.changes == {"added": 0, "modified": 1, "deleted": 0}
    checkout(version, folder, catalog)
    assert not (folder / "empty").stat().st_mode & 0o100


def test_bytes_that_are_missing_are_told_before_anything_is_removed(
    catalog: Catalog, folder: Path, versions: tuple[DatasetVersion, DatasetVersion]
) -> None:
    raw = catalog.objects.put(b"tom" * 1000)
    catalog.objects.delete(Digest(raw))
    before = content(folder)
    with pytest.raises(Exception, match="there is no object"):
        checkout(versions[0], folder, catalog)
    assert content(folder) == before
