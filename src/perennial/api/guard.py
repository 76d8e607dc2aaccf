"""May this request come in at all? Rules about the browser, the host name and the kind of content.

A page on any web site can send requests to a server on this machine. So the host must be a name of this machine
(else a foreign name that points here could read the answers), a request that says where it comes from must come from
our own pages, and what changes anything must say that it is JSON or one of our forms. Nothing here guesses by browser.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from perennial.errors import Forbidden, Invalid
from perennial.supervise.addresses import is_loopback

__all__ = ["check_content_type", "check_host", "check_origin", "is_from_our_page", "plain_headers"]

_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9.-]{1,253}))(?::(?P<port>\d{1,5}))?")


def plain_headers(scope: Mapping[str, Any]) -> dict[str, str]:
    """The headers of a request by lower-case name; of one that comes twice, the first."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}


def check_host(host: str | None) -> None:
    """Let through only names of this machine, whatever the port (a tunnel may have another one).

    Raises:
        Invalid: No or a malformed Host header.
        Forbidden: A foreign name.
    """
    if not _is_ours(host or ""):
        raise Forbidden("this host name is not served here", remedy="use http://127.0.0.1 or http://localhost")


@lru_cache(maxsize=256)  # the same few names with every request
def _is_ours(host: str) -> bool:
    found = _HOST.fullmatch(host)
    if found is None:
        raise Invalid("the Host header is missing or malformed")
    return is_loopback(found["six"] or found["name"])


def check_origin(headers: Mapping[str, str], method: str) -> None:
    """Refuse what a page of another site sends, for every method.

    Raises:
        Forbidden: The request says that it comes from elsewhere.
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    foreign = origin is not None and origin != f"http://{headers.get('host', '')}"
    typed_by_hand = site == "none" and method in ("GET", "HEAD")
    if foreign or not (site in (None, "same-origin") or typed_by_hand):
        raise Forbidden("requests from pages of other sites are refused", remedy="open the address in a tab of its own")


def is_from_our_page(headers: Mapping[str, str]) -> bool:
    """Whether the browser vouches that one of our own pages sent this; a cookie alone proves nothing."""
    return "origin" in headers or headers.get("sec-fetch-site") == "same-origin"


def check_content_type(headers: Mapping[str, str], expected: str) -> None:
    """Raises:
    Invalid: The body is not declared to be of the expected kind.
    """
    if headers.get("content-type", "").partition(";")[0].strip().lower() != expected:
        raise Invalid(f"the content type must be {expected}", where="header content-type")
