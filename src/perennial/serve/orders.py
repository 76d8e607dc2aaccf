"""What the processes of the service say to each other: `u32 length | msgpack`, each message a tagged array.

The parent decides, the fronts answer clients, workers hold models that need code of their own. The parent tells a front
what to load and, when every front has it, how endpoints answer from then on; so all fronts change to a version within
a moment, and none before all of them can.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import msgspec

from perennial.models.sandbox import Rules
from perennial.serve.spec import EndpointSpec
from perennial.store.decoding import ready

__all__ = [
    "LENGTH",
    "Accepts",
    "Break",
    "Channel",
    "Config",
    "Drain",
    "Duty",
    "Explain",
    "Forget",
    "Forgot",
    "Gather",
    "Gathered",
    "Hangs",
    "Hello",
    "Inherit",
    "Large",
    "Left",
    "Listens",
    "Load",
    "Loaded",
    "Outcomes",
    "Report",
    "Retire",
    "Routes",
    "Tell",
    "ToFront",
    "ToParent",
    "Told",
    "Up",
    "framed",
    "to_front",
    "to_parent",
    "explainer_of",
]

LENGTH = struct.Struct("<I")


def explainer_of(package: str) -> str:
    """The name among the models of what explains a package."""
    return f"{package}#explain"


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What a front is started with. `front`: its number of so many `fronts`; `grpc`: "host:port", "" is none.

    Numbers from `fronts` on are those of so many `large` ones, which answer what others hand on to them.
    `takes_over`: it follows another one of its number, which still answers and leaves it keys and debts.
    `tls_certificate` and `tls_key`: files in PEM form, "" is no TLS.
    `access_share`: of the requests that the access log holds, None without a log; `otlp_endpoint`: where traces of so
    many `trace_share` of the requests go, "" is nowhere.
    """

    front: int
    fronts: int
    serving: str
    clock: str
    max_body_bytes: int
    max_rows: int
    timeout_s: float
    private: str
    grpc: str = ""
    large: int = 1
    takes_over: bool = False
    tls_certificate: str = ""
    tls_key: str = ""
    access_share: float | None = None
    otlp_endpoint: str = ""
    trace_share: float = 0.0

    @property
    def is_large(self) -> bool:
        return self.front >= self.fronts


# from the parent


class Load(msgspec.Struct, frozen=True, array_like=True, tag="load"):
    """Take this checked-out package into your own process."""

    package: str
    folder: str


class Listens(msgspec.Struct, frozen=True, array_like=True, tag="listens"):
    """The worker of this package, checked out in `folder`, listens here; or its explainer, which has no folder."""

    package: str
    address: str
    name: str
    folder: str = ""


class Forget(msgspec.Struct, frozen=True, array_like=True, tag="forget"):
    """These packages are not asked for any more."""

    packages: list[str]


class Routes(msgspec.Struct, frozen=True, array_like=True, tag="routes"):
    """How endpoints answer from now on; `problems` of those that do not, or not with what they should.

    `known`: every endpoint of the spec; `ready`: whether each of them answers; `problem`: of the service as a whole.
    """

    revision: int
    endpoints: list[EndpointSpec]
    known: list[str]
    problems: dict[str, str]
    ready: bool
    problem: str = ""


class Break(msgspec.Struct, frozen=True, array_like=True, tag="break"):
    """For this endpoint, ask others instead of this package; `probes`: but this many calls may find out whether it is
    well again, after so many were `tried`."""

    endpoint: str
    package: str
    is_broken: bool
    probes: int = 0
    tried: int = 0


class Gathered(msgspec.Struct, frozen=True, array_like=True, tag="gathered"):
    """The answer to `Gather`: the status of the service (JSON), and its metrics (Prometheus' text)."""

    number: int
    status: bytes
    metrics: bytes


class Tell(msgspec.Struct, frozen=True, array_like=True, tag="tell"):
    """Report now."""

    number: int


class Drain(msgspec.Struct, frozen=True, array_like=True, tag="drain"):
    """Answer what was asked, then end."""


class Retire(msgspec.Struct, frozen=True, array_like=True, tag="retire"):
    """Another front takes your place: give it your connections at the address `heir`, leave keys and debts in files
    whose names begin with `left`, answer what was asked, and end."""

    heir: str
    left: str


class Inherit(msgspec.Struct, frozen=True, array_like=True, tag="inherit"):
    """What the front before you left: `keys` or its `debts`, in this file; "": it died, look into the segments."""

    what: str
    path: str


# from a front


class Up(msgspec.Struct, frozen=True, array_like=True, tag="up"):
    """The front runs."""

    pid: int


