"""Answers predictions: routes rows to versions, writes every answer down, follows the spec.

A request is answered when its frame is in the segment, never before. The spec is followed by comparing what shall run
with what runs, again and again: an endpoint switches when all versions that it names are warm, and keeps what it has
when one of them does not load. Everything here runs in the event loop's thread; only flushing and the status file wait
for the disk in a thread of their own.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import msgspec

from perennial.clock import Clock
from perennial.errors import Conflict, Corrupt, Invalid, NotFound, StoreError, Unavailable
from perennial.models.sandbox import Rules
from perennial.models.signature import Requests, Signature
from perennial.serve.frames import Output, Predicted, Row, Shadowed, row_ids
from perennial.serve.journal import Debt, Journal
from perennial.serve.routing import goes_to_canary
from perennial.serve.spec import Arm, EndpointSpec, EndpointStatus, ServingStatus, Spec, read_spec
from perennial.serve.worker import Duty
from perennial.serve.workers import Crashed, Deadline, Worker
from perennial.store.files import Files

__all__ = ["PredictionService"]

POLL_S = 0.025  # how soon a new spec is seen
REPORT_S = 0.5  # how soon the counters of status.json follow, and how much a power cut may cost

log = logging.getLogger("perennial.serve")


@dataclass(frozen=True, eq=False)
class _Route:
    """How an endpoint answers now: what its spec says, with a warm worker for each arm."""

    spec: EndpointSpec
    requests: Requests
    workers: dict[str, Worker]

    def arm(self, name: str) -> tuple[str, int, Worker]:
        """The arm to answer for `name`: where that version keeps crashing, another one if there is one."""
        if name == "canary" and self.workers["canary"].is_broken:
            name = "live"
        if name == "live" and "fallback" in self.workers:
            live = self.workers.get("live")
            if live is None or live.is_broken:
                name = "fallback"
        return name, self.spec.arms()[name].version, self.workers[name]


class PredictionService:
    """All endpoints of one workspace."""

    def __init__(
        self, *, serving: Path, objects: Path, clock: Clock, files: Files, address: str, max_rows: int,
        timeout_s: float, rules: Rules | None = None,
    ) -> None:  # fmt: skip
        files.mkdirs(serving)
        self._serving = serving
        self._objects = objects
        self._clock = clock
        self._files = files
        self._address = address
        self._max_rows = max_rows
        self._timeout_s = timeout_s
        self._rules = rules or Rules()
        self._journal = Journal(serving / "segments", files)
        self._disk = ThreadPoolExecutor(1, "disk")
        self._spec = Spec()
        self._spec_problem: str | None = None
        self._write_problem: str | None = None
        self._sync_problem: str | None = None
        self._has_spec = False
        self._applied = 0
        self._routes: dict[str, _Route] = {}
        self._problems: dict[str, str] = {}
        self._workers: dict[tuple[str, bool], Worker] = {}  # by package, and whether its code may run
        self._running: dict[tuple[str, str], tuple[str, asyncio.Task[Predicted]]] = {}
        self._debts: dict[tuple[str, int], deque[Debt]] = {}
        self._payers: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._reported: ServingStatus | None = None
        self._is_draining = False
        self.received = self.stored = self.dropped = self.pending = 0
        for debt in self._journal.debts:
            self._debts.setdefault((debt.endpoint, debt.version), deque()).append(debt)

    # answering

    async def predict(self, endpoint: str, body: bytes, key: str) -> Predicted:
        """The answer to a request, written down; the earlier one when `key` (the client's, may be "") was used before.

        Raises:
            NotFound, Invalid, Conflict: The request is wrong; nothing was computed.
            Unavailable: Not now: not warm, too much waiting, or the disk does not take the answer.
        """
        started = time.perf_counter_ns()
        route = self._route(endpoint)
        if not key:
            return await self._compute(route, _rows(route, body), os.urandom(8).hex(), "", started)
        request = blake2b(body, digest_size=16).hexdigest()
        if (earlier := self._journal.earlier(endpoint, key, request)) is not None:
            return earlier
        slot = (endpoint, key)
        if slot not in self._running:
            computed = self._compute(route, _rows(route, body), key, request, started)
            self._running[slot] = (request, asyncio.create_task(computed))
            self._running[slot][1].add_done_callback(lambda _: self._running.pop(slot))
        asked, task = self._running[slot]
        if asked != request:
            raise Conflict(f"the key {key!r} was used for another request", remedy="use a new Idempotency-Key")
        return await asyncio.shield(task)

    def _route(self, endpoint: str) -> _Route:
        route = self._routes.get(endpoint)
        if route is not None:
            return route
        if self._spec_problem is not None and not self._has_spec:
            raise Unavailable(self._spec_problem)
        if any(spec.name == endpoint for spec in self._spec.endpoints):
            problem = self._problems.get(endpoint, "its model is being loaded")
            raise Unavailable(f"endpoint {endpoint!r} is not ready: {problem}", remedy="try again in a moment")
        known = ", ".join(sorted(self._routes)) or "none yet"
        raise NotFound(f"there is no endpoint {endpoint!r}", remedy=f"endpoints here: {known}")

    async def _compute(self, route: _Route, rows: list[Row], key: str, request: str, started: int) -> Predicted:
        count = len(rows)
        at = self._clock.now()
        first = self._journal.issue(count, at)
        self.received += count
        self.pending += count
        status = 200
        try:
            entities, arms = _arms(route.spec, rows, first)
            try:
                answered, versions, outputs = await self._answer(route, rows, arms)
            except Unavailable as error:
                status = 504 if isinstance(error, Deadline) else 503
                answered, versions = arms, [route.arm(arm)[1] for arm in arms]
                outputs = [{"prediction": None, "error": error.what}] * count
            if status == 200 and all("error" in output for output in outputs):
                status = 500
            shadow = route.spec.shadow if "shadow" in route.workers and status in (200, 500) else None
            frame = Predicted(
                id=first, key=key, request=request, endpoint=route.spec.name, at=at, status=status, versions=versions,
                arms=answered, entities=entities, inputs=rows, outputs=outputs,
                latency_us=(time.perf_counter_ns() - started) // 1000,
                shadow_version=shadow.version if shadow else None,
            )  # fmt: skip
            place = self._journal.write(frame)
        except StoreError as error:
            self.dropped += count
            self._write_problem = error.what
            raise Unavailable(error.what, remedy=error.remedy) from error
        except BaseException:
            self.dropped += count
            raise
        finally:
            self.pending -= count
        self._write_problem = None
        self.stored += count
        if shadow is not None:
            self._debts.setdefault((frame.endpoint, shadow.version), deque()).append(
                Debt(place, first, frame.endpoint, shadow.version)
            )
            self._pay(frame.endpoint, shadow.version)
        return frame

    async def _answer(
        self, route: _Route, rows: list[Row], arms: list[str]
    ) -> tuple[list[str], list[int], list[Output]]:
        """The arms that really answered, their versions and outputs, row by row."""
        chosen = {name: route.arm(name) for name in dict.fromkeys(arms)}
        if len(chosen) == 1:
            ((name, version, worker),) = chosen.values()
            return [name] * len(rows), [version] * len(rows), await worker.answer(rows, self._timeout_s)
        futures = {
            asked: worker.answer([row for row, arm in zip(rows, arms, strict=True) if arm == asked], self._timeout_s)
            for asked, (_, _, worker) in chosen.items()
        }
        # All are awaited before any of them may raise, so that none is left behind unheard.
        await asyncio.gather(*futures.values(), return_exceptions=True)
        outputs = {asked: iter(future.result()) for asked, future in futures.items()}
        return [chosen[arm][0] for arm in arms], [chosen[arm][1] for arm in arms], [next(outputs[arm]) for arm in arms]

    # shadow answers, which are owed and paid later

    def _pay(self, endpoint: str, version: int) -> None:
        """Go on paying what is owed by this version, unless that is under way."""
        slot = (endpoint, version)
        if slot not in self._payers and self._debts.get(slot) and not self._is_draining:
            self._payers[slot] = asyncio.create_task(self._pay_all(slot))

    def _payer(self, endpoint: str, version: int) -> tuple[Worker | None, bool]:
        """The worker of this version, if there is one, and whether the version has left the endpoint for good."""
        route = self._routes.get(endpoint)
        if route is None:
            return None, self._has_spec and all(spec.name != endpoint for spec in self._spec.endpoints)
        for name, arm in route.spec.arms().items():
            if arm.version == version:
                return route.workers[name], False
        return None, True

    async def _pay_all(self, slot: tuple[str, int]) -> None:
        debts = self._debts[slot]
        try:
            while debts and await self._pay_one(slot, debts[0]):
                debts.popleft()
        except StoreError as error:
            self._write_problem = error.what
            log.error("%s", error)
        finally:
            # Here and not in a callback, so that no debt can come in between and find a payer that has ended.
            del self._payers[slot]

    async def _pay_one(self, slot: tuple[str, int], debt: Debt) -> bool:
        """Answer for the shadow version and write it down; False while its worker is not ready."""
        worker, is_leaving = self._payer(*slot)
        try:
            asked = self._journal.read(debt.place)
        except Corrupt as damage:  # nothing can be answered any more, and `verify` names it
            log.error("%s", damage)
            return True
        error = "the version left the endpoint"
        started = time.perf_counter_ns()
        outputs: list[Output] | None = None
        if not is_leaving:
            if worker is None or not worker.is_ready:
                return False
            try:
                # Alone, so that the numbers do not depend on what else is owed at the moment.
                outputs = await worker.answer(asked.inputs, self._timeout_s, alone=True)
            except (Crashed, Deadline) as failure:
                error = failure.what
            except Unavailable:
                return False
        self._journal.pay(
            Shadowed(
                id=debt.id, endpoint=debt.endpoint, at=asked.at, version=debt.version,
                outputs=outputs or [{"prediction": None, "error": error}] * len(asked.inputs),
                latency_us=(time.perf_counter_ns() - started) // 1000,
            )
        )  # fmt: skip
        return True

    # following the spec

    async def run(self) -> None:
        """Follow the spec, flush, and report, until cancelled."""
        loop = asyncio.get_running_loop()
        seen: tuple[int, int, int] | None = None
        reported_at = 0.0
        unsynced = 0
        while True:
            stamp = _stamp(self._serving / "spec.json")
            if stamp != seen or not self._has_spec:
                seen = stamp
                self._read_spec()
            now = time.monotonic()
            if now - reported_at >= REPORT_S:
                reported_at = now
                if self.stored != unsynced:
                    unsynced = self.stored
                    try:
                        await loop.run_in_executor(self._disk, self._journal.sync)
                    except OSError as error:  # said until the end: a flush that failed once is not believed again
                        self._sync_problem = f"answers may not survive a power cut: {error}"
                        log.error("%s", self._sync_problem)
                for slot in self._debts:  # what could not be written then may be written now
                    self._pay(*slot)
                self._report()
            await asyncio.sleep(POLL_S)

    def _read_spec(self) -> None:
        try:
            spec = read_spec(self._serving / "spec.json")
            for endpoint in spec.endpoints:
                msgspec.convert(endpoint.signature, Signature)
        except (Invalid, msgspec.ValidationError, OSError) as error:
            if self._spec_problem is None:
                log.error("%s", error)
            self._spec_problem = f"the spec is not taken: {error}"
        else:
            self._spec_problem = None
            self._has_spec = True
            self._spec = spec
        self._follow()

    def _follow(self) -> None:
        """Bring what runs one step nearer to the spec. Called whenever either of them changes."""
        if self._is_draining:
            return
        spec = self._spec
        for endpoint in spec.endpoints:
            for arm in endpoint.arms().values():
                if (arm.package, arm.trusted) not in self._workers:
                    self._workers[arm.package, arm.trusted] = self._start(endpoint.name, arm)
        routes: dict[str, _Route] = {}
        is_settled = True
        self._problems.clear()
        for endpoint in spec.endpoints:
            arms = endpoint.arms()
            workers = {name: self._workers[arm.package, arm.trusted] for name, arm in arms.items()}
            failed = {name: worker.problem for name, worker in workers.items() if worker.problem is not None}
            lacking = [name for name, worker in workers.items() if not worker.was_ready]
            if failed:
                self._problems[endpoint.name] = "; ".join(
                    f"version {arms[name].version}: {why}" for name, why in failed.items()
                )
            is_settled = is_settled and not lacking
            route = self._routes.get(endpoint.name)
            if not lacking:
                if not _answers(workers):
                    route = None
                    self._problems[endpoint.name] = "no version is live"
                elif route is None or route.spec != endpoint:
                    route = _Route(endpoint, self._requests(endpoint), workers)
            elif route is None and all(name in failed for name in lacking):
                # Nothing older to keep: answer with what does load.
                loaded = {name: worker for name, worker in workers.items() if name not in lacking}
                if _answers(loaded):
                    route = _Route(_without(endpoint, lacking), self._requests(endpoint), loaded)
            if route is not None:
                routes[endpoint.name] = route
        self._routes = routes
        if is_settled and self._has_spec:
            self._applied = spec.revision
        used = {(arm.package, arm.trusted) for endpoint in spec.endpoints for arm in endpoint.arms().values()}
        used |= {(arm.package, arm.trusted) for route in routes.values() for arm in route.spec.arms().values()}
        for held in [held for held in self._workers if held not in used]:
            stopping = asyncio.create_task(self._workers.pop(held).stop())
            self._stopping.add(stopping)
            stopping.add_done_callback(self._stopping.discard)
        for endpoint, version in list(self._debts):
            self._pay(endpoint, version)
        self._report()

    def _start(self, endpoint: str, arm: Arm) -> Worker:
        duty = Duty(
            package=arm.package, cache=str(self._serving / "cache"), objects=str(self._objects), trusted=arm.trusted,
            rules=self._rules,
        )  # fmt: skip
        return Worker(duty, f"{endpoint} version {arm.version}", self._follow)

    def _requests(self, endpoint: EndpointSpec) -> Requests:
        return Requests(msgspec.convert(endpoint.signature, Signature), max_rows=self._max_rows)

    async def drain(self) -> None:
        """End everything; what was asked has been answered. Shadow answers that are owed wait for the next start."""
        self._is_draining = True
        for task in [*self._payers.values(), *self._stopping]:
            task.cancel()
        for worker in self._workers.values():
            worker.close()
        self._report()
        await asyncio.get_running_loop().run_in_executor(self._disk, self._journal.close)
        self._disk.shutdown()

    # telling

    @property
    def is_ready(self) -> bool:
        """Whether every endpoint can answer now."""
        return (
            self._has_spec
            and not self._is_draining
            and all(spec.name in self._routes for spec in self._spec.endpoints if _answers(spec.arms()))
            and all(route.arm("live")[2].is_ready for route in self._routes.values())
        )

    def status(self) -> ServingStatus:
        """What runs, and the count of rows: received = stored + dropped + pending."""
        endpoints: dict[str, EndpointStatus] = {}
        for name in {spec.name: None for spec in self._spec.endpoints} | dict.fromkeys(self._routes):
            route = self._routes.get(name)
            versions = {arm: told.version for arm, told in route.spec.arms().items()} if route else {}
            endpoints[name] = EndpointStatus(**versions, problem=self._problems.get(name))
        said = (
            self._spec_problem
            or self._write_problem
            or self._sync_problem
            or "; ".join(f"{k}: {v}" for k, v in self._problems.items())
        )
        return ServingStatus(
            revision=self._applied, seen=self._spec.revision, pid=os.getpid(), address=self._address,
            ready=self.is_ready, endpoints=endpoints, received=self.received, stored=self.stored, dropped=self.dropped,
            pending=self.pending, shadow_pending=sum(map(len, self._debts.values())), problem=said or None,
        )  # fmt: skip

    def _report(self) -> None:
        status = self.status()
        if status != self._reported:
            self._reported = status
            self._disk.submit(self._write_status, msgspec.json.encode(status))

    def _write_status(self, data: bytes) -> None:
        try:
            self._files.write_atomic(self._serving / "status.json", data)
        except OSError as error:
            log.error("the status could not be written: %s", error)


def _rows(route: _Route, body: bytes) -> list[Row]:
    """The checked rows of a request. What only a lenient parser lets through cannot be stored, so it is refused."""
    rows = route.requests.decode(body)
    if b"\\u" in body or b"NaN" in body:
        for at, row in enumerate(rows):
            for name, value in row.items():
                where = f"records[{at}].{name}"
                if isinstance(value, float) and value - value != 0.0:
                    raise Invalid("a number is out of range", where=where, remedy="send a finite number or null")
                if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
                    raise Invalid("a text holds half a surrogate pair", where=where, remedy="send valid Unicode")
    return rows


def _arms(spec: EndpointSpec, rows: list[Row], first: str) -> tuple[list[object], list[str]]:
    """Each row's entity (empty without a key) and the arm that shall answer it."""
    key = spec.signature.get("key")
    entities: list[object] = [row.get(key) for row in rows] if isinstance(key, str) else []
    if spec.canary is None:
        return entities, ["live"] * len(rows)
    named = [str(entity) if entity is not None else "" for entity in entities] or [""] * len(rows)
    ids = row_ids(first, len(rows))
    return entities, [
        "canary" if goes_to_canary(spec.salt, name or row, spec.share) else "live"
        for name, row in zip(named, ids, strict=True)
    ]


def _answers(arms: Mapping[str, object]) -> bool:
    """Whether these arms can answer a caller."""
    return "live" in arms or "fallback" in arms


def _without(endpoint: EndpointSpec, arms: list[str]) -> EndpointSpec:
    return msgspec.structs.replace(endpoint, **dict.fromkeys(arms))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        told = path.stat()
    except OSError:
        return None
    return told.st_mtime_ns, told.st_ino, told.st_size
