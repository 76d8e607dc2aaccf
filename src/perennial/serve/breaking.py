"""Breakers of the whole service: which versions of which endpoints others stand in for, and when that is over.

Each endpoint has a breaker of its own for each of its versions, as it declares it: what another endpoint thinks of the
same package is not its affair. A breaker opens only where somebody else can answer. That a worker keeps crashing counts
for all endpoints that ask it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from perennial.models.guards.spec import Breaker as Declared
from perennial.models.guards.spec import Constant, FailSafe, Named, Person
from perennial.serve.breaker import Breaker
from perennial.serve.fleet import FrontProcess
from perennial.serve.orders import Break, Outcomes
from perennial.serve.spec import EndpointSpec, key_of

__all__ = ["Breakers"]

Slot = tuple[str, str]  # an endpoint, and what names a model

log = logging.getLogger("perennial.serve")


class Breakers:
    """All breakers, and what the fronts were told of them. `is_crashing` says whether a model's worker keeps dying."""

    def __init__(self, fronts: Sequence[FrontProcess], is_crashing: Callable[[str], bool]) -> None:
        self._fronts = fronts
        self._is_crashing = is_crashing
        self._made: dict[Slot, tuple[Declared | None, Breaker]] = {}
        self._told: dict[Slot, Break] = {}

    def follow(self, endpoints: Iterable[EndpointSpec]) -> None:
        """Have a breaker for each version of these endpoints, as they declare it, and no other."""
        wanted: dict[Slot, Declared | None] = {}
        for endpoint in endpoints:
            declared = FailSafe.read(endpoint.failsafe).breaker
            wanted.update({(endpoint.name, key_of(arm)): declared for arm in endpoint.arms().values()})
        for slot in [slot for slot in self._made if slot not in wanted]:
            del self._made[slot]
            self._told.pop(slot, None)
        for slot, declared in wanted.items():
            known = self._made.get(slot)
            if known is None or known[0] != declared:
                self._made[slot] = (declared, _breaker_of(declared))
        self.tell()

    def heard(self, message: Outcomes, endpoint: EndpointSpec | None) -> bool:
        """Take in how calls for this endpoint went; whether its breaker changed."""
        known = self._made.get((message.endpoint, message.package))
        if known is None or endpoint is None or not _has_other(endpoint, message.package):
            return False
        breaker = known[1]
        changed = breaker.heard(message.went, time.monotonic())
        if changed:
            log.warning("endpoint %s, %s: the breaker is %s", endpoint.name, message.package[:12], breaker.state)
        self.tell()
        return changed

    def look(self) -> None:
        """See whether it is time to try a version again."""
        now = time.monotonic()
        for _, breaker in self._made.values():
            breaker.look(now)
        self.tell()

    def tell(self) -> None:
        """Say to the fronts what is new."""
        for slot, (_, breaker) in self._made.items():
            told = self._order(slot, breaker)
            if told != self._told.get(slot, Break(*slot, is_broken=False)):
                self._told[slot] = told
                for front in self._fronts:
                    front.send(told)

    def greet(self, front: FrontProcess) -> None:
        """Tell a front that was started; probes are for those that run."""
        for told in self._told.values():
            if told.is_broken:
                front.send(Break(told.endpoint, told.package, is_broken=True))

    def is_out(self, endpoint: str, key: str) -> bool:
        """Whether others answer for this version now."""
        known = self._made.get((endpoint, key))
        return (known is not None and known[1].state == "open") or self._is_crashing(key)

    def state(self, endpoint: str, key: str) -> str:
        """As `Breaker.state`; "crashing" where it is closed and the worker keeps dying."""
        known = self._made.get((endpoint, key))
        state = known[1].state if known is not None else "closed"
        return "crashing" if state == "closed" and self._is_crashing(key) else state

    @property
    def open(self) -> int:
        """How many are not closed."""
        return sum(breaker.state != "closed" for _, breaker in self._made.values())

    def _order(self, slot: Slot, breaker: Breaker) -> Break:
        # What is left to try is told anew whenever a front has tried some: all callers may be one front's.
        probes = -(-breaker.left // max(1, len(self._fronts))) if breaker.state == "half-open" else 0
        tried = breaker.tried if breaker.state == "half-open" else 0
        return Break(
            *slot, is_broken=breaker.state != "closed" or self._is_crashing(slot[1]), probes=probes, tried=tried
        )


def _has_other(endpoint: EndpointSpec, key: str) -> bool:
    """Whether somebody else can answer for this package."""
    arms = {name: key_of(arm) for name, arm in endpoint.arms().items()}
    if arms.get("live") == key and "fallback" in arms and arms["fallback"] != key:
        return True
    if arms.get("live") == key and _has_chain(endpoint, arms, key):
        return True
    return arms.get("canary") == key and "live" in arms


def _has_chain(endpoint: EndpointSpec, arms: Mapping[str, str], key: str) -> bool:
    """Whether somebody in the declared chain of fallbacks answers when `key` does not."""
    links = FailSafe.read(endpoint.failsafe).fallbacks
    return any(
        isinstance(link, Constant | Person) or (isinstance(link, Named) and arms.get("spare", key) != key)
        for link in links
    )


def _breaker_of(declared: Declared | None) -> Breaker:
    if declared is None:
        return Breaker()
    return Breaker(share=declared.failures, calls=declared.of, open_s=declared.open_s, probes=declared.probes)
