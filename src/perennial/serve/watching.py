"""What those who watch hear of each request: the access log, and traces. Nobody watches unless a setting asks for it.

Never inputs nor answers: when, which endpoint and version, how many rows, with which status, and how long each part
took.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

__all__ = ["Seen", "Watch", "version_of", "watch_of"]


class Seen(NamedTuple):
    """A request that was answered. Times are of `perf_counter`; 0.0 is a part that it did not come to.

    Attributes:
        protocol: As it is counted in the metrics.
        endpoint: Its name; "" where the address names none.
        request_id: What the client was told: the id of the first row, or of the refusal; "" without either.
        versions: Those that answered.
        rows: How many were answered; 0 for a refusal.
        started: The last byte had come.
        decoded: The rows were read and checked.
        answered: The models had answered.
        written: It was written down.
        ended: The answer was handed to the network.
        traceparent, tracestate: The caller's own trace, as W3C's headers; "" without.
    """

    protocol: str
    endpoint: str
    status: int
    request_id: str = ""
    versions: tuple[int, ...] = ()
    rows: int = 0
    started: float = 0.0
    decoded: float = 0.0
    answered: float = 0.0
    written: float = 0.0
    ended: float = 0.0
    traceparent: str = ""
    tracestate: str = ""


Watch: TypeAlias = "Callable[[Seen], None]"


def watch_of(watches: Sequence[Watch]) -> Watch | None:
    """All of these in one; None for none, which costs a request nothing."""
    if len(watches) < 2:
        return watches[0] if watches else None

    def watch(seen: Seen) -> None:
        for one in watches:
            one(seen)

    return watch


def version_of(seen: Seen) -> int | str | None:
    """The version that answered; "several", or None where none did."""
    versions = [version for version in seen.versions if version]
    return None if not versions else versions[0] if len(versions) == 1 else "several"
