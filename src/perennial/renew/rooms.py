"""The services that retraining works with, as a workspace offers them."""

from __future__ import annotations

from typing import Protocol

from perennial.capture.predictions import Predictions
from perennial.clock import Clock
from perennial.config import Settings
from perennial.data.catalog import Catalog
from perennial.data.datasets import Datasets
from perennial.deploy.endpoints import Endpoints
from perennial.monitor.findings import Monitor
from perennial.monitor.incidents.incidents import Incidents
from perennial.monitor.incidents.maintenance import Maintenance
from perennial.registry.versions import Models
from perennial.renew.retraining import Retraining
from perennial.store.events import Events
from perennial.store.objects import ObjectStore
from perennial.store.workspace_folder import WorkspaceFolder
from perennial.tracking.here import TrackedRuns

__all__ = ["Rooms"]


class Rooms(Protocol):
    """What of a workspace is needed here; whether the services work in this process or ask the owner is the same."""

    @property
    def folder(self) -> WorkspaceFolder: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def objects(self) -> ObjectStore: ...
    @property
    def events(self) -> Events: ...
    @property
    def data(self) -> Catalog: ...
    @property
    def datasets(self) -> Datasets: ...
    @property
    def runs(self) -> TrackedRuns: ...
    @property
    def models(self) -> Models: ...
    @property
    def endpoints(self) -> Endpoints: ...
    @property
    def predictions(self) -> Predictions: ...
    @property
    def monitor(self) -> Monitor: ...
    @property
    def incidents(self) -> Incidents: ...
    @property
    def maintenance(self) -> Maintenance: ...
    @property
    def renew(self) -> Retraining: ...
