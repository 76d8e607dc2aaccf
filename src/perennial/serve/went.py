"""How calls of models went, as the parent hears of it: it opens and closes breakers, over all fronts together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping

from perennial.serve.orders import Outcomes
from perennial.serve.route import Gate

__all__ = ["Went"]

SOON_S = 0.05  # how soon the parent hears of calls that failed
LATEST = 20  # calls of a model that it hears of


class Went:
    """The latest calls of each endpoint's packages."""

    def __init__(self, gates: Mapping[tuple[str, str], Gate], send: Callable[[Outcomes], None]) -> None:
        self._gates = gates
        self._send = send
        self._latest: dict[tuple[str, str], deque[bool]] = {}
        self._failing: set[tuple[str, str]] = set()

    def note(self, endpoint: str, package: str, is_well: bool) -> None:
        """One call ended."""
        slot = (endpoint, package)
        known = self._latest.get(slot)
        if known is None:
            known = self._latest[slot] = deque(maxlen=LATEST)
        known.append(is_well)
        if not is_well:
            self._failing.add(slot)

    def forget(self, package: str) -> None:
        """It is loaded no more."""
        for slot in [slot for slot in self._latest if slot[1] == package]:
            del self._latest[slot]
            self._failing.discard(slot)

    async def tell(self) -> None:
        """Tell the parent for ever: of packages that fail, and of those that are left alone."""
        while True:
            await asyncio.sleep(SOON_S)
            for slot, gate in self._gates.items():
                if gate.is_broken and self._latest.get(slot):
                    self._failing.add(slot)
            for slot in list(self._failing):
                went = self._latest.get(slot)
                if went:
                    self._send(Outcomes(*slot, list(went)))
                    # Once more when all is well again, so that the parent hears of that, too.
                    if all(went):
                        self._failing.discard(slot)
                    went.clear()
