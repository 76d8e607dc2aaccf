"""A TCP relay between us and a server: counts requests, cuts connections, answers in the server's place."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Literal

__all__ = ["Relay"]

METHODS = (b"GET ", b"PUT ", b"POST ", b"HEAD ", b"DELETE ")
Direction = Literal["up", "down"]


class Relay:
    """Listens on `port`. Set `cuts` and `answers` at any time; each entry is used once."""

    def __init__(self, target: int) -> None:
        self.requests = 0
        self.answers: list[bytes] = []
        self.cuts: list[tuple[Direction, int]] = []  # cut the connection after so many more bytes in this direction
        self._passed = 0
        self._target = target
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                threading.Thread(target=self._pump, args=(client, server, "up"), daemon=True).start()
                threading.Thread(target=self._pump, args=(server, client, "down"), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, direction: Direction) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if direction == "up" and data.startswith(METHODS):
                    with self._lock:
                        self.requests += 1
                        answer = self.answers.pop(0) if self.answers else None
                    if answer is not None:
                        source.sendall(answer)
                        source.shutdown(socket.SHUT_WR)
                        while source.recv(1 << 16):
                            pass
                        break
                allowed = self._allowed(direction, len(data))
                target.sendall(data[:allowed])
                if allowed < len(data):
                    break
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _allowed(self, direction: Direction, size: int) -> int:
        """How many of so many bytes may pass before the connection is cut."""
        with self._lock:
            if not self.cuts or self.cuts[0][0] != direction:
                return size
            left = self.cuts[0][1] - self._passed
            if size < left:
                self._passed += size
                return size
            self.cuts.pop(0)
            self._passed = 0
            return max(0, min(left, size - 1))
