"""One training for each reason, and one attempt at a time for each training."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from perennial.clock import FixedClock
from perennial.errors import Conflict, NotFound
from perennial.renew.retraining import MAX_ATTEMPTS, Decision, Job, Retraining
from perennial.store.events import Events
from perennial.store.records import Records

BUNDLE = "a" * 64


def decide(renew: Retraining, key: str = "drop/3/bias/1", **changes: Any) -> Decision:
    values: dict[str, Any] = {
        "endpoint": "wages",
        "trigger": "performance_drop",
        "verdict": "retrain",
        "reason": "version 3 answers too low",
        "evidence": {"e_value": 2e5},
        "live": 3,
    }
    return renew.decide(**{**values, **changes}, key=key)


def claim(renew: Retraining, holder: str, gone: list[str] | None = None) -> Job:
    job = renew.claim(holder=holder, gone=gone or [])
    assert job is not None
    return job


def kinds(records: Records) -> list[str]:
    return [event.kind for event in Events(records).list()]


def test_a_yes_queues_one_training_and_leaves_its_evidence(
    renew: Retraining, records: Records, clock: FixedClock
) -> None:
    decision = decide(renew)
    (job,) = renew.jobs()
    assert job.id == decision.job
    assert (job.loop, job.state, job.epoch, job.reason) == ("wages", "queued", 0, "version 3 answers too low")
    assert renew.decisions(endpoint="wages") == [decision]
    assert (decision.at, decision.live, decision.evidence) == (clock.now(), 3, {"e_value": 2e5})
    (event,) = Events(records).list()
    assert (event.kind, event.subject) == ("retrain.decided", "endpoint/wages")
    assert event.payload["evidence"] == {"e_value": 2e5}


def test_a_no_is_recorded_and_trains_nothing(renew: Retraining, records: Records) -> None:
    decision = decide(renew, verdict="no", reason="no harm seen")
    assert decision.job is None
    assert renew.jobs() == []
    assert renew.decisions(endpoint="wages") == [decision]
    assert kinds(records) == ["retrain.decided"]


def test_F14_F27_a_reason_is_answered_once(renew: Retraining, records: Records) -> None:
    first = decide(renew)
    assert decide(renew) == first
    assert decide(renew, verdict="no", reason="changed my mind") == first
    assert len(renew.jobs()) == 1
    assert kinds(records) == ["retrain.decided"]
    decide(renew, endpoint="other")
    assert len(renew.jobs()) == 2
    assert len(renew.jobs(loop="other")) == 1


def test_P13_F28_two_deciders_at_once_train_once(renew: Retraining, records: Records) -> None:
    for number in range(10):
        ready = Barrier(2)

        def answer(_: int, number: int = number, ready: Barrier = ready) -> Decision:
            ready.wait()
            return decide(renew, f"drop/3/bias/{number}")

        with ThreadPoolExecutor(2) as pool:
            one, other = pool.map(answer, (1, 2))
        assert one == other
    assert len(renew.jobs()) == 10
    assert len(kinds(records)) == 10


def test_P2_a_decision_that_cannot_be_stored_queues_nothing(renew: Retraining, records: Records) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        decide(renew, evidence={"e_value": float("inf")})
    assert renew.jobs() == []
    assert renew.decisions(endpoint="wages") == []
    assert kinds(records) == []


def test_jobs_are_taken_in_order_each_by_one(renew: Retraining, clock: FixedClock) -> None:
    for number in range(3):
        decide(renew, f"schedule/{number}")
        clock.advance(1)
    waiting = [job.id for job in renew.jobs(state="queued")]
    taken = [claim(renew, f"process-{number}") for number in range(3)]
    assert [job.id for job in taken] == waiting
    assert [(job.state, job.epoch, job.holder) for job in taken] == [
        ("running", 1, f"process-{number}") for number in range(3)
    ]
    assert renew.claim(holder="process-4", gone=[]) is None


def test_two_takers_at_once_take_two_jobs(renew: Retraining) -> None:
    for number in range(8):
        decide(renew, f"schedule/{number}")
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda number: claim(renew, f"p{number}"), range(8)))
    assert len({job.id for job in taken}) == 8


def test_a_finished_job_keeps_its_result(renew: Retraining, records: Records, clock: FixedClock) -> None:
    decide(renew)
    job = claim(renew, "p1")
    clock.advance(60)
    done = renew.finish_job(id=job.id, epoch=1, result={"version": 4})
    assert (done.state, done.result, done.ended) == ("done", {"version": 4}, clock.now())
    assert renew.claim(holder="p2", gone=["p1"]) is None
    assert kinds(records)[-1] == "job.done"


def test_F14_finishing_again_in_the_same_attempt_changes_nothing(renew: Retraining, records: Records) -> None:
    decide(renew)
    job = claim(renew, "p1")
    done = renew.finish_job(id=job.id, epoch=1, result={"version": 4})
    assert renew.finish_job(id=job.id, epoch=1, result={"version": 5}) == done
    with pytest.raises(Conflict, match="is done in attempt 1"):
        renew.fail_job(id=job.id, epoch=1, error="too late")
    assert kinds(records).count("job.done") == 1


def test_P6_F29_the_job_of_a_process_that_is_gone_is_taken_again_and_its_late_report_refused(
    renew: Retraining,
) -> None:
    decide(renew)
    first = claim(renew, "p1")
    assert renew.claim(holder="p2", gone=["p9"]) is None  # p1 still lives
    second = claim(renew, "p2", ["p1"])
    assert (second.id, second.epoch, second.holder) == (first.id, 2, "p2")
    for late in (
        lambda: renew.finish_job(id=first.id, epoch=1, result={"version": 4}),
        lambda: renew.fail_job(id=first.id, epoch=1, error="killed"),
    ):
        with pytest.raises(Conflict, match="is running in attempt 2, not attempt 1"):
            late()
    assert renew.finish_job(id=first.id, epoch=2, result={"version": 5}).result == {"version": 5}


def test_a_failed_job_is_not_tried_again(renew: Retraining, records: Records) -> None:
    decide(renew)
    job = claim(renew, "p1")
    failed = renew.fail_job(id=job.id, epoch=1, error="collect returned nothing")
    assert (failed.state, failed.error, failed.result) == ("failed", "collect returned nothing", None)
    assert renew.claim(holder="p2", gone=["p1"]) is None
    assert kinds(records)[-1] == "job.failed"


def test_P6_a_job_whose_process_dies_again_and_again_is_given_up_and_the_next_one_taken(
    renew: Retraining, clock: FixedClock
) -> None:
    decide(renew, "schedule/1")
    clock.advance(1)
    other = decide(renew, "schedule/2").job
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert claim(renew, f"p{attempt}", [f"p{attempt - 1}"]).epoch == attempt
    job = claim(renew, "last", [f"p{MAX_ATTEMPTS}"])
    assert (job.id, job.state, job.epoch) == (other, "running", 1)  # never the one that was given up
    given_up = renew.jobs()[0]
    assert given_up.state == "failed"
    assert given_up.error == f"its process died {MAX_ATTEMPTS} times"


def test_a_job_that_is_not_there_or_not_running_cannot_end(renew: Retraining) -> None:
    with pytest.raises(NotFound):
        renew.finish_job(id="none", epoch=1, result={})
    job = decide(renew).job
    assert job is not None
    with pytest.raises(Conflict, match="is queued"):
        renew.finish_job(id=job, epoch=0, result={})


def test_a_loop_is_remembered_as_it_is_run(renew: Retraining, records: Records, clock: FixedClock) -> None:
    values: dict[str, Any] = {"name": "wages", "declaration": {"target": "wage"}, "project": "/home/vera/wages"}
    first = renew.set_loop(bundle=BUNDLE, **values)
    clock.advance(1)
    assert renew.set_loop(bundle=BUNDLE, **values) == first  # unchanged: no event
    changed = renew.set_loop(bundle="b" * 64, **values)
    assert renew.loop(name="wages") == changed
    assert renew.loops() == [changed]
    assert kinds(records) == ["loop.added", "loop.changed"]


def test_a_name_belongs_to_one_project(renew: Retraining) -> None:
    renew.set_loop(name="wages", bundle=BUNDLE, declaration={}, project="/home/vera/wages")
    with pytest.raises(Conflict, match="already, in /home/vera/wages") as caught:
        renew.set_loop(name="wages", bundle=BUNDLE, declaration={}, project="/home/wim/wages")
    assert "PERENNIAL_HOME" in caught.value.remedy
    with pytest.raises(NotFound, match="no loop 'other'"):
        renew.loop(name="other")


def test_the_reconciler_tells_how_far_it_came(renew: Retraining) -> None:
    assert renew.last_pass() is None
    renew.report_pass(clock=5, idle=False, problem="")
    renew.report_pass(clock=7, idle=True, problem="the service is away")
    last = renew.last_pass()
    assert last is not None
    assert (last.clock, last.idle, last.problem) == (7, True, "the service is away")
