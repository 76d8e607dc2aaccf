"""A prediction service without an owner: packages made here, the spec written as the owner does, segments counted."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from processes import environment

__all__ = ["Running", "Workspace", "memory_of", "until"]

READY_S = 60.0
END_S = 60.0


def until(claim: Callable[[], Any], says: str, seconds: float = READY_S, pause_s: float = 0.005) -> Any:
    """What `claim` returns, once it is true."""
    ends = time.monotonic() + seconds
    while not (value := claim()):
        if time.monotonic() > ends:
            raise SystemExit(f"{says} did not become true in {seconds:g} s")
        time.sleep(pause_s)
    return value


def memory_of(pid: int) -> dict[str, Any]:
    """Proportional memory of a process and all below it, in MB, with open descriptors and the number of processes."""
    total, descriptors, count = 0.0, 0, 0
    for process in _tree(pid):
        try:
            total += process.memory_full_info().pss / 2**20
            descriptors += process.num_fds()
            count += 1
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return {"pss_mb": total, "descriptors": descriptors, "processes": count}


def _tree(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


class Running:
    """The service's process. A context manager that ends it, and all that it started, by their ids."""

    def __init__(self, folder: Path, *options: str, port: int = 0) -> None:
        self.folder = folder
        self._log = (folder / "service.log").open("ab")
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "perennial.serve", "--workspace", str(folder), "--port", str(port), *options],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        told = until(self._told, "a status of the service")
        self.port = int(told.address.rpartition(":")[2])
        self.host = "127.0.0.1"

    def _told(self) -> Any:
        from perennial.serve.spec import read_status

        if self.process.poll() is not None:
            raise SystemExit(f"the service ended with {self.process.returncode}: {self.log()[-1500:]}")
        status = read_status(self.folder / "serving" / "status.json")
        return status if status is not None and status.pid == self.process.pid else None

    def status(self) -> Any:
        return until(self._told, "a status of the service")

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None,
        timeout_s: float = 30.0,
    ) -> tuple[int, bytes, dict[str, str]]:  # fmt: skip
        """Status, body and headers of one request on a connection of its own."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout_s)
        try:
            connection.request(method, path, body, dict(headers or {}))
            got = connection.getresponse()
            return got.status, got.read(), {name.lower(): value for name, value in got.getheaders()}
        finally:
            connection.close()

    def predict(self, endpoint: str, *rows: Mapping[str, Any], **headers: str) -> tuple[int, Any]:
        body = json.dumps({"records": list(rows)}).encode()
        status, told, _ = self.send("POST", f"/predict/{endpoint}", body, headers)
        return status, json.loads(told)

    def answers(self, endpoint: str, row: Mapping[str, Any], version: int | None = None) -> bool:
        """Whether this row is answered, by this version."""
        try:
            status, told = self.predict(endpoint, row)
        except (OSError, http.client.HTTPException):
            return False
        return status == 200 and version in (None, told["predictions"][0].get("version", version))

    def tree(self) -> list[psutil.Process]:
        return _tree(self.process.pid)

    def of(self, module: str) -> list[psutil.Process]:
        """Processes of the service that run this module, such as `perennial.serve.worker`."""
        found = []
        for process in self.tree()[1:]:
            try:
                if module in " ".join(process.cmdline()):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
        return found

    def memory(self) -> dict[str, Any]:
        return memory_of(self.process.pid)

    def log(self) -> str:
        return (self.folder / "service.log").read_text(errors="replace")

    def stop(self) -> tuple[int, float]:
        """Ask it to end: its exit code, and how long that took."""
        began = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(END_S), time.perf_counter() - began

    def kill(self) -> None:
        below = self.tree()[1:] if self.process.poll() is None else []
        self.process.kill()
        self.process.wait()
        _, alive = psutil.wait_procs(below, timeout=5.0)
        for process in alive:
            process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
        self._log.close()


class Workspace:
    """A folder with packages and a spec."""

    def __init__(self, folder: Path) -> None:
        from perennial.store.files import LocalFiles
        from perennial.store.objects import ObjectStore

        self.folder = folder
        self._files = LocalFiles()
        self._files.mkdirs(folder / "serving")
        self.objects = ObjectStore(folder / "objects")
        self.revision = 0

    def package(self, model: Any, preparation: Any, table: Any, code: Any = None, **provenance: Any) -> str:
        """The digest of a new package of this fitted model."""
        from perennial.models.build import build

        return build(
            model=model,
            preparation=preparation,
            train=table,
            held_out=table.slice(0, 1500),
            objects=self.objects,
            provenance={"origin": "executor", **provenance},
            environment="",
            code=code,
        )

    def form_of(self, package: str) -> str:
        """The compiled form in a package, "native" where there is none."""
        from perennial.models.package import read_manifest

        manifest = read_manifest(self.objects.get(package))
        digest, _ = manifest.files["compiled.json"]
        return json.loads(self.objects.get(digest)).get("form") or "native"

    def desire(self, *endpoints: Any) -> int:
        """Write a spec with the next revision."""
        import msgspec

        from perennial.serve.spec import Spec

        self.revision += 1
        spec = Spec(revision=self.revision, endpoints=list(endpoints))
        self._files.write_atomic(self.folder / "serving" / "spec.json", msgspec.json.encode(spec))
        return self.revision

    def serve(self, *options: str, port: int = 0) -> Running:
        return Running(self.folder, *options, port=port)

    def applied(self, running: Running, revision: int | None = None, seconds: float = READY_S) -> None:
        """Wait until this revision (the latest) runs in full."""
        wanted = self.revision if revision is None else revision

        def told() -> bool:
            status = running.status()
            return status.ready and status.revision >= wanted

        until(told, f"revision {wanted} in status.json", seconds)

    def captured(self) -> int:
        """Rows that were answered with 200, counted in the frames of the segments and not taken from any counter."""
        from perennial.serve.frames import decode
        from perennial.serve.segments import next_frames, segments_in

        rows = 0
        for path in segments_in(self.folder / "serving" / "segments"):
            for framed in next_frames(path):
                if framed.payload:
                    frame = decode(framed.payload)
                    if getattr(frame, "status", 0) != 200:
                        continue
                    rows += len(getattr(frame, "inputs", None) or getattr(frame, "rows", ()) or ())
        return rows

    def segments_bytes(self) -> int:
        folder = self.folder / "serving" / "segments"
        return sum(os.path.getsize(path) for path in folder.rglob("*") if path.is_file())
