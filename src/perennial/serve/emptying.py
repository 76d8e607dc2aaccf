"""Let a listening server of a library run empty: nobody new comes, and who is there goes when it likes.

gRPC's own way of stopping refuses calls that are on their way when it says that it stops, and it has none to close the
listening socket alone. So that is shut down here from outside, found among the descriptors of this process by the port;
the server then answers on the connections it has, and `grpc_service.MAX_AGE_S` ends each of these in good order.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

__all__ = ["connections_on", "stop_listening"]


def stop_listening(port: int) -> int:
    """Shut down all sockets of this process that listen on this TCP port; how many there were."""
    found = 0
    for sock in _sockets():
        if _port(sock) == port and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.shutdown(socket.SHUT_RDWR)
            found += 1
    return found


def connections_on(port: int) -> int:
    """How many connections of others to this TCP port this process has."""
    found = 0
    for sock in _sockets():
        try:
            sock.getpeername()
            found += _port(sock) == port
        except OSError:
            pass  # it listens, or the other end is gone
    return found


def _sockets() -> Iterator[socket.socket]:
    """The sockets of this process, each to look at: they belong to others and stay open."""
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - names are all that is wanted
        try:
            sock = socket.socket(fileno=int(name))
        except OSError:
            continue  # no socket, or closed meanwhile
        try:
            yield sock
        finally:
            sock.detach()


def _port(sock: socket.socket) -> int | None:
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.type != socket.SOCK_STREAM:
        return None
    return sock.getsockname()[1]
