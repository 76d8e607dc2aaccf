"""Logged files: what may be a path, what a folder holds, what replaces what, bytes that are never served damaged."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from perennial.clock import FixedClock
from perennial.config import Settings
from perennial.errors import ConfigError, Corrupt, DataError, Forbidden, Invalid, NotFound, TooLarge
from perennial.ids import SeededIds
from perennial.store.gc import collect_garbage
from perennial.store.objects import ObjectStore
from perennial.store.records import Records, create_tables
from perennial.store.tables import import_tables
from perennial.store.workspace_folder import WorkspaceFolder, create_folder
from perennial.tracking import records as tables
from perennial.tracking.artifacts import Artifacts, keep, remove_below
from perennial.tracking.body import Body
from perennial.tracking.tree import BATCH, MAX_BYTES, MOST, below, checked, checked_folder, listed
from perennial.tracking.uploads import FORGET_S, Uploads, complete, keep_part
from perennial.types import Digest, Micros

RUN = "0123456789abcdef" * 2
BOTH = pytest.mark.parametrize("records", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(Micros(1_000))


@pytest.fixture
def records(request: pytest.FixtureRequest, tmp_path: Path, clock: FixedClock) -> Iterator[Records]:
    url = f"sqlite:///{tmp_path}/records.db"
    if getattr(request, "param", "sqlite") == "postgresql":
        url = request.getfixturevalue("pg_tables")
    import_tables()
    with Records.open(url, clock=clock, ids=SeededIds(1)) as records:
        if records.path is not None:
            create_tables(records)
        yield records


@pytest.fixture
def folder(tmp_path: Path) -> WorkspaceFolder:
    return create_folder(tmp_path / ".perennial", now=Micros(0))


@pytest.fixture
def objects(folder: WorkspaceFolder) -> Iterator[ObjectStore]:
    with ObjectStore(folder.objects) as objects:
        yield objects


@pytest.fixture
def artifacts(records: Records, objects: ObjectStore, folder: WorkspaceFolder) -> Artifacts:
    return Artifacts(records, objects, Settings(), folder)


def log(artifacts: Artifacts, path: str, data: bytes = b"x") -> None:
    with Body(artifacts.scratch) as body:
        body.write(data)
        keep(artifacts, path, body)


def read(artifacts: Artifacts, path: str) -> bytes:
    file = artifacts.get(path=path)
    return b"".join(artifacts.bytes.read(file.digest, file.size))


def names(artifacts: Artifacts, path: str = "") -> list[str]:
    return [entry.path + "/" * entry.is_dir for entry in artifacts.list(path=path)]


def add_run(records: Records, *, lifecycle: str = "active", location: str = "") -> None:
    def change(tx: sa.Connection) -> None:
        experiment = {"id": 7, "name": "e", "artifact_location": location, "lifecycle": "active"}
        tx.execute(sa.insert(tables.experiments).values(**experiment, created=0, updated=0))
        told = {"kind": "run", "name": "r", "person": "", "status": "running", "git_commit": "", "reason": ""}
        tx.execute(sa.insert(tables.runs).values(id=RUN, experiment=7, lifecycle=lifecycle, started=0, **told))

    records.write(lambda tx: change(tx.connection))


@pytest.mark.parametrize(
    "path",
    [
        "a",
        "0/run/artifacts/MLmodel",
        "with space/ä ö/数据.csv",
        "a+b/dog+step+1.png",
        "...",
        "..a/b..",
        "x" * MAX_BYTES,
        "note: first",
        "a'b\"c&d=e",
    ],
)
def test_names_that_people_give_files_are_paths(path: str) -> None:
    assert checked(path) == path


@pytest.mark.parametrize(
    "path",
    [
        *(
            "",
            "/",
            "/etc/passwd",
            "..",
            "../x",
            "a/..",
            "a/../b",
            "a//b",
            "a/",
            "a/./b",
            ".",
            "\\\\host\\share",
            "a\\b",
        ),
        *("C:x", "C:/x", "a/c:/x", "file:/etc/passwd", "file:///etc", "%2e%2e/x", "a%00", "a;b", "a#b", "a?b"),
        *("a\0b", "a\nb", "a\x7f", "\ud800", "bad\ufffdbytes", "x" * (MAX_BYTES + 1), "ä" * (MAX_BYTES // 2 + 1)),
    ],
)
def test_C01_a_path_leads_nowhere_else(artifacts: Artifacts, path: str) -> None:
    with pytest.raises(Invalid, match="Invalid path"):
        checked(path)
    with pytest.raises(Invalid, match="Invalid path"):
        log(artifacts, path)


def test_a_folder_may_end_in_a_slash_and_step_to_itself() -> None:
    assert [checked_folder(path) for path in ("", "a/", "a/.", "./a", ".")] == ["", "a", "a", "a", ""]
    for path in ("a//", "/", "/a", "a/..", "a//b"):
        with pytest.raises(Invalid):
            checked_folder(path)


@pytest.mark.parametrize(
    "uri, path",
    [
        ("mlflow-artifacts:/0/r/artifacts", "0/r/artifacts"),
        ("mlflow-artifacts:/", ""),
        ("mlflow-artifacts://host:5000/0/r", "0/r"),
        ("http://127.0.0.1:5000/pre/api/2.0/mlflow-artifacts/artifacts/0/r", "0/r"),
        ("s3://bucket/0", None),
        ("/tmp/x", None),
        ("file:///tmp/x", None),
        ("http://elsewhere/0", None),
    ],
)
def test_an_address_stands_for_a_path_of_ours_or_for_none(uri: str, path: str | None) -> None:
    assert below(uri) == path


def test_C01_an_address_leads_out_of_nothing() -> None:
    for uri in ("mlflow-artifacts:/a/../../b", "mlflow-artifacts:/a/%2e%2e/b"):
        with pytest.raises(Invalid):
            below(uri)


@BOTH
def test_a_file_is_told_back_and_the_same_path_again_replaces_it(artifacts: Artifacts) -> None:
    log(artifacts, "0/r/artifacts/a.txt", b"first")
    log(artifacts, "0/r/artifacts/a.txt", b"second")
    assert read(artifacts, "0/r/artifacts/a.txt") == b"second"
    (entry,) = artifacts.list(path="0/r/artifacts")
    assert (entry.path, entry.is_dir, entry.size) == ("a.txt", False, 6)


@BOTH
def test_a_folder_holds_files_and_folders_by_name(artifacts: Artifacts) -> None:
    for path in ("p/b.txt", "p/b/x", "p/b/y/z", "p/b-c", "p/B", "p/é", "p/a/1", "q", "p-q", "p0", "p/b0"):
        log(artifacts, path)
    assert names(artifacts) == ["p/", "p-q", "p0", "q"]
    assert names(artifacts, "p") == names(artifacts, "p/") == ["B", "a/", "b/", "b-c", "b.txt", "b0", "é"]
    assert names(artifacts, "p/b/y") == ["z"]
    assert names(artifacts, "p/b.txt") == names(artifacts, "nothing") == []


@BOTH
def test_signs_of_patterns_in_a_folder_name_match_only_themselves(artifacts: Artifacts) -> None:
    for path in ("a_c/x", "abc/y", "a*c/z", "[a]/w"):
        log(artifacts, path)
    assert (names(artifacts, "a_c"), names(artifacts, "a*c"), names(artifacts, "[a]")) == (["x"], ["z"], ["w"])
    artifacts.delete(path="a_c")
    assert names(artifacts) == ["[a]/", "a*c/", "abc/"]


@BOTH
def test_a_folder_is_jumped_over_however_much_lies_in_it(records: Records, artifacts: Artifacts) -> None:
    row = {"digest": "d" * 64, "size": 1, "at": 0}
    paths = [f"top/{folder}/{i:05}" for folder in ("a", "b/c", "m") for i in range(3 * BATCH + 1)]
    paths += (
        [f"top/f{i:05}" for i in range(2 * MOST)] + [f"top/g{i:05}/x" for i in range(BATCH + 3)] + ["top/z", "top0"]
    )
    records.write(lambda tx: tx.connection.execute(sa.insert(tables.artifacts), [{"path": p} | row for p in paths]))
    expected = [
        "a/",
        "b/",
        *(f"f{i:05}" for i in range(2 * MOST)),
        *(f"g{i:05}/" for i in range(BATCH + 3)),
        "m/",
        "z",
    ]
    assert names(artifacts, "top") == expected
    assert len(names(artifacts, "top/a")) == 3 * BATCH + 1


def test_listing_above_many_files_asks_for_few_rows(records: Records, artifacts: Artifacts) -> None:
    row = {"digest": "d" * 64, "size": 1, "at": 0}
    rows = [{"path": f"top/{folder}/{i:05}"} | row for folder in "abc" for i in range(10 * BATCH)]
    records.write(lambda tx: tx.connection.execute(sa.insert(tables.artifacts), rows))
    asked: list[object] = []
    sa.event.listen(sa.Engine, "before_cursor_execute", lambda *given: asked.append(given[3]))
    assert names(artifacts, "top") == ["a/", "b/", "c/"]
    assert len(asked) == 4


@BOTH
def test_a_path_is_a_file_or_a_folder_never_both(artifacts: Artifacts) -> None:
    log(artifacts, "a/b")
    with pytest.raises(Invalid, match="a is a folder"):
        log(artifacts, "a")
    with pytest.raises(Invalid, match="a/b is a file"):
        log(artifacts, "a/b/c/d")
    with pytest.raises(Invalid, match="a is a folder"):
        artifacts.get(path="a")
    with pytest.raises(NotFound):
        artifacts.get(path="a/c")


@BOTH
def test_a_file_or_a_tree_is_deleted_and_nothing_beside_it(records: Records, artifacts: Artifacts) -> None:
    for path in ("r/a", "r/b/c", "r/b/d/e", "r/bc", "r-b", "rb"):
        log(artifacts, path)
    assert artifacts.delete(path="r/b") == 2
    assert artifacts.delete(path="r/a") == 1
    assert artifacts.delete(path="r/a") == artifacts.delete(path="nothing/there") == 0
    assert names(artifacts) == ["r/", "r-b", "rb"]
    assert names(artifacts, "r") == ["bc"]
    for top in ("", "/", "."):
        with pytest.raises(Invalid):
            artifacts.delete(path=top)
    assert records.write(lambda tx: remove_below(tx, "r")) == []
    assert names(artifacts) == ["r-b", "rb"]


@BOTH
def test_all_files_below_a_root_are_listed_with_their_paths_from_there(records: Records, artifacts: Artifacts) -> None:
    for path in ("r/artifacts/b/c", "r/artifacts/a", "r/artifacts2/x", "r/artifact"):
        log(artifacts, path, path.encode())
    found = records.read(lambda connection: listed(connection, "r/artifacts"))
    assert [(one.path, one.size) for one in found] == [("a", 13), ("b/c", 15)]


@BOTH
def test_nothing_is_written_below_a_deleted_run(records: Records, artifacts: Artifacts) -> None:
    add_run(records, lifecycle="deleted")
    for path in (f"7/{RUN}/artifacts/a", f"some/where/{RUN}/artifacts/b/c"):
        with pytest.raises(Invalid, match="deleted"):
            log(artifacts, path)
    log(artifacts, f"7/{RUN}/other")  # not below its root
    with pytest.raises(Invalid, match="deleted"):
        artifacts.add_for_run(run_id=RUN, path="a", digest=artifacts.get(path=f"7/{RUN}/other").digest, size=1)


@BOTH
def test_an_object_becomes_a_file_of_a_run(records: Records, artifacts: Artifacts, objects: ObjectStore) -> None:
    add_run(records, location="mlflow-artifacts:/team/seven")
    digest = objects.put(b"points")
    made = artifacts.add_for_run(run_id=RUN, path="plots/roc.svg", digest=digest, size=6)
    assert (made.path, made.digest, made.size) == ("plots/roc.svg", digest, 6)
    assert read(artifacts, f"team/seven/{RUN}/artifacts/plots/roc.svg") == b"points"
    with pytest.raises(NotFound, match="no object"):
        artifacts.add_for_run(run_id=RUN, path="b", digest="0" * 64, size=6)
    with pytest.raises(Invalid, match="has 6 bytes"):
        artifacts.add(path="b", digest=digest, size=7)
    with pytest.raises(NotFound, match="no run"):
        artifacts.add_for_run(run_id="f" * 32, path="b", digest=digest, size=6)


def test_a_run_whose_files_lie_in_another_store_says_so(
    records: Records, artifacts: Artifacts, objects: ObjectStore
) -> None:
    add_run(records, location="s3://theirs/x")
    with pytest.raises(Invalid, match="s3://theirs/x"):
        artifacts.add_for_run(run_id=RUN, path="a", digest=objects.put(b"x"), size=1)


def test_the_folder_of_packages_is_read_only(artifacts: Artifacts) -> None:
    for write in (lambda path: log(artifacts, path), lambda path: artifacts.delete(path=path)):
        for path in ("packages", "packages/salary/1/MLmodel"):
            with pytest.raises(Forbidden):
                write(path)
    log(artifacts, "packages2/a")


@pytest.mark.parametrize("size", [0, 1, 256 << 10, (256 << 10) + 1, 9 << 20, 17 << 20])
def test_files_of_every_size_come_back_as_they_were(artifacts: Artifacts, size: int) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    log(artifacts, "a", data[:size])
    assert read(artifacts, "a") == data[:size]
    assert list(artifacts.scratch.glob("*")) == [], "the scratch space is empty again"


def test_C20_a_body_on_its_way_lies_in_a_private_file(artifacts: Artifacts) -> None:
    with Body(artifacts.scratch) as body:
        body.write(b"x" * (300 << 10))
        assert body.path is not None
        assert body.path.stat().st_mode & 0o077 == 0
        assert artifacts.scratch in body.path.parents
    assert not body.path.exists()


def test_a_body_over_its_limit_is_refused_before_it_is_on_the_disk(artifacts: Artifacts) -> None:
    with Body(artifacts.scratch, limit=400 << 10) as body:
        body.write(b"x" * (300 << 10))
        with pytest.raises(TooLarge):
            body.write(b"x" * (300 << 10))
        assert body.path is not None
        assert body.path.stat().st_size == 300 << 10


@pytest.mark.parametrize("size", [1000, 1 << 20, 20 << 20], ids=["packed", "whole", "chunked"])
def test_F22_damaged_bytes_are_never_given_whole(artifacts: Artifacts, folder: WorkspaceFolder, size: int) -> None:
    data = bytes(range(251)) * (size // 251)
    log(artifacts, "a", data)
    for path in folder.objects.rglob("*"):
        if path.is_file() and path.stat().st_size > 90 and path.suffix != ".pins":
            path.chmod(0o600)
            damaged = bytearray(path.read_bytes())
            damaged[-20] ^= 1
            path.write_bytes(damaged)
    given: list[bytes] = []
    file = artifacts.get(path="a")
    with ObjectStore(folder.objects) as again:
        service = Artifacts(artifacts.records, again, Settings(), folder)
        with pytest.raises(Corrupt):
            given.extend(service.bytes.read(file.digest, file.size))
    assert len(b"".join(given)) < len(data)


def test_what_no_path_names_is_garbage_and_nothing_else_is(
    records: Records, artifacts: Artifacts, objects: ObjectStore
) -> None:
    for path in ("a", "b", "c"):
        log(artifacts, path, path.encode() * 1000)
    digests = {path: artifacts.get(path=path).digest for path in "abc"}
    artifacts.delete(path="a")
    log(artifacts, "b", b"new")
    collect_garbage(records, objects)
    assert [objects.has(Digest(digests[path])) for path in "abc"] == [False, False, True]
    assert read(artifacts, "b") == b"new"


def test_a_setting_that_names_no_store_of_ours_is_refused(
    records: Records, objects: ObjectStore, folder: WorkspaceFolder
) -> None:
    for setting in ("ftp://x/y", "bucket", "s3://", "s3:bucket", "file:///tmp/x"):
        with pytest.raises(ConfigError, match="artifacts"):
            Artifacts(records, objects, Settings(artifacts=setting), folder)


@pytest.fixture
def uploads(records: Records, objects: ObjectStore) -> Uploads:
    return Uploads(records, objects)


def part(uploads: Uploads, upload_id: str, number: int, data: bytes, scratch: Path) -> tuple[int, str]:
    with Body(scratch) as body:
        body.write(data)
        return number, keep_part(uploads, upload_id, number, body).digest


@BOTH
def test_F21_a_file_in_parts_appears_when_all_are_there_and_completing_twice_is_once(
    artifacts: Artifacts, uploads: Uploads, folder: WorkspaceFolder
) -> None:
    upload = uploads.begin(path="m/weights", parts=3)
    data = {number: bytes([number]) * (300 << 10) for number in (1, 2, 3)}
    told = [part(uploads, upload.id, number, data[number], folder.tmp) for number in (3, 1)]
    asked = {"upload_id": upload.id, "path": "m/weights"}
    with pytest.raises(Invalid, match="2 came"):
        complete(uploads, artifacts, **asked, told=told)
    part(uploads, upload.id, 2, b"cut off, so sent again", folder.tmp)
    told.append(part(uploads, upload.id, 2, data[2], folder.tmp))
    assert names(artifacts) == []
    complete(uploads, artifacts, **asked, told=told)
    assert read(artifacts, "m/weights") == data[1] + data[2] + data[3]
    complete(uploads, artifacts, **asked, told=told)
    uploads.abort(upload_id=upload.id)
    part(uploads, upload.id, 2, b"late", folder.tmp)
    assert uploads.get(upload_id=upload.id).is_complete
    assert read(artifacts, "m/weights") == data[1] + data[2] + data[3]


def test_F21_two_that_complete_at_once_make_one_file(
    artifacts: Artifacts, uploads: Uploads, folder: WorkspaceFolder
) -> None:
    upload = uploads.begin(path="a", parts=1)
    told = [part(uploads, upload.id, 1, b"x" * (2 << 20), folder.tmp)]
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(complete, uploads, artifacts, upload_id=upload.id, path="a", told=told) for _ in range(4)]
        assert [one.result() for one in asked] == [None] * 4
    assert len(read(artifacts, "a")) == 2 << 20


@BOTH
def test_F22_parts_that_are_not_what_the_sender_means_are_not_put_together(
    artifacts: Artifacts, uploads: Uploads, folder: WorkspaceFolder
) -> None:
    upload = uploads.begin(path="a", parts=2)
    told = [part(uploads, upload.id, number, bytes([number]), folder.tmp) for number in (1, 2)]
    asked = {"upload_id": upload.id, "path": "a"}
    for wrong in ([(1, "0" * 64), told[1]], [(1, ""), told[1]]):
        with pytest.raises(DataError):
            complete(uploads, artifacts, **asked, told=wrong)
    for wrong in (told[:1], [], [*told, told[0]], [told[0], told[0]], [*told, (3, told[0][1])]):
        with pytest.raises(Invalid):
            complete(uploads, artifacts, **asked, told=wrong)
    with pytest.raises(Invalid, match="another path"):
        complete(uploads, artifacts, upload_id=upload.id, path="b", told=told)
    assert names(artifacts) == []


@BOTH
def test_F21_an_upload_that_was_given_up_is_gone(
    records: Records, artifacts: Artifacts, uploads: Uploads, folder: WorkspaceFolder, objects: ObjectStore
) -> None:
    upload = uploads.begin(path="a", parts=1)
    told = [part(uploads, upload.id, 1, b"x" * 1000, folder.tmp)]
    uploads.abort(upload_id=upload.id)
    uploads.abort(upload_id=upload.id)
    for call in (
        lambda: complete(uploads, artifacts, upload_id=upload.id, path="a", told=told),
        lambda: part(uploads, upload.id, 1, b"x", folder.tmp),
        lambda: uploads.get(upload_id=upload.id),
    ):
        with pytest.raises(NotFound):
            call()
    collect_garbage(records, objects)
    assert not objects.has(Digest(told[0][1]))


def test_F21_an_upload_that_nobody_completes_is_forgotten(uploads: Uploads, clock: FixedClock) -> None:
    old = uploads.begin(path="a", parts=1)
    clock.set(Micros(clock.now() + (FORGET_S + 1) * 1_000_000))
    new = uploads.begin(path="a", parts=1)
    assert uploads.get(upload_id=new.id).parts == 1
    with pytest.raises(NotFound):
        uploads.get(upload_id=old.id)


def test_an_upload_has_parts_with_numbers_of_its_own(uploads: Uploads, folder: WorkspaceFolder) -> None:
    for parts in (0, -1, 10_001):
        with pytest.raises(Invalid):
            uploads.begin(path="a", parts=parts)
    with pytest.raises(Invalid):
        uploads.begin(path="../a", parts=1)
    upload = uploads.begin(path="a", parts=2)
    for number in (0, 3):
        with pytest.raises(Invalid, match="no part"):
            part(uploads, upload.id, number, b"x", folder.tmp)
    with pytest.raises(NotFound, match="no object"):
        uploads.add_part(upload_id=upload.id, number=1, digest="0" * 64, size=1)
