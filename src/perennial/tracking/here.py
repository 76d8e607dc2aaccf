"""The runs of a workspace as a program sees them: `start` gives a run to log to; all else is the service's."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload
from weakref import WeakSet

from perennial.clock import Clock
from perennial.config import Settings
from perennial.ids import RandomIds
from perennial.store.files import LocalFiles
from perennial.store.objects import ObjectStore
from perennial.store.workspace_folder import WorkspaceFolder
from perennial.tracking.about import about_code, about_process
from perennial.tracking.active import WAIT_S, ActiveRun
from perennial.tracking.left import Sent, Unsent, send_left, unsent
from perennial.tracking.names import MAX_NAME, MAX_PARAM, MAX_TAG, checked_text
from perennial.tracking.place import Place
from perennial.tracking.segment import spools_in
from perennial.tracking.system_metrics import EVERY_S
from perennial.tracking.values import batches, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from perennial.tracking.run import Run
    from perennial.tracking.runs import Runs as _Service
else:
    _Service = object  # its methods are reached through `__getattr__`

__all__ = ["TrackedRuns"]


class TrackedRuns(_Service):
    """`ws.runs`. Safe for concurrent use."""

    def __init__(
        self, service: _Service, folder: WorkspaceFolder, objects: ObjectStore, clock: Clock, settings: Settings
    ) -> None:
        self._service = service
        self._place = Place(
            folder=folder.spool,
            objects=objects,
            clock=clock,
            files=LocalFiles(),
            cap_bytes=settings.max_spool_bytes,
            get_service=lambda: service,
        )
        self._started: WeakSet[ActiveRun] = WeakSet()
        self._sending: threading.Thread | None = None
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        if name == "_service":
            raise AttributeError(name)
        return getattr(self._service, name)

    @overload
    def start(
        self,
        experiment: str,
        /,
        *,
        name: str = "",
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        run_id: str | None = None,
        kind: str = "run",
        reason: str = "",
        dataset: Mapping[str, str] | None = None,
        seed: int | None = None,
        code: bool = True,
        system: bool = True,
        system_every_s: float = EVERY_S,
        wait_s: float = WAIT_S,
    ) -> ActiveRun: ...
    @overload
    def start(self, /, **given: Any) -> Run: ...

    def start(self, experiment: str | None = None, /, **given: Any) -> ActiveRun | Run:
        """Begin a run, to be logged to in a `with` block. Works also while the workspace's owner does not answer.

        Without an experiment's name this is the service's own `start`, which gives the run as it stands in the records.

        Args:
            experiment: Its name; it is made when it is the first run.
            name: Of the run, for people; made up when empty.
            params: Parameters; see `ActiveRun.log_params`.
            tags: Tags.
            run_id: To go on with a certain run; what it had logged is kept.
            kind: What for.
            reason: Why it runs.
            dataset: Name -> digest of the data it uses.
            seed: Of random draws.
            code: Record the commit, what is not committed, the installed packages, and as tags command and machine.
            system: Measure processor, memory, disk, network and GPUs meanwhile, as metrics below `system/`.
            system_every_s: How often.
            wait_s: How long the end waits for an owner that does not answer; what is left is sent later.

        Raises:
            Invalid: A name, parameter or tag that cannot be stored, or the experiment is deleted.
        """
        if experiment is None:
            return self._service.start(**given)
        return self._begin(experiment, **given)

    def attach(self, *, run_id: str, before: Callable[[], None] | None = None, wait_s: float = WAIT_S) -> ActiveRun:
        """Log to a run that another process began, and ends. It is not asked whether there is such a run.

        Args:
            run_id: Of the run.
            before: Done before anything is logged.
            wait_s: As for `start`.
        """
        run = ActiveRun(self._place, run_id, before=before, wait_s=wait_s)
        self._started.add(run)
        return run

    def send_left(self) -> Sent:
        """Send what processes that are gone could not send."""
        return send_left(self._place)

    def unsent(self) -> Unsent:
        """What is not delivered yet."""
        return unsent(self._place.folder, self._place.files)

    def close(self) -> None:
        """Send what is under way, as long as that moves."""
        for run in list(self._started):
            run.settle()
        sending = self._sending
        if sending is not None:
            sending.join(WAIT_S)

    def _begin(
        self,
        experiment: str,
        *,
        name: str = "",
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        run_id: str | None = None,
        kind: str = "run",
        reason: str = "",
        dataset: Mapping[str, str] | None = None,
        seed: int | None = None,
        code: bool = True,
        system: bool = True,
        system_every_s: float = EVERY_S,
        wait_s: float = WAIT_S,
    ) -> ActiveRun:
        checked_text("experiment", experiment, MAX_NAME)
        given_params, given_tags = texts(params or {}), texts(tags or {})
        for what, given, longest in (("parameter", given_params, MAX_PARAM), ("tag", given_tags, MAX_TAG)):
            list(batches(what, given, longest))
        run_id = run_id or RandomIds().new()
        arguments: dict[str, Any] = {
            "loop": experiment,
            "name": name or f"{experiment}-{run_id[:8]}"[:MAX_NAME],
            "kind": kind,
            "reason": reason,
            "started": self._place.clock.now(),
        }
        arguments |= {"dataset": dict(dataset)} if dataset else {}
        arguments |= {"seed": seed} if seed is not None else {}
        run = ActiveRun(
            self._place,
            run_id,
            is_owner=True,
            about=_about(arguments, self._place.objects) if code else None,
            system_every_s=system_every_s if system else 0.0,
            wait_s=wait_s,
        )
        run.begin(arguments)
        self._send_others()
        run.log_params(given_params)
        run.set_tags(given_tags)
        self._started.add(run)
        return run

    def _send_others(self) -> None:
        """Beside us: what is left must not hold up a new run."""
        if len(spools_in(self._place.folder)) < 2:  # there is ours
            return
        with self._lock:
            if self._sending is None or not self._sending.is_alive():
                self._sending = threading.Thread(target=self.send_left, name="perennial-send-left", daemon=True)
                self._sending.start()


def _about(arguments: dict[str, Any], objects: ObjectStore) -> Callable[[], tuple[dict[str, Any], dict[str, str]]]:
    folder = Path.cwd()  # of now; the thread that asks may find another one
    return lambda: (arguments | about_code(folder, objects), about_process())
