"""Where to listen: on this machine only, and on a port that is free."""

from __future__ import annotations

import errno
import ipaddress
import socket

from perennial.errors import ConfigError

__all__ = ["check_bind_address", "free_port", "is_loopback", "listen"]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address; a name other than localhost cannot be trusted to stay here."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_bind_address(host: str) -> None:
    """Refuse to listen where others could reach us.

    Raises:
        ConfigError: Not an address of this machine alone.
    """
    if not is_loopback(host):
        raise ConfigError(
            f"{host!r} can be reached from other machines, and there is no login and no TLS yet",
            where="setting host",
            remedy="use 127.0.0.1, and an SSH tunnel (ssh -L 5000:127.0.0.1:5000 MACHINE) from elsewhere",
        )


def listen(host: str, port: int, option: str) -> socket.socket:
    """A listening socket; port 0 takes any that is free.

    Raises:
        ConfigError: The port is taken or not allowed; names it and the option that chooses another one.
    """
    check_bind_address(host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(2048)
    except (OSError, OverflowError) as error:
        listening.close()
        busy = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        why = "is in use by another program" if busy else f"cannot be used: {error}"
        remedy = f"choose another one with {option}, 0 takes a free one"
        raise ConfigError(f"port {port} {why}", where=host, remedy=remedy) from error
    return listening


def free_port(host: str, port: int, option: str) -> int:
    """The number of a port that is free now, for a process that opens it itself.

    Raises:
        ConfigError: As `listen`.
    """
    with listen(host, port, option) as listening:
        return listening.getsockname()[1]
