"""`python -m perennial.serve`: the prediction service as a tree of processes of its own.

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

import uvloop

from perennial.config import DEVICES, Settings, read_settings
from perennial.errors import ConfigError, Conflict, Mistake, PerennialError
from perennial.models.accelerator import DEVICE
from perennial.models.policy import types_in
from perennial.models.sandbox import Rules
from perennial.serve.accepting import BOARD, board_bytes
from perennial.serve.orders import Config
from perennial.serve.parent import Parent
from perennial.serve.spec import read_status
from perennial.serve.tls import tls_of
from perennial.serve.tracing import check_installed
from perennial.store.files import LocalFiles
from perennial.store.scratch import scratch_folder, scratch_of_user

__all__ = ["main"]

_REREAD = {  # options that SIGHUP takes anew, and the settings that they are
    "max_body_bytes": "max_predict_bytes", "max_rows": "max_predict_rows", "timeout_s": "predict_timeout_s",
    "access_log": "access_log", "access_log_share": "access_log_share", "otlp_endpoint": "otlp_endpoint",
    "trace_share": "trace_share", "tls_certificate": "tls_certificate", "tls_key": "tls_key",
}  # fmt: skip

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
    parser.add_argument("--grpc-port", type=int, help="for gRPC; 0 takes a free one, without it there is none")
    parser.add_argument("--fronts", type=int, default=cores(), help="processes that answer clients")
    parser.add_argument("--worker-network", action="store_true", help="let models reach the network")
    parser.add_argument("--worker-memory-bytes", type=int, default=default.worker_memory_bytes, help="0: no limit")
    parser.add_argument(
        "--device", choices=DEVICES, default=os.environ.get(DEVICE, default.device), help="where models answer"
    )
    parser.add_argument("--no-device-fallback", action="store_true", help="a lost device is not replaced by the CPU")
    parser.add_argument("--trusted-types", default=default.trusted_types, help="types that model files may name")
    parser.add_argument("--access-log", action="store_true", help="write serving/access/*.jsonl")
    parser.add_argument("--access-log-share", type=_share, default=default.access_log_share, help="of the answers")
    parser.add_argument("--otlp-endpoint", default=default.otlp_endpoint, help="where traces go; empty is nowhere")
    parser.add_argument("--trace-share", type=_share, default=default.trace_share, help="of the requests without one")
    parser.add_argument("--tls-certificate", default=default.tls_certificate, help="a chain in PEM form; empty: no TLS")
    parser.add_argument("--tls-key", default=default.tls_key, help="its key in PEM form, without a password")
    parser.add_argument("--project", type=Path, help="the folder whose settings SIGHUP reads again")
    parser.add_argument("--die-with-parent", action="store_true", help="end when standard input ends")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    os.environ[DEVICE] = options.device  # workers inherit it
    try:
        _check(options)
        with _alone(options.workspace):
            sock = _listen(options.host, options.port)
            grpc = None if options.grpc_port is None else _reserve(options.host, options.grpc_port)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_serve(options, sock, grpc))
    except PerennialError as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, Mistake) else 3
    return 0


def _check(options: argparse.Namespace) -> None:
    """Refuse what no front could start with."""
    if options.otlp_endpoint:
        check_installed()
    tls_of(str(options.tls_certificate), str(options.tls_key))


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


def _listen(host: str, port: int, option: str = "--serving-port") -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(1024)
    except (OSError, OverflowError) as error:
        sock.close()
        is_busy = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        what = f"port {port} is in use" if is_busy else f"cannot listen on {host} port {port}: {error}"
        raise ConfigError(what, where=f"{host}:{port}", remedy=f"choose another one with {option}") from error
    sock.setblocking(False)
    return sock


def _reserve(host: str, port: int) -> socket.socket:
    """A port on which every front will listen by itself (gRPC takes no socket that others made); held, so that it
    stays this service's."""
    with _listen(host, port, "--grpc-port") as free:  # another service's port may not be shared
        port = free.getsockname()[1]
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((host, port))
    return sock


async def _serve(options: argparse.Namespace, sock: socket.socket, grpc: socket.socket | None) -> None:
    host, port = sock.getsockname()[:2]
    scheme = "https" if options.tls_certificate else "http"
    address = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    listening = ""
    if grpc is not None:
        listening = f"[{host}]:{grpc.getsockname()[1]}" if ":" in host else f"{host}:{grpc.getsockname()[1]}"
    files = LocalFiles()
    with scratch_folder(scratch_of_user()) as private:
        files.write_atomic(private / BOARD, board_bytes(options.fronts), mode=0o600)
        parent = Parent(
            listener=sock, serving=options.workspace / "serving", objects=options.workspace / "objects", files=files,
            address=address,
            rules=Rules(network=options.worker_network, memory_bytes=options.worker_memory_bytes,
                        types=types_in(options.trusted_types)),
            private=private, grpc=listening, falls_back=not options.no_device_fallback,
        )  # fmt: skip
        parent.start(_configs(options, private, listening))
        loop = asyncio.get_running_loop()
        ending = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ending.set)
        loop.add_signal_handler(signal.SIGHUP, _roll, parent, options, private, listening)
        if options.die_with_parent:
            threading.Thread(target=_await_parent, args=(loop, ending), daemon=True).start()
        following = loop.create_task(parent.run())
        following.add_done_callback(lambda _: ending.set())
        log.info("listening on %s", address)
        await ending.wait()
        await parent.drain()
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
    log.info("ended")


def _roll(parent: Parent, options: argparse.Namespace, private: Path, grpc: str) -> None:
    """Replace the fronts by new ones, with the settings and certificates that are there now."""
    try:
        if options.project is not None:
            _reread(options, read_settings(options.project, os.environ))
        else:
            _check(options)
    except PerennialError as error:
        log.error("the fronts are not restarted: %s", error)
        return
    parent.roll(_configs(options, private, grpc))


def _reread(options: argparse.Namespace, settings: Settings) -> None:
    new = argparse.Namespace(**vars(options))
    for option, setting in _REREAD.items():
        setattr(new, option, getattr(settings, setting))
    _check(new)
    if bool(new.tls_certificate) != bool(options.tls_certificate):
        raise ConfigError(
            "whether there is TLS cannot change while the service runs",
            where=settings.origin.get("tls_certificate", ""),
            remedy="restart it: its address says https or http",
        )  # fmt: skip
    vars(options).update(vars(new))


def _configs(options: argparse.Namespace, private: Path, grpc: str) -> list[Config]:
    """How the fronts are started, those for large requests last."""
    large = max(1, options.fronts // 2)
    return [
        Config(
            front=number, fronts=options.fronts, serving=str(options.workspace / "serving"),
            clock=str(options.workspace / "clock"), max_body_bytes=options.max_body_bytes,
            max_rows=options.max_rows, timeout_s=options.timeout_s, private=str(private),
            grpc=grpc if number < options.fronts else "", large=large,
            tls_certificate=str(options.tls_certificate or ""), tls_key=str(options.tls_key or ""),
            access_share=options.access_log_share if options.access_log else None,
            otlp_endpoint=options.otlp_endpoint, trace_share=options.trace_share,
        )
        for number in range(options.fronts + large)
    ]  # fmt: skip


def _await_parent(loop: asyncio.AbstractEventLoop, ending: asyncio.Event) -> None:
    while os.read(0, 4096):
        pass
    with contextlib.suppress(RuntimeError):  # the loop is closed: it ends already
        loop.call_soon_threadsafe(ending.set)


def _share(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return value


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    sys.exit(main())
