"""What was live on a date, and who let it: for any moment of the past."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from perennial.clock import FixedClock
from perennial.deploy.endpoints import Endpoints, StageOptions
from perennial.errors import NotFound
from perennial.store.actor import acting

STAGES = [StageOptions(kind="shadow")]


def test_what_was_live_at_any_moment_is_told_with_who_let_it(
    endpoints: Endpoints, approved: Callable[[], int], clock: FixedClock
) -> None:
    with acting("Ada", "page"):
        first, second = approved(), approved()
    before = clock.now()
    clock.advance(10)
    with acting("Grace", "cli"):
        endpoints.start_rollout(name="wages", version=first, stages=STAGES, because="the first one")
    began = clock.now()
    clock.advance(10)
    with acting("Grace", "cli"):
        rollout = endpoints.start_rollout(name="wages", version=second, stages=STAGES, because="it is better")
    clock.advance(10)
    with acting("reconciler", "reconciler"):
        endpoints.advance(rollout_id=rollout.id, revision=1, to="next", reason="the shadow is better", evidence={})
    moved = clock.now()
    clock.advance(10)
    with acting("Ada", "page"):
        endpoints.rollback(name="wages", reason="complaints")
    back = clock.now()

    assert endpoints.live_at(name="wages", at=before).version is None
    one = endpoints.live_at(name="wages", at=began + 1)
    assert (one.version, one.since, one.until, one.how) == (first, began, moved, "rollout")
    assert (one.approved_by, one.by, one.asked_by) == ("Ada", "Grace via cli", "Grace via cli")
    two = endpoints.live_at(name="wages", at=moved)
    assert (two.version, two.since, two.until) == (second, moved, back)
    assert (two.by, two.why) == ("reconciler via reconciler", "the shadow is better")
    assert (two.asked_by, two.because) == ("Grace via cli", "it is better")
    three = endpoints.live_at(name="wages", at=back + 10**12)
    assert (three.version, three.until, three.how) == (first, None, "rollback")
    assert (three.by, three.why, three.because) == ("Ada via page", "complaints", "the first one")
    assert three.package == one.package != two.package


def test_of_an_endpoint_that_is_not_there_nothing_is_told(endpoints: Endpoints) -> None:
    with pytest.raises(NotFound):
        endpoints.live_at(name="nothing", at=0)