class Accepts(msgspec.Struct, frozen=True, array_like=True, tag="accepts"):
    """The front takes connections, also those of the one before it."""

    pid: int


class Left(msgspec.Struct, frozen=True, array_like=True, tag="left"):
    """What a front that retires leaves to the next one: `keys` or `debts`, in this file."""

    what: str
    path: str


class Loaded(msgspec.Struct, frozen=True, array_like=True, tag="loaded"):
    """The package is warm, or says why it will never be."""

    package: str
    problem: str | None = None


class Forgot(msgspec.Struct, frozen=True, array_like=True, tag="forgot"):
    """Nothing is asked of this package any more."""

    package: str


class Hangs(msgspec.Struct, frozen=True, array_like=True, tag="hangs"):
    """The worker of this package did not answer in time, though it had the time for itself."""

    package: str
    pid: int


class Explain(msgspec.Struct, frozen=True, array_like=True, tag="explain"):
    """Somebody asks for explanations of this package: start its explainer, if it does not run."""

    package: str


class Large(msgspec.Struct, frozen=True, array_like=True, tag="large"):
    """A request is there that is for the large front of this number: start it, if it does not run."""

    front: int


class Outcomes(msgspec.Struct, frozen=True, array_like=True, tag="outcomes"):
    """How the latest calls of this package for this endpoint went, oldest first: true is well."""

    endpoint: str
    package: str
    went: list[bool]


class Gather(msgspec.Struct, frozen=True, array_like=True, tag="gather"):
    """What does the whole service do?"""

    number: int


class Report(msgspec.Struct, array_like=True, tag="report"):
    """What a front did since it started; rows: received = stored + dropped + pending."""

    number: int
    received: int
    stored: int
    dropped: int
    shadow_pending: int
    problem: str
    counts: list[tuple[str, tuple[str, ...], float]]
    latencies: list[tuple[tuple[str, ...], list[int], float]]

    @property
    def pending(self) -> int:
        return self.received - self.stored - self.dropped


ToFront: TypeAlias = "Load | Listens | Forget | Routes | Break | Gathered | Tell | Drain | Retire | Inherit"
ToParent: TypeAlias = "Up | Accepts | Left | Loaded | Forgot | Hangs | Explain | Large | Outcomes | Gather | Report"

to_front: Any = msgspec.msgpack.Decoder(
    ready(Load | Listens | Forget | Routes | Break | Gathered | Tell | Drain | Retire | Inherit)
)
to_parent: Any = msgspec.msgpack.Decoder(
    ready(Up | Accepts | Left | Loaded | Forgot | Hangs | Explain | Large | Outcomes | Gather | Report)
)
_encode = msgspec.msgpack.Encoder().encode


def framed(message: object) -> bytes:
    payload = _encode(message)
    return LENGTH.pack(len(payload)) + payload


class Channel(asyncio.Protocol):
    """One end of a stream of messages. `received` gets each of them, `ended` is called once."""

    def __init__(self, decoder: Any, received: Callable[[Any], None], ended: Callable[[], None]) -> None:
        self._decode = decoder.decode
        self._received = received
        self._ended = ended
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes] = []

    def send(self, message: object) -> None:
        self.write(framed(message))

    def write(self, data: bytes) -> None:
        if self._transport is None:
            self._early.append(data)
        elif not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        for data in self._early:
            self._transport.write(data)
        self._early.clear()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        at, size = 0, len(buffer)
        while size - at >= LENGTH.size:
            end = at + LENGTH.size + LENGTH.unpack_from(buffer, at)[0]
            if size < end:
                break
            message = self._decode(memoryview(buffer)[at + LENGTH.size : end].tobytes())
            at = end
            self._received(message)
        if at:
            del buffer[:at]

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended()


class Duty(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is for: the digest of a package, the folder to check it out into, the object store to take it
    from, whether code in it may run, how the process is confined; and whether it explains instead of predicts."""

    package: str
    cache: str
    objects: str
    trusted: bool = False
    rules: Rules = Rules()
    explains: bool = False


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """The worker is warm, or says why it will never be; or, as its last words, what its accelerator `lost` said."""

    problem: str | None = None
    lost: str = ""


class Told(msgspec.Struct, frozen=True, array_like=True):
    """What a model says of rows, one entry for each: values (None where there is an error), probabilities in the order
    of `classes`, errors (None where no row has one). Of an explainer, `values` are what `explain` gives of each row.
    Without values: the worker `pid` is there, the first time; then, it begins with what was sent to it last."""

    values: list[Any]
    probabilities: list[Any] | None = None
    errors: list[str | None] | None = None
    classes: list[Any] | None = None
    pid: int = 0
