"""`python -m perennial.serve`: the prediction service as a process of its own.

It reads and writes `serving/` of a workspace, takes packages from `objects/`, and reads the clock; nothing else. It
ends on SIGTERM when what was asked is answered, and with `--die-with-parent` also when its standard input ends.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Generator
from pathlib import Path

import uvicorn
import uvloop

from perennial.clock import Clock, SystemClock
from perennial.config import Settings
from perennial.errors import ConfigError, Conflict, Mistake, PerennialError
from perennial.models.policy import types_in
from perennial.models.sandbox import Rules
from perennial.serve.app import make_app
from perennial.serve.service import PredictionService
from perennial.serve.spec import read_status
from perennial.store.clockfile import open_clock
from perennial.store.files import LocalFiles

__all__ = ["main"]

GRACE_S = 25  # for requests in flight at the end, so that all is over within 30 s

log = logging.getLogger("perennial.serve")


def main(arguments: list[str] | None = None) -> int:
    default = Settings()
    parser = argparse.ArgumentParser(
        prog="perennial.serve", description="Answer predictions for the endpoints of a workspace."
    )
    parser.add_argument("--workspace", type=Path, required=True, help="the folder .perennial")
    parser.add_argument("--host", default=default.host, help="address to listen on")
    parser.add_argument(
        "--port", type=int, default=default.serving_port, help="0 takes a free one; see serving/status.json"
    )
    parser.add_argument("--max-body-bytes", type=int, default=default.max_predict_bytes)
    parser.add_argument("--max-rows", type=int, default=default.max_predict_rows)
    parser.add_argument("--timeout-s", type=float, default=default.predict_timeout_s, help="for one prediction")
    parser.add_argument("--worker-network", action="store_true", help="let models reach the network")
    parser.add_argument("--worker-memory-bytes", type=int, default=default.worker_memory_bytes, help="0: no limit")
    parser.add_argument("--trusted-types", default=default.trusted_types, help="types that model files may name")
    parser.add_argument("--die-with-parent", action="store_true", help="end when standard input ends")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        with _alone(options.workspace):
            sock = _listen(options.host, options.port)
            clock_file: Path = options.workspace / "clock"
            clock: Clock = open_clock(clock_file) if clock_file.exists() else SystemClock()
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_serve(options, sock, clock))
    except PerennialError as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, Mistake) else 3
    return 0


@contextlib.contextmanager
def _alone(workspace: Path) -> Generator[None]:
    """Let one service write this workspace's segments; the kernel forgets the lock when the process ends."""
    serving = workspace / "serving"
    if not workspace.is_dir():
        raise ConfigError("there is no workspace here", where=str(workspace), remedy="perennial init")
    LocalFiles().mkdirs(serving)
    folder = os.open(serving, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            status = read_status(serving / "status.json")
            who = f"process {status.pid} at {status.address}" if status else "another process"
            raise Conflict(
                f"{who} serves this workspace already", where=str(workspace), remedy="perennial down"
            ) from None
        yield
    finally:
        os.close(folder)


def _listen(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(1024)
    except (OSError, OverflowError) as error:
        sock.close()
        is_busy = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        what = f"port {port} is in use" if is_busy else f"cannot listen on {host} port {port}: {error}"
        raise ConfigError(what, where=f"{host}:{port}", remedy="choose another one with --serving-port") from error
    sock.setblocking(False)
    return sock


async def _serve(options: argparse.Namespace, sock: socket.socket, clock: Clock) -> None:
    host, port = sock.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    service = PredictionService(
        serving=options.workspace / "serving", objects=options.workspace / "objects", clock=clock, files=LocalFiles(),
        address=address, max_rows=options.max_rows, timeout_s=options.timeout_s,
        rules=Rules(network=options.worker_network, memory_bytes=options.worker_memory_bytes,
                    types=types_in(options.trusted_types)),
    )  # fmt: skip
    config = uvicorn.Config(
        make_app(service, max_body_bytes=options.max_body_bytes), http="httptools", ws="none", lifespan="off",
        log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=GRACE_S,
    )  # fmt: skip
    server = _Server(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.end)
    if options.die_with_parent:
        threading.Thread(target=_await_parent, args=(loop, server), daemon=True).start()
    following = loop.create_task(service.run())
    following.add_done_callback(lambda _: server.end())
    log.info("listening on %s", address)
    await server.serve(sockets=[sock])
    following.cancel()
    await service.drain()
    with contextlib.suppress(asyncio.CancelledError):
        await following
    log.info("ended")


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which would end the process by the signal instead of with exit code 0."""

    def end(self) -> None:
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:  # type: ignore[override]
        yield


def _await_parent(loop: asyncio.AbstractEventLoop, server: _Server) -> None:
    while os.read(0, 4096):
        pass
    with contextlib.suppress(RuntimeError):  # the loop is closed: it ends already
        loop.call_soon_threadsafe(server.end)


if __name__ == "__main__":
    sys.exit(main())
