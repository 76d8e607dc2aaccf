"""The parent of the service: follows the spec, keeps the fronts in step, and says what runs.

The spec is followed by comparing what shall run with what runs, again and again: an endpoint switches when all versions
that it names are warm in every front, and keeps what it has when one of them does not load. It answers no client and
loads no model. `placing` is about where models live, `breaking` about who stands in for them, `summing` about what was
counted.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from perennial.errors import Invalid
from perennial.models.guards.spec import FailSafe
from perennial.models.sandbox import Rules
from perennial.models.signature import Signature
from perennial.serve.breaking import Breakers
from perennial.serve.counters import prometheus
from perennial.serve.fleet import FrontProcess
from perennial.serve.orders import (
    Accepts,
    Config,
    Drain,
    Explain,
    Forgot,
    Gather,
    Hangs,
    Large,
    Left,
    Loaded,
    Outcomes,
    Report,
    Routes,
    Up,
    framed,
)
from perennial.serve.placing import Placing
from perennial.serve.rolling import Rolling
from perennial.serve.spec import EndpointSpec, EndpointStatus, ServingStatus, Spec, key_of, read_spec
from perennial.serve.summing import Sums
from perennial.store.decoding import ready
from perennial.store.files import Files

__all__ = ["Parent"]

POLL_S = 0.025  # how soon a new spec is seen
REPORT_S = 0.5  # how soon the counters of status.json follow

log = logging.getLogger("perennial.serve")


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
        falls_back: bool = True,
    ) -> None:
        files.mkdirs(serving)
        self._serving = serving
        self._files = files
        self._address = address
        self._listener = listener
        self._grpc = grpc
        self._telling = ThreadPoolExecutor(1, "status")  # one after the other: the latest status must be the last
        self._fronts: list[FrontProcess] = []
        self._prepared: dict[int, Config] = {}
        self._rolling = Rolling(self._fronts, self._started, self._retired)
        self._placing = Placing(
            self._fronts, self._follow, serving=serving, objects=objects, rules=rules, private=private,
            falls_back=falls_back,
        )  # fmt: skip
        self._breakers = Breakers(self._fronts, self._placing.is_crashing)
        self._sums = Sums(self._fronts, self._gathered)
        self._routes: dict[str, EndpointSpec] = {}
        self._problems: dict[str, str] = {}
        self._spec = Spec()
        self._spec_problem: str | None = None
        self._has_spec = False
        self._applied = -1
        self._reported: ServingStatus | None = None
        self._is_draining = False

    def start(self, configs: Sequence[Config]) -> None:
        """Start these fronts; those for large requests when the first of them is there."""
        for config in configs:
            if config.is_large:
                self._prepared[config.front] = config
            else:
                self._fronts.append(self._started(config))

    def roll(self, configs: Sequence[Config]) -> None:
        """Replace all fronts, one after the other, by fronts with these settings; no request is lost."""
        for config in configs:
            if config.front in self._prepared:
                self._prepared[config.front] = config
        self._rolling.roll([config for config in configs if config.front not in self._prepared])

    def _started(self, config: Config) -> FrontProcess:
        return FrontProcess(config, self._listener, self.heard, self.began)

    def _retired(self, front: FrontProcess) -> None:
        """A front has ended as it was told: what it counted stays."""
        self._sums.mourn(front)
        self._placing.mourn(front)
        self._follow()

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
            self._breakers.look()
            await asyncio.sleep(POLL_S)

    def _read_spec(self) -> None:
        try:
            spec = read_spec(self._serving / "spec.json")
            for endpoint in spec.endpoints:
                msgspec.convert(endpoint.signature, ready(Signature))
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
        spec, placing = self._spec, self._placing
        for endpoint in spec.endpoints:
            for arm in endpoint.arms().values():
                placing.want(arm, f"{endpoint.name} version {arm.version}")
        routes: dict[str, EndpointSpec] = {}
        is_settled = True
        self._problems.clear()
        for endpoint in spec.endpoints:
            arms = endpoint.arms()
            failed = {name: why for name, arm in arms.items() if (why := placing.problem_of(key_of(arm))) is not None}
            lacking = [name for name, arm in arms.items() if not placing.was_ready(key_of(arm))]
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
        used = {key_of(arm) for endpoint in spec.endpoints for arm in endpoint.arms().values()}
        used |= {key_of(arm) for endpoint in routes.values() for arm in endpoint.arms().values()}
        placing.release(used)
        self._breakers.follow(routes.values())
        self._tell_routes()
        self._report()

    # what the fronts hear

    def began(self, front: FrontProcess) -> None:
        """A front was started: tell it what to load."""
        self._placing.greet(front)
        self._breakers.greet(front)

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
        elif isinstance(message, Accepts):
            front.accepts.set()
        elif isinstance(message, Left):
            self._rolling.left(front, message)
        elif isinstance(message, Report):
            self._sums.heard(front, message)
        elif isinstance(message, Gather):
            self._sums.gather(front, message.number)
        elif isinstance(message, Outcomes):
            if self._breakers.heard(message, self._routes.get(message.endpoint)):
                self._report()
        elif isinstance(message, Hangs):
            self._placing.replace(message)
        elif isinstance(message, Forgot):
            self._placing.forgot(front, message.package)
        elif isinstance(message, Explain):
            self._placing.explain(message.package)
        elif isinstance(message, Large):
            config = self._prepared.pop(message.front, None)
            if config is not None and not self._is_draining:
                self._fronts.append(self._started(config))
        elif message is None:
            self._sums.mourn(front)
            self._placing.mourn(front)

    # telling

    def _gathered(self) -> tuple[bytes, bytes]:
        """The status (JSON) and metrics of the whole service."""
        status = self.status()
        gauges = {
            "ready": float(status.ready),
            "fronts": float(sum(bool(front.pid) for front in self._fronts)),
            "revision": float(status.revision),
            "breakers_open": float(self._breakers.open),
            "accelerators_lost": float(sum(bool(self._placing.lost(key)) for key in self._placing.hosts)),
        }
        return msgspec.json.encode(status), prometheus(self._sums.reports(), gauges)

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
        live = endpoint.live
        hosts = self._placing.hosts
        return any(
            host.keeper is None or host.keeper.is_ready
            for arm in (live, endpoint.fallback)
            if arm is not None and (host := hosts.get(key_of(arm))) is not None
            and (arm is live or live is None or self._breakers.is_out(endpoint.name, key_of(live)))
        )  # fmt: skip

    def _problem(self) -> str | None:
        told = self._sums.totals().problem
        said = self._spec_problem or told or "; ".join(f"{name}: {why}" for name, why in self._problems.items())
        return said or None

    def status(self) -> ServingStatus:
        """What runs, and the count of rows: received = stored + dropped + pending."""
        endpoints: dict[str, EndpointStatus] = {}
        for name in {spec.name: None for spec in self._spec.endpoints} | dict.fromkeys(self._routes):
            route = self._routes.get(name)
            arms = route.arms() if route else {}
            states = {arm: self._breakers.state(name, key_of(told)) for arm, told in arms.items()}
            endpoints[name] = EndpointStatus(
                **{arm: told.version for arm, told in arms.items()}, problem=self._problems.get(name),
                broken=[arm for arm, told in arms.items() if self._breakers.is_out(name, key_of(told))],
                breakers={arm: state for arm, state in states.items() if state != "closed"},
                stopped=route.stopped if route else "",
                lost={arm: said for arm, told in arms.items() if (said := self._placing.lost(key_of(told)))},
            )  # fmt: skip
        totals = self._sums.totals()
        return ServingStatus(
            revision=max(self._applied, 0), seen=self._spec.revision, pid=os.getpid(), address=self._address,
            ready=self.is_ready and any(front.is_routed for front in self._fronts), endpoints=endpoints,
            received=totals.received, stored=totals.stored, dropped=totals.dropped, pending=totals.pending,
            shadow_pending=totals.shadow_pending, problem=self._problem(), grpc=self._grpc,
        )  # fmt: skip

    def _report(self) -> None:
        self._breakers.tell()  # a worker that keeps crashing is a broken version, too
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
        self._placing.stop()
        self._rolling.stop()
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
        self._report()
        self._placing.close()
        self._telling.shutdown()


def _answers(arms: Mapping[str, object]) -> bool:
    """Whether these arms can answer a caller."""
    return "live" in arms or "fallback" in arms


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        told = path.stat()
    except OSError:
        return None
    return told.st_mtime_ns, told.st_ino, told.st_size
