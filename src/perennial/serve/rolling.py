"""Replace the fronts of a service one after the other, so that nobody who asks notices.

A new front loads what the old one has and takes connections before the old one is told to retire: then both accept, the
old one gives its connections away between two requests, answers what it was asked, leaves keys and debts, and ends.
A new front that does not come up ends the restart, and the old ones stay.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from perennial.serve.fleet import FrontProcess
from perennial.serve.handing import heir_of
from perennial.serve.orders import Config, Inherit, Left, Retire

__all__ = ["Rolling"]

START_S = 120.0  # for a new front to load every model
RETIRE_S = 40.0  # for an old one to end, which gives itself 25 s for what it answers
LOOK_S = 0.02

log = logging.getLogger("perennial.serve")


class Rolling:
    """The restart of a service's `fronts`, a list that it changes. `started` starts one; `retired` hears of one that
    ended as it was told to."""

    def __init__(
        self, fronts: list[FrontProcess], started: Callable[[Config], FrontProcess],
        retired: Callable[[FrontProcess], None],
    ) -> None:  # fmt: skip
        self._fronts = fronts
        self._started = started
        self._retired = retired
        self._heirs: dict[FrontProcess, FrontProcess] = {}
        self._wanted: list[Config] | None = None
        self._task: asyncio.Task[None] | None = None

    def roll(self, configs: Sequence[Config]) -> None:
        """Replace the fronts of these numbers; while that is under way, begin anew when it is over."""
        self._wanted = list(configs)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        """Replace no more."""
        if self._task is not None:
            self._task.cancel()

    def left(self, front: FrontProcess, message: Left) -> None:
        """A front that retires says what it left."""
        front.left.add(message.what)
        heir = self._heirs.get(front)
        if heir is not None:
            heir.send(Inherit(message.what, message.path))

    async def _run(self) -> None:
        while self._wanted is not None:
            configs, self._wanted = self._wanted, None
            for config in configs:
                if not await self._replace(config):
                    log.error("front %d stays as it is, and so do those behind it", config.front)
                    return
            log.info("all fronts are new")

    async def _replace(self, config: Config) -> bool:
        old = next((front for front in self._fronts if front.number == config.front), None)
        if old is None:
            return True
        new = self._started(msgspec.structs.replace(config, takes_over=True))
        pid = new.pid
        self._fronts.append(new)
        if not await _within(START_S, lambda: new.accepts.is_set() or new.pid != pid) or new.pid != pid:
            new.stop()
            new.kill()
            await new.ended.wait()
            self._fronts.remove(new)
            self._retired(new)
            return False
        self._heirs[old] = new
        old.stop()
        private = Path(config.private)
        heir = "" if config.is_large else str(heir_of(private, pid))
        old.send(Retire(heir, str(private / f"left-{old.pid}")))
        if not await _within(RETIRE_S, old.ended.is_set):
            log.error("front %d did not end, and is killed", old.number)
            old.kill()
            await old.ended.wait()
        if "debts" not in old.left:  # it died: its segments tell
            new.send(Inherit("keys", ""))
        del self._heirs[old]
        self._fronts.remove(old)
        self._retired(old)
        return True


async def _within(seconds: float, claim: Callable[[], bool]) -> bool:
    """Whether this becomes true in time."""
    end = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(LOOK_S)
    return True
