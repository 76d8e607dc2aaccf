"""Remotes that break off, lack something, hold other bytes or say no; processes that are killed at every step."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from perennial.data.datasets import DatasetVersion
from perennial.data.remote.place import RETRIES
from perennial.data.remote.pull import listed, pull
from perennial.data.remote.push import push
from perennial.errors import (
    ConfigError,
    Corrupt,
    Forbidden,
    Invalid,
    NotFound,
    PerennialError,
    StoreError,
    Unavailable,
)
from perennial.store.failpoints import FAILPOINTS
from perennial.store.files import LocalFiles
from perennial.store.objects import ObjectStore
from perennial.testing.faults import FailingCalls

from .conftest import S3, Remote, folder_remote
from .machines import SCHEMA, Machine, noise, some_files

Machines = Callable[[str], Machine]
FILES = some_files(200) | {"big.bin": noise(6 << 20), "large.parquet": b"PAR1" + noise(9 << 20, 2)}


def answer(status: str, body: bytes = b"", declared: int | None = None) -> bytes:
    length = len(body) if declared is None else declared
    return f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n".encode() + body


def arrives(remote: Remote, version: DatasetVersion, into: Machine, files: dict[str, bytes]) -> None:
    (pulled,) = pull(into.catalog, remote.url, version.name)
    assert pulled.logical == version.logical
    assert into.files(pulled) == files
    assert into.problems() == []


@pytest.mark.parametrize("after", [100, 3_000_000, 12_000_000])
def test_F21_an_upload_that_is_cut_goes_on_and_nothing_is_visible_before_it_is_complete(
    after: int, s3: S3, machine: Machines
) -> None:
    here, remote = machine("here"), s3.remote(s3.bucket())
    version = here.add_files("a", FILES)
    s3.relay.cuts = [("up", after)] + [("up", 0)] * 200  # from then on every connection, so that the budget runs out
    with pytest.raises(Unavailable, match="broke off"):
        push(here.catalog, [version], remote.url)
    s3.relay.cuts.clear()
    assert not [path for path in remote.paths() if path.startswith("datasets")]
    there = sum(size for path, size in remote.paths().items() if path.startswith("bundles"))

    again = push(here.catalog, [version], remote.url)
    assert again.bytes <= version.size_bytes - there + (1 << 20) + 8 * (12 << 20)  # what was on its way
    assert push(here.catalog, [version], remote.url).bytes == 0
    arrives(remote, version, machine("there"), FILES)


@pytest.mark.parametrize("after", [3_000, 7_000_000])
def test_F21_a_download_that_is_cut_goes_on_where_it_broke_off(after: int, s3: S3, machine: Machines) -> None:
    here, there, remote = machine("here"), machine("there"), s3.remote(s3.bucket())
    version = here.add_files("a", FILES)
    push(here.catalog, [version], remote.url)
    s3.relay.cuts = [("down", after)] + [("down", 0)] * 500
    with pytest.raises(Unavailable, match="broke off"):
        pull(there.catalog, remote.url, "a")
    s3.relay.cuts.clear()
    assert there.catalog.datasets.list() == []
    assert there.problems() == []
    arrives(remote, version, there, FILES)


def test_F24_single_cuts_and_errors_of_the_server_are_tried_again(s3: S3, machine: Machines) -> None:
    here, remote = machine("here"), s3.remote(s3.bucket())
    version = here.add_files("a", FILES)
    s3.relay.cuts = [("up", 1_000_000), ("up", 5_000_000), ("down", 50)]
    s3.relay.answers = [answer("503 Slow Down"), answer("500 Internal Server Error"), answer("502 Bad Gateway")]
    push(here.catalog, [version], remote.url)
    s3.relay.cuts = [("down", 2_000), ("down", 4_000_000), ("down", 11_000_000)]
    s3.relay.answers = [answer("503 Slow Down"), answer("200 OK", b"short", declared=5_000)]
    arrives(remote, version, machine("there"), FILES)
    assert s3.relay.cuts == s3.relay.answers == []


def test_F24_a_server_that_goes_on_failing_is_given_up_within_a_budget(s3: S3, machine: Machines) -> None:
    here, remote = machine("here"), s3.remote(s3.bucket())
    s3.relay.answers = [answer("503 Slow Down")] * 100
    with pytest.raises(Unavailable, match="answered 503"):
        push(here.catalog, [here.add_files("a", {"a": b"1"})], remote.url)
    assert s3.relay.requests <= 3 * (RETRIES + 1)


def test_F24_an_answer_of_a_stranger_is_refused(s3: S3, machine: Machines) -> None:
    here, there, remote = machine("here"), machine("there"), s3.remote(s3.bucket())
    push(here.catalog, [here.add_files("a", {"a": b"1"})], remote.url)
    s3.relay.answers = [answer("200 OK", b"<html>please log in</html>")]
    with pytest.raises(PerennialError) as raised:
        pull(there.catalog, remote.url, "a")
    assert "please log in" not in str(raised.value)
    assert there.catalog.datasets.list() == []


def test_F22_bytes_that_differ_from_their_digest_are_refused_and_nothing_is_visible(
    remote: Remote, machine: Machines
) -> None:
    here, there = machine("here"), machine("there")
    version = here.add_files("a", FILES)
    other = here.add_files("other", {"x": b"sound"})
    push(here.catalog, [version], remote.url)
    push(here.catalog, [other], remote.url)
    bundle = max((path for path in remote.paths() if path.startswith("bundles")), key=lambda path: remote.paths()[path])
    sound = remote.read(bundle)
    remote.write(bundle, sound[:5000] + bytes([sound[5000] ^ 1]) + sound[5001:])

    with pytest.raises(Corrupt, match=r"object [0-9a-f]{64} is damaged on the remote") as raised:
        pull(there.catalog, remote.url, version=None)
    assert remote.url in raised.value.where
    assert bundle in raised.value.remedy
    assert [one.name for one in there.catalog.datasets.list()] == ["other"]
    assert there.problems() == []

    remote.remove(bundle)  # as the remedy says
    assert push(here.catalog, [version], remote.url).bytes > 0
    arrives(remote, version, there, FILES)


@pytest.mark.parametrize("kind", ["bundles", "index", "datasets", "tags", "schemas", "perennial-remote"])
@pytest.mark.parametrize("how", ["flipped", "short", "empty", "missing"])
def test_F22_whatever_is_damaged_on_a_remote_is_never_taken(
    kind: str, how: str, tmp_path: Path, machine: Machines
) -> None:
    here, remote = machine("here"), folder_remote(tmp_path / "remote")
    files = {"a": b"1" * 1000, "b": noise(5 << 20)}
    version = here.add_files("a", files)
    here.catalog.datasets.tag(name="a", tag="gold", version=1)
    here.catalog.schemas.propose(name="a", schema=SCHEMA)
    push(here.catalog, [version], remote.url)
    for number, path in enumerate(path for path in sorted(remote.paths()) if path.startswith(kind)):
        sound = remote.read(path)
        if how == "missing":
            remote.remove(path)
        else:
            middle = len(sound) // 2
            flipped = sound[:middle] + bytes([sound[middle] ^ 4]) + sound[middle + 1 :]
            remote.write(path, {"flipped": flipped, "short": sound[:middle], "empty": b""}[how])
        there = machine(f"there {number}")
        with suppress(Corrupt, NotFound):
            pull(there.catalog, remote.url, "a")
        for found in there.catalog.datasets.list():
            assert there.files(found) == files
        assert there.problems() == []
        remote.write(path, sound)
    arrives(remote, version, machine("last"), files)


def test_an_index_that_is_damaged_is_mended_by_the_next_push(remote: Remote, machine: Machines) -> None:
    here = machine("here")
    version = here.add_files("a", FILES)
    push(here.catalog, [version], remote.url)
    for path in [path for path in remote.paths() if path.startswith("index")]:
        remote.write(path, b"nonsense")
    with pytest.raises(NotFound, match="lacks object"):
        pull(machine("there").catalog, remote.url, "a")
    assert push(here.catalog, [version], remote.url).bytes > version.size_bytes
    arrives(remote, version, machine("elsewhere"), FILES)


def test_two_pushes_and_two_pulls_at_once_do_no_harm(remote: Remote, machine: Machines) -> None:
    machines = [machine(f"here {number}") for number in range(2)]
    own = [FILES | {"own": bytes([number])} for number in range(2)]
    versions = [one.add_files("a", files) for one, files in zip(machines, own, strict=True)]
    target = machine("there")
    errors: list[Exception] = []

    def work(number: int) -> None:
        try:
            push(machines[number].catalog, [versions[number]], remote.url)
            pull(target.catalog, remote.url, "a", versions[number].logical)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    found = {one.logical: target.files(one) for one in target.catalog.datasets.list()}
    assert found == {version.logical: files for version, files in zip(versions, own, strict=True)}
    assert target.problems() == []


def test_an_object_that_is_damaged_here_is_not_pushed(remote: Remote, machine: Machines) -> None:
    here = machine("here")
    version = here.add_files("a", FILES)
    path = here.objects.open_path(here.objects.put(FILES["large.parquet"]))
    assert path is not None
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(Corrupt, match="damaged here"):
        push(here.catalog, [version], remote.url)
    assert not [path for path in remote.paths() if path.startswith("datasets")]


def test_a_disk_that_fills_up_while_pulling_loses_nothing(tmp_path: Path, machine: Machines) -> None:
    here, remote = machine("here"), folder_remote(tmp_path / "remote")
    version = here.add_files("a", FILES)
    push(here.catalog, [version], remote.url)
    there, failures, fail_at = machine("there"), 0, 4
    while there.catalog.datasets.list() == []:
        calls = FailingCalls(fail_at, errno.ENOSPC, lasting=True)
        there.catalog.objects = ObjectStore(there.folder.objects, files=LocalFiles(calls))
        with suppress(StoreError):
            pull(there.catalog, remote.url, "a")
        there.catalog.objects.close()
        assert len(there.catalog.datasets.list()) == (not calls.has_failed)
        failures, fail_at = failures + calls.has_failed, fail_at + 7
    assert failures > 2
    there.catalog.objects = there.objects
    arrives(remote, version, there, FILES)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, machine: Machines) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot be used: Not a directory"):
        push(machine("here").catalog, [], (tmp_path / "file" / "below").as_uri())


def test_F21_what_a_killed_push_left_half_written_in_a_folder_is_removed(tmp_path: Path, machine: Machines) -> None:
    here, remote = machine("here"), folder_remote(tmp_path / "remote")
    push(here.catalog, [here.add_files("a", {"a": b"1"})], remote.url)
    old, young = tmp_path / "remote/bundles/abc#1", tmp_path / "remote/bundles/abc#2"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    push(here.catalog, [], remote.url)
    assert (old.exists(), young.exists()) == (False, True)


def test_no_permission_no_bucket_and_no_server_are_told_apart(
    s3: S3, machine: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = machine("here")
    version = here.add_files("a", {"a": b"1"})
    remote = s3.remote(s3.bucket())
    s3.relay.answers = [answer("403 Forbidden", b"<Error><AWSAccessKeyId>only-for-this-test</AWSAccessKeyId></Error>")]
    with pytest.raises(Forbidden, match="does not let us") as raised:
        push(here.catalog, [version], remote.url)
    assert not any(
        secret in str(raised.value) for secret in (os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
    )
    with pytest.raises(NotFound, match="no such bucket"):
        push(here.catalog, [version], "s3://no-such-bucket/team")
    s3.relay.close()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(Unavailable, match="does not answer"):
        push(here.catalog, [version], remote.url)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "false")
    with pytest.raises(ConfigError, match="begins with http"):
        push(here.catalog, [version], remote.url)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(ConfigError, match="no credentials"):
        push(here.catalog, [version], remote.url)


def test_C12_an_address_holds_no_credentials_and_no_other_scheme(machine: Machines) -> None:
    here = machine("here")
    for url in (
        "s3://key:secret@bucket/x",
        "s3://bucket/x?token=1",
        "http://127.0.0.1/x",
        "file://host/x",
        "s3://",
        "x",
    ):
        with pytest.raises(Invalid):
            here.catalog.remotes.set(name="origin", url=url)
        with pytest.raises(Invalid):
            push(here.catalog, [], url)


def test_F26_a_remote_of_a_newer_format_is_refused_and_left_alone(remote: Remote, machine: Machines) -> None:
    here = machine("here")
    version = here.add_files("a", {"a": b"1"})
    push(here.catalog, [version], remote.url)
    marker = msgspec.json.decode(remote.read("perennial-remote.json"))
    remote.write("perennial-remote.json", msgspec.json.encode(marker | {"format": 2}))
    before = remote.paths()
    for work in (
        lambda: push(here.catalog, [version], remote.url),
        lambda: pull(here.catalog, remote.url, "a"),
        lambda: listed(remote.url),
    ):
        with pytest.raises(ConfigError, match="has format 2"):
            work()
    assert remote.paths() == before


def killed_at(verb: str, folder: Path, url: str, armed: str) -> bool:
    """Whether a push or pull in a process of its own died at a failpoint."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("machines.py")), verb, str(folder), url],
        env=os.environ | {"PERENNIAL_FAILPOINTS": armed},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, -9), done.stderr
    return done.returncode == -9


