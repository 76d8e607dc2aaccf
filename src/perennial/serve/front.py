"""A front: one of the processes that answer clients. `python -m perennial.serve.front CONFIG LISTENER CHANNEL`.

It loads what the parent says, accepts on the parent's socket, asks models, and writes its own segments. It runs no code
of a user's. It ends when the parent says so, or is gone. One for large requests accepts nobody: the others hand those
requests on to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import uvloop

from perennial import __version__
from perennial.clock import Clock, SystemClock
from perennial.errors import NotFound, PerennialError, StoreError, Unavailable
from perennial.models.guards.fitted import ARRAYS, FACTS, Fitted, read_fitted
from perennial.models.package import files_in
from perennial.models.signature import Signature
from perennial.serve.accepting import BOARD, Acceptor
from perennial.serve.access_log import FOLDER, AccessLog
from perennial.serve.app import App
from perennial.serve.asked import Asked
from perennial.serve.counters import Counters
from perennial.serve.engine import Engine
from perennial.serve.explaining import explained
from perennial.serve.forwarding import LARGE_BYTES, address_of, forward
from perennial.serve.frames import Fed, encode
from perennial.serve.handing import Taking, heir_of
from perennial.serve.http import Connections, Limits
from perennial.serve.inline import EXAMPLES, InlineModel
from perennial.serve.journal import Journal, share_of
from perennial.serve.line import Line
from perennial.serve.orders import (
    Accepts,
    Break,
    Channel,
    Config,
    Drain,
    Forget,
    Forgot,
    Gather,
    Gathered,
    Hangs,
    Inherit,
    Large,
    Listens,
    Load,
    Loaded,
    Report,
    Retire,
    Routes,
    Tell,
    ToFront,
    Told,
    Up,
    explainer_of,
    to_front,
)
from perennial.serve.privacy import Privacy, workspace_secret
from perennial.serve.protocols.models import Counts, ModelState, ServerState
from perennial.serve.protocols.protocol import HttpRequest, Reply
from perennial.serve.route import Gate, Model, Route, intake_of
from perennial.serve.shadowing import Shadowing
from perennial.serve.spec import EndpointSpec, key_of
from perennial.serve.succession import Succession
from perennial.serve.tls import grpc_tls_of, tls_of
from perennial.serve.watching import watch_of
from perennial.serve.went import Went
from perennial.store.clockfile import open_clock
from perennial.store.decoding import ready
from perennial.store.files import LocalFiles

if TYPE_CHECKING:
    from perennial.serve.protocols.grpc_service import GrpcServer
    from perennial.serve.tracing import Traces

__all__ = ["Front", "main"]

SYNC_S = 0.5  # how much a power cut may cost
MOST_LARGE = 16  # large requests that a front has handed over at a time: each holds its body
NICE = 5  # of a front for large requests: where processors are few, those who wait for little go first
GRACE_S = 25.0  # for requests in flight at the end, so that all is over within 30 s
YOUNG = 10_000  # objects; requests leave no circles behind, so that looking for some more often finds none

log = logging.getLogger("perennial.serve")


class Front:
    """The state of this process: what it has loaded, how endpoints answer, what was counted."""

    def __init__(self, config: Config, listener: socket.socket, channel: socket.socket, clock: Clock) -> None:
        self.config = config
        self.number = config.front
        self.serving = config.serving
        self.fronts = config.fronts
        self.timeout_s = config.timeout_s
        self.is_ready = False
        self.problem = ""
        self.routes: dict[str, Route] = {}
        self.counters = Counters()
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._told: Routes | None = None
        self._models: dict[str, Model] = {}
        self._asked: dict[int, Callable[[bytes, bytes], None]] = {}
        self._count = 0
        self._gates: dict[tuple[str, str], Gate] = {}
        self._went = Went(self._gates, lambda outcomes: self._parent.send(outcomes))
        self._tasks: set[asyncio.Task[None]] = set()
        self._disk = ThreadPoolExecutor(1, "disk")
        self._ending = asyncio.Event()
        self._ends_by = float("inf")
        # A large request under a key is a large one's affair: it has the keys, and leaves shadow answers to others.
        journal = Journal(
            Path(config.serving) / "segments",
            LocalFiles(),
            clock,
            front=config.front - config.fronts if config.is_large else config.front,
            fronts=config.large if config.is_large else config.fronts,
            worker=config.front,
            owes=not config.is_large,
            restores=not config.takes_over,
        )
        self._journal = journal
        self.engine = Engine(journal, clock, self.counters)
        self.engine.on_outcome = self._went.note
        self._shadowing = Shadowing(
            journal,
            self.engine,
            self.counters,
            timeout_s=config.timeout_s,
            route=self.routes.get,
            is_gone=self._is_gone,
        )
        self.engine.on_debt = self._shadowing.owe
        self._succession = Succession(
            journal,
            self._shadowing,
            self.engine,
            is_inheriting=config.takes_over,
            disk=self._disk,
            send=lambda left: self._parent.send(left),
        )
        self._access, self._traces = self._watching(clock)
        self.watch = watch_of([told.saw for told in (self._access, self._traces) if told is not None])
        app = App(self)
        limits = Limits(config.max_body_bytes, app.refuse)
        self._clients = Connections(app.handle, Limits(config.max_body_bytes, app.refuse, expands=LARGE_BYTES))
        self._siblings = Connections(
            lambda request, connection, ticket: app.handle(request, connection, ticket, is_forwarded=True), limits
        )
        private = Path(config.private)
        self._acceptor: Acceptor | None = None
        if config.is_large:
            listener.close()
        else:
            tls = tls_of(config.tls_certificate, config.tls_key)
            self._acceptor = Acceptor(listener, private / BOARD, config.front, self._clients, tls=tls)
        self._large_started: set[int] = set()
        self._handed_over = self._handing = 0
        self._is_routed = asyncio.Event()
        self._parent = Channel(to_front, self._obey, self.end)
        self._channel = channel
        self._private = private

    def _watching(self, clock: Clock) -> tuple[AccessLog | None, Traces | None]:
        """Who hears of each request, where the settings ask for it."""
        config = self.config
        access = traces = None
        if config.access_share is not None:
            access = AccessLog(
                Path(config.serving) / FOLDER, LocalFiles(), clock, name=f"front-{config.front}",
                share=config.access_share,
            )  # fmt: skip
        if config.otlp_endpoint:
            from perennial.serve.tracing import Traces, otlp

            traces = Traces(otlp(config.otlp_endpoint), share=config.trace_share)
        return access, traces

    async def run(self) -> None:
        """Answer until the parent says that it is over."""
        await self._loop.create_unix_connection(lambda: self._parent, sock=self._channel)
        self._parent.send(Up(os.getpid()))
        if self.config.is_large:
            os.nice(NICE)
        if self.config.is_large or self.config.takes_over:
            await self._is_routed.wait()  # who waits for this front shall be answered
        # The name goes from the front before this one to this one in one step: nobody finds nothing there.
        address = address_of(self._private, self.number)
        early = address.with_name(f"{address.name}-{os.getpid()}")
        siblings = await self._loop.create_unix_server(self._siblings.make, str(early))
        LocalFiles().rename(early, address)
        self._clients.begin()
        self._siblings.begin()
        grpc = await self._listen_for_grpc()
        taking = None
        if self._acceptor is not None:
            taking = Taking(heir_of(self._private, os.getpid()), self._acceptor.take)
        self._parent.send(Accepts(os.getpid()))
        following = [self._loop.create_task(self._sync()), self._loop.create_task(self._went.tell())]
        await self._ending.wait()
        self._ends_by = self._loop.time() + GRACE_S
        if taking is not None:
            taking.close()
        if self._acceptor is not None:
            self._acceptor.end()
        giving = None
        if self._succession.order is not None:
            giving = self._loop.create_task(
                self._succession.give(self._clients, self._siblings, self._is_idle, ends_by=self._ends_by)
            )
        if grpc is not None:
            if self._succession.order is not None:
                await self._succession.empty(grpc.port, ends_by=self._ends_by)
            await grpc.stop(max(0.0, self._ends_by - self._loop.time()))
        if giving is not None:
            await giving
        await self._finish()
        for task in following:
            task.cancel()
        siblings.close()

    async def _listen_for_grpc(self) -> GrpcServer | None:
        if not self.config.grpc:
            return None
        from perennial.serve.calls import Calls
        from perennial.serve.protocols.grpc_service import GrpcServer

        credentials = grpc_tls_of(self.config.tls_certificate, self.config.tls_key)
        server = GrpcServer(
            Calls(self),
            self.config.grpc,
            max_bytes=self.config.max_body_bytes,
            tls=credentials,
            hand_over=self.hand_over,
        )
        await server.start()
        return server

    @property
    def is_inheriting(self) -> bool:
        return self._succession.is_inheriting

    def when_inherited(self, go_on: Callable[[], None]) -> None:
        self._succession.when_inherited(go_on)

    def _retire(self, order: Retire) -> None:
        self._succession.order = order
        if not self.config.is_large:
            self.number = -1  # keys of clients are the next front's from now on
        self._ending.set()

    def end(self) -> None:
        """Answer what was asked, then end."""
        self.is_ready = False
        self._ending.set()
        self._is_routed.set()  # nothing is waited for any more

    def _is_idle(self) -> bool:
        return self._acceptor is None or self._acceptor.is_idle

    async def _finish(self) -> None:
        self._clients.drain()
        self._siblings.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._ends_by):
                while self.engine.pending or self._clients.busy or self._siblings.busy:  # noqa: ASYNC110 - once
                    await asyncio.sleep(0.005)
        # Nobody asks any more: what comes now is refused with the connection, and not begun.
        self._clients.finish()
        self._siblings.finish()
        self._shadowing.end()
        if self._succession.order is not None:
            await self._succession.leave("debts")
        for model in self._models.values():
            if isinstance(model, Line):
                model.close()
        await asyncio.sleep(0)  # what was written to the clients goes out
        with contextlib.suppress(StoreError):
            await self._loop.run_in_executor(self._disk, self._journal.writer.close)
        if self._access is not None:
            await self._loop.run_in_executor(self._disk, self._access.close)
        if self._traces is not None:
            await self._loop.run_in_executor(None, self._traces.close)
        self._clients.close()
        self._siblings.close()
        self._report(0)

    # what the parent says

    def _obey(self, order: ToFront) -> None:
        if isinstance(order, Load):
            self._start(self._load(order))
        elif isinstance(order, Listens):
            self._start(self._reach(order))
        elif isinstance(order, Routes):
            self._route(order)
        elif isinstance(order, Forget):
            for name in order.packages:
                self._start(self._forget(name))
        elif isinstance(order, Break):
            gate = self._gate(order.endpoint, order.package)
            gate.is_broken, gate.probes = order.is_broken, order.probes
        elif isinstance(order, Tell):
            self._report(order.number)
        elif isinstance(order, Inherit):
            self._start(self._succession.inherit(order))
        elif isinstance(order, Retire):
            self._retire(order)
        elif isinstance(order, Gathered):
            told = self._asked.pop(order.number, None)
            if told is not None:
                told(order.status, order.metrics)
        else:
            assert isinstance(order, Drain)
            self.end()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _load(self, order: Load) -> None:
        try:
            # In a thread: others are answered meanwhile.
            model = await self._loop.run_in_executor(None, InlineModel, order.package, Path(order.folder))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is why this version is not served
            told = error.what if isinstance(error, PerennialError) else str(error)
            self._parent.send(Loaded(order.package, f"it does not load: {type(error).__name__}: {told}"[:500]))
        else:
            self._models[order.package] = model
            self._parent.send(Loaded(order.package))

    async def _reach(self, order: Listens) -> None:
        name = order.package
        fitted, examples = None, []
        if order.folder:
            try:
                fitted, examples = await self._loop.run_in_executor(None, _known_of, Path(order.folder))
            except PerennialError as error:
                self._parent.send(Loaded(name, str(error)))
                return
        self._models[name] = Line(
            name, order.address, order.name, lambda pid: self._parent.send(Hangs(name, pid)),
            hang_s=self.timeout_s, fitted=fitted, examples=examples,
        )  # fmt: skip
        self._parent.send(Loaded(name))

    async def _forget(self, name: str) -> None:
        explainer = self._models.pop(explainer_of(name), None)
        if isinstance(explainer, Line):
            explainer.close()
        model = self._models.pop(name, None)
        if isinstance(model, Line):
            await model.stop()
        self._went.forget(name)
        for slot in [slot for slot in self._gates if slot[1] == name]:
            del self._gates[slot]
        gc.collect()  # types made for a route know each other, and would stay for long; of the rest most is frozen
        self._parent.send(Forgot(name))

    def _route(self, told: Routes) -> None:
        routes: dict[str, Route] = {}
        for spec in told.endpoints:
            known = self.routes.get(spec.name)
            models = {arm: self._models[key_of(found)] for arm, found in spec.arms().items()}
            if known is not None and known.spec == spec and known.models == models:
                routes[spec.name] = known
            else:
                routes[spec.name] = self._made(spec, models, known)
        self.routes.clear()
        self.routes.update(routes)
        self._told = told
        self.is_ready = told.ready and (not self._ending.is_set() or self._succession.order is not None)
        self.problem = told.problem
        if told.ready and not gc.get_freeze_count():
            _settle()
        self._shadowing.go_on()
        self._is_routed.set()
        if self._acceptor is not None and not self._ending.is_set():
            self._acceptor.begin()

    def _made(self, spec: EndpointSpec, models: dict[str, Model], known: Route | None) -> Route:
        signature = msgspec.convert(spec.signature, ready(Signature))
        intake = intake_of(spec, signature, max_rows=self.config.max_rows)
        privacy = None
        if spec.capture:
            secret = workspace_secret(Path(self.config.serving), LocalFiles())
            privacy = Privacy(intake.names, spec.capture, key=signature.key, secret=secret)
        gates = {arm: self._gate(spec.name, key_of(found)) for arm, found in spec.arms().items()}
        return Route(
            spec, intake, models, privacy=privacy, gates=gates, tally=known.tally if known is not None else None
        )

    def _gate(self, endpoint: str, package: str) -> Gate:
        gate = self._gates.get((endpoint, package))
        if gate is None:
            gate = self._gates[endpoint, package] = Gate()
        return gate

    # what the app asks

    def route(self, endpoint: str) -> Route:
        route = self.routes.get(endpoint)
        if route is not None:
            if route.spec.stopped:
                raise Unavailable(
                    f"endpoint {endpoint!r} was stopped: {route.spec.stopped}", remedy="ask who runs this service"
                )
            return route
        told = self._told
        if told is not None and endpoint in told.known:
            problem = told.problems.get(endpoint, "its model is being loaded")
            raise Unavailable(f"endpoint {endpoint!r} is not ready: {problem}", remedy="try again in a moment")
        if told is not None and told.problem and not told.known:
            raise Unavailable(told.problem)
        known = ", ".join(sorted(self.routes)) or "none yet"
        raise NotFound(f"there is no endpoint {endpoint!r}", remedy=f"endpoints here: {known}")

    def gather(self, told: Callable[[bytes, bytes], None]) -> None:
        self._count += 1
        self._asked[self._count] = told
        self._parent.send(Gather(self._count))

    def forward(self, front: int, request: HttpRequest, told: Callable[[Reply | PerennialError], None]) -> None:
        self._start(forward(address_of(self._private, front), request, self.timeout_s + 1.0, told))

    def hand_over(self, request: HttpRequest, told: Callable[[Reply | PerennialError], None]) -> None:
        if self._handing >= MOST_LARGE:
            raise Unavailable("too many large requests are waiting", remedy="try again in a moment, or send fewer rows")
        key = request.headers.get(b"idempotency-key")
        share = (
            self._handed_over % self.config.large if key is None else share_of(key.decode("latin-1"), self.config.large)
        )
        self._handed_over += 1
        front = self.fronts + share
        if front not in self._large_started:
            self._large_started.add(front)
            self._parent.send(Large(front))
        self._handing += 1
        self._start(self._handed(address_of(self._private, front), request, told))

    def infer(self, request: HttpRequest, told: Callable[[Reply | PerennialError], None]) -> None:
        self._start(self._inferred(request, told))

    async def _inferred(self, request: HttpRequest, told: Callable[[Reply | PerennialError], None]) -> None:
        from perennial.serve.calls import Calls
        from perennial.serve.protocols.grpc_service import infer

        told(await infer(Calls(self), request))

    async def _handed(
        self, address: Path, request: HttpRequest, told: Callable[[Reply | PerennialError], None]
    ) -> None:
        try:
            await forward(address, request, self.timeout_s + 1.0, told, waits=True)
        finally:
            self._handing -= 1

    def explain(
        self, route: Route, asked: Asked, timeout_s: float, told: Callable[[Told | PerennialError], None]
    ) -> None:
        async def answer() -> None:
            told(await explained(route, asked, models=self._models, start=self._parent.send, timeout_s=timeout_s))

        self._start(answer())

    def feed(self, frames: list[Fed]) -> None:
        at = self._clock.now()
        payloads = [encode(msgspec.structs.replace(frame, at=at)) for frame in frames]
        try:
            self._journal.writer.append_many(payloads)
        except StoreError as error:
            raise Unavailable(error.what, remedy=error.remedy) from error

    def told(self) -> ServerState:
        models = tuple(_model_state(route) for route in self.routes.values())
        return ServerState(version=__version__, is_ready=self.is_ready, models=models)

    # what the parent hears

    async def _sync(self) -> None:
        seen = 0
        while True:
            await asyncio.sleep(SYNC_S)
            writer = self._journal.writer
            if writer.stored != seen:
                seen = writer.stored
                try:
                    await self._loop.run_in_executor(self._disk, writer.sync)
                except OSError as error:  # said until the end: a flush that failed once is not believed again
                    self.engine.problem = f"answers may not survive a power cut: {error}"
                    log.error("%s", self.engine.problem)
                self._report(0)
            if self._access is not None:
                await self._loop.run_in_executor(self._disk, self._access.flush)
            self._shadowing.go_on()  # what could not be answered or written then may be now

    def _report(self, number: int) -> None:
        writer = self._journal.writer
        if self._acceptor is not None:
            self._acceptor.note()
        counts, latencies = self.counters.told()
        counts.append(("connections", (), float(len(self._clients.open))))
        if self._clients.refused:
            counts.append(("refused_total", ("", "connections"), float(self._clients.refused)))
        self._parent.send(
            Report(
                number, writer.issued, writer.stored, writer.dropped, self._shadowing.count, self.engine.problem,
                counts, latencies,
            )
        )  # fmt: skip

    def _is_gone(self, endpoint: str, version: int) -> bool:
        """Whether this version has left the endpoint for good."""
        told = self._told
        if told is None or told.revision < 0:
            return False
        if endpoint not in told.known:
            return True
        route = self.routes.get(endpoint)
        return route is not None and version not in route.versions.values()


def _model_state(route: Route) -> ModelState:
    tally = route.tally
    versions = dict.fromkeys(str(route.versions[arm]) for arm in ("live", "canary", "fallback") if arm in route.models)
    return ModelState(
        name=route.name, versions=tuple(versions), state="UNAVAILABLE" if route.spec.stopped else "READY",
        reason=route.spec.stopped, signature=route.intake.signature,
        counts=Counts(
            successes=tally.successes, success_ns=tally.success_ns, failures=tally.failures,
            failure_ns=tally.failure_ns, rows=tally.rows, batches=tally.successes, last_ms=tally.last_ms,
        ),
    )  # fmt: skip


def _settle() -> None:
    """What is there when the first models are is there to stay: the collector need not look at it ever again, which
    would hold all requests up for tens of milliseconds."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])


def _known_of(folder: Path) -> tuple[Fitted | None, list[dict[str, Any]]]:
    """What guards learned, and some golden rows, of a package whose model lives in a worker."""
    files = files_in(folder, (FACTS, ARRAYS, "golden.json"))
    return read_fitted(files), json.loads(files["golden.json"])["records"][:EXAMPLES]


def main(arguments: list[str]) -> int:
    told, listening, descriptor = arguments
    config = msgspec.json.decode(told, type=ready(Config))
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when it is over
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    listener = socket.socket(fileno=int(listening))
    channel = socket.socket(fileno=int(descriptor))
    clock: Clock = open_clock(Path(config.clock)) if Path(config.clock).exists() else SystemClock()

    async def run() -> None:
        await Front(config, listener, channel, clock).run()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
    return 0


def _die_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
