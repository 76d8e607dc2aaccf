"""A file behind an http(s) address.

The address that a person writes down is fetched, whoever owns it, also in a private network: writing it down is the
consent. Nothing that a server says widens it: a redirect to another host is an error unless that host is named too, a
redirect from https to http always is. Nothing of an answer but its status is shown.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from perennial.data.sources.source import After, Overlap, Reading, filled
from perennial.errors import DataError, Invalid, NotFound, TooLarge, Unavailable

__all__ = ["HttpSource"]

BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class HttpSource:
    """The table at an address. Asked again, the server is told what is known (ETag), and an unchanged file not sent.

    Args:
        url: Where; may hold ${NAME}.
        cursor: Column by which new rows are told from known ones.
        overlap: How far before the last value to look again.
        headers: Sent along, such as {"Authorization": "Bearer ${TOKEN}"}; not to other hosts.
        also_from: Hosts to which the address may redirect.
        max_bytes: A longer answer is refused.
        timeout_s: For which the server may be silent.
        format: The ending of a file such as "csv", when the address does not end in it.
    """

    url: str
    cursor: str | None = None
    overlap: Overlap = None
    headers: Mapping[str, str] = field(default_factory=dict)
    also_from: tuple[str, ...] = ()
    max_bytes: int = 10 << 30
    timeout_s: float = 60.0
    format: str | None = None

    def read(self, scratch: Path, after: After | None, before: Mapping[str, Any] | None) -> Reading:
        """The rows, from a copy in `scratch`."""
        from perennial.data.scan import format_of, scan
        from perennial.store.files import LocalFiles

        parts = urlsplit(self.url)
        shown = _shown(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Invalid(f"{shown!r} is not an http address", remedy="write https://host/path")
        name = parts.path.rpartition("/")[2] or "table"
        name = f"{name}.{self.format}" if self.format else name
        if format_of(name) is None:
            raise Invalid(
                f"the address does not tell the format of {name!r}",
                where=shown,
                remedy='name it: sources.http(url, format="csv")',
            )
        known = before if before and before.get("kind") == "http" and before.get("url") == shown else {}
        conditions = {"If-None-Match": known["etag"]} if known.get("etag") else {}
        path = scratch / name
        with self._answer(conditions, shown) as answer:
            if answer.status == http.client.NOT_MODIFIED:
                return Reading(rows=iter(()), facts=dict(known), is_unchanged=True)
            facts = {"kind": "http", "url": shown, "etag": answer.headers.get("ETag")}
            LocalFiles().write_atomic(path, self._body(answer, shown))
        found = scan(path)
        return Reading(rows=found if after is None else found.newer(after), facts=facts, is_filtered=True)

    def _answer(self, conditions: Mapping[str, str], shown: str) -> http.client.HTTPResponse:
        url, _ = filled(self.url)
        headers = {name: filled(value)[0] for name, value in self.headers.items()}
        request = urllib.request.Request(url, headers={"Accept-Encoding": "identity", **headers, **conditions})  # noqa: S310
        opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler,
            urllib.request.HTTPHandler,
            urllib.request.HTTPSHandler,
            urllib.request.HTTPErrorProcessor,
            urllib.request.HTTPDefaultErrorHandler,
        ):
            opener.add_handler(handler())
        opener.add_handler(_Redirects(self.also_from, [name.lower() for name in headers]))
        try:
            return opener.open(request, timeout=self.timeout_s)
        except urllib.error.HTTPError as error:
            if error.code == http.client.NOT_MODIFIED:
                return error  # pyright: ignore[reportReturnType]  it is the answer, too
            error.close()
            if 300 <= error.code < 400:  # what urllib itself does not follow: no http address, or a circle
                scheme = urlsplit(error.headers.get("Location", "")).scheme
                told = f"the address redirects to {scheme}://" if scheme else "the address redirects in a circle"
                raise DataError(told, where=shown, remedy="write the address of the file itself down") from None
            told = f"the server answered {error.code} {http.client.responses.get(error.code, '')}".strip()
            if error.code in (401, 403):
                raise DataError(told, where=shown, remedy="check the credentials") from None
            if error.code in (404, 410):
                raise NotFound(told, where=shown, remedy="mend the address") from None
            raise Unavailable(told, where=shown, remedy="try again later") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise Unavailable(
                f"the server cannot be reached: {type(reason).__name__}", where=shown, remedy="try again later"
            ) from None

    def _body(self, answer: http.client.HTTPResponse, shown: str) -> Iterator[bytes]:
        length = answer.headers.get("Content-Length")
        expected = int(length) if length is not None and length.isdecimal() else None
        seen = 0
        try:
            while block := answer.read(BLOCK_BYTES):
                seen += len(block)
                if max(seen, expected or 0) > self.max_bytes:
                    raise TooLarge(
                        f"the answer has more than {self.max_bytes} bytes",
                        where=shown,
                        remedy="give max_bytes when it is right",
                    )
                yield block
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(
                f"the answer broke off after {seen} bytes: {type(error).__name__}", where=shown, remedy="try again"
            ) from None
        if expected is not None and seen != expected:
            raise Unavailable(f"the answer broke off after {seen} of {expected} bytes", where=shown, remedy="try again")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect on the same host, or to one that was named; what was sent along stays with the first host."""

    def __init__(self, hosts: tuple[str, ...], private: list[str]) -> None:
        self._hosts = hosts
        self._private = private

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        downgraded = old.scheme == "https" and new.scheme != "https"
        moved = (old.hostname, old.port) != (new.hostname, new.port)
        if downgraded or new.scheme not in ("http", "https") or (moved and new.hostname not in self._hosts):
            raise DataError(
                f"the address redirects to {new.scheme}://{new.hostname}",
                where=_shown(req.full_url),
                remedy=f"if that is right, allow it: also_from=({new.hostname!r},), or write that address down",
            )
        made = super().redirect_request(req, fp, code, msg, headers, newurl)
        if made is not None and moved:
            for name in (*self._private, "cookie"):
                made.remove_header(name.capitalize())
        return made


def _shown(url: str) -> str:
    """The address without user, password and query, where secrets are."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return urlunsplit((parts.scheme, f"{host}:{parts.port}" if parts.port else host, parts.path, "", ""))
