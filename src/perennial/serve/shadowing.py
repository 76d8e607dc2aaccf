"""Shadow versions answer after the caller was answered: what they owe is remembered, and paid when there is time.

A debt is in the segments with the request, so it outlives the process. Each is paid alone, so that its numbers do not
depend on what else was owed at the moment, and only while no caller waits.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable

from perennial.errors import Corrupt, StoreError, Unavailable
from perennial.serve.asked import Asked
from perennial.serve.counters import Counters
from perennial.serve.engine import Engine
from perennial.serve.frames import Shadowed
from perennial.serve.inline import InlineModel
from perennial.serve.journal import Debt, Journal
from perennial.serve.line import Crashed, Deadline
from perennial.serve.orders import Told
from perennial.serve.parts import Part
from perennial.serve.route import Route

__all__ = ["Shadowing"]

BUSY_S = 0.002  # to wait while callers wait
AT_HAND = 10_000  # requests whose rows are kept in memory; those of older ones are read back

log = logging.getLogger("perennial.serve")


class Shadowing:
    """Pays the debts of one front; `count` is what is owed."""

    def __init__(
        self, journal: Journal, engine: Engine, counters: Counters, *, timeout_s: float,
        route: Callable[[str], Route | None], is_gone: Callable[[str, int], bool],
    ) -> None:  # fmt: skip
        self._journal = journal
        self._engine = engine
        self._counters = counters
        self._timeout_s = timeout_s
        self._route = route
        self._is_gone = is_gone
        self._debts: dict[tuple[str, int], deque[Debt]] = {}
        self._payers: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._killed: set[str] = set()  # debts over which a worker died: the next death is theirs as well
        self._is_ending = False
        self.take_over(journal.debts)

    def take_over(self, debts: Iterable[Debt]) -> None:
        """Owe what others owed; `go_on` pays it."""
        for debt in debts:
            self._debts.setdefault((debt.endpoint, debt.version), deque()).append(debt)

    @property
    def owed(self) -> list[Debt]:
        """What is not paid yet."""
        return [debt for debts in self._debts.values() for debt in debts]

    @property
    def count(self) -> int:
        return sum(map(len, self._debts.values()))

    def owe(self, debt: Debt) -> None:
        debts = self._debts.setdefault((debt.endpoint, debt.version), deque())
        debts.append(debt if len(debts) < AT_HAND else debt._replace(rows=None))
        self._pay(debt.endpoint, debt.version)

    def go_on(self) -> None:
        """Pay what could not be paid before."""
        for endpoint, version in list(self._debts):
            self._pay(endpoint, version)

    def end(self) -> None:
        """Pay no more; what is owed waits for the next start."""
        self._is_ending = True
        for task in self._payers.values():
            task.cancel()

    def _pay(self, endpoint: str, version: int) -> None:
        slot = (endpoint, version)
        if slot not in self._payers and self._debts.get(slot) and not self._is_ending:
            self._payers[slot] = asyncio.create_task(self._pay_all(slot))

    async def _pay_all(self, slot: tuple[str, int]) -> None:
        debts = self._debts[slot]
        try:
            while debts and await self._pay_one(slot, debts[0]):
                debts.popleft()
        except StoreError as error:
            self._engine.problem = error.what
            log.error("%s", error)
        finally:
            # Here and not in a callback, so that no debt can come in between and find a payer that has ended.
            del self._payers[slot]

    async def _pay_one(self, slot: tuple[str, int], debt: Debt) -> bool:
        """Answer for the shadow version and write it down; False while it cannot."""
        endpoint, version = slot
        route = self._route(endpoint)
        arm = next((name for name, known in route.versions.items() if known == version), None) if route else None
        error = "the version left the endpoint"
        told: Told | None = None
        started = time.perf_counter()
        rows = debt.rows
        try:
            names, kept = (None, rows) if rows is not None else self._journal.rows_of(debt.place)
        except Corrupt as damage:  # nothing can be answered any more, and `verify` names it
            log.error("%s", damage)
            return True
        if route is not None and arm is not None and arm in route.models:
            if names is not None and (tuple(names) != route.intake.names or route.spec.capture):
                error = "what was asked is not kept as it was asked"
            else:
                while self._engine.is_busy:  # noqa: ASYNC110 - to tell of each turn would cost those who wait
                    await asyncio.sleep(BUSY_S)
                started = time.perf_counter()
                try:
                    told = await self._answer(route, arm, [tuple(row) for row in kept], debt.id)
                except (Crashed, Deadline) as failure:
                    error = failure.what
                except Unavailable:
                    return False
        elif not self._is_gone(endpoint, version):
            return False
        said: list[str | None] = [error] * len(kept)
        layout = self._engine.layout_of(endpoint, route)
        self._journal.pay(
            Shadowed(
                id=debt.id, at=debt.at, layout=layout, version=version,
                values=told.values if told else [None] * len(kept),
                probabilities=told.probabilities if told else None,
                errors=told.errors if told else said,
                latency_us=int((time.perf_counter() - started) * 1e6),
            )
        )  # fmt: skip
        self._counters.add("shadow_rows_total", (endpoint, str(version)), len(kept))
        return True

    async def _answer(self, route: Route, arm: str, rows: list[tuple[object, ...]], debt: str) -> Told:
        model = route.models[arm]
        asked = Asked(route.intake.names, rows)
        if isinstance(model, InlineModel):
            told = model.told(model.matrices.of(asked))
            await asyncio.sleep(0)  # callers come first
            return told
        waiter: asyncio.Future[Part] = asyncio.get_running_loop().create_future()
        part = Part(asked, arm, lambda part: waiter.set_result(part) if not waiter.done() else None, alone=True)
        # The pause before the next worker grows and may outlast this part: what it did must not be forgotten with it.
        part.is_retried = debt in self._killed
        model.ask(part, self._timeout_s)
        settled = await waiter
        if settled.is_retried and isinstance(settled.failure, Unavailable):
            self._killed.add(debt)
        if settled.failure is None or isinstance(settled.failure, (Crashed, Deadline)):
            self._killed.discard(debt)
        if settled.failure is not None:
            raise settled.failure
        assert settled.told is not None
        return settled.told
