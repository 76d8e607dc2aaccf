"""What protects an endpoint follows its live version, and the level of its intervals the labels."""

from __future__ import annotations

from collections.abc import Callable

from perennial.deploy.endpoints import Endpoints
from perennial.loop import Loop, guard
from perennial.models.guards.spec import FailSafe
from perennial.registry.versions import Models
from perennial.serve.spec import read_spec
from perennial.store.objects import ObjectStore
from perennial.store.records import Records
from perennial.store.workspace_folder import WorkspaceFolder
from perennial.types import canonical_json

Approved = Callable[[], int]


def declared(objects: ObjectStore, models: Models, loop: Loop | None) -> int:
    """One more approved version of "wages", made by this loop."""
    count = len(models.list(name="wages")) + 1
    signature = objects.put(canonical_json({"task": "regression", "of": count}))
    package = objects.put(canonical_json({"files": {"signature.json": [signature, 1]}}))
    declaration = None if loop is None else objects.put(canonical_json(loop.declaration().to_json()))
    made = models.register(name="wages", package=package, origin="loop", declaration=declaration)
    models.approve_by_rule(name="wages", version=made.version, rule="a test")
    return made.version


def protected() -> Loop:
    loop = Loop("wages", target="wage")
    loop.guard(guard.missing())
    loop.interval(level=0.8)
    return loop


def served(endpoints: Endpoints, folder: WorkspaceFolder) -> FailSafe:
    endpoints.publish()
    (spec,) = read_spec(folder.spec).endpoints
    return FailSafe.read(spec.failsafe)


def live(endpoints: Endpoints, version: int) -> None:
    endpoints.start_rollout(name="wages", version=version, stages=[], because="a test", force=True)


def test_a_rollback_brings_back_what_protected_the_earlier_version(
    endpoints: Endpoints, folder: WorkspaceFolder, objects: ObjectStore, models: Models
) -> None:
    live(endpoints, declared(objects, models, protected()))
    assert served(endpoints, folder) == FailSafe.of(protected().declaration().failsafe)
    live(endpoints, declared(objects, models, None))
    assert served(endpoints, folder) == FailSafe()
    endpoints.rollback(name="wages")
    assert served(endpoints, folder) == FailSafe.of(protected().declaration().failsafe)


def test_the_level_reaches_the_service_and_belongs_to_its_version(
    endpoints: Endpoints, folder: WorkspaceFolder, objects: ObjectStore, models: Models
) -> None:
    live(endpoints, declared(objects, models, protected()))
    before = endpoints.publish()
    assert endpoints.adapt(name="wages", version=1, alpha=0.17, labels=30)
    assert served(endpoints, folder).alpha == 0.17
    assert endpoints.publish() == before + 1
    live(endpoints, declared(objects, models, protected()))
    assert served(endpoints, folder).alpha is None


def test_F27_a_level_that_is_told_twice_or_late_changes_nothing(
    endpoints: Endpoints, folder: WorkspaceFolder, objects: ObjectStore, models: Models, records: Records
) -> None:
    live(endpoints, declared(objects, models, protected()))
    assert endpoints.adapt(name="wages", version=1, alpha=0.17, labels=30)
    revision = endpoints.publish()
    assert not endpoints.adapt(name="wages", version=1, alpha=0.17, labels=30)
    assert not endpoints.adapt(name="wages", version=1, alpha=0.25, labels=10)
    assert (endpoints.publish(), served(endpoints, folder).alpha) == (revision, 0.17)
