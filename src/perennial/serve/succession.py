"""How a front takes the place of the one before it, and later gives its own to the next.

Connections go over as descriptors, keys of clients and shadow answers that are owed in files. Both fronts live for a
moment; each request is answered by the one that has its connection and its key.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

from perennial.serve.emptying import connections_on, stop_listening
from perennial.serve.engine import Engine
from perennial.serve.handing import Giving, read_inherited, write_inherited
from perennial.serve.http import Connections
from perennial.serve.journal import Journal
from perennial.serve.orders import Inherit, Left, Retire
from perennial.serve.shadowing import Shadowing
from perennial.store.files import LocalFiles

__all__ = ["Succession"]

EMPTY_S = 0.1  # how soon it is seen that the last client of gRPC is gone
GIVE_S = 0.002  # how soon a connection that was answered goes to the next front

log = logging.getLogger("perennial.serve")


class Succession:
    """What one front inherits, and what it leaves.

    Attributes:
        is_inheriting: Keys of the front before this one are not known yet.
        order: That another front takes this one's place; None while it does not.
    """

    def __init__(
        self,
        journal: Journal,
        shadowing: Shadowing,
        engine: Engine,
        *,
        is_inheriting: bool,
        disk: Executor,
        send: Callable[[Left], None],
    ) -> None:
        self.is_inheriting = is_inheriting
        self.order: Retire | None = None
        self._journal = journal
        self._shadowing = shadowing
        self._engine = engine
        self._disk = disk
        self._send = send
        self._waiting: list[Callable[[], None]] = []
        self._loop = asyncio.get_running_loop()

    # from the front before

    async def inherit(self, order: Inherit) -> None:
        """Take over what the front before this one left."""
        if order.path:
            path = Path(order.path)
            keys, debts = await self._loop.run_in_executor(self._disk, read_inherited, path)
            LocalFiles().remove(path)
        else:  # as after any other death; it may take a while, and nobody is answered twice for that
            keys, debts = {}, self._journal.restore()
        self._journal.inherit(keys)
        self._shadowing.take_over(debts)
        self._shadowing.go_on()
        if order.what == "keys":
            self.is_inheriting = False
            waiting, self._waiting = self._waiting, []
            for go_on in waiting:
                go_on()

    def when_inherited(self, go_on: Callable[[], None]) -> None:
        """Call this when the keys are known."""
        self._waiting.append(go_on)

    # to the next front

    async def give(
        self, clients: Connections, siblings: Connections, is_idle: Callable[[], bool], *, ends_by: float
    ) -> None:
        """Give connections and keys to the front that takes this one's place, until none is left or time is over."""
        assert self.order is not None
        giving = None
        if self.order.heir:
            try:
                giving = Giving(Path(self.order.heir))
            except OSError as error:  # it died; then its connections are closed as at any other end
                log.error("the successor takes no connections: %s", error)
        has_left = False
        while self._loop.time() < ends_by:
            if giving is not None:
                clients.give(giving.give)
            if not has_left and not self._engine.answers_keys:
                has_left = True
                await self.leave("keys")
            if has_left and is_idle() and (giving is None or not clients.open) and not siblings.busy:
                break
            await asyncio.sleep(GIVE_S)
        if giving is not None:
            giving.close()

    async def empty(self, port: int, *, ends_by: float) -> None:
        """Let clients of gRPC go over to the other processes."""
        stop_listening(port)
        while connections_on(port) and self._loop.time() < ends_by:  # noqa: ASYNC110 - nobody would tell
            await asyncio.sleep(EMPTY_S)

    async def leave(self, what: str) -> None:
        """Leave `keys` or `debts` in a file, and say so."""
        assert self.order is not None
        path = Path(f"{self.order.left}-{what}")
        keys = self._journal.keys if what == "keys" else {}
        debts = self._shadowing.owed if what == "debts" else []
        await self._loop.run_in_executor(self._disk, lambda: write_inherited(path, keys=keys, debts=debts))
        self._send(Left(what, str(path)))
