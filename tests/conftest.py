"""What all tests share: servers of PostgreSQL and S3, real data sets, and how random examples are drawn."""

from __future__ import annotations

import getpass
import logging
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}
START_TIMEOUT_S = 60.0
S3_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "only-for-this-test",
    "AWS_SECRET_ACCESS_KEY": "never-to-be-printed",
    "AWS_ALLOW_HTTP": "true",
    "AWS_DEFAULT_REGION": "us-east-1",
}

# No deadlines, as a timing is never an assertion. In CI the same examples each time: a red build is about the change.
settings.register_profile("perennial", deadline=None, derandomize=IN_CI)
settings.load_profile("perennial")


@pytest.fixture(scope="session", autouse=True)
def _scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Clients of others leave what they fetched where TMPDIR says: here that folder goes with the session."""
    tmp_path_factory.getbasetemp()  # beside it, not in it
    with (
        tempfile.TemporaryDirectory(prefix="pt-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        Path(folder).chmod(0o711)  # PostgreSQL's user passes through
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", None)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data sets that lie beside the repository; skips with a reason where they do not."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the data sets are not beside the repository ({folder.name} in a folder called shared)")
    return folder


@pytest.fixture(scope="session")
def pg_url() -> Iterator[str]:
    """A PostgreSQL server of this session's own, on loopback, as a URL for SQLAlchemy.

    Skips with a reason where PostgreSQL is not installed; in CI that is a failure.
    """
    programs = _postgres_programs()
    if programs is None:
        reason = "PostgreSQL (initdb, postgres) is not installed"
        pytest.fail(reason) if IN_CI else pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="perennial-pg-"))
    try:
        yield from _server(programs, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def pg_database(pg_url: str) -> Iterator[str]:
    """An empty database in that server, for one test; dropped afterwards, whoever is still connected."""
    import psycopg

    name = f"test_{secrets.token_hex(6)}"
    server = pg_url.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    yield pg_url.rsplit("/", 1)[0] + f"/{name}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def s3_server() -> Iterator[tuple[int, Any]]:
    """The port of a real S3-speaking server on loopback, and a client of it that is not ours."""
    boto3 = pytest.importorskip("boto3")
    server_module = pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        yield (
            port,
            boto3.client(
                "s3",
                endpoint_url=f"http://127.0.0.1:{port}",
                aws_access_key_id="another",
                aws_secret_access_key="client",
                region_name="us-east-1",
            ),
        )
    finally:
        server.stop()


@pytest.fixture
def s3_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment of a user of that server holds, but for its address (AWS_ENDPOINT_URL)."""
    for name, value in S3_CREDENTIALS.items():
        monkeypatch.setenv(name, value)


def _postgres_programs() -> Path | None:
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    debian = Path("/usr/lib/postgresql")
    if debian.is_dir():
        folders += sorted(debian.glob("*/bin"), key=lambda folder: float(folder.parent.name), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()), None)


def _server(programs: Path, folder: Path) -> Iterator[str]:
    import psycopg

    # PostgreSQL refuses to run as root; the package has made a user for it.
    user = "postgres" if os.geteuid() == 0 else None
    if user is not None:
        account = pwd.getpwnam(user)
        os.chown(folder, account.pw_uid, account.pw_gid)
    password, data, log = secrets.token_hex(16), folder / "data", folder / "log"
    (folder / "password").write_text(password)
    (folder / "password").chmod(0o644)  # within a folder that only this user and PostgreSQL's can enter
    run_as: dict[str, object] = {"user": user, "group": user, "extra_groups": []} if user else {}
    subprocess.run(
        [
            programs / "initdb",
            "--username=perennial",
            f"--pwfile={folder / 'password'}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            f"--pgdata={data}",
        ],
        check=True,
        capture_output=True,
        cwd=folder,
        **run_as,
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "off",
        "max_connections": 200,
    }
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, *options], stdout=output, stderr=output, cwd=folder, **run_as
        )
    address = f"perennial:{password}@127.0.0.1:{port}/postgres"
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                psycopg.connect(f"postgresql://{address}", connect_timeout=2).close()
                break
            except psycopg.OperationalError as error:
                if server.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(
                        f"PostgreSQL, run by {user or getpass.getuser()}, did not start: {error}\n{log.read_text()}"
                    )
                time.sleep(0.05)
        yield f"postgresql+psycopg://{address}"
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
