"""The addresses of the service: which protocol speaks where, and what it is told when something is wrong.

Bad input is answered with a 4xx that points at the value; what cannot be answered now with 503 and `Retry-After`; a
request that no decent time would suffice for is refused before it is looked at.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from hashlib import blake2b
from os import urandom
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs

import msgspec

from perennial.errors import (
    Conflict,
    Failure,
    Forbidden,
    Invalid,
    Mistake,
    NotFound,
    PerennialError,
    TooLarge,
    Unavailable,
)
from perennial.serve.access import check_origin
from perennial.serve.answer import Answer
from perennial.serve.asked import Asked
from perennial.serve.counters import Counters
from perennial.serve.engine import Engine
from perennial.serve.feedback import feedback_of
from perennial.serve.feeding import answer_path, read_answer
from perennial.serve.forwarding import LARGE_BYTES
from perennial.serve.frames import Fed
from perennial.serve.http import Connection
from perennial.serve.job import Wanted
from perennial.serve.journal import share_of
from perennial.serve.line import Deadline
from perennial.serve.orders import Told
from perennial.serve.protocols.models import ServerState, Target, target_of
from perennial.serve.protocols.models import tell as tell_of_models
from perennial.serve.protocols.plain import Plain
from perennial.serve.protocols.protocol import HttpRequest, Reply, Unsupported, WireFormat
from perennial.serve.route import Route
from perennial.serve.watching import Seen, Watch

__all__ = ["INFER", "App", "State", "status_of"]

log = logging.getLogger("perennial.serve")

ARROW = b"application/vnd.apache.arrow.stream"
INFER = "/grpc/infer"  # where a front hands on a large message of gRPC; no address of clients
FOR_GRPC = b"x-perennial-grpc"  # of a request that another front hands on: it came by gRPC
MAX_EXPLAINED = 100  # rows of one request
MAX_KEY = 250  # characters of an Idempotency-Key
PROMETHEUS = b"text/plain; version=0.0.4; charset=utf-8"
_STATUS: tuple[tuple[type[PerennialError], int], ...] = (
    (NotFound, 404), (Conflict, 409), (TooLarge, 413), (Unsupported, 415), (Forbidden, 403), (Deadline, 504),
    (Unavailable, 503), (Mistake, 422),
)  # fmt: skip
_encode = msgspec.json.Encoder().encode
_CODES = {500: "USER_CODE_ERROR", 503: "TEMPORARILY_UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}


class _Bad(Mistake):
    """The request is not even HTTP or JSON as it should be."""


class _Method(Mistake):
    """The address knows other methods."""


class State(Protocol):
    """What of a front is asked here."""

    fronts: int
    number: int
    timeout_s: float
    engine: Engine
    counters: Counters
    is_ready: bool
    problem: str
    serving: str
    routes: dict[str, Route]
    watch: Watch | None

    def route(self, endpoint: str) -> Route:
        """How an endpoint answers; NotFound or Unavailable says why it does not."""
        ...

    def gather(self, told: Callable[[bytes, bytes], None]) -> None:
        """Ask for the status (JSON) and metrics of the whole service."""
        ...

    def forward(self, front: int, request: HttpRequest, told: Callable[[Reply | PerennialError], None]) -> None:
        """Let another front answer this."""
        ...

    def hand_over(self, request: HttpRequest, told: Callable[[Reply | PerennialError], None]) -> None:
        """Let a front answer this that is there for large requests.

        Raises:
            Unavailable: Too many of them wait.
        """
        ...

    def infer(self, request: HttpRequest, told: Callable[[Reply | PerennialError], None]) -> None:
        """Answer a message of gRPC that another front hands on."""
        ...

    def explain(
        self, route: Route, asked: Asked, timeout_s: float, told: Callable[[Told | PerennialError], None]
    ) -> None:
        """Ask why the live version answers these rows as it does."""
        ...

    @property
    def is_inheriting(self) -> bool:
        """Whether the keys of the front before this one are not known yet."""
        ...

    def when_inherited(self, go_on: Callable[[], None]) -> None:
        """Call this when they are."""
        ...

    def feed(self, frames: list[Fed]) -> None:
        """Write labels down.

        Raises:
            Unavailable: The disk does not take them.
        """
        ...

    def told(self) -> ServerState:
        """The service as the Open Inference Protocol tells of it."""
        ...


class App:
    """Answers requests of one front."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._plain = Plain()
        self._wires: dict[str, WireFormat] = {}

    def handle(self, request: HttpRequest, connection: Connection, ticket: int, *, is_forwarded: bool = False) -> None:
        """Answer `request` on `connection`; now, or when it is known."""
        call = _Call(request, connection, ticket, self._plain, self._state.watch, is_forwarded=is_forwarded)
        try:
            check_origin(request.headers)
            path = request.path
            is_large = len(request.body) > LARGE_BYTES or request.is_packed
            if is_large and not is_forwarded and request.method == "POST":
                self._state.hand_over(request, call.relay)
            elif path.startswith("/predict/"):
                if request.headers.get(b"content-type", b"").startswith(ARROW):
                    call.wire = self._wire("arrow")
                query = parse_qs(request.query, max_num_fields=16) if request.query else {}
                self._predict(path[9:], call, version=query.get("version", [None])[0])
            elif path.startswith(("/v2", "/v1")) and (target := target_of(path)) is not None:
                self._of_protocol(target, call)
            elif path == "/invocations" or path.startswith("/invocations/"):
                call.wire = self._wire("invocations")
                self._predict(path[13:] or self._only(), call)
            elif path.startswith("/endpoints/") and path.endswith("/invocations"):  # as MLflow's deployment client asks
                call.wire = self._wire("invocations")
                self._predict(path[11:-12], call)
            elif path.startswith("/explain/"):
                self._explain(path[9:], call)
            elif path.startswith("/feedback/"):
                self._feed(path[10:], call)
            elif path == INFER and is_forwarded:
                self._state.infer(request, call.relay)
            else:
                self._tell(call)
        except PerennialError as error:
            if call.endpoint:
                code = str(status_of(error))
                self._state.counters.add("requests_total", (call.endpoint, call.wire.name, code))
            call.refuse(error)
        except Exception:  # noqa: BLE001 - the boundary of a request: a fault of ours is told as such, and logged
            call.fail()

    # predictions

    def _wire(self, name: str) -> WireFormat:
        """A protocol; what it needs is imported when the first client speaks it."""
        wire = self._wires.get(name)
        if wire is None:
            wire = self._wires[name] = _WIRES[name]()
        return wire

    def _only(self) -> str:
        """The endpoint of a service that has one, where the address names none."""
        names = list(self._state.routes)
        if len(names) != 1:
            raise NotFound(
                f"there are {len(names)} endpoints here, and the address names none",
                remedy=f"POST /invocations/NAME, with one of {', '.join(names) or 'none yet'}",
            )
        return names[0]

    def _of_protocol(self, target: Target, call: _Call) -> None:
        """The Open Inference Protocol and KServe v1."""
        call.wire = self._wire("inference" if target.protocol == 2 else "kserve")
        _expect(call.request, target.method)
        if target.verb == "infer":
            self._predict(target.model, call, version=target.version)
        elif target.verb == "explain":
            self._explain(target.model, call)
        else:
            call.reply(tell_of_models(target, self._state.told(), call.request.body))

    def _predict(self, endpoint: str, call: _Call, *, version: str | None = None) -> None:
        started = time.perf_counter()
        request, wire, state = call.request, call.wire, self._state
        if request.method != "POST":
            raise _Method(f"{request.path} takes POST, not {request.method}", remedy="use POST")
        route = state.route(endpoint)
        call.endpoint = route.name
        engine = state.engine
        if not engine.admits(route):
            # What most requests to a model that is asked too much meet, so it must cost its neighbours next to nothing.
            state.counters.add("refused_total", (route.name, "overload"))
            state.counters.add("requests_total", (route.name, wire.name, "503"))
            call.refuse(
                Unavailable(f"{endpoint} has too many requests waiting", remedy="try again in a moment"), status=503
            )
            return
        headers = request.headers
        key = headers.get(b"idempotency-key")
        asked = wire.decode(request, route.intake)
        timeout_s = self._timeout_s(headers)
        if request.timeout_s is not None and request.timeout_s < timeout_s:
            timeout_s = request.timeout_s
        wanted = Wanted(wire.name, timeout_s, started=started, tells_rows=wire.tells_rows)
        if call.is_forwarded and FOR_GRPC in headers:
            wanted.source, wanted.tells_rows = "grpc", False
        if call.watch is not None:
            wanted.decoded = time.perf_counter()
            call.wanted = wanted
        if version is not None:
            wanted.arm = route.arm_of(version)
        if key is not None:
            wanted.key = _key(key)
            wanted.digest = blake2b(request.body, digest_size=16).hexdigest()
            front = share_of(wanted.key, state.fronts)
            # A front that is replaced (number -1) has no keys any more, also where another one still thinks so.
            if front != state.number and (not call.is_forwarded or state.number < 0):
                state.forward(front, request, call.relay)
                return
            if state.is_inheriting:
                state.when_inherited(lambda: call.again(self.handle))
                return

        def done(outcome: Answer | PerennialError) -> None:
            try:
                if isinstance(outcome, PerennialError):
                    call.refuse(outcome)
                    return
                call.answer = outcome
                if outcome.status != 200:
                    reply = wire.refuse(outcome.status, _CODES[outcome.status], outcome.message, "", outcome.id)
                else:
                    reply = wire.encode(outcome, request, route.intake)
            except Exception:  # noqa: BLE001 - as in `handle`
                call.fail()
            else:
                call.reply(reply)

        engine.submit(route, asked, wanted, done)

    def _timeout_s(self, headers: dict[bytes, bytes]) -> float:
        """How long a request may take; the caller may only shorten it."""
        told = headers.get(b"x-request-timeout-ms")
        if told is None:
            return self._state.timeout_s
        try:
            wanted = float(told) / 1000
        except ValueError:
            wanted = 0.0
        if not 0.0 < wanted < float("inf"):
            raise _Bad("X-Request-Timeout-Ms is no number above 0", remedy="send milliseconds")
        return min(wanted, self._state.timeout_s)

    # why, and what was true

    def _explain(self, endpoint: str, call: _Call) -> None:
        _expect(call.request, "POST")
        route = self._state.route(endpoint)
        asked = call.wire.decode(call.request, route.intake)
        if asked.height > MAX_EXPLAINED:
            raise Invalid(
                f"{MAX_EXPLAINED} rows are explained at once, not {asked.height}", where="records", remedy="send fewer"
            )

        def told(outcome: Told | PerennialError) -> None:
            if isinstance(outcome, PerennialError):
                call.refuse(outcome)
                return
            errors = outcome.errors or [None] * len(outcome.values)
            rows = [{"error": why} if why else row for row, why in zip(outcome.values, errors, strict=True)]
            version = route.versions.get(route.arm("live") or "live")
            call.reply(Reply(body=_encode({"endpoint": endpoint, "version": version, "explanations": rows})))

        self._state.explain(route, asked, self._timeout_s(call.request.headers), told)

    def _feed(self, endpoint: str, call: _Call) -> None:
        _expect(call.request, "POST")
        route = self._state.route(endpoint)
        frames = feedback_of(call.request.body, route, key=_key(call.request.headers.get(b"idempotency-key", b"")))
        self._state.feed(frames)
        call.reply(Reply(status=202, body=_encode({"endpoint": endpoint, "accepted": len(frames)})))

    # what tells of the service

    def _tell(self, call: _Call) -> None:
        request, state = call.request, self._state
        if request.method not in ("GET", "HEAD"):
            raise _Method(f"{request.path} takes GET, not {request.method}", remedy="use GET")
        path = request.path
        if path == "/":
            call.reply(Reply(body=b'{"status":"alive"}'))  # as KServe's client asks
        elif path == "/livez":
            call.reply(Reply(body=b'{"status":"ok"}'))
        elif path in ("/health", "/readyz"):
            call.reply(self._health())
        elif path in ("/status", "/metrics"):
            kind = PROMETHEUS if path == "/metrics" else b"application/json"
            state.gather(
                lambda status, metrics: call.reply(Reply(body=metrics if path == "/metrics" else status, kind=kind))
            )
        elif path.startswith("/answers/"):
            call.reply(self._persons_answer(path[9:]))
        elif path in ("/ping", "/version"):
            from perennial.serve.protocols.invocations import ping, version

            if path == "/ping" and not state.is_ready:
                raise Unavailable("the service is not ready", remedy="try again in a moment")
            call.reply(ping() if path == "/ping" else version())
        elif path.startswith("/api/2.0/endpoints/"):
            from perennial.serve.protocols.invocations import deployed

            call.reply(deployed(list(state.routes), path.removeprefix("/api/2.0/endpoints/")))
        elif path == "/openapi.json" or path.startswith("/docs"):
            call.reply(self._described(path, request))
        else:
            raise NotFound(f"there is no {path}", remedy="GET /docs shows what there is")

    def _described(self, path: str, request: HttpRequest) -> Reply:
        from perennial.serve.protocols import openapi, try_page

        asset = try_page.asset(path)
        if asset is not None:
            return asset
        endpoints = [
            openapi.Described(
                name=route.name, signature=route.intake.signature, examples=route.examples,
                version=route.versions.get("live"), max_rows=route.intake.max_rows,
            )
            for route in self._state.routes.values()
        ]  # fmt: skip
        if path == "/openapi.json":
            return Reply(body=openapi.describe(endpoints))
        host = request.headers.get(b"host", b"127.0.0.1:8080").decode("latin-1")
        return try_page.page(endpoints, path.removeprefix("/docs").strip("/"), origin=f"http://{host}")

    def _persons_answer(self, prediction_id: str) -> Reply:
        serving = Path(self._state.serving)
        if answer_path(serving, prediction_id) is None:
            raise NotFound(f"{prediction_id!r} is no id of a prediction", remedy="use the id that came with it")
        found = read_answer(serving, prediction_id)
        if found is None:
            return Reply(status=202, body=_encode({"id": prediction_id, "status": "waiting"}))
        return Reply(body=_encode({"status": "answered", **msgspec.to_builtins(found)}))

    def _health(self) -> Reply:
        state = self._state
        said = "not ready" if not state.is_ready else "degraded" if state.problem else "ok"
        return Reply(
            status=200 if state.is_ready else 503, body=_encode({"status": said, "problem": state.problem or None})
        )

    def refuse(self, status: int, code: str, message: str) -> Reply:
        """What is told to who sends what is no request."""
        return self._plain.refuse(status, code, message, "", urandom(8).hex())


