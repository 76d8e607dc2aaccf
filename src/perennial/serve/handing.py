"""One front takes over from another: connections that wait go to it as they are, keys and debts when they are settled.

A connection between two requests is a socket with nothing of ours in it, so its descriptor is all that the next front
needs; its client notices nothing. One with a request goes when that is answered. Keys of clients and shadow answers
that are owed go through files in the folder that only this user can enter; a front that dies before it wrote them
leaves them to be read from its segments.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec

from perennial.serve.journal import Debt
from perennial.serve.segments import Place
from perennial.store.decoding import ready
from perennial.store.files import LocalFiles

__all__ = ["Giving", "Inherited", "Taking", "heir_of", "read_inherited", "write_inherited"]

Key = tuple[str, str]  # an endpoint, and what a client calls its request


class Inherited(msgspec.Struct, frozen=True, array_like=True):
    """What a front that ends leaves: of each key the endpoint, the key, what it was used for, where the answer lies;
    and of each debt its place and facts."""

    keys: list[tuple[str, str, str, str, int]] = []
    debts: list[tuple[str, int, str, str, int, int]] = []  # path, start, id, endpoint, version, at


_decode = msgspec.msgpack.Decoder(ready(Inherited)).decode


def write_inherited(path: Path, *, keys: dict[Key, tuple[str, Place]], debts: list[Debt]) -> None:
    """Leave keys and debts in this file."""
    left = Inherited(
        keys=[(*key, request, str(place.path), place.start) for key, (request, place) in keys.items()],
        debts=[(str(debt.place.path), debt.place.start, debt.id, debt.endpoint, debt.version, debt.at)
               for debt in debts],
    )  # fmt: skip
    LocalFiles().write_atomic(path, msgspec.msgpack.encode(left), mode=0o600)


def read_inherited(path: Path) -> tuple[dict[Key, tuple[str, Place]], list[Debt]]:
    """What `write_inherited` left."""
    left = _decode(path.read_bytes())
    keys = {(endpoint, key): (request, Place(Path(at), start)) for endpoint, key, request, at, start in left.keys}
    debts = [
        Debt(Place(Path(path), start), id_, endpoint, version, at)
        for path, start, id_, endpoint, version, at in left.debts
    ]
    return keys, debts


def heir_of(private: Path, pid: int) -> Path:
    """Where the front of this process takes connections from the one before it."""
    return private / f"heir-{pid}"


class Giving:
    """The end of a front that gives its connections away."""

    def __init__(self, address: Path) -> None:
        """Raises OSError where nobody takes them."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(str(address))
        except OSError:
            self._socket.close()
            raise
        self._socket.setblocking(False)

    def give(self, descriptor: int) -> bool:
        """Whether the next front has it; False is to be tried again, or never where that front is gone."""
        try:
            return socket.send_fds(self._socket, [b"c"], [descriptor]) == 1
        except OSError:
            return False

    def close(self) -> None:
        self._socket.close()


class Taking:
    """The end of the front that comes: each socket that arrives goes to `take`."""

    def __init__(self, address: Path, take: Callable[[socket.socket], None]) -> None:
        self._take = take
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(address))
        self._listener.listen(4)
        self._listener.setblocking(False)
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            giver, _ = self._listener.accept()
            giver.setblocking(False)
            self._loop.add_reader(giver, self._receive, giver)

    def _receive(self, giver: socket.socket) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(giver, 1, 1)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        for descriptor in descriptors:
            self._take(socket.socket(fileno=descriptor))
        if not data:
            self._loop.remove_reader(giver)
            giver.close()

    def close(self) -> None:
        """Take no more; what was sent before has arrived by now, since its sender waits for nobody."""
        self._loop.remove_reader(self._listener)
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            LocalFiles().remove(self._address)
