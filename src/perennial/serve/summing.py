"""What the whole service does: the sums over its fronts, also of those that died.

A front that is asked for the status lets the parent ask all of them; who does not tell in time is left out but for what
it said last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from perennial.serve.fleet import FrontProcess
from perennial.serve.orders import Gathered, Report, Tell

__all__ = ["Sums", "Totals"]

GATHER_S = 1.0  # to wait for a front that does not tell
GAUGES = frozenset({"connections"})  # of what is now: a front that is gone has none


@dataclass(frozen=True)
class Totals:
    """Rows since the service started: received = stored + dropped + pending; `problem`: what a front complains of."""

    received: int
    stored: int
    dropped: int
    shadow_pending: int
    problem: str | None

    @property
    def pending(self) -> int:
        return self.received - self.stored - self.dropped


@dataclass(eq=False)
class _Gathering:
    asker: FrontProcess
    number: int
    waiting: set[FrontProcess]
    timer: asyncio.TimerHandle


class Sums:
    """The accounts. `told` makes the status (JSON) and metrics when all fronts have reported."""

    def __init__(self, fronts: Sequence[FrontProcess], told: Callable[[], tuple[bytes, bytes]]) -> None:
        self._fronts = fronts
        self._told = told
        self._gone: list[Report] = []  # the last words of fronts that died
        self._gatherings: dict[int, _Gathering] = {}
        self._count = 0

    def gather(self, asker: FrontProcess, number: int) -> None:
        """Let all fronts report, and tell the one that asks."""
        self._count += 1
        mine = self._count
        waiting = {front for front in self._fronts if front.pid}
        timer = asyncio.get_running_loop().call_later(GATHER_S, self._give_up, mine)
        self._gatherings[mine] = _Gathering(asker, number, waiting, timer)
        for front in self._fronts:
            front.send(Tell(mine))

    def heard(self, front: FrontProcess, report: Report) -> None:
        """A front reports; with a number where it was asked to."""
        front.report = report
        if report.number:
            self._gathered(front, report.number)

    def mourn(self, front: FrontProcess) -> None:
        """Keep the counts of a front that died: what it was answering then is lost to its clients."""
        if front.report is not None:
            last = front.report
            counts = [count for count in last.counts if count[0] not in GAUGES]
            self._gone.append(
                Report(0, last.received, last.stored, last.dropped + last.pending, 0, "", counts, last.latencies)
            )
            front.report = None
        for number, gathering in list(self._gatherings.items()):
            gathering.waiting.discard(front)
            self._gathered(front, number)

    def _gathered(self, front: FrontProcess, number: int) -> None:
        gathering = self._gatherings.get(number)
        if gathering is not None:
            gathering.waiting.discard(front)
            if not gathering.waiting:
                self._give_up(number)

    def _give_up(self, number: int) -> None:
        gathering = self._gatherings.pop(number, None)
        if gathering is None:
            return
        gathering.timer.cancel()
        status, metrics = self._told()
        gathering.asker.send(Gathered(gathering.number, status, metrics))

    def reports(self) -> list[Report]:
        """The latest of each front, those that died included."""
        return [*self._gone, *(front.report for front in self._fronts if front.report is not None)]

    def totals(self) -> Totals:
        reports = self.reports()
        return Totals(
            received=sum(report.received for report in reports),
            stored=sum(report.stored for report in reports),
            dropped=sum(report.dropped for report in reports),
            shadow_pending=sum(report.shadow_pending for report in reports),
            problem=next((report.problem for report in reports if report.problem), None),
        )
