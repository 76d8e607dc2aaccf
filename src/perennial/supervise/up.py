"""`perennial up`: the processes of one workspace, from the first to the last.

The listening socket of the owner is opened here and handed down, so that it outlives the owner: while a killed owner
comes back, requests wait instead of being refused.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path

import msgspec

from perennial.config import Settings
from perennial.errors import ConfigError, Unavailable
from perennial.serve.spec import read_status
from perennial.store.owner import find_owner
from perennial.store.workspace_folder import WorkspaceFolder
from perennial.supervise.addresses import free_port, listen
from perennial.supervise.tree import Child, Tree
from perennial.supervise.upfile import Up, UpLock

__all__ = ["run"]

AFTERMATH_S = 15.0  # the children of a killed predecessor notice its end and let go of ports and workspace


def run(folder: WorkspaceFolder, settings: Settings, *, announce: Callable[[Up], None]) -> None:
    """Run the process tree until SIGINT or SIGTERM; `announce` is called once, when everything is ready, in a thread.

    Raises:
        Conflict: Another one runs on this workspace, or somebody else owns it.
        ConfigError: A port or the address cannot be used.
        Failure: A process did not get ready.
    """
    host = settings.host
    if settings.port == settings.serving_port != 0:
        raise ConfigError(
            f"port {settings.port} cannot be used twice, for pages and for predictions",
            where=f"{settings.origin.get('port', 'default')}, {settings.origin.get('serving_port', 'default')}",
            remedy="choose another one with --port or --serving-port, 0 takes a free one",
        )
    with UpLock(folder.root) as lock:
        left = lock.acquire()
        if left is not None:
            _await_end(left)
        listening, serving_port = _ports(folder, settings, patience_s=AFTERMATH_S if left else 0.0)
        with listening:
            address = f"http://{_shown(host)}:{listening.getsockname()[1]}"
            scheme = "https" if settings.tls_certificate else "http"
            serving = f"{scheme}://{_shown(host)}:{serving_port}"

            def changed(children: Mapping[str, int]) -> None:
                lock.tell(Up(pid=os.getpid(), address=address, serving=serving, children=dict(children)))

            changed({})
            children = _children(folder, settings, listening, serving_port)
            tree = Tree(children, folder.logs, changed)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, lambda *_: tree.stop())
            try:
                tree.start(patience_s=AFTERMATH_S if left else 0.0)
                if not tree.is_stopping:
                    up = Up(pid=os.getpid(), address=address, serving=serving)
                    # Beside the watch: it may ask the owner, which comes back only while somebody watches.
                    threading.Thread(target=announce, args=(up,), name="announce", daemon=True).start()
                tree.watch()
            finally:
                tree.end()


def _children(folder: WorkspaceFolder, settings: Settings, listening: socket.socket, serving_port: int) -> list[Child]:
    def python(module: str, *more: str) -> list[str]:
        return [sys.executable, "-m", module, "--workspace", str(folder.root), "--die-with-parent", *more]

    descriptor = listening.fileno()
    limits = {
        "--host": settings.host,
        "--port": serving_port,
        "--max-body-bytes": settings.max_predict_bytes,
        "--max-rows": settings.max_predict_rows,
        "--timeout-s": settings.predict_timeout_s,
        "--worker-memory-bytes": settings.worker_memory_bytes,
        "--trusted-types": settings.trusted_types,
        "--device": settings.device,
        "--access-log-share": settings.access_log_share,
        "--otlp-endpoint": settings.otlp_endpoint,
        "--trace-share": settings.trace_share,
        "--tls-certificate": settings.tls_certificate,
        "--tls-key": settings.tls_key,
        "--project": str(Path.cwd()),
    }
    if settings.grpc_port >= 0:
        beside = settings.serving_port + 1 if settings.serving_port else 0  # where that takes a free one, so does this
        limits["--grpc-port"] = settings.grpc_port or beside
    if settings.fronts > 0:
        limits["--fronts"] = settings.fronts
    flags = ["--worker-network"] if settings.worker_network else []
    flags += ["--access-log"] if settings.access_log else []
    flags += [] if settings.device_fallback else ["--no-device-fallback"]
    return [
        Child(
            name="owner",
            argv=python("perennial.api.server", "--descriptor", str(descriptor)),
            ready=lambda pid: _owner_is_ready(folder, pid),
            descriptors=(descriptor,),
        ),
        Child(
            name="serve",
            argv=python("perennial.serve", *(str(part) for limit in limits.items() for part in limit), *flags),
            ready=lambda pid: _service_is_ready(folder, pid),
        ),
        Child(name="jobs", argv=python("perennial.api.jobs"), ready=lambda pid: True),
        Child(name="reconcile", argv=python("perennial.api.reconciler"), ready=lambda pid: True),
    ]


def _ports(folder: WorkspaceFolder, settings: Settings, *, patience_s: float) -> tuple[socket.socket, int]:
    ends = time.monotonic() + patience_s
    while True:
        try:
            if patience_s and find_owner(folder.root) is not None and time.monotonic() < ends:
                raise Unavailable("the owner of the killed tree has not ended yet")
            number = free_port(settings.host, settings.serving_port, "--serving-port")
            return listen(settings.host, settings.port, "--port"), number
        except (ConfigError, Unavailable):
            if time.monotonic() > ends:
                raise
            time.sleep(0.05)


def _await_end(left: Up) -> None:
    """Wait for the children of a killed predecessor, which end by themselves; one that hangs is left to be refused."""
    import psutil

    ends = time.monotonic() + AFTERMATH_S
    for pid in left.children.values():
        try:
            child = psutil.Process(pid)
            ours = any(word.startswith("perennial.") for word in child.cmdline())
            while ours and child.is_running() and child.status() != psutil.STATUS_ZOMBIE and time.monotonic() < ends:
                time.sleep(0.02)
        except psutil.Error:
            continue  # it is gone, or another user's: not ours


def _owner_is_ready(folder: WorkspaceFolder, pid: int) -> bool:
    try:
        owner = find_owner(folder.root)
    except Unavailable:
        return False
    return owner is not None and owner.pid == pid and bool(owner.address) and _is_healthy(str(owner.address))


def _service_is_ready(folder: WorkspaceFolder, pid: int) -> bool:
    try:
        status = read_status(folder.serving_status)
    except msgspec.DecodeError:
        return False  # of a predecessor that was cut short; the service writes its own
    return status is not None and status.pid == pid and _is_healthy(status.address)


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_healthy(address: str) -> bool:
    scheme, _, place = address.partition("://")
    if scheme == "https":  # our own process on this machine, whatever name its certificate has
        connection = HTTPSConnection(place, timeout=2.0, context=_unverified())
    else:
        connection = HTTPConnection(place, timeout=2.0)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
