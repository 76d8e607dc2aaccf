"""A workspace's data, and a server that hands out one file."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from perennial.clock import FixedClock
from perennial.data.catalog import Catalog
from perennial.data.datasets import Datasets
from perennial.data.remotes import Remotes
from perennial.data.schemas import Schemas
from perennial.store.objects import ObjectStore
from perennial.store.records import Records, create_tables
from perennial.store.workspace_folder import create_folder
from perennial.types import Micros


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    clock = FixedClock(Micros(5))
    folder = create_folder(tmp_path / "workspace", now=Micros(5))
    with Records.open(f"sqlite:///{tmp_path / 'records.db'}", clock=clock) as records:
        create_tables(records)
        with ObjectStore(folder.objects) as objects:
            yield Catalog(Datasets(records), Schemas(records), Remotes(records), objects, folder, clock)


@dataclass
class Web:
    """What a server on loopback answers by path, and what it was asked."""

    address: str
    port: int
    answers: dict[str, bytes | Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
def web() -> Iterator[Web]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append({name.lower(): value for name, value in self.headers.items()})
            answer = found.answers.get(self.path)
            if callable(answer):
                answer(self)
            elif answer is None:
                self.send_error(404, "a secret body")
            else:
                tag = f'"{hashlib.sha256(answer).hexdigest()}"'
                is_known = self.headers.get("If-None-Match") == tag
                self.send_response(304 if is_known else 200)
                self.send_header("ETag", tag)
                self.send_header("Content-Length", "0" if is_known else str(len(answer)))
                self.end_headers()
                self.wfile.write(b"" if is_known else answer)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Web(f"http://127.0.0.1:{server.server_port}", server.server_port)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Callable[[str, bytes], None], str]]:
    """A bucket of a real S3-speaking server on loopback: a way to put objects, and its address."""
    server_module = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "never-shown",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="city")
    try:
        yield (lambda name, data: client.put_object(Bucket="city", Key=f"lake/{name}", Body=data)), "s3://city/lake"
    finally:
        client.close()
        server.stop()
