"""A workspace folder, packages of real models, and a real service process on loopback."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import psutil
import pyarrow as pa
import pytest
from sklearn.linear_model import LinearRegression

from perennial.models.build import Made, SourceCode, build, predictor_of
from perennial.models.guards.calibrating import Calibration
from perennial.models.guards.fitting import fit_guards
from perennial.models.guards.spec import FailSafe
from perennial.models.preparation import Preparation, learn
from perennial.serve.frames import Answered, Layout, Opened, Shadowed, decode
from perennial.serve.segments import next_frames, segments_in
from perennial.serve.spec import Arm, EndpointSpec, ServingStatus, Spec, read_status
from perennial.store.files import LocalFiles
from perennial.store.objects import ObjectStore
from perennial.types import Digest

DEADLINE_S = 120.0  # of what takes seconds on a machine that has time for it
NASTY = Path(__file__).with_name("nasty.py")

_spec = importlib.util.spec_from_file_location("nasty", NASTY)
assert _spec is not None
assert _spec.loader is not None
nasty = sys.modules["nasty"] = importlib.util.module_from_spec(_spec)  # by the name under which models are pickled
_spec.loader.exec_module(nasty)


def until(claim: Callable[[], Any], says: str = "the condition") -> Any:
    """What `claim` returns, once it is true. Time in which this process stood still itself does not count."""
    waited_s, seen = 0.0, time.monotonic()
    while not (value := claim()):
        if waited_s > DEADLINE_S:
            raise AssertionError(f"{says} did not become true in {DEADLINE_S:g} s")
        time.sleep(0.01)
        now = time.monotonic()
        waited_s, seen = waited_s + min(now - seen, 1.0), now
    return value


class Reply:
    def __init__(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.status = status
        self.body = body
        self.headers = headers

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Service:
    """One service process and what clients do with it."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self._log = (folder / "service.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "perennial.serve", "--workspace", str(folder), "--port", "0", *options],
            stdin=subprocess.PIPE, stderr=self._log, env=os.environ | {"PYTHONFAULTHANDLER": "1"},
        )  # fmt: skip
        try:
            told = until(self._told, "a status of the new process")
        except BaseException:
            self._explain()
            raise
        self.port = int(told.address.rpartition(":")[2])

    def _told(self) -> ServingStatus | None:
        if self.process.poll() is not None:
            raise AssertionError(f"the service ended with code {self.process.returncode} before it said anything")
        status = read_status(self.folder / "serving" / "status.json")
        return status if status and status.pid == self.process.pid else None

    def _explain(self) -> None:
        """Print where it stands that did not start, and end it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGABRT)  # writes the stacks of its threads
            self.process.wait(DEADLINE_S)
        self.close()
        print(self.log())

    def status(self) -> dict[str, Any]:
        return self.get("/status").json

    def get(self, path: str) -> Reply:
        return self.send("GET", path)

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        try:
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            response = connection.getresponse()
            return Reply(response.status, response.read(), {k.lower(): v for k, v in response.getheaders()})
        finally:
            connection.close()

    def predict(self, *rows: dict[str, Any], endpoint: str = "wage", key: str = "") -> Reply:
        body = json.dumps({"records": list(rows)}).encode()
        return self.send("POST", f"/predict/{endpoint}", body, **({"Idempotency_Key": key} if key else {}))

    def workers(self) -> list[int]:
        """Process ids of the workers, which hold models that need code of their own."""
        return self._children("perennial.serve.worker")

    def fronts(self) -> list[int]:
        """Process ids of the fronts, which answer clients."""
        return self._children("perennial.serve.front")

    def _children(self, module: str) -> list[int]:
        found = []
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children():
                with suppress(psutil.NoSuchProcess):
                    if module in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                        found.append(child.pid)
        return sorted(found)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def log(self) -> str:
        return (self.folder / "service.log").read_text()

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._log.close()


class Load:
    """Clients that ask again and again, each row with a number of its own, until `end`."""

    def __init__(self, service: Service, clients: int, endpoint: str = "wage") -> None:
        self.replies: list[tuple[float, Reply]] = []
        self.failures: list[str] = []
        self._service = service
        self._endpoint = endpoint
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(client,)) for client in range(clients)]
        for thread in self._threads:
            thread.start()

    def _ask(self, client: int) -> None:
        count = 0
        while not self._ending.is_set():
            count += 1
            x = client * 1e6 + count
            try:
                reply = self._service.predict({"person": f"p{client}-{count}", "x": x}, endpoint=self._endpoint)
            except (OSError, http.client.HTTPException) as error:  # the service was killed, maybe in its answer
                self.failures.append(str(error))
                return
            self.replies.append((x, reply))

    def end(self) -> list[tuple[float, Reply]]:
        self._ending.set()
        for thread in self._threads:
            thread.join()
        return self.replies


class Written:
    """A request as it lies in the segments, in mappings."""

    def __init__(self, frame: Answered, layout: Layout) -> None:
        rows = len(frame.values)
        self.id, self.key, self.status, self.at = frame.id, frame.key, frame.status, frame.at
        self.flags = frame.flags
        self.endpoint = layout.endpoint
        self.shadow_version = frame.shadow_version
        self.versions = [frame.versions] * rows if isinstance(frame.versions, int) else frame.versions
        self.arms = [frame.arms] * rows if isinstance(frame.arms, str) else frame.arms
        self.inputs = [dict(zip(layout.names, row, strict=True)) for row in frame.rows]
        self.entities = [row[layout.key] for row in frame.rows] if layout.key is not None else []
        self.outputs: list[dict[str, Any]] = []
        for at, value in enumerate(frame.values):
            output: dict[str, Any] = {"prediction": value}
            if frame.probabilities is not None and frame.probabilities[at] is not None:
                output["probabilities"] = dict(zip(layout.classes or [], frame.probabilities[at], strict=True))
            if frame.errors is not None and frame.errors[at] is not None:
                output["error"] = frame.errors[at]
            self.outputs.append(output)


class Place:
    """A workspace folder with packages and a spec; starts services and stops what is left of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.serving = folder / "serving"
        self.segments = self.serving / "segments"
        LocalFiles().mkdirs(self.serving)
        self.objects = ObjectStore(folder / "objects")
        self.preparation = _preparation()
        self.revision = 0
        self.services: list[Service] = []

    def arm(self, version: int, *, trusted: bool = True, **options: Any) -> Arm:
        """A version whose model answers `x + version`, or misbehaves on request (`nasty`)."""
        table = _table(float(version))
        code = SourceCode(module="nasty", features=None, files={"nasty.py": NASTY.read_bytes()})
        package = build(
            model=nasty.Constant(float(version), **options), preparation=self.preparation, train=table,
            held_out=table.slice(0, 0), objects=self.objects,
            provenance={"origin": "executor", "version": version}, environment="", code=code,
        )  # fmt: skip
        return Arm(version=version, package=package, trusted=trusted)

    def probe(self, version: int, model: Any, files: dict[str, bytes]) -> Arm:
        """A version of a user's own class, in modules of its own."""
        table = _table(0.0)
        code = SourceCode(module=next(iter(files)).removesuffix(".py"), features=None, files=files)
        package = build(
            model=model, preparation=self.preparation, train=table, held_out=table.slice(0, 0), objects=self.objects,
            provenance={"origin": "executor", "version": version}, environment="", code=code,
        )  # fmt: skip
        return Arm(version=version, package=package, trusted=True)

    def linear(self, version: int) -> Arm:
        """A version that is a real scikit-learn model of y = x + version."""
        table, made = _table(float(version)), _linear(version)
        package = build(
            model=made.model, preparation=self.preparation, train=table, held_out=table.slice(0, 0),
            objects=self.objects, provenance={"origin": "executor", "version": version}, environment="", made=made,
        )  # fmt: skip
        return Arm(version=version, package=package, trusted=True)

    def real(
        self,
        version: int,
        model: Any,
        preparation: Preparation,
        rows: pa.Table,
        *,
        failsafe: FailSafe | None = None,
        calibration: Calibration | None = None,
        compiles: bool = True,
    ) -> Arm:
        """A version of a fitted model as a loop makes it: compiled where that is proven, with what guards learn."""
        made = predictor_of(model=model, preparation=preparation, sample=preparation.raw(rows), compiles=compiles)
        extra = None
        if failsafe is not None:
            extra = fit_guards(
                failsafe, made.preparation.signature, rows=preparation.raw(rows), target=preparation.y(rows),
                calibration=calibration,
            ).to_files()  # fmt: skip
        package = build(
            model=model, preparation=preparation, train=rows, held_out=rows.slice(0, 40), objects=self.objects,
            provenance={"origin": "executor", "version": version}, environment="", made=made, extra=extra,
        )  # fmt: skip
        return Arm(version=version, package=package, trusted=True)

    def signature_of(self, arm: Arm) -> dict[str, Any]:
        """The signature in an arm's package, as the owner writes it into the spec."""
        manifest = json.loads(self.objects.get(Digest(arm.package)))
        return json.loads(self.objects.get(Digest(manifest["files"]["signature.json"][0])))

    def real_endpoint(self, name: str, live: Arm, *, failsafe: FailSafe | None = None, **options: Any) -> EndpointSpec:
        """An endpoint that answers with `real` versions."""
        signature = self.signature_of(live)
        told = failsafe.to_builtins() if failsafe is not None else {}
        return EndpointSpec(
            name=name, task=signature["task"], signature=signature, live=live, salt="salt", failsafe=told, **options
        )

    def endpoint(self, name: str = "wage", **options: Any) -> EndpointSpec:
        signature = msgspec.to_builtins(self.preparation.signature)
        return EndpointSpec(name=name, task="regression", signature=signature, salt="salt", **options)

    def desire(self, *endpoints: EndpointSpec) -> int:
        """Write a spec with the next revision."""
        self.revision += 1
        LocalFiles().write_atomic(
            self.serving / "spec.json", msgspec.json.encode(Spec(revision=self.revision, endpoints=list(endpoints)))
        )
        return self.revision

    def serve(self, *options: str) -> Service:
        self.services.append(Service(self.folder, *options))
        return self.services[-1]

    def answering(self, *endpoints: EndpointSpec, options: Sequence[str] = ()) -> Service:
        """A service that answers for these endpoints."""
        self.desire(*endpoints)
        service = self.serve(*options)
        self.applied()
        return service

    @staticmethod
    def load(service: Service, clients: int = 4) -> Load:
        return Load(service, clients)

    @staticmethod
    def until(claim: Callable[[], Any], says: str = "the condition") -> Any:
        return until(claim, says)

    def log(self) -> list[str]:
        path = self.folder / "service.log"
        return path.read_text().splitlines() if path.exists() else []

    def status(self) -> ServingStatus | None:
        return read_status(self.serving / "status.json")

    def frames(self) -> list[tuple[Answered | Shadowed, Layout]]:
        """What was answered, by callers and shadows, each with its layout; segment by segment, in order."""
        found: list[tuple[Answered | Shadowed, Layout]] = []
        for path in segments_in(self.segments):
            layouts: dict[int, Layout] = {}
            for framed in next_frames(path):
                frame = decode(framed.payload) if framed.payload else None
                if isinstance(frame, Layout):
                    layouts[frame.number] = frame
                elif isinstance(frame, (Answered, Shadowed)):
                    found.append((frame, layouts[frame.layout]))
        return found

    def predicted(self) -> list[Written]:
        """The requests in the segments, in the order of their ids."""
        made = [Written(frame, layout) for frame, layout in self.frames() if isinstance(frame, Answered)]
        return sorted(made, key=lambda written: written.id)

    def writers(self) -> dict[int, int]:
        """How many requests each process of the service wrote down."""
        counts: dict[int, int] = {}
        for path in segments_in(self.segments):
            frames = [decode(framed.payload) for framed in next_frames(path) if framed.payload]
            (worker,) = [frame.worker for frame in frames if isinstance(frame, Opened)]
            counts[worker] = counts.get(worker, 0) + sum(isinstance(frame, Answered) for frame in frames)
        return counts

    def shadowed(self) -> list[Shadowed]:
        """The shadow answers in the segments."""
        return [frame for frame, _ in self.frames() if isinstance(frame, Shadowed)]

    def applied(self, revision: int | None = None) -> ServingStatus:
        """The status of the service once this revision (the latest) is applied in full."""
        wanted = self.revision if revision is None else revision
        pid = self.services[-1].process.pid

        def told() -> ServingStatus | None:
            status = self.status()
            return status if status and status.pid == pid and status.ready and status.revision >= wanted else None

        return until(told, f"revision {wanted} in status.json")


