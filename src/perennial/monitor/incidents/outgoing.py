"""The guard of every connection that a notice opens: to where the settings say, and nowhere else.

A name is resolved once, every address behind it must be one of the public Internet, and the connection goes to the
address that was looked at, so that a name that changes its mind between look and connect gains nothing. Inside
addresses need an entry in the setting `outbound_allow`. Nothing is followed and no body is read: of an answer only its
status is known. Every attempt goes through all of it again.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Self, TypeAlias
from urllib.parse import SplitResult, urlsplit

from perennial.errors import ConfigError, Forbidden, Invalid, Unavailable

__all__ = ["CONNECT_S", "DEADLINE_S", "Allowed", "connect", "context_of", "deadline", "look_up", "post"]

CONNECT_S = 10.0  # for a connection, and for each step of talking over it
DEADLINE_S = 30.0  # for everything together: a receiver that answers a byte at a time is cut off

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Ip: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """Names and networks that may be reached although they are not public, and without TLS."""

    names: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, text: str) -> Self:
        """Read the setting `outbound_allow`: names, addresses and networks, separated by commas.

        Raises:
            ConfigError: An entry is none of these.
        """
        names: set[str] = set()
        networks: list[Network] = []
        for entry in (part.strip().lower().rstrip(".") for part in text.split(",")):
            if not entry:
                continue
            try:
                networks.append(ipaddress.ip_network(entry))
            except ValueError as error:
                if "/" in entry or not all(part.replace("-", "").isalnum() for part in entry.split(".")):
                    raise ConfigError(
                        f"{entry!r} is no name, address or network: {error}",
                        where="setting outbound_allow",
                        remedy="for example outbound_allow = 'mail.intern, 10.1.0.0/16'",
                    ) from error
                names.add(entry)
        return cls(names=frozenset(names), networks=tuple(networks))

    def names_host(self, host: str) -> bool:
        """Whether this name, or this address where it is one, has an entry."""
        plain = host.lower().rstrip(".").strip("[]")
        try:
            return self.has(ipaddress.ip_address(plain))
        except ValueError:
            return plain in self.names

    def has(self, address: Ip) -> bool:
        """Whether this address lies in a network that has an entry."""
        return any(address in network for network in self.networks)


def look_up(host: str, port: int, allowed: Allowed) -> str:
    """The address to connect to.

    Raises:
        Forbidden: An address of this name is not public and has no entry in `outbound_allow`.
        Unavailable: The name has no address now.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"{host} has no address now") from error
    addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
    is_named = allowed.names_host(host)
    for text in addresses:
        address = _unwrapped(ipaddress.ip_address(text))
        if not (is_named or _is_public(address) or allowed.has(address)):
            raise Forbidden(
                f"{host} is {address}, which is not an address of the public Internet",
                where="setting outbound_allow",
                remedy=f"if it is yours, allow it: outbound_allow = '{host}'",
            )
    return addresses[0]


def connect(host: str, port: int, allowed: Allowed) -> socket.socket:
    """A connection to an address of this host that was looked at.

    Raises:
        Forbidden, Unavailable: See `look_up`; or nobody answers there.
    """
    address = look_up(host, port, allowed)
    try:
        return socket.create_connection((address, port), timeout=CONNECT_S)
    except OSError as error:
        raise Unavailable(f"nobody answers at {host}, port {port}: {error.strerror or 'no answer in time'}") from error


def context_of(authorities: str) -> ssl.SSLContext:
    """Trust the authorities of this machine, and those in a file where the setting `outbound_ca` names one.

    Raises:
        ConfigError: The file cannot be read as certificates.
    """
    context = ssl.create_default_context()
    if authorities:
        try:
            context.load_verify_locations(cafile=str(Path(authorities).expanduser()))
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                "this is no file of certificates in PEM form", where=f"setting outbound_ca, {authorities}"
            ) from error
    return context


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    allowed: Allowed,
    context: ssl.SSLContext,
    deadline_s: float = DEADLINE_S,
) -> int:
    """Send a body; the status of the answer, whatever it is. A redirect is an answer like any other.

    Raises:
        Invalid: This is no address to post to; it needs https unless the host has an entry in `outbound_allow`.
        Forbidden, Unavailable: See `connect`; or the answer is none, or does not come in time.
    """
    parts = _checked(url, allowed)
    assert parts.hostname is not None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection: HTTPConnection
    try:
        with connect(parts.hostname, port, allowed) as plain, deadline(plain, deadline_s):
            if parts.scheme == "https":
                connection = HTTPSConnection(parts.hostname, port, timeout=CONNECT_S, context=context)
                connection.sock = context.wrap_socket(plain, server_hostname=parts.hostname)
            else:
                connection = HTTPConnection(parts.hostname, port, timeout=CONNECT_S)
                connection.sock = plain
            with connection.sock:
                connection.request("POST", path, body, dict(headers) | {"connection": "close"})
                return connection.getresponse().status  # the body stays where it is
    except ssl.SSLCertVerificationError as error:
        raise Unavailable(f"the certificate of {parts.hostname} is not valid: {error.verify_message}") from error
    except (OSError, HTTPException) as error:
        raise Unavailable(f"{parts.hostname} gave no answer: {type(error).__name__}") from error


@contextmanager
def deadline(connection: socket.socket, seconds: float = DEADLINE_S) -> Generator[None]:
    """Cut a connection off when the block takes longer.

    Raises:
        TimeoutError: It did; what the block made of half an answer counts for nothing.
    """
    descriptor = connection.dup()  # stays ours when TLS takes the socket over
    was_cut = threading.Event()

    def cut() -> None:
        was_cut.set()
        try:
            descriptor.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is closed already, which is what was wanted

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        descriptor.close()
        if was_cut.is_set():
            raise TimeoutError(f"it took longer than {seconds:g} s")


def _checked(url: str, allowed: Allowed) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Invalid("this is no address to post to", where="webhook_url or slack_webhook_url") from error
    if any(ord(char) <= 32 or ord(char) == 127 for char in url) or not parts.hostname or port == 0:
        raise Invalid("this is no address to post to", where="webhook_url or slack_webhook_url")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise Invalid("an address to post to holds no user, password or fragment", where=parts.hostname)
    may_be_plain = parts.scheme == "http" and allowed.names_host(parts.hostname)
    if parts.scheme != "https" and not may_be_plain:
        raise Invalid(
            f"{parts.scheme or 'no scheme'} is not https",
            where=parts.hostname,
            remedy="write https://..., or name the host in the setting outbound_allow",
        )
    return parts


def _unwrapped(address: Ip) -> Ip:
    """The IPv4 address that is meant where an IPv6 address stands for one."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_public(address: Ip) -> bool:
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)
