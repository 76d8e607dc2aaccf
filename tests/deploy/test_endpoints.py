"""The staged way of a version to live, and back."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perennial.clock import FixedClock
from perennial.deploy.endpoints import Endpoint, Endpoints, Rollout, StageOptions
from perennial.errors import Conflict, NotFound, PerennialError, Refused
from perennial.registry.model_versions import ModelVersions
from perennial.registry.versions import Models
from perennial.serve.spec import EndpointSpec, Spec, read_spec
from perennial.store.events import Events
from perennial.store.objects import ObjectStore
from perennial.store.records import Records
from perennial.store.workspace_folder import WorkspaceFolder
from perennial.tracking.logged_models import LoggedModels

SHADOW = StageOptions(kind="shadow", options={"min_labels": 100})
CANARY = StageOptions(kind="canary", options={"share": 0.25})
STAGES = [SHADOW, CANARY]
Approved = Callable[[], int]


def start(endpoints: Endpoints, version: int, **changes: object) -> Rollout:
    return endpoints.start_rollout(  # type: ignore[arg-type]
        **{"name": "wages", "version": version, "stages": STAGES, "because": "a test", **changes}
    )


def move(endpoints: Endpoints, rollout: Rollout, to: str, **evidence: object) -> Rollout:
    return endpoints.advance(
        rollout_id=rollout.id, revision=rollout.revision, to=to, reason=f"to {to}", evidence=evidence
    )  # type: ignore[arg-type]


def bring_live(endpoints: Endpoints, version: int) -> Rollout:
    return start(endpoints, version, stages=[], force=True)


def kinds(records: Records) -> list[str]:
    return [event.kind for event in Events(records).list() if event.kind.startswith(("rollout", "endpoint"))]


def published(endpoints: Endpoints, folder: WorkspaceFolder) -> EndpointSpec:
    endpoints.publish()
    (spec,) = read_spec(folder.spec).endpoints
    return spec


def versions(spec: EndpointSpec) -> dict[str, int]:
    return {name: arm.version for name, arm in spec.arms().items()}


def test_the_first_version_goes_live_at_once(
    endpoints: Endpoints, models: Models, approved: Approved, records: Records, clock: FixedClock
) -> None:
    rollout = start(endpoints, approved())
    assert (rollout.state, rollout.stages, rollout.against) == ("live", [], None)
    assert "no live version to compare with" in rollout.verdict
    endpoint = endpoints.get(name="wages")
    assert endpoint == Endpoint(
        name="wages", live=1, live_since=clock.now(), previous=None, pinned=None, stopped=None, rollout=None
    )
    assert models.aliases(name="wages") == {"live": 1}
    assert kinds(records) == ["rollout.started", "rollout.live"]


@pytest.mark.parametrize("state", ["candidate", "rejected"])
def test_only_an_approved_version_is_sent_on_its_way(endpoints: Endpoints, models: Models, state: str) -> None:
    models.register(name="wages", package="a" * 64, origin="loop")
    if state == "rejected":
        models.reject(name="wages", version=1, comment="no")
    with pytest.raises(Refused, match=f"is {state}, not approved") as caught:
        start(endpoints, 1, force=True)
    assert "perennial approve wages@1" in caught.value.remedy
    with pytest.raises(NotFound):
        start(endpoints, 2)
    with pytest.raises(NotFound):
        endpoints.get(name="wages")
    assert endpoints.list() == []


def test_a_version_that_a_client_registered_is_not_served_unseen(
    endpoints: Endpoints, models: Models, records: Records
) -> None:
    clients = ModelVersions(records, LoggedModels(records))
    models.register(name="wages", package="a" * 64, origin="loop")
    for _ in range(2):
        clients.create(name="wages", source="s3://bucket/model")
    with pytest.raises(Refused, match="has no package") as caught:
        start(endpoints, 2, force=True)
    assert "perennial deploy FOLDER/model.pkl --name wages" in caught.value.remedy
    clients.delete(name="wages", version=3)
    with pytest.raises(NotFound):
        start(endpoints, 3, force=True)
    assert endpoints.list() == []


def test_a_version_passes_its_stages_one_by_one_and_leaves_its_evidence(
    endpoints: Endpoints, models: Models, approved: Approved, folder: WorkspaceFolder, clock: FixedClock
) -> None:
    bring_live(endpoints, approved())
    shadow = start(endpoints, approved())
    assert (shadow.state, shadow.stage, shadow.against) == ("running", 0, 1)
    assert models.aliases(name="wages") == {"live": 1, "candidate": 2}
    assert versions(published(endpoints, folder)) == {"live": 1, "shadow": 2}
    clock.advance(3600)
    canary = move(endpoints, shadow, "next", e_value=25.0)
    assert (canary.stage, canary.stage_since) == (1, clock.now())
    spec = published(endpoints, folder)
    assert versions(spec) == {"live": 1, "canary": 2, "shadow": 2}
    assert spec.share == 0.25
    live = move(endpoints, canary, "next", errors=0)
    assert (live.state, live.ended) == ("live", clock.now())
    assert [(step["stage"], step["to"]) for step in live.evidence] == [(0, "next"), (1, "next")]
    assert live.evidence[0]["e_value"] == 25.0
    assert models.aliases(name="wages") == {"live": 2}
    spec = published(endpoints, folder)
    assert versions(spec) == {"live": 2, "fallback": 1}
    assert (spec.share, spec.task, spec.signature["of"]) == (0.0, "regression", 2)
    assert [rollout.state for rollout in endpoints.history(name="wages")] == ["live", "live"]


@pytest.mark.parametrize("to", ["refused", "rolled_back"])
def test_a_version_that_is_stopped_leaves_live_as_it_was(
    endpoints: Endpoints, models: Models, approved: Approved, to: str
) -> None:
    bring_live(endpoints, approved())
    before = endpoints.get(name="wages")
    assert move(endpoints, start(endpoints, approved()), to).state == to
    assert endpoints.get(name="wages") == before
    assert models.aliases(name="wages") == {"live": 1}


def test_F14_starting_again_returns_what_is_under_way_or_live(
    endpoints: Endpoints, approved: Approved, records: Records
) -> None:
    first = start(endpoints, approved())
    assert start(endpoints, 1) == first
    second = start(endpoints, approved())
    assert start(endpoints, 2) == second
    assert start(endpoints, 1, force=False).state == "live"  # it is live: nothing to do, and 2 goes on
    assert endpoints.get(name="wages").rollout == second
    assert kinds(records) == ["rollout.started", "rollout.live", "rollout.started"]


def test_P13_F40_of_two_deciders_at_one_revision_one_wins(endpoints: Endpoints, approved: Approved) -> None:
    bring_live(endpoints, approved())
    for _ in range(5):
        rollout = start(endpoints, approved())
        ready = Barrier(2)

        def decide(to: str, rollout: Rollout = rollout, ready: Barrier = ready) -> Rollout | PerennialError:
            ready.wait()
            try:
                return move(endpoints, rollout, to)
            except PerennialError as error:
                return error

        with ThreadPoolExecutor(2) as pool:
            outcomes = list(pool.map(decide, ("refused", "rolled_back")))
        (lost,) = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
        (won,) = [outcome for outcome in outcomes if isinstance(outcome, Rollout)]
        assert won.state in lost.what
        assert endpoints.history(name="wages")[-1] == won


def test_F14_a_move_that_was_made_cannot_be_made_again(endpoints: Endpoints, approved: Approved) -> None:
    bring_live(endpoints, approved())
    rollout = start(endpoints, approved())
    move(endpoints, rollout, "next")
    with pytest.raises(Conflict, match="running at revision 2"):
        move(endpoints, rollout, "next")
    with pytest.raises(NotFound):
        endpoints.advance(rollout_id="none", revision=1, to="next", reason="", evidence={})


def test_another_version_waits_unless_a_person_insists(
    endpoints: Endpoints, models: Models, approved: Approved, records: Records
) -> None:
    bring_live(endpoints, approved())
    second = move(endpoints, start(endpoints, approved()), "next", e_value=30.0)
    with pytest.raises(Conflict, match="version 2 of wages is on its way") as caught:
        start(endpoints, approved())
    assert "--now" in caught.value.remedy
    third = start(endpoints, 3, force=True)
    assert third.state == "running"
    superseded = endpoints.history(name="wages")[1]
    assert (superseded.state, superseded.evidence) == ("superseded", second.evidence)
    assert endpoints.get(name="wages").rollout == third
    assert models.aliases(name="wages") == {"live": 1, "candidate": 3}
    assert kinds(records)[-2:] == ["rollout.superseded", "rollout.started"]
    with pytest.raises(Conflict, match="superseded"):
        move(endpoints, second, "live")


def test_deploying_what_is_live_changes_nothing_but_ends_what_was_under_way(
    endpoints: Endpoints, models: Models, approved: Approved, clock: FixedClock
) -> None:
    bring_live(endpoints, approved())
    bring_live(endpoints, approved())
    before = endpoints.get(name="wages")
    assert before.previous == 1
    clock.advance(60)
    bring_live(endpoints, 2)
    assert endpoints.get(name="wages") == before
    start(endpoints, approved())
    bring_live(endpoints, 2)
    assert endpoints.get(name="wages") == before
    assert models.aliases(name="wages") == {"live": 2}


def test_rollback_during_a_rollout_ends_it_and_keeps_live(
    endpoints: Endpoints, models: Models, approved: Approved, records: Records
) -> None:
    bring_live(endpoints, approved())
    bring_live(endpoints, approved())
    rollout = move(endpoints, start(endpoints, approved()), "next")
    endpoint = endpoints.rollback(name="wages", reason="too slow")
    assert (endpoint.live, endpoint.previous, endpoint.rollout) == (2, 1, None)
    assert endpoints.history(name="wages")[-1].verdict == "too slow"
    assert models.aliases(name="wages") == {"live": 2}
    assert kinds(records)[-1] == "rollout.rolled_back"
    with pytest.raises(Conflict):
        move(endpoints, rollout, "next")


def test_rollback_goes_back_version_by_version_and_never_forward(
    endpoints: Endpoints, models: Models, approved: Approved, folder: WorkspaceFolder
) -> None:
    for _ in range(3):
        bring_live(endpoints, approved())
    assert (endpoints.rollback(name="wages").live, endpoints.get(name="wages").previous) == (2, 1)
    assert versions(published(endpoints, folder)) == {"live": 2, "fallback": 1}
    assert (endpoints.rollback(name="wages").live, endpoints.get(name="wages").previous) == (1, None)
    assert versions(published(endpoints, folder)) == {"live": 1}
    assert models.aliases(name="wages") == {"live": 1}
    with pytest.raises(Conflict, match="no earlier version") as caught:
        endpoints.rollback(name="wages")
    assert "perennial deploy" in caught.value.remedy
    assert endpoints.get(name="wages").live == 1


def test_after_a_rollback_the_next_version_is_compared_with_what_is_live(
    endpoints: Endpoints, approved: Approved
) -> None:
    for _ in range(2):
        bring_live(endpoints, approved())
    endpoints.rollback(name="wages")
    assert start(endpoints, approved()).against == 1
    assert start(endpoints, 2, force=True).against == 1  # and a person may give the version that was left another try


def test_a_held_rollout_answers_nothing_until_a_person_decides(
    endpoints: Endpoints, models: Models, approved: Approved, folder: WorkspaceFolder, records: Records
) -> None:
    bring_live(endpoints, approved())
    canary = move(endpoints, start(endpoints, approved()), "next")
    assert versions(published(endpoints, folder)) == {"live": 1, "canary": 2, "shadow": 2}
    held = move(endpoints, canary, "held", answered=3)
    assert (held.state, held.verdict) == ("held", "to held")
    assert versions(published(endpoints, folder)) == {"live": 1}
    assert Events(records).list()[-1].payload["evidence"] == {"answered": 3}
    assert endpoints.get(name="wages").rollout == held
    assert move(endpoints, held, "live").state == "live"
    assert models.aliases(name="wages") == {"live": 2}


def test_a_held_rollout_that_goes_on_runs_again(
    endpoints: Endpoints, approved: Approved, folder: WorkspaceFolder
) -> None:
    bring_live(endpoints, approved())
    held = move(endpoints, start(endpoints, approved()), "held")
    moved = move(endpoints, held, "next")
    assert (moved.state, moved.stage, moved.verdict) == ("running", 1, "")
    assert versions(published(endpoints, folder)) == {"live": 1, "canary": 2, "shadow": 2}


def test_a_pin_keeps_what_is_live(
    endpoints: Endpoints, approved: Approved, folder: WorkspaceFolder, records: Records
) -> None:
    bring_live(endpoints, approved())
    start(endpoints, approved())
    endpoint = endpoints.pin(name="wages", reason="audit")
    assert endpoint.pinned == "audit"
    assert endpoint.rollout is not None
    assert endpoint.rollout.state == "held"
    assert versions(published(endpoints, folder)) == {"live": 1}
    assert endpoints.pin(name="wages", reason="audit") == endpoint
    endpoints.rollback(name="wages")
    with pytest.raises(Conflict, match="pinned: audit") as caught:
        start(endpoints, approved())
    assert "unpin" in caught.value.remedy
    assert start(endpoints, 3, force=True, stages=[]).state == "live"  # a person may
    assert endpoints.pin(name="wages", reason=None).pinned is None
    assert start(endpoints, approved()).state == "running"
    assert kinds(records).count("endpoint.pinned") == kinds(records).count("endpoint.unpinned") == 1
    with pytest.raises(NotFound):
        endpoints.pin(name="other", reason="x")


def test_publish_writes_only_a_higher_revision(
    endpoints: Endpoints, approved: Approved, folder: WorkspaceFolder
) -> None:
    assert endpoints.publish() == 0
    assert not folder.spec.exists()
    bring_live(endpoints, approved())
    assert not folder.spec.exists()  # a move alone does not show itself
    assert endpoints.publish() == read_spec(folder.spec).revision == 1
    written = folder.spec.stat().st_mtime_ns
    assert endpoints.publish() == 1
    assert folder.spec.stat().st_mtime_ns == written
    start(endpoints, approved())
    assert endpoints.publish() == read_spec(folder.spec).revision == 2


def test_P6_a_damaged_spec_is_made_anew(endpoints: Endpoints, approved: Approved, folder: WorkspaceFolder) -> None:
    bring_live(endpoints, approved())
    endpoints.publish()
    folder.spec.write_bytes(b'{"revision": 1, "endpoi')
    assert versions(published(endpoints, folder)) == {"live": 1}


def test_P2_a_move_that_fails_leaves_nothing(
    endpoints: Endpoints, approved: Approved, records: Records, folder: WorkspaceFolder
) -> None:
    bring_live(endpoints, approved())
    before = endpoints.get(name="wages"), kinds(records), endpoints.publish()
    with pytest.raises(PerennialError):
        start(endpoints, approved(), because="half a \ud800 surrogate")
    assert (endpoints.get(name="wages"), kinds(records), endpoints.publish()) == before


ACTIONS = st.lists(
    st.sampled_from(["start", "force", "next", "live", "refused", "rolled_back", "held", "rollback", "pin", "unpin"]),
    max_size=12,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=ACTIONS)
def test_whatever_happens_alias_endpoint_and_spec_agree(
    endpoints: Endpoints, models: Models, approved: Approved, folder: WorkspaceFolder, actions: list[str]
) -> None:
    """One endpoint lives through all examples: each goes on from where the last one left."""
    latest: Spec = read_spec(folder.spec)
    for action in ["start", *actions]:
        rollout = endpoints.get(name="wages").rollout if endpoints.list() else None
        try:
            match action:
                case "start" | "force":
                    start(endpoints, approved(), force=action == "force")
                case "rollback":
                    endpoints.rollback(name="wages")
                case "pin" | "unpin":
                    endpoints.pin(name="wages", reason="hold still" if action == "pin" else None)
                case _ if rollout is not None:
                    move(endpoints, rollout, action)
                case _:
                    pass
        except (Conflict, NotFound):
            pass
        before, latest = latest, read_spec(folder.spec) if endpoints.publish() else latest
        endpoint = endpoints.get(name="wages")
        aliases = models.aliases(name="wages")
        under_way = endpoint.rollout
        assert aliases.get("live") == endpoint.live
        assert aliases.get("candidate") == (under_way.version if under_way else None)
        assert latest.revision >= before.revision
        assert (latest.revision > before.revision) or latest == before
        expected = {"live": endpoint.live, "fallback": endpoint.previous}
        if under_way is not None and under_way.state == "running":
            expected["shadow"] = under_way.version
            if under_way.stages[under_way.stage].kind == "canary":
                expected["canary"] = under_way.version
        assert versions(latest.endpoints[0]) == {name: version for name, version in expected.items() if version}
        assert endpoint.previous != endpoint.live
        ends = [rollout for rollout in endpoints.history(name="wages") if rollout.ended is None]
        assert ends == ([under_way] if under_way else [])


def test_C09_the_spec_says_whose_code_may_run_and_one_of_an_older_program_is_written_again(
    endpoints: Endpoints, models: Models, objects: ObjectStore, folder: WorkspaceFolder, approved: Callable[[], int]
) -> None:
    endpoints.start_rollout(name="wages", version=approved(), stages=[], because="")
    endpoints.publish()
    spec = read_spec(folder.spec)
    (only,) = spec.endpoints
    assert only.live is not None
    assert only.live.trusted
    older = folder.spec.read_bytes().replace(b'"trusted":true', b'"of_an_older":0')
    folder.spec.write_bytes(older)
    assert not read_spec(folder.spec).endpoints[0].live.trusted  # type: ignore[union-attr]
    assert endpoints.publish() == spec.revision
    assert read_spec(folder.spec) == spec
    stamp = folder.spec.stat().st_mtime_ns
    endpoints.publish()
    assert folder.spec.stat().st_mtime_ns == stamp


def test_a_stopped_endpoint_says_so_in_the_spec_until_it_is_started(
    endpoints: Endpoints, approved: Callable[..., None], records: Records, folder: WorkspaceFolder
) -> None:
    bring_live(endpoints, approved())
    stopped = endpoints.stop(name="wages", reason="wrong prices")
    assert stopped.stopped == "wrong prices"
    assert read_spec(folder.spec).endpoints[0].stopped == "wrong prices"
    assert endpoints.stop(name="wages", reason="wrong prices") == stopped
    assert endpoints.stop(name="wages", reason=None).stopped is None
    assert read_spec(folder.spec).endpoints[0].stopped == ""
    assert kinds(records)[-2:] == ["endpoint.stopped", "endpoint.started"]