def _table(offset: float) -> pa.Table:
    x = np.arange(1.0, 41.0)
    return pa.table({"person": [f"p{i}" for i in range(40)], "x": x, "wage": x + offset})


@cache
def _preparation() -> Preparation:
    return learn(_table(0.0), target="wage", key="person")


@cache
def _linear(version: int) -> Made:
    """A model of y = x + version, compiled and proven once for all tests of this process."""
    table, preparation = _table(float(version)), _preparation()
    rows = preparation.raw(table)
    model = LinearRegression().fit(preparation.x(rows), preparation.y(table))
    return predictor_of(model=model, preparation=preparation, sample=rows)


@pytest.fixture(scope="session")
def digits() -> pl.DataFrame:
    """1,797 handwritten digits of 8 x 8 pixels from 0 to 16, as 64 columns, with the digit as text."""
    from sklearn.datasets import load_digits

    told = load_digits()
    pixels = {f"p{at:02}": told.data[:, at] for at in range(64)}
    return pl.DataFrame(pixels).with_columns(digit=pl.Series([str(label) for label in told.target]))


@pytest.fixture(scope="session")
def wages(shared_data: Path) -> pl.DataFrame:
    """4,000 men in 1988, in random order, of whom none lives in the south."""
    told = pl.read_csv(shared_data / "cps_wages" / "cps1988.csv.gz").drop("rownames")
    return told.sample(fraction=1.0, shuffle=True, seed=0).filter(pl.col("region") != "south").head(4000)


@contextmanager
def _placed(folder: Path) -> Generator[Place]:
    """A place whose services run this package; they end with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path.endswith("src")))
        place = Place(folder)
        try:
            yield place
        finally:
            for service in place.services:
                service.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A place of this test alone: for what counts to the last one, kills, ends or changes what is served."""
    with _placed(tmp_path / ".perennial") as place:
        yield place
    _show(place.log())


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A place of all tests of a file, whose one service they ask in turn and leave as it is."""
    with _placed(tmp_path_factory.mktemp("shared") / ".perennial") as place:
        yield place
    _show(place.log())


@pytest.fixture(autouse=True)
def _log_of_the_shared(request: pytest.FixtureRequest) -> Iterator[None]:
    if "shared" not in request.fixturenames:
        yield
        return
    place = request.getfixturevalue("shared")
    before = len(place.log())
    yield
    _show(place.log()[before:])


def _show(log: list[str]) -> None:
    print(*(f"log of the services: {line}" for line in log), sep="\n")  # shown when the test fails