PUSH = ["push.marked", "push.bundle", "push.bundle@2", "push.index", "push.index@2", "push.objects", "push.version"]
PULL = ["pull.stored", "pull.stored@2", "pull.part", "pull.part@3", "pull.objects", "pull.committed"]
S3_PUSH = [("s3", "push.bundle@2"), ("s3", "push.version")]
S3_PULL = [("s3", "pull.stored@2"), ("s3", "pull.part@3")]


def test_every_failpoint_of_push_and_pull_is_in_the_sweep() -> None:
    named = {name for name in FAILPOINTS if name.startswith(("push.", "pull."))}
    assert named == {name.partition("@")[0] for name in PUSH + PULL}


@pytest.mark.parametrize("remote, point", [*(("folder", point) for point in PUSH), *S3_PUSH], indirect=["remote"])
def test_F01_a_push_that_is_killed_leaves_nothing_half_and_is_finished_by_the_next(
    point: str, remote: Remote, machine: Machines
) -> None:
    here = machine("here")
    version = here.add_files("a", FILES)
    here.close()  # its records have one owner at a time
    name, _, turn = point.partition("@")
    assert killed_at("push", here.folder.root, remote.url, f"{name}=kill@{turn or 1}")
    visible = [one.logical for one in listed(remote.url)]
    assert visible == ([version.logical] if point == "push.version" else [])
    if visible:
        arrives(remote, version, machine("early"), FILES)
    here = machine("here")
    push(here.catalog, [version], remote.url)
    assert here.problems() == []
    arrives(remote, version, machine("there"), FILES)


@pytest.mark.parametrize("remote, point", [*(("folder", point) for point in PULL), *S3_PULL], indirect=["remote"])
def test_F01_a_pull_that_is_killed_leaves_nothing_half_and_is_finished_by_the_next(
    point: str, remote: Remote, machine: Machines, tmp_path: Path
) -> None:
    here = machine("here")
    version = here.add_files("a", FILES)
    push(here.catalog, [version], remote.url)
    name, _, turn = point.partition("@")
    assert killed_at("pull", tmp_path / "machines" / "there", remote.url, f"{name}=kill@{turn or 1}")
    there = machine("there")
    assert len(there.catalog.datasets.list()) == (point == "pull.committed")
    assert there.problems() == []
    arrives(remote, version, there, FILES)
