"""Ask the owner of a workspace over HTTP, as if its services were here.

One connection for each thread is kept open. While the owner restarts, a call waits and is sent again with the same
idempotency key, so that it happens once; how long is bounded. Errors come back as the class that they were there.
Nothing here imports a service: the types of an operation are read only when `RemoteService` decodes its answer.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit
from weakref import WeakSet

from perennial.api.operations import OPERATIONS
from perennial.api.statuses import NotLoggedIn, rebuilt
from perennial.errors import ConfigError, Failure, Unavailable
from perennial.store.decoding import ready

__all__ = ["Address", "Connection", "HeldLease", "RemoteService", "parse_address"]

CONNECT_S = 5.0
ANSWER_S = 600.0  # verify and backup read everything
FIRST_WAIT_S, LONGEST_WAIT_S = 0.02, 0.5


class Address(NamedTuple):
    """Where an owner listens, and the token that shows who we are (empty: nobody)."""

    host: str
    port: int
    token: str


class _Kept(HTTPConnection):
    """A connection that closes when the thread that kept it ends."""

    def __del__(self) -> None:
        self.close()


class HeldLease:
    """The lease under which a process of ours writes; epoch 0 while it holds none. Fits `store.leases`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.epoch = 0


class Connection:
    """Calls operations of one owner. Safe for concurrent use.

    `find` tells where the owner is now; it is asked again whenever the owner does not answer, because a new one may
    have another address and has another token. It raises Unavailable when there is none.
    """

    def __init__(
        self, find: Callable[[], Address], *, origin: str, patience_s: float = 30.0, lease: HeldLease | None = None
    ) -> None:
        self._find = find
        self._origin = origin
        self._lease = lease
        self._patience_s = patience_s
        self._address: Address | None = None
        self._here = threading.local()
        self._lock = threading.Lock()
        self._all: WeakSet[_Kept] = WeakSet()

    def call(self, operation: str, **arguments: object) -> Any:
        """The answer of this operation, as plain JSON values.

        Raises:
            Unavailable: No owner answered within the patience.
            PerennialError: What the operation raised.
        """
        return json.loads(self.post("/api/" + operation.replace(".", "/"), json.dumps(arguments).encode()) or b"null")

    def post(self, path: str, body: bytes) -> bytes:
        """Send a JSON body; the answer's body. Sent again with the same key until an owner has answered."""
        key = secrets.token_hex(16)
        ends, wait, token = time.monotonic() + self._patience_s, FIRST_WAIT_S, None
        while True:
            try:
                address = self._address or self._find()
                self._address = address
                status, answer = self._exchange(address, path, body, key)
            except (OSError, HTTPException, Unavailable) as error:
                self._forget()
                if time.monotonic() + wait > ends:
                    raise Unavailable(
                        "the owner of the workspace does not answer",
                        where=str(error),
                        remedy="start it with: perennial up",
                    ) from error
                time.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT_S)
                continue
            if status == 200:
                return answer
            error = _error(status, answer)
            if not isinstance(error, NotLoggedIn) or address.token in ("", token):
                raise error
            token = address.token  # a new owner has a new token: look once whether that is the reason
            self._forget()

    def within(self, patience_s: float) -> Connection:
        """To the same owner, with another patience and connections of its own."""
        return Connection(self._find, origin=self._origin, patience_s=patience_s, lease=self._lease)

    def close(self) -> None:
        """Close the connections of all threads; a later call opens a new one."""
        with self._lock:
            held, self._all = list(self._all), WeakSet()
        for connection in held:
            connection.close()
        self._address = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _exchange(self, address: Address, path: str, body: bytes, key: str) -> tuple[int, bytes]:
        held: tuple[Address, _Kept] | None = getattr(self._here, "held", None)
        if held is None or held[0] != address:
            connection = _Kept(address.host, address.port, timeout=CONNECT_S)
            connection.connect()
            assert connection.sock is not None
            connection.sock.settimeout(ANSWER_S)
            held = self._here.held = (address, connection)
            with self._lock:
                self._all.add(connection)
        headers = {"content-type": "application/json", "idempotency-key": key, "perennial-origin": self._origin}
        if address.token:
            headers["authorization"] = f"Bearer {address.token}"
        if self._lease is not None and self._lease.epoch:
            headers["perennial-lease"] = f"{self._lease.name} {self._lease.epoch}"
        held[1].request("POST", path, body, headers)
        response = held[1].getresponse()
        return response.status, response.read()

    def _forget(self) -> None:
        held = getattr(self._here, "held", None)
        if held is not None:
            held[1].close()
            with self._lock:
                self._all.discard(held[1])
        self._here.held = self._address = None


class RemoteService:
    """Stands for one service of a workspace that another process owns: the same methods, the same answers."""

    def __init__(self, noun: str, connection: Connection) -> None:
        self._noun = noun
        self._connection = connection

    def within(self, patience_s: float) -> RemoteService:
        """The same service, which gives up sooner."""
        return RemoteService(self._noun, self._connection.within(patience_s))

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        name = f"{self._noun}.{verb}"
        if name not in OPERATIONS:
            known = [known.partition(".")[2] for known in OPERATIONS if known.startswith(f"{self._noun}.")]
            raise AttributeError(f"{name} cannot be called from another process; {self._noun} has: {', '.join(known)}")
        import msgspec

        from perennial.api.signatures import signature_of

        path, response = "/api/" + name.replace(".", "/"), signature_of(name).response

        def call(**arguments: object) -> Any:
            answer = self._connection.post(path, msgspec.json.encode(arguments))
            return msgspec.json.decode(answer, type=ready(response))

        call.__name__ = call.__qualname__ = name
        return call


def parse_address(text: str) -> Address:
    """The address of an owner that was given as a URL.

    Raises:
        ConfigError: It is not http://HOST:PORT.
    """
    url = urlsplit(text)
    try:
        port = url.port or 80
    except ValueError:
        port = 0
    if url.scheme != "http" or not url.hostname or not port or url.path.strip("/") or url.query:
        raise ConfigError(
            f"{text!r} is not the address of a workspace", remedy="write http://127.0.0.1:5000, or a folder"
        )
    return Address(url.hostname, port, "")


def _error(status: int, answer: bytes) -> Exception:
    try:
        told: object = json.loads(answer)
    except ValueError:
        told = None
    if isinstance(told, Mapping):
        return rebuilt(told)  # pyright: ignore[reportUnknownArgumentType]  JSON of any shape is read there
    return Failure(f"the server answered {status} without saying why", remedy="is this a Perennial server?")
