"""Who may ask: nobody whose request a page of another site has sent through a browser.

Host must be an address or localhost, so that a name which an attacker pointed at loopback is refused; Origin, where
there is one, must be ours.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from perennial.errors import Forbidden

__all__ = ["check_origin"]

_known: dict[bytes, bool] = {}


def check_origin(headers: Mapping[bytes, bytes]) -> None:
    """Refuse requests that a page of another site can make.

    Raises:
        Forbidden: Host is a foreign name, or the request comes from another site's page.
    """
    host = headers.get(b"host", b"")
    known = _known.get(host)
    if known is None:
        known = _is_local(host.decode("latin-1").lower())
        if len(_known) < 1000:
            _known[host] = known
    if not known:
        raise Forbidden(
            f"the host {host.decode('latin-1')!r} is not this service", remedy="use its IP address or localhost"
        )
    site = headers.get(b"sec-fetch-site")
    origin = headers.get(b"origin")
    if site in (b"cross-site", b"same-site") or (origin and origin.partition(b"://")[2].lower() != host.lower()):
        raise Forbidden("requests from pages of other sites are not answered", remedy="call it from a program")


def _is_local(host: str) -> bool:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    try:
        return name in ("", "localhost") or bool(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        return False
