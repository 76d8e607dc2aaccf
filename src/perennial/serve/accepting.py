"""Several processes accept on one socket, and share the connections evenly.

The kernel wakes them all and gives a connection to who asks first; so one that has more than others waits a moment,
for them to be first. Each keeps its number of connections on a board (a shared file in
memory) that all can read.
"""

from __future__ import annotations

import asyncio
import mmap
import socket
import ssl
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.store.files import LocalFiles

if TYPE_CHECKING:
    from perennial.serve.http import Connections

__all__ = ["BOARD", "Acceptor", "board_bytes"]

BOARD = "board"
WAIT_S = 0.001
AHEAD = 2  # connections that a front may have more than the one with the fewest
_COUNT = struct.Struct("<q")


def board_bytes(fronts: int) -> bytes:
    """The board of so many fronts, before any of them has a connection."""
    return bytes(_COUNT.size * fronts)


class Acceptor:
    """Accepts for one front."""

    def __init__(
        self, listener: socket.socket, board: Path, front: int, connections: Connections,
        *, tls: ssl.SSLContext | None = None,
    ) -> None:  # fmt: skip
        self._listener = listener
        self._tls = tls
        self._front = front
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._is_open = False
        self._tasks: set[asyncio.Task[object]] = set()
        with LocalFiles().append(board, in_place=True) as file:
            self._board = mmap.mmap(file.descriptor, 0)
        self.note()

    def begin(self) -> None:
        """Take connections from now on."""
        if not self._is_open:
            self._is_open = True
            self._loop.add_reader(self._listener, self._accept)

    def end(self) -> None:
        """Take no more connections."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._listener)
        self._listener.close()

    @property
    def is_idle(self) -> bool:
        """Whether no connection is being made."""
        return not self._tasks

    def note(self) -> int:
        """Tell the others how many connections there are here, those included that are being made."""
        count = len(self._connections.open) + len(self._tasks)
        _COUNT.pack_into(self._board, _COUNT.size * self._front, count)
        return count

    def _accept(self) -> None:
        while self.note() <= min(count for (count,) in _COUNT.iter_unpack(self._board)) + AHEAD:
            if not self._accept_one():
                return
        self._loop.remove_reader(self._listener)
        self._loop.call_later(WAIT_S, self._accept_anyway)

    def _accept_anyway(self) -> None:
        if self._is_open:
            self._accept_one()
            self._loop.add_reader(self._listener, self._accept)

    def _accept_one(self) -> bool:
        try:
            client, _ = self._listener.accept()
        except OSError:  # nobody is there, another front was quicker, or the client is gone again
            return False
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.take(client)
        return True

    def take(self, client: socket.socket) -> None:
        """Answer on this connection, which was accepted here or by the front before this one."""
        client.setblocking(False)
        task = self._loop.create_task(self._loop.connect_accepted_socket(self._connections.make, client, ssl=self._tls))
        self._tasks.add(task)
        task.add_done_callback(self._connected)

    def _connected(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # a client that is gone before it said anything
        self.note()
