"""The services of a workspace in one place: `ws.data`, `ws.runs`, `ws.models`, `ws.endpoints`, ...

Composition only. Whether a service works here (in the owner) or asks the owner over HTTP, `ws.models.approve(...)` is
the same call; which of the two it is, was decided when the workspace was opened (`perennial.open`). A service is made,
and its module imported, when it is first used.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib import import_module
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any

from perennial.clock import Clock, SystemClock
from perennial.models.policy import allow_types, types_in

if TYPE_CHECKING:
    from typing import Self

    from perennial.capture.predictions import Predictions
    from perennial.config import Settings
    from perennial.data.catalog import Catalog
    from perennial.data.datasets import Datasets
    from perennial.data.remotes import Remotes
    from perennial.data.schemas import Schemas
    from perennial.deploy.endpoints import Endpoints
    from perennial.monitor.findings import Monitor
    from perennial.monitor.incidents.incidents import Incidents
    from perennial.monitor.incidents.maintenance import Maintenance
    from perennial.monitor.incidents.outbox import Notices
    from perennial.registry.card.cards import Cards
    from perennial.registry.imports import ModelImports
    from perennial.registry.model_versions import ModelVersions
    from perennial.registry.registered import Registered
    from perennial.registry.test_sets import Ledger
    from perennial.registry.trash import Trash
    from perennial.registry.versions import Models
    from perennial.renew.retraining import Retraining
    from perennial.store.events import Events
    from perennial.store.objects import ObjectStore
    from perennial.store.workspace_folder import WorkspaceFolder
    from perennial.system import System
    from perennial.tracking.artifacts import Artifacts
    from perennial.tracking.evaluation_datasets import EvaluationDatasets
    from perennial.tracking.experiments import Experiments
    from perennial.tracking.here import TrackedRuns
    from perennial.tracking.imports import Imports
    from perennial.tracking.logged_models import LoggedModels
    from perennial.tracking.runs import Runs
    from perennial.tracking.uploads import Uploads

__all__ = ["HERE", "SERVICES", "Owned", "Services", "Workspace", "open_workspace_clock"]

SERVICES: Mapping[str, str] = MappingProxyType(
    {
        "system": "perennial.system:System",
        "events": "perennial.store.events:Events",
        "datasets": "perennial.data.datasets:Datasets",
        "schemas": "perennial.data.schemas:Schemas",
        "remotes": "perennial.data.remotes:Remotes",
        "experiments": "perennial.tracking.experiments:Experiments",
        "runs": "perennial.tracking.runs:Runs",
        "logged_models": "perennial.tracking.logged_models:LoggedModels",
        "artifacts": "perennial.tracking.artifacts:Artifacts",
        "uploads": "perennial.tracking.uploads:Uploads",
        "evaluation_datasets": "perennial.tracking.evaluation_datasets:EvaluationDatasets",
        "imports": "perennial.tracking.imports:Imports",
        "model_imports": "perennial.registry.imports:ModelImports",
        "models": "perennial.registry.versions:Models",
        "cards": "perennial.registry.card.cards:Cards",
        "test_sets": "perennial.registry.test_sets:Ledger",
        "registered": "perennial.registry.registered:Registered",
        "trash": "perennial.registry.trash:Trash",
        "model_versions": "perennial.registry.model_versions:ModelVersions",
        "endpoints": "perennial.deploy.endpoints:Endpoints",
        "predictions": "perennial.capture.predictions:Predictions",
        "monitor": "perennial.monitor.findings:Monitor",
        "incidents": "perennial.monitor.incidents.incidents:Incidents",
        "maintenance": "perennial.monitor.incidents.maintenance:Maintenance",
        "notices": "perennial.monitor.incidents.outbox:Notices",
        "renew": "perennial.renew.retraining:Retraining",
    }
)

HERE: Mapping[str, str] = MappingProxyType(
    {"data": "perennial.data.catalog:Catalog", "runs": "perennial.tracking.here:TrackedRuns"}
)
"""What works in this process whoever owns the records, since it reads and writes files here: made of services and of
the parts of a `Workspace` that its constructor names. One of a service's name stands before that service, which it may
ask for as `service`."""


class Workspace:
    """An open workspace. Safe for concurrent use; close it, or use it as a context manager.

    `folder`, `settings`, `clock` and `objects` are those of this process: any process of the user may read the clock
    and put bytes into the object store; only the owner makes them visible.
    """

    system: System
    events: Events
    data: Catalog
    datasets: Datasets
    schemas: Schemas
    remotes: Remotes
    experiments: Experiments
    runs: TrackedRuns
    logged_models: LoggedModels
    artifacts: Artifacts
    uploads: Uploads
    evaluation_datasets: EvaluationDatasets
    imports: Imports
    model_imports: ModelImports
    models: Models
    cards: Cards
    test_sets: Ledger
    registered: Registered
    model_versions: ModelVersions
    trash: Trash
    endpoints: Endpoints
    predictions: Predictions
    monitor: Monitor
    incidents: Incidents
    maintenance: Maintenance
    notices: Notices
    renew: Retraining

    def __init__(
        self,
        *,
        folder: WorkspaceFolder,
        settings: Settings,
        clock: Clock,
        objects: ObjectStore,
        service: Callable[[str], Any],
        close: Callable[[], None],
    ) -> None:
        allow_types(types_in(settings.trusted_types))  # in this process, before any model is read
        self.folder = folder
        self.settings = settings
        self.clock = clock
        self.objects = objects
        self._close = close
        self._make = service
        self._services: dict[str, Any] = {}
        self._lock = threading.RLock()

    def __getattr__(self, name: str) -> Any:
        if name not in SERVICES and name not in HERE:
            raise AttributeError(f"a workspace has no {name!r}; it has {', '.join(dict.fromkeys((*HERE, *SERVICES)))}")
        with self._lock:
            if name not in self.__dict__:
                self.__dict__[name] = self._made_here(name) if name in HERE else self.service(name)
        return self.__dict__[name]

    def service(self, noun: str) -> Any:
        """The service itself, without what stands before it in this process: what the owner offers to others."""
        with self._lock:
            if noun not in self._services:
                self._services[noun] = self._make(noun)
        return self._services[noun]

    def close(self) -> None:
        """Let what works here come to its end, then let go of the workspace."""
        with self._lock:
            here = [self.__dict__[name] for name in HERE if name in self.__dict__]
        for part in here:
            close = getattr(type(part), "close", None)
            if close is not None:
                close(part)
        self._close()

    def _made_here(self, name: str) -> Any:
        return _made(HERE[name], {"service": self.service(name)} if name in SERVICES else {}, self)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *SERVICES, *HERE})  # what a notebook completes

    def __repr__(self) -> str:
        return f"<Workspace {self.folder.root}: {', '.join(dict.fromkeys((*HERE, *SERVICES)))}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Services:
    """The services of a workspace by noun, without what stands before them in this process: for who serves others."""

    experiments: Experiments
    runs: Runs
    logged_models: LoggedModels
    artifacts: Artifacts
    uploads: Uploads
    imports: Imports
    model_imports: ModelImports
    evaluation_datasets: EvaluationDatasets
    models: Models
    registered: Registered
    model_versions: ModelVersions

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def __getattr__(self, noun: str) -> Any:
        return self._workspace.service(noun)


class Owned:
    """A workspace that this process owns: its services work on the records here. Close it to let others own it."""

    def __init__(self, folder: WorkspaceFolder, settings: Settings) -> None:
        """Become the owner, bring the records up to date and wire the services to them.

        Raises:
            Conflict: Another process owns this workspace; names its pid and address.
            StoreError: Its records cannot be opened.
        """
        from perennial.ids import RandomIds
        from perennial.store.database import database_url
        from perennial.store.objects import ObjectStore
        from perennial.store.owner import OwnerLock
        from perennial.store.records import Records
        from perennial.store.schema import ensure_schema

        clock, ids = open_workspace_clock(folder), RandomIds()
        with ExitStack() as undo:
            self.lock = undo.enter_context(OwnerLock(folder.root))
            self.owner = self.lock.acquire(now=clock.now())
            url = database_url(settings.records, folder.records)
            self.records = undo.enter_context(Records.open(url, clock=clock, ids=ids, alone=True))
            ensure_schema(self.records)
            self.records.fence(self.owner.epoch)
            objects = ObjectStore(folder.objects)
            parts: dict[str, object] = {
                "records": self.records,
                "objects": objects,
                "clock": clock,
                "ids": ids,
                "folder": folder,
                "segments": folder.segments,
                "settings": settings,
            }
            self.workspace = Workspace(
                folder=folder,
                settings=settings,
                clock=clock,
                objects=objects,
                service=lambda noun: _made(SERVICES[noun], parts, self.workspace),
                close=undo.pop_all().close,
            )


def open_workspace_clock(folder: WorkspaceFolder) -> Clock:
    """The clock of this workspace, real or simulated."""
    from perennial.store.clockfile import open_clock

    return open_clock(folder.clock) if folder.simulated else SystemClock()


def _made(home: str, parts: Mapping[str, object], workspace: object) -> Any:
    """An object of this class, given the parts, and what of the workspace its constructor names."""
    module, _, name = home.partition(":")
    kind = getattr(import_module(module), name)
    wanted = inspect.signature(kind).parameters
    return kind(**{name: parts[name] if name in parts else getattr(workspace, name) for name in wanted})
