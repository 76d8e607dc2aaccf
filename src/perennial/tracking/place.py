"""What logging needs of a workspace: where the spool lies, who takes what is sent, and the clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

from perennial.clock import Clock
from perennial.store.files import Files
from perennial.store.objects import ObjectStore
from perennial.tracking.delivery import Delivery, refused_path
from perennial.tracking.runs import Runs

__all__ = ["Place"]

PATIENCE_S = 2.0  # of one call; the sender tries again by itself


@runtime_checkable
class _Remote(Protocol):
    def within(self, patience_s: float) -> object: ...


@dataclass(frozen=True)
class Place:
    """Of one workspace. `get_service` gives its runs as they are, here or at the owner."""

    folder: Path
    objects: ObjectStore
    clock: Clock
    files: Files
    cap_bytes: int
    get_service: Callable[[], Runs]

    @cached_property
    def is_remote(self) -> bool:
        """Whether another process owns the records, so that a forked child may ask it as well."""
        return isinstance(self.get_service(), _Remote)

    def service(self) -> Runs:
        """The runs, with little patience and with connections of its own."""
        service = self.get_service()
        return cast(Runs, service.within(PATIENCE_S)) if isinstance(service, _Remote) else service

    def delivery(self, run_id: str, first: Path) -> Delivery:
        """What sends the spool to which this file belongs."""
        return Delivery(self.service(), self.objects, self.files, run_id, refused_path(first))
