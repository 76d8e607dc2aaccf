"""Bytes of logged files in a bucket, on a real S3-speaking server: put before a row names them, removed after."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from perennial.clock import FixedClock
from perennial.config import Settings
from perennial.errors import ConfigError, Corrupt, StoreError, Unavailable
from perennial.ids import SeededIds
from perennial.store.objects import ObjectStore
from perennial.store.records import Records, create_tables
from perennial.store.tables import import_tables
from perennial.store.workspace_folder import create_folder
from perennial.tracking.artifacts import Artifacts, keep, remove_below
from perennial.tracking.body import Body
from perennial.tracking.bytes import NamedLocks
from perennial.tracking.uploads import Uploads, complete, keep_part
from perennial.types import Micros


@dataclass
class Bucket:
    """A bucket with a client that is not ours."""

    url: str
    name: str
    client: Any

    def sizes(self) -> dict[str, int]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return {one["Key"].rpartition("/")[2]: one["Size"] for page in pages for one in page.get("Contents", ())}

    def keys(self) -> list[str]:
        return [one["Key"] for one in self.client.list_objects_v2(Bucket=self.name).get("Contents", ())]


@pytest.fixture
def bucket(s3_server: tuple[int, Any], s3_credentials: None, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    port, client = s3_server
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    name = f"bucket-{secrets.token_hex(4)}"
    client.create_bucket(Bucket=name)
    return Bucket(f"s3://{name}/team/runs", name, client)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Any]:
    """Makes the service of the one workspace of this test, with some setting."""
    import_tables()
    folder = create_folder(tmp_path / ".perennial", now=Micros(0))
    with (
        Records.open(f"sqlite:///{tmp_path}/r.db", clock=FixedClock(Micros(1)), ids=SeededIds(1)) as records,
        ObjectStore(folder.objects) as objects,
    ):
        create_tables(records)
        yield lambda setting: Artifacts(records, objects, Settings(artifacts=setting), folder)


@pytest.fixture
def artifacts(make: Any, bucket: Bucket) -> Artifacts:
    return make(bucket.url)


def log(artifacts: Artifacts, path: str, data: bytes = b"x") -> None:
    with Body(artifacts.scratch) as body:
        body.write(data)
        keep(artifacts, path, body)


def read(artifacts: Artifacts, path: str) -> bytes:
    file = artifacts.get(path=path)
    return b"".join(artifacts.bytes.read(file.digest, file.size))


@pytest.mark.parametrize("size", [0, 10, 300 << 10, 40 << 20])
def test_files_of_every_size_lie_in_the_bucket_under_their_digest(
    artifacts: Artifacts, bucket: Bucket, size: int
) -> None:
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    log(artifacts, "a", data)
    file = artifacts.get(path="a")
    assert file.elsewhere
    assert bucket.sizes() == {file.digest: size}
    assert bucket.keys()[0].startswith("team/runs/")
    assert read(artifacts, "a") == data


def test_an_object_goes_when_the_last_path_that_names_it_goes(artifacts: Artifacts, bucket: Bucket) -> None:
    for path in ("r/a", "r/b", "s/c"):
        log(artifacts, path, b"same")
    log(artifacts, "r/d", b"other")
    digest = artifacts.get(path="s/c").digest
    artifacts.delete(path="r")
    assert set(bucket.sizes()) == {digest}
    log(artifacts, "s/c", b"replaced")
    assert set(bucket.sizes()) == {artifacts.get(path="s/c").digest} != {digest}


def test_what_a_collection_removed_is_freed_after_its_commit_and_may_be_freed_again(
    artifacts: Artifacts, bucket: Bucket
) -> None:
    log(artifacts, "r/a", b"1")
    log(artifacts, "r/b", b"2")
    log(artifacts, "s", b"2")
    unnamed = artifacts.records.write(lambda tx: remove_below(tx, "r"))
    assert len(bucket.sizes()) == 2
    for _ in range(2):
        artifacts.free(digests=unnamed)
        assert set(bucket.sizes()) == {artifacts.get(path="s").digest}
    artifacts.free(digests=[artifacts.get(path="s").digest])
    assert read(artifacts, "s") == b"2", "what is named is not freed, whoever asks"


def test_what_a_killed_process_left_in_the_bucket_is_freed_by_looking_through_it(
    artifacts: Artifacts, bucket: Bucket
) -> None:
    for number in range(3):
        log(artifacts, f"r/{number}", b"%d" % number)
    artifacts.records.write(lambda tx: remove_below(tx, "r"))  # and then it was killed
    log(artifacts, "kept", b"k")
    artifacts.free()
    assert set(bucket.sizes()) == {artifacts.get(path="kept").digest}


def test_bytes_that_somebody_is_about_to_name_are_not_removed(artifacts: Artifacts) -> None:
    log(artifacts, "old", b"same")
    with Body(artifacts.scratch) as body:
        body.write(b"same")
        with artifacts.bytes.keeping(body):
            artifacts.delete(path="old")  # nothing names them now, but we are about to
    keep(artifacts, "new", body)
    assert read(artifacts, "new") == b"same"


def test_two_writers_that_replace_each_others_files_wait_for_nobody(artifacts: Artifacts) -> None:
    failed: list[BaseException] = []

    def turn(one: bytes, other: bytes) -> None:
        try:
            for _ in range(10):
                log(artifacts, "p" + one.decode(), one)
                log(artifacts, "p" + one.decode(), other)
        except BaseException as error:  # told by the test
            failed.append(error)

    threads = [threading.Thread(target=turn, args=pair) for pair in ((b"1", b"2"), (b"2", b"1"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert failed == []
    assert (read(artifacts, "p1"), read(artifacts, "p2")) == (b"2", b"1")


def test_F22_damaged_or_missing_bytes_in_the_bucket_are_never_given_whole(artifacts: Artifacts, bucket: Bucket) -> None:
    data = bytes(range(251)) * (20 << 12)
    log(artifacts, "a", data)
    (key,) = bucket.keys()
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=data[:-1] + b"!")
    given: list[bytes] = []
    file = artifacts.get(path="a")
    with pytest.raises(Corrupt, match="damaged"):
        given.extend(artifacts.bytes.read(file.digest, file.size))
    assert 0 < len(b"".join(given)) < len(data)
    bucket.client.delete_object(Bucket=bucket.name, Key=key)
    with pytest.raises(Corrupt, match="has no"):
        read(artifacts, "a")


def test_a_file_in_parts_goes_to_the_bucket_as_a_whole(artifacts: Artifacts, bucket: Bucket, tmp_path: Path) -> None:
    with ObjectStore(tmp_path / "parts") as objects:
        uploads = Uploads(artifacts.records, objects)
        upload = uploads.begin(path="a", parts=2)
        told: list[tuple[int, str]] = []
        for number in (1, 2):
            with Body(artifacts.scratch) as body:
                body.write(b"%d" % number * 1_000_000)
                told.append((number, keep_part(uploads, upload.id, number, body).digest))
        assert bucket.sizes() == {}
        complete(uploads, artifacts, upload_id=upload.id, path="a", told=told)
    assert read(artifacts, "a") == b"1" * 1_000_000 + b"2" * 1_000_000
    assert list(bucket.sizes().values()) == [2_000_000]


def test_a_bucket_that_is_not_there_or_does_not_answer_is_our_failure(
    make: Any, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = make("s3://no-such-bucket/x")
    with pytest.raises(StoreError, match="no such bucket"):
        log(elsewhere, "a")
    assert elsewhere.list() == []
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(ConfigError, match="credentials"):
        make(bucket.url)


def test_a_file_that_the_bucket_did_not_take_is_not_visible(
    artifacts: Artifacts, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise Unavailable("the remote does not answer")

    monkeypatch.setattr("perennial.data.remote.place.Place.put", refuse)
    with pytest.raises(Unavailable):
        log(artifacts, "a")
    assert artifacts.list() == []


def test_a_bucket_that_does_not_answer_holds_up_no_deletion(
    artifacts: Artifacts, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise Unavailable("the remote does not answer")

    log(artifacts, "a", b"1")
    log(artifacts, "b", b"2")
    with monkeypatch.context() as patch:
        patch.setattr("perennial.data.remote.place.Place.remove", refuse)
        assert artifacts.delete(path="a") == 1
        log(artifacts, "b", b"3")
        with pytest.raises(Unavailable):
            artifacts.free()
    assert len(bucket.sizes()) == 3
    artifacts.free()
    assert set(bucket.sizes()) == {artifacts.get(path="b").digest}


def test_a_lock_is_for_one_name_and_forgotten_when_nobody_wants_it() -> None:
    locks = NamedLocks()
    with locks.holding("a") as first, locks.holding("b") as other, locks.holding("a", wait=False) as second:
        assert (first, other, second) == (True, True, False)
    with locks.holding("a", wait=False) as again:
        assert again
    assert not locks._held