class _Call:
    """A request that is to be answered once, in the words of its protocol."""

    __slots__ = (
        "_connection", "_request_id", "_started", "_ticket", "answer", "endpoint", "is_forwarded", "request", "wanted",
        "watch", "wire",
    )  # fmt: skip

    def __init__(
        self, request: HttpRequest, connection: Connection, ticket: int, wire: WireFormat, watch: Watch | None, *,
        is_forwarded: bool,
    ) -> None:  # fmt: skip
        self.request = request
        self.wire = wire
        self.is_forwarded = is_forwarded
        self.endpoint = ""
        self.watch = watch
        self.wanted: Wanted | None = None
        self.answer: Answer | None = None
        self._connection = connection
        self._ticket = ticket
        self._request_id = ""
        self._started = time.perf_counter() if watch is not None else 0.0

    def again(self, handle: Callable[..., None]) -> None:
        """Begin anew, as if it had come now."""
        handle(self.request, self._connection, self._ticket, is_forwarded=self.is_forwarded)

    def reply(self, reply: Reply) -> None:
        self._connection.reply(self._ticket, reply, is_head=self.request.method == "HEAD")
        if self.watch is not None:
            self.watch(self._seen(reply.status))

    def _seen(self, status: int) -> Seen:
        wanted, answer, headers = self.wanted, self.answer, self.request.headers
        seen = Seen(
            self.wire.name if wanted is None else wanted.source, self.endpoint, status, self._request_id,
            started=self._started, ended=time.perf_counter(),
            traceparent=headers.get(b"traceparent", b"").decode("latin-1"),
            tracestate=headers.get(b"tracestate", b"").decode("latin-1"),
        )  # fmt: skip
        if wanted is not None:
            seen = seen._replace(decoded=wanted.decoded, answered=wanted.answered, written=wanted.written)
        if answer is not None:
            seen = seen._replace(request_id=answer.id, versions=tuple(set(answer.versions)), rows=answer.rows)
        return seen

    def refuse(self, error: PerennialError, *, status: int = 0) -> None:
        """Tell what prevents an answer; `status` where it is known."""
        self._request_id = urandom(8).hex()
        self.reply(self.wire.refuse(status or status_of(error), error.code, str(error), error.where, self._request_id))

    def fail(self) -> None:
        """Tell of a fault of ours; called where the exception is handled."""
        self._request_id = urandom(8).hex()
        log.exception("request %s failed", self._request_id)  # noqa: LOG004
        self.reply(_fault(self.wire, self._request_id))

    def relay(self, told: Reply | PerennialError) -> None:
        """What another front said, which has seen the request."""
        if isinstance(told, PerennialError):
            self.refuse(told)
            return
        self.watch = None
        self.reply(told)


