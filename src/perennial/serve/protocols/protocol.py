"""What a wire format must offer: requests become checked rows, answers become bytes, errors have its own shape.

Stateless and quick: everything here runs between two requests of other clients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from perennial.errors import Invalid
from perennial.serve.answer import Answer
from perennial.serve.asked import Asked

if TYPE_CHECKING:
    from perennial.serve.intake import Intake

__all__ = ["JSON", "TEXT", "HttpRequest", "Reply", "Unsupported", "WireFormat"]

JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"


class Unsupported(Invalid):
    """Another content type than this protocol has: 415."""


class HttpRequest(msgspec.Struct, kw_only=True):
    """A request as it came.

    `path` is decoded once; names of `headers` are in small letters, the last of a name counts. `kept` is what `decode`
    leaves for `encode`, so that nothing is read twice, and `timeout_s` how long the caller waits, where the body says
    so. `is_packed`: the body is compressed yet, as its content-encoding says, since it is large.
    """

    method: str
    path: str
    query: str = ""
    headers: dict[bytes, bytes]
    body: bytes
    kept: object = None
    timeout_s: float | None = None
    is_packed: bool = False


class Reply(msgspec.Struct, kw_only=True):
    """Bytes to send; `headers` besides the type and the length."""

    status: int = 200
    body: bytes
    kind: bytes = JSON
    headers: list[tuple[bytes, bytes]] = []


class WireFormat(Protocol):
    """One protocol's way to ask for predictions.

    Attributes:
        name: As it is counted and written down.
        tells_rows: An answer can say of each row that there is none, and why; else a request fails as a whole when the
            models of some of its rows do not answer.
    """

    name: str
    tells_rows: bool

    def decode(self, request: HttpRequest, intake: Intake) -> Asked:
        """The checked rows of a request.

        Raises:
            Invalid: Says what is wrong, `where` points at it.
            Unsupported: Another content type than this protocol has (answered 415).
        """
        ...

    def encode(self, answer: Answer, request: HttpRequest, intake: Intake) -> Reply:
        """The answer in this protocol; of the same request that was decoded."""
        ...

    def refuse(self, status: int, code: str, message: str, where: str, request_id: str) -> Reply:
        """An error in this protocol's shape."""
        ...
