"""Remotes of both kinds that are tested: a folder, and a real S3 server on loopback."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .machines import Machine
from .relay import Relay


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


class S3:
    """An S3-speaking server on loopback behind a relay, with a client that is not ours and does not go through it."""

    def __init__(self, server_port: int, client: Any) -> None:
        self._server_port = server_port
        self._client = client
        self.relay = Relay(server_port)

    def bucket(self) -> str:
        name = f"bucket-{secrets.token_hex(4)}"
        self._client.create_bucket(Bucket=name)
        return name

    def remote(self, bucket: str) -> Remote:
        client = self._client

        def paths() -> dict[str, int]:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="team/")
            return {one["Key"][5:]: one["Size"] for page in pages for one in page.get("Contents", ())}

        return Remote(
            f"s3://{bucket}/team",
            paths,
            lambda path: client.get_object(Bucket=bucket, Key=f"team/{path}")["Body"].read(),
            lambda path, data: client.put_object(Bucket=bucket, Key=f"team/{path}", Body=data),
            lambda path: client.delete_object(Bucket=bucket, Key=f"team/{path}"),
        )


@pytest.fixture
def s3(s3_server: tuple[int, Any], s3_credentials: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """The server, named by the environment as a user would."""
    s3 = S3(*s3_server)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s3.relay.port}")
    yield s3
    s3.relay.close()


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
