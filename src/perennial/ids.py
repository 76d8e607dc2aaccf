"""New identifiers. Injected, so that a test or a replay can make them predictable."""

from __future__ import annotations

import random
import secrets
from typing import Protocol

__all__ = ["Ids", "RandomIds", "SeededIds"]


class Ids(Protocol):
    """Makes identifiers of 32 hex characters. Safe for concurrent use."""

    def new(self) -> str: ...


class RandomIds:
    """128 bits from the operating system."""

    def new(self) -> str:
        return secrets.token_hex(16)


class SeededIds:
    """The same sequence for the same seed: for tests and replays, never for secrets."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def new(self) -> str:
        return f"{self._random.getrandbits(128):032x}"


_random: Ids = RandomIds()
_seeded: Ids = SeededIds(0)
