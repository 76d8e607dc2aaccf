"""The version that a chain of fallbacks names, and what the prediction service says of endpoints."""

from __future__ import annotations

import msgspec

from perennial.deploy.endpoints import Endpoints
from perennial.loop import Loop, fallback
from perennial.registry.versions import Models
from perennial.serve.spec import EndpointSpec, EndpointStatus, ServingStatus, read_spec
from perennial.store.files import LocalFiles
from perennial.store.objects import ObjectStore
from perennial.store.workspace_folder import WorkspaceFolder
from perennial.types import canonical_json


def live(endpoints: Endpoints, objects: ObjectStore, models: Models, name: str, loop: Loop | None = None) -> str:
    """One more version of this model goes live; its package."""
    count = len(models.list(name=name)) + 1
    signature = objects.put(canonical_json({"task": "regression", "of": f"{name} {count}"}))
    package = objects.put(canonical_json({"files": {"signature.json": [signature, 1]}}))
    declaration = None if loop is None else objects.put(canonical_json(loop.declaration().to_json()))
    made = models.register(name=name, package=package, origin="loop", declaration=declaration)
    models.approve_by_rule(name=name, version=made.version, rule="a test")
    endpoints.start_rollout(name=name, version=made.version, stages=[], because="a test", force=True)
    return package


def published(endpoints: Endpoints, folder: WorkspaceFolder, name: str) -> EndpointSpec:
    endpoints.publish()
    return next(spec for spec in read_spec(folder.spec).endpoints if spec.name == name)


def test_the_service_is_told_of_the_version_that_the_chain_names_and_follows_its_alias(
    endpoints: Endpoints, folder: WorkspaceFolder, objects: ObjectStore, models: Models
) -> None:
    loop = Loop("wages", target="wage")
    loop.fallback(fallback.version("simple@live"))
    live(endpoints, objects, models, "wages", loop)
    assert published(endpoints, folder, "wages").spare is None  # there is no such model yet
    for version in (1, 2):
        package = live(endpoints, objects, models, "simple")
        spare = published(endpoints, folder, "wages").spare
        assert spare is not None
        assert (spare.version, spare.package) == (version, package)
    pinned = Loop("wages", target="wage")
    pinned.fallback(fallback.version("simple@1"))
    live(endpoints, objects, models, "wages", pinned)
    spare = published(endpoints, folder, "wages").spare
    assert spare is not None
    assert spare.version == 1


def test_what_the_service_says_of_endpoints_is_read_and_nothing_before_it_ever_ran(
    endpoints: Endpoints, folder: WorkspaceFolder
) -> None:
    assert endpoints.running() == {}
    told = EndpointStatus(live=2, fallback=1, broken=["live"], breakers={"live": "open"})
    status = ServingStatus(
        revision=1, seen=1, pid=1, address="", ready=True, endpoints={"wages": told}, received=0, stored=0, dropped=0,
        pending=0, shadow_pending=0,
    )  # fmt: skip
    LocalFiles().mkdirs(folder.serving_status.parent)
    LocalFiles().write_atomic(folder.serving_status, msgspec.json.encode(status))
    assert endpoints.running() == {"wages": told}
