"""Where models live: packages are checked out, compiled ones go into every front, others get a worker of their own.

A model is placed once for all endpoints that name it, tried again when it does not load, and let go when nothing names
it any more and no front asks it any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from perennial.errors import PerennialError
from perennial.models.sandbox import Rules
from perennial.serve.fleet import FrontProcess
from perennial.serve.keeper import Keeper
from perennial.serve.orders import Duty, Forget, Hangs, Listens, Load, explainer_of
from perennial.serve.spec import Arm, key_of
from perennial.store.objects import ObjectStore
from perennial.types import Digest

__all__ = ["Host", "Placing"]

AGAIN_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # before a package that could not be checked out is tried again

log = logging.getLogger("perennial.serve")


@dataclass(eq=False)
class Host:
    """Where the model of one package lives: in every front, or in a worker (`keeper`); `folder`: checked out."""

    arm: Arm
    name: str
    folder: Path | None = None
    keeper: Keeper | None = None
    problem: str | None = None
    tries: int = 0

    @property
    def is_placed(self) -> bool:
        return self.folder is not None


class Placing:
    """The models of the service. `changed` is called whenever one of them is there, fails, or dies."""

    def __init__(
        self,
        fronts: Sequence[FrontProcess],
        changed: Callable[[], None],
        *,
        serving: Path,
        objects: Path,
        rules: Rules,
        private: Path,
        falls_back: bool = True,
    ) -> None:
        self.hosts: dict[str, Host] = {}
        self._fronts = fronts
        self._changed = changed
        self._serving = serving
        self._objects = ObjectStore(objects)
        self._rules = rules
        self._private = private
        self._falls_back = falls_back
        self._explainers: dict[str, Keeper] = {}
        self._leaving: dict[str, tuple[Host, set[FrontProcess]]] = {}
        self._disk = ThreadPoolExecutor(2, "packages")
        self._sockets = 0
        self._is_ending = False
        self._tasks: set[asyncio.Task[None]] = set()

    # coming

    def want(self, arm: Arm, name: str) -> None:
        """Have a place for this version's model; `name` is for messages."""
        key = key_of(arm)
        if key not in self.hosts:
            self.hosts[key] = Host(arm, name)
            self._place(key)

    def _place(self, key: str) -> None:
        task = asyncio.get_running_loop().create_task(self._placed(key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _placed(self, key: str) -> None:
        """Check the package out, and give the model its place."""
        host = self.hosts[key]
        loop = asyncio.get_running_loop()
        try:
            folder, is_inline = await loop.run_in_executor(self._disk, self._checked_out, host.arm)
        except (PerennialError, OSError) as error:
            told = error.what if isinstance(error, PerennialError) else str(error)
            log.error("%s: %s", host.name, error)
            host.problem = f"it does not load: {type(error).__name__}: {told}"
            wait_s = AGAIN_S[min(host.tries, len(AGAIN_S) - 1)]
            host.tries += 1
            loop.call_later(wait_s, self._place_again, key, host)
        else:
            if self.hosts.get(key) is not host or self._is_ending:
                return
            host.problem, host.folder = None, folder
            if is_inline:
                self._tell(Load(key, str(folder)))
            else:
                host.keeper = self._keeper(self._duty(host.arm), host.name)
                self._tell(Listens(key, host.keeper.address, host.name, str(host.folder)))
        self._changed()

    def _place_again(self, key: str, host: Host) -> None:
        if self.hosts.get(key) is host and not host.is_placed:
            self._place(key)

    def _checked_out(self, arm: Arm) -> tuple[Path, bool]:
        from perennial.models.package import checkout
        from perennial.serve.hosting import can_be_inline

        folder = checkout(Digest(arm.package), self._objects, self._serving / "cache")
        return folder, arm.trusted and can_be_inline(folder)

    def _duty(self, arm: Arm, *, explains: bool = False) -> Duty:
        return Duty(
            package=arm.package, cache=str(self._serving / "cache"), objects=str(self._objects.folder),
            trusted=arm.trusted, rules=self._rules, explains=explains,
        )  # fmt: skip

    def _keeper(self, duty: Duty, name: str) -> Keeper:
        self._sockets += 1
        address = self._private / f"w{self._sockets}"
        return Keeper(duty, name, address, self._changed, falls_back=self._falls_back)

    def _tell(self, order: Load | Listens) -> None:
        for front in self._fronts:
            front.send(order)

    def greet(self, front: FrontProcess) -> None:
        """A front was started: tell it what to load."""
        for key, host in self.hosts.items():
            if host.keeper is None and host.folder is not None:
                front.send(Load(key, str(host.folder)))
            elif host.keeper is not None:
                front.send(Listens(key, host.keeper.address, host.name, str(host.folder)))
        for key, explainer in self._explainers.items():
            front.send(Listens(explainer_of(key), explainer.address, explainer.name))

    # being there

    def problem_of(self, key: str) -> str | None:
        """Why this model cannot be asked; None where nothing is known against it."""
        host = self.hosts[key]
        if host.problem is not None:
            return host.problem
        if host.keeper is not None:
            return host.keeper.problem
        return next((why for front in self._fronts if (why := front.loaded.get(key)) is not None), None)

    def was_ready(self, key: str) -> bool:
        """Whether every front can ask this model."""
        host = self.hosts[key]
        if not host.is_placed or (host.keeper is not None and not host.keeper.was_ready):
            return False
        fronts = [front for front in self._fronts if front.is_routed] or self._fronts
        return all(key in front.loaded and front.loaded[key] is None for front in fronts)

    def is_crashing(self, key: str) -> bool:
        """Whether its worker dies again and again."""
        host = self.hosts.get(key)
        return host is not None and host.keeper is not None and host.keeper.is_broken

    def lost(self, key: str) -> str:
        """What an accelerator of this model said that failed; "" where none has."""
        host = self.hosts.get(key)
        return host.keeper.lost if host is not None and host.keeper is not None else ""

    def replace(self, message: Hangs) -> None:
        """A worker hangs: start the next one."""
        key = message.package.removesuffix(explainer_of(""))
        if message.package != key:
            keeper = self._explainers.get(key)
        else:
            host = self.hosts.get(key)
            keeper = host.keeper if host is not None else None
        if keeper is not None:
            keeper.kill(message.pid)

    def explain(self, key: str) -> None:
        """Somebody asks why this model answers as it does: start its explainer."""
        host = self.hosts.get(key)
        if host is None or key in self._explainers:
            return
        name = f"{host.name} (explaining)"
        keeper = self._keeper(self._duty(host.arm, explains=True), name)
        self._explainers[key] = keeper
        self._tell(Listens(explainer_of(key), keeper.address, keeper.name))

    # going

    def release(self, used: set[str]) -> None:
        """Let go of the models that are not `used`, when no front asks them any more."""
        for key in [key for key in self.hosts if key not in used]:
            host = self.hosts.pop(key)
            self._leaving[key] = (host, {front for front in self._fronts if key in front.loaded})
            explainer = self._explainers.pop(key, None)
            if explainer is not None:
                explainer.close()
        # The fronts hear of it behind the routes that no longer name it.
        asyncio.get_running_loop().call_soon(self._forget)

    def _forget(self) -> None:
        for key, (host, fronts) in list(self._leaving.items()):
            if key in self.hosts:  # wanted again meanwhile, under the same name: a new one was placed
                continue
            for front in self._fronts:
                if front in fronts and front.loaded.pop(key, "") is None:
                    front.send(Forget([key]))
            if not fronts:
                self._close(key, host)

    def forgot(self, front: FrontProcess, key: str) -> None:
        """This front asks the model no more."""
        if key not in self._leaving:
            return
        host, fronts = self._leaving[key]
        fronts.discard(front)
        if not fronts:
            self._close(key, host)

    def mourn(self, front: FrontProcess) -> None:
        """This front died, and asks nothing any more."""
        for key in list(self._leaving):
            self.forgot(front, key)

    def _close(self, key: str, host: Host) -> None:
        self._leaving.pop(key, None)
        if host.keeper is not None:
            host.keeper.close()

    def stop(self) -> None:
        """Place nothing any more."""
        self._is_ending = True
        for task in self._tasks:
            task.cancel()

    def close(self) -> None:
        """End all workers."""
        for host in [*self.hosts.values(), *(host for host, _ in self._leaving.values())]:
            if host.keeper is not None:
                host.keeper.close()
        for explainer in self._explainers.values():
            explainer.close()
        self._disk.shutdown()
        self._objects.close()