def _arrow() -> WireFormat:
    from perennial.serve.protocols.arrow import Arrow

    return Arrow()


def _inference() -> WireFormat:
    from perennial.serve.protocols.inference import OpenInference

    return OpenInference()


def _kserve() -> WireFormat:
    from perennial.serve.protocols.kserve import KServe

    return KServe()


def _invocations() -> WireFormat:
    from perennial.serve.protocols.invocations import Invocations

    return Invocations()


_WIRES: dict[str, Callable[[], WireFormat]] = {
    "arrow": _arrow, "inference": _inference, "kserve": _kserve, "invocations": _invocations,
}  # fmt: skip


def _expect(request: HttpRequest, method: str) -> None:
    if request.method != method and not (method == "GET" and request.method == "HEAD"):
        raise _Method(f"{request.path} takes {method}, not {request.method}", remedy=f"use {method}")


def _fault(wire: WireFormat, request_id: str) -> Reply:
    failure = Failure("the prediction service failed", remedy="look for the request id in its log")
    return wire.refuse(500, failure.code, str(failure), "", request_id)


def _key(value: bytes) -> str:
    if len(value) > MAX_KEY:
        raise _Bad(f"an Idempotency-Key has at most {MAX_KEY} characters, this one {len(value)}")
    return value.decode("latin-1")


def status_of(error: PerennialError) -> int:
    """As HTTP says it."""
    if isinstance(error, _Method):
        return 405
    if isinstance(error, Unsupported):
        return 415
    if isinstance(error, _Bad) or (isinstance(error, Invalid) and not error.where):
        return 400  # no value of the request to point at: it is no request
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
