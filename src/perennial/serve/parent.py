"""The parent of the service: follows the spec, keeps fronts and workers, and tells what the whole service does.

The spec is followed by comparing what shall run with what runs, again and again: an endpoint switches when all versions
that it names are warm in every front, and keeps what it has when one of them does not load. It answers no client and
loads no model.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from perennial.errors import Invalid, PerennialError
from perennial.models.guards.spec import Constant, FailSafe, Named, Person
from perennial.models.sandbox import Rules
from perennial.models.signature import Signature
from perennial.serve.breaker import Breaker
from perennial.serve.counters import prometheus
from perennial.serve.fleet import FrontProcess
from perennial.serve.keeper import Keeper
from perennial.serve.orders import (
    Break,
    Drain,
    Duty,
    Explain,
    Forget,
    Forgot,
    Gather,
    Gathered,
    Hangs,
    Listens,
    Load,
    Loaded,
    Outcomes,
    Report,
    Routes,
    Tell,
    Up,
    framed,
)
from perennial.serve.spec import Arm, EndpointSpec, EndpointStatus, ServingStatus, Spec, key_of, read_spec
from perennial.store.files import Files
from perennial.store.objects import ObjectStore
from perennial.types import Digest

__all__ = ["Parent"]

POLL_S = 0.025  # how soon a new spec is seen
REPORT_S = 0.5  # how soon the counters of status.json follow
GATHER_S = 1.0  # to wait for a front that does not tell
AGAIN_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # before a package that could not be checked out is tried again

log = logging.getLogger("perennial.serve")


@dataclass(eq=False)
class _Host:
    """Where the model of one package lives: in every front, or in a worker (`keeper`); `folder`: checked out."""

    arm: Arm
    name: str
    folder: Path | None = None
    keeper: Keeper | None = None
    problem: str | None = None
    tries: int = 0
    breaker: Breaker = field(default_factory=Breaker)

    @property
    def is_placed(self) -> bool:
        return self.folder is not None


@dataclass(eq=False)
class _Gathering:
    asker: FrontProcess
    number: int
    waiting: set[int]
    timer: asyncio.TimerHandle


class Parent:
    """All processes of one workspace's service."""

    def __init__(
        self,
        *,
        listener: socket.socket,
        serving: Path,
        objects: Path,
        files: Files,
        address: str,
        rules: Rules,
        private: Path,
        grpc: str = "",
    ) -> None:
        files.mkdirs(serving)
        self._serving = serving
        self._objects = objects
        self._files = files
        self._address = address
        self._rules = rules
        self._private = private
        self._listener = listener
        self._grpc = grpc
        self._disk = ThreadPoolExecutor(2, "packages")
        self._telling = ThreadPoolExecutor(1, "status")  # one after the other: the latest status must be the last
        self._fronts: list[FrontProcess] = []
        self._hosts: dict[str, _Host] = {}
        self._explainers: dict[str, Keeper] = {}
        self._leaving: dict[str, tuple[_Host, set[int]]] = {}
        self._routes: dict[str, EndpointSpec] = {}
        self._problems: dict[str, str] = {}
        self._spec = Spec()
        self._spec_problem: str | None = None
        self._has_spec = False
        self._applied = -1
        self._gone: list[Report] = []  # the last words of fronts that died
        self._gatherings: dict[int, _Gathering] = {}
        self._count = 0
        self._reported: ServingStatus | None = None
        self._is_draining = False
        self._sockets = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, front: FrontProcess) -> None:
        self._fronts.append(front)

    # the spec

    async def run(self) -> None:
        """Follow the spec and report, until cancelled."""
        seen: tuple[int, int, int] | None = None
        reported_at = 0.0
        while True:
            stamp = _stamp(self._serving / "spec.json")
            if stamp != seen or not self._has_spec:
                seen = stamp
                self._read_spec()
            now = time.monotonic()
            if now - reported_at >= REPORT_S:
                reported_at = now
                self._report()
            for key, host in self._hosts.items():
                if host.breaker.look(now):
                    self._tell_breaker(key, host)
            await asyncio.sleep(POLL_S)

    def _read_spec(self) -> None:
        try:
            spec = read_spec(self._serving / "spec.json")
            for endpoint in spec.endpoints:
                msgspec.convert(endpoint.signature, Signature)
                FailSafe.read(endpoint.failsafe)
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
                key = key_of(arm)
                if key not in self._hosts:
                    self._hosts[key] = _Host(
                        arm, f"{endpoint.name} version {arm.version}", breaker=_breaker_of(endpoint)
                    )
                    self._place(key)
        routes: dict[str, EndpointSpec] = {}
        is_settled = True
        self._problems.clear()
        for endpoint in spec.endpoints:
            arms = endpoint.arms()
            failed = {name: why for name, arm in arms.items() if (why := self._problem_of(key_of(arm))) is not None}
            lacking = [name for name, arm in arms.items() if not self._was_ready(key_of(arm))]
            if failed:
                self._problems[endpoint.name] = "; ".join(
                    f"version {arms[name].version}: {why}" for name, why in failed.items()
                )
            is_settled = is_settled and not lacking
            route = self._routes.get(endpoint.name)
            if not lacking:
                if _answers(arms):
                    route = endpoint
                else:
                    route = None
                    self._problems[endpoint.name] = "no version is live"
            elif route is None and all(name in failed for name in lacking):
                # Nothing older to keep: answer with what does load.
                loaded = msgspec.structs.replace(endpoint, **dict.fromkeys(lacking))
                route = loaded if _answers(loaded.arms()) else None
            if route is not None:
                routes[endpoint.name] = route
        self._routes = routes
        if is_settled and self._has_spec:
            self._applied = spec.revision
        self._release()
        self._tell_routes()
        self._report()

    # where models live

    def _place(self, key: str) -> None:
        task = asyncio.get_running_loop().create_task(self._placed(key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _placed(self, key: str) -> None:
        """Check the package out, and give the model its place."""
        host = self._hosts[key]
        loop = asyncio.get_running_loop()
        try:
            folder, is_inline = await loop.run_in_executor(self._disk, self._checked_out, host.arm)
        except (PerennialError, OSError) as error:
            told = error.what if isinstance(error, PerennialError) else str(error)
            log.error("%s: %s", host.name, error)
            host.problem = f"it does not load: {type(error).__name__}: {told}"
            wait_s = AGAIN_S[min(host.tries, len(AGAIN_S) - 1)]
            host.tries += 1
            loop.call_later(wait_s, self._place_again, key, host)
        else:
            if self._hosts.get(key) is not host or self._is_draining:
                return
            host.problem, host.folder = None, folder
            if is_inline:
                self._tell(Load(key, str(folder)))
            else:
                host.keeper = Keeper(self._duty(host.arm), host.name, self._socket(), self._follow)
                self._tell(Listens(key, host.keeper.address, host.name, str(host.folder)))
        self._follow()

    def _place_again(self, key: str, host: _Host) -> None:
        if self._hosts.get(key) is host and not host.is_placed:
            self._place(key)

    def _checked_out(self, arm: Arm) -> tuple[Path, bool]:
        from perennial.models.package import checkout
        from perennial.serve.hosting import can_be_inline

        folder = checkout(Digest(arm.package), ObjectStore(self._objects), self._serving / "cache")
        return folder, arm.trusted and can_be_inline(folder)

    def _duty(self, arm: Arm, *, explains: bool = False) -> Duty:
        return Duty(
            package=arm.package, cache=str(self._serving / "cache"), objects=str(self._objects), trusted=arm.trusted,
            rules=self._rules, explains=explains,
        )  # fmt: skip

    def _socket(self) -> Path:
        self._sockets += 1
        return self._private / f"w{self._sockets}"

    def _problem_of(self, key: str) -> str | None:
        host = self._hosts[key]
        if host.problem is not None:
            return host.problem
        if host.keeper is not None:
            return host.keeper.problem
        return next((why for front in self._fronts if (why := front.loaded.get(key)) is not None), None)

    def _was_ready(self, key: str) -> bool:
        """Whether every front can ask this model."""
        host = self._hosts[key]
        if not host.is_placed or (host.keeper is not None and not host.keeper.was_ready):
            return False
        fronts = [front for front in self._fronts if front.is_routed] or self._fronts
        return all(key in front.loaded and front.loaded[key] is None for front in fronts)

    def _release(self) -> None:
        """Let go of models that nothing names any more, when no front asks them any more."""
        used = {key_of(arm) for endpoint in self._spec.endpoints for arm in endpoint.arms().values()}
        used |= {key_of(arm) for endpoint in self._routes.values() for arm in endpoint.arms().values()}
        for key in [key for key in self._hosts if key not in used]:
            host = self._hosts.pop(key)
            self._leaving[key] = (host, {front.number for front in self._fronts if key in front.loaded})
            explainer = self._explainers.pop(key, None)
            if explainer is not None:
                explainer.close()
        # The fronts hear of it behind the routes that no longer name it.
        asyncio.get_running_loop().call_soon(self._forget)

    def _forget(self) -> None:
        for key, (host, fronts) in list(self._leaving.items()):
            if key in self._hosts:  # wanted again meanwhile, under the same name: a new one was placed
                continue
            for front in self._fronts:
                if front.number in fronts and front.loaded.pop(key, "") is None:
                    front.send(Forget([key]))
            if not fronts:
                self._close(key, host)

    def _forgot(self, front: FrontProcess | None, key: str) -> None:
        if key not in self._leaving:
            return
        host, fronts = self._leaving[key]
        if front is not None:
            fronts.discard(front.number)
        if not fronts:
            self._close(key, host)

    def _close(self, key: str, host: _Host) -> None:
        self._leaving.pop(key, None)
        if host.keeper is not None:
            host.keeper.close()

    # what the fronts hear

    def _tell(self, order: Load | Listens) -> None:
        for front in self._fronts:
            front.send(order)

    def began(self, front: FrontProcess) -> None:
        """A front was started: tell it what to load."""
        for key, host in self._hosts.items():
            if host.keeper is None and host.folder is not None:
                front.send(Load(key, str(host.folder)))
            elif host.keeper is not None:
                front.send(Listens(key, host.keeper.address, host.name, str(host.folder)))
            if host.breaker.state != "closed":
                front.send(Break(key, True, 0))
        for key, explainer in self._explainers.items():
            front.send(Listens(f"{key}#explain", explainer.address, explainer.name))

    def _tell_routes(self) -> None:
        told = Routes(
            self._applied, list(self._routes.values()), [spec.name for spec in self._spec.endpoints],
            dict(self._problems), self.is_ready, self._problem() or "",
        )  # fmt: skip
        data = framed(told)
        needed = {key_of(arm) for endpoint in self._routes.values() for arm in endpoint.arms().values()}
        for front in self._fronts:
            can = all(front.loaded.get(key, "") is None for key in needed)
            if front.pid and can and self._has_news(front, data):
                front.told_routes = data
                front.is_routed = True
                front.send(told)

    def _has_news(self, front: FrontProcess, data: bytes) -> bool:
        return front.told_routes != data and (self._has_spec or self._spec_problem is not None)

    def heard(self, front: FrontProcess, message: object) -> None:
        """What a front said; None: it died."""
        if isinstance(message, Loaded):
            front.loaded[message.package] = message.problem
            if message.problem is not None:
                log.error("front %d: %s: %s", front.number, message.package[:12], message.problem)
            self._follow()
        elif isinstance(message, Up):
            self._tell_routes()
        elif isinstance(message, Report):
            front.report = message
            if message.number:
                self._gathered(front, message.number)
        elif isinstance(message, Gather):
            self._gather(front, message.number)
        elif isinstance(message, Outcomes):
            self._judge(message)
        elif isinstance(message, Hangs):
            self._replace(message)
        elif isinstance(message, Forgot):
            self._forgot(front, message.package)
        elif isinstance(message, Explain):
            self._explain(message.package)
        elif message is None:
            self._mourn(front)

    def _mourn(self, front: FrontProcess) -> None:
        """Keep the counts of a front that died: what it was answering then is lost to its clients."""
        if front.report is not None:
            last = front.report
            self._gone.append(
                Report(0, last.received, last.stored, last.dropped + last.pending, 0, "", last.counts, last.latencies)
            )
            front.report = None
        for number, gathering in list(self._gatherings.items()):
            gathering.waiting.discard(front.number)
            self._gathered(front, number)
        for key in list(self._leaving):
            self._forgot(front, key)

    def _replace(self, message: Hangs) -> None:
        key = message.package.removesuffix("#explain")
        if message.package != key:
            keeper = self._explainers.get(key)
        else:
            host = self._hosts.get(key)
            keeper = host.keeper if host is not None else None
        if keeper is not None:
            keeper.kill(message.pid)

    def _explain(self, key: str) -> None:
        host = self._hosts.get(key)
        if host is None or key in self._explainers:
            return
        keeper = Keeper(self._duty(host.arm, explains=True), f"{host.name} (explaining)", self._socket(), self._follow)
        self._explainers[key] = keeper
        self._tell(Listens(f"{key}#explain", keeper.address, keeper.name))

    # when versions fail

    def _judge(self, message: Outcomes) -> None:
        host = self._hosts.get(message.package)
        if host is not None and self._has_other(message.package) and host.breaker.heard(message.went, time.monotonic()):
            log.warning("%s: the breaker is %s", host.name, host.breaker.state)
            self._tell_breaker(message.package, host)
            self._report()

    def _has_other(self, key: str) -> bool:
        """Whether somebody else can answer for this package, wherever it answers."""
        for endpoint in self._routes.values():
            arms = {name: key_of(arm) for name, arm in endpoint.arms().items()}
            if arms.get("live") == key and "fallback" in arms and arms["fallback"] != key:
                return True
            if arms.get("live") == key and _has_chain(endpoint, arms, key):
                return True
            if arms.get("canary") == key and "live" in arms:
                return True
        return False

    def _tell_breaker(self, key: str, host: _Host) -> None:
        state = host.breaker.state
        probes = -(-host.breaker.probes // max(1, len(self._fronts))) if state == "half-open" else 0
        is_broken = state != "closed" or (host.keeper is not None and host.keeper.is_broken)
        for front in self._fronts:
            front.send(Break(key, is_broken, probes))

    # telling

    def _gather(self, asker: FrontProcess, number: int) -> None:
        self._count += 1
        mine = self._count
        waiting = {front.number for front in self._fronts if front.pid}
        timer = asyncio.get_running_loop().call_later(GATHER_S, self._give_up, mine)
        self._gatherings[mine] = _Gathering(asker, number, waiting, timer)
        for front in self._fronts:
            front.send(Tell(mine))

    def _gathered(self, front: FrontProcess, number: int) -> None:
        gathering = self._gatherings.get(number)
        if gathering is not None:
            gathering.waiting.discard(front.number)
            if not gathering.waiting:
                self._give_up(number)

    def _give_up(self, number: int) -> None:
        gathering = self._gatherings.pop(number, None)
        if gathering is None:
            return
        gathering.timer.cancel()
        status = self.status()
        gauges = {
            "ready": float(status.ready),
            "fronts": float(sum(bool(front.pid) for front in self._fronts)),
            "revision": float(status.revision),
            "breakers_open": float(sum(host.breaker.state != "closed" for host in self._hosts.values())),
        }
        metrics = prometheus(self._reports(), gauges)
        gathering.asker.send(Gathered(gathering.number, msgspec.json.encode(status), metrics))

    def _reports(self) -> list[Report]:
        return [*self._gone, *(front.report for front in self._fronts if front.report is not None)]

    @property
    def is_ready(self) -> bool:
        """Whether every endpoint can answer now."""
        return (
            self._has_spec
            and not self._is_draining
            and all(spec.name in self._routes for spec in self._spec.endpoints if _answers(spec.arms()))
            and all(self._can_answer(route) for route in self._routes.values())
        )

    def _can_answer(self, endpoint: EndpointSpec) -> bool:
        return any(
            host.keeper is None or host.keeper.is_ready
            for arm in (endpoint.live, endpoint.fallback)
            if arm is not None and (host := self._hosts.get(key_of(arm))) is not None
            and (arm is endpoint.live or endpoint.live is None or self._is_out(key_of(endpoint.live)))
        )  # fmt: skip

    def _is_out(self, key: str) -> bool:
        host = self._hosts[key]
        return host.breaker.state == "open" or (host.keeper is not None and host.keeper.is_broken)

    def _problem(self) -> str | None:
        told = next((report.problem for report in self._reports() if report.problem), None)
        said = self._spec_problem or told or "; ".join(f"{name}: {why}" for name, why in self._problems.items())
        return said or None

    def status(self) -> ServingStatus:
        """What runs, and the count of rows: received = stored + dropped + pending."""
        endpoints: dict[str, EndpointStatus] = {}
        for name in {spec.name: None for spec in self._spec.endpoints} | dict.fromkeys(self._routes):
            route = self._routes.get(name)
            versions = {arm: told.version for arm, told in route.arms().items()} if route else {}
            broken = [arm for arm, told in route.arms().items() if self._is_out(key_of(told))] if route else []
            endpoints[name] = EndpointStatus(
                **versions, problem=self._problems.get(name), broken=broken, stopped=route.stopped if route else ""
            )
        reports = self._reports()
        received = sum(report.received for report in reports)
        stored = sum(report.stored for report in reports)
        dropped = sum(report.dropped for report in reports)
        return ServingStatus(
            revision=max(self._applied, 0), seen=self._spec.revision, pid=os.getpid(), address=self._address,
            ready=self.is_ready and any(front.is_routed for front in self._fronts), endpoints=endpoints,
            received=received, stored=stored, dropped=dropped, pending=received - stored - dropped,
            shadow_pending=sum(report.shadow_pending for report in reports), problem=self._problem(), grpc=self._grpc,
        )  # fmt: skip

    def _report(self) -> None:
        for host_key, host in self._hosts.items():
            # A worker that keeps crashing is a broken version, too.
            if host.keeper is not None and host.keeper.is_broken and host.breaker.state == "closed":
                self._tell_breaker(host_key, host)
        self._tell_routes()
        status = self.status()
        if status != self._reported:
            self._reported = status
            self._telling.submit(self._write_status, msgspec.json.encode(status))

    def _write_status(self, data: bytes) -> None:
        try:
            self._files.write_atomic(self._serving / "status.json", data)
        except OSError as error:
            log.error("the status could not be written: %s", error)

    # the end

    async def drain(self) -> None:
        """End everything; what was asked has been answered. Shadow answers that are owed wait for the next start."""
        self._is_draining = True
        self._tell_routes()
        for task in self._tasks:
            task.cancel()
        for front in self._fronts:
            front.stop()
            front.send(Drain())
        self._listener.close()  # who comes from now on is refused, instead of waiting for nobody
        try:
            async with asyncio.timeout(30.0):
                for front in self._fronts:
                    await front.ended.wait()
        except TimeoutError:
            for front in self._fronts:
                front.kill()
        for host in [*self._hosts.values(), *(host for host, _ in self._leaving.values())]:
            if host.keeper is not None:
                host.keeper.close()
        for explainer in self._explainers.values():
            explainer.close()
        self._report()
        self._disk.shutdown()
        self._telling.shutdown()


def _answers(arms: Mapping[str, object]) -> bool:
    """Whether these arms can answer a caller."""
    return "live" in arms or "fallback" in arms


def _has_chain(endpoint: EndpointSpec, arms: Mapping[str, str], key: str) -> bool:
    """Whether somebody in the declared chain of fallbacks answers when `key` does not."""
    links = FailSafe.read(endpoint.failsafe).fallbacks
    return any(
        isinstance(link, Constant | Person) or (isinstance(link, Named) and arms.get("spare", key) != key)
        for link in links
    )


def _breaker_of(endpoint: EndpointSpec) -> Breaker:
    """As the endpoint that first names a package wants it; what cannot be read is refused where routes are made."""
    declared = FailSafe.read(endpoint.failsafe).breaker
    if declared is None:
        return Breaker()
    return Breaker(share=declared.failures, calls=declared.of, open_s=declared.open_s, probes=declared.probes)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        told = path.stat()
    except OSError:
        return None
    return told.st_mtime_ns, told.st_ino, told.st_size
