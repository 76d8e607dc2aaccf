"""Workspaces to push from and pull into, and the two kinds of remotes that are tested: a folder, and a real S3 server."""

from __future__ import annotations

import logging
import os
import random
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from perennial.clock import FixedClock
from perennial.data.catalog import Catalog
from perennial.data.datasets import Datasets, DatasetVersion
from perennial.data.files.tree import EXECUTABLE, FILE, Entry, entries_of, read_tree, write_tree
from perennial.data.remotes import Remotes
from perennial.data.schema import Column, Schema
from perennial.data.schemas import Schemas
from perennial.data.tables import write_table
from perennial.store.objects import ObjectStore
from perennial.store.records import Records, create_tables
from perennial.store.tables import import_tables
from perennial.store.verify import Problem, verify
from perennial.store.workspace_folder import create_folder
from perennial.types import Digest, Micros

SCHEMA = Schema(columns=[Column(name="person", type="integer")])
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "only-for-this-test",
    "AWS_SECRET_ACCESS_KEY": "never-to-be-printed",
    "AWS_ALLOW_HTTP": "true",
    "AWS_DEFAULT_REGION": "us-east-1",
}


class Machine:
    """A workspace on a machine of its own."""

    def __init__(self, root: Path) -> None:
        self.folder = create_folder(root, now=Micros(5))
        self.records = Records.open(self.folder.records_url, clock=FixedClock(Micros(5)))
        import_tables()
        create_tables(self.records)
        self.objects = ObjectStore(self.folder.objects)
        self.catalog = Catalog(
            Datasets(self.records),
            Schemas(self.records),
            Remotes(self.records),
            self.objects,
            self.folder,
            FixedClock(Micros(5)),
        )

    def add_files(self, name: str, files: dict[str, bytes]) -> DatasetVersion:
        digests = self.objects.put_many(files.values())
        entries = sorted(
            (
                Entry(path.encode(), EXECUTABLE if path.endswith(".sh") else FILE, len(data), bytes.fromhex(digest))
                for (path, data), digest in zip(files.items(), digests, strict=True)
            ),
            key=lambda entry: entry.path,
        )
        stored = write_tree(entries, self.objects.put_many)
        size = sum(map(len, files.values()))
        return self.catalog.datasets.commit(
            name=name,
            logical=stored.logical,
            manifest=stored.manifest,
            rows=0,
            schema=Schema(columns=[]),
            kind="files",
            files=len(files),
            size_bytes=size,
            note="as it came",
        )

    def add_table(self, name: str, frame: pl.DataFrame, parent: DatasetVersion | None = None) -> DatasetVersion:
        manifest, logical = write_table(frame.to_arrow(), self.objects, previous=parent and parent.stored)
        return self.catalog.datasets.commit(
            name=name,
            logical=logical,
            manifest=manifest,
            rows=frame.height,
            schema=SCHEMA,
            parent=parent and parent.version,
        )

    def files(self, version: DatasetVersion) -> dict[str, bytes]:
        tree = read_tree(self.objects.get(version.stored))
        entries = entries_of(tree, self.objects.get)
        return {entry.path.decode(): self.objects.get(entry.digest or Digest("")) for entry in entries}

    def problems(self) -> list[Problem]:
        return verify(self.records, self.objects).problems

    def close(self) -> None:
        self.objects.close()
        self.records.close()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Callable[[str], Machine]]:
    """Makes workspaces; the same name again is the same workspace, opened again."""
    opened: list[Machine] = []

    def make(name: str) -> Machine:
        opened.append(Machine(tmp_path / "machines" / name))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@dataclass
class Remote:
    """An empty remote, and a second way to look at and change what lies there."""

    url: str
    paths: Callable[[], dict[str, int]]
    read: Callable[[str], bytes]
    write: Callable[[str, bytes], object]
    remove: Callable[[str], object]

    def one(self, prefix: str) -> str:
        """The only path with this prefix."""
        (found,) = (path for path in self.paths() if path.startswith(prefix))
        return found


@dataclass
class S3:
    """An S3-speaking server on loopback, with a client that is not ours."""

    port: int
    client: Any

    def bucket(self) -> str:
        name = f"bucket-{secrets.token_hex(4)}"
        self.client.create_bucket(Bucket=name)
        return name

    def remote(self, bucket: str) -> Remote:
        def paths() -> dict[str, int]:
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="team/")
            return {one["Key"][5:]: one["Size"] for page in pages for one in page.get("Contents", ())}

        return Remote(
            f"s3://{bucket}/team",
            paths,
            lambda path: self.client.get_object(Bucket=bucket, Key=f"team/{path}")["Body"].read(),
            lambda path, data: self.client.put_object(Bucket=bucket, Key=f"team/{path}", Body=data),
            lambda path: self.client.delete_object(Bucket=bucket, Key=f"team/{path}"),
        )


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    boto3 = pytest.importorskip("boto3")
    server_module = pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            aws_access_key_id="another",
            aws_secret_access_key="client",
            region_name="us-east-1",
        )
        yield S3(port, client)
    finally:
        server.stop()


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """The server, named by the environment as a user would."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s3_server.port}")
    return s3_server


def folder_remote(folder: Path) -> Remote:
    return Remote(
        folder.as_uri(),
        lambda: {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()},
        lambda path: (folder / path).read_bytes(),
        lambda path, data: (folder / path).write_bytes(data),
        lambda path: os.unlink(folder / path),
    )


@pytest.fixture(params=["folder", "s3"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Remote:
    """An empty remote of each kind that is tested."""
    if request.param == "folder":
        return folder_remote(tmp_path / "remote")
    s3: S3 = request.getfixturevalue("s3")
    return s3.remote(s3.bucket())


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def some_files(count: int, seed: int = 1) -> dict[str, bytes]:
    return {
        f"folder {index % 7}/{index}.bin": noise(200 + index % 300, seed * 1_000_000 + index) for index in range(count)
    }
