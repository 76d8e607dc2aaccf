"""The service follows its spec: swaps, canary, shadow, rollback, and what it does when a version does not load."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

from perennial.serve.frames import Shadowed
from perennial.serve.routing import goes_to_canary


def told_by_shadow(place: Any) -> list[tuple[float, Any, str | None]]:
    """x of each request with what the shadow said of it: the value and the error."""
    asked = {written.id: written.inputs[0]["x"] for written in place.predicted()}
    return [(asked[frame.id], frame.values[0], (frame.errors or [None])[0]) for frame in shadows(place)]


def shadows(place: Any) -> list[Shadowed]:
    return sorted(place.shadowed(), key=lambda frame: frame.id)


def test_S05_a_hot_swap_loses_no_request_and_each_answer_is_of_one_version(place: Any) -> None:
    arms = {version: place.arm(version) for version in (1, 2, 3)}
    place.desire(place.endpoint(live=arms[1]))
    service = place.serve()
    place.applied()
    load = place.load(service)
    for version in (2, 3, 1):
        before = len(load.replies)
        place.until(lambda before=before: len(load.replies) > before + 20, "progress of the clients")
        place.desire(place.endpoint(live=arms[version]))
        status = place.applied()
        assert status.endpoints["wage"].live == version
        assert service.predict({"person": "p", "x": 0}).json["predictions"][0]["version"] == version
    replies = load.end()
    assert [reply.body for _, reply in replies if reply.status != 200] == []
    answers = [(x, reply.json["predictions"][0]) for x, reply in replies]
    assert all(answer["prediction"] == x + answer["version"] for x, answer in answers)
    assert {answer["version"] for _, answer in answers} == {1, 2, 3}
    place.until(lambda: len(service.workers()) == 1, "the end of the old workers")


def test_S05_the_revision_is_reported_when_the_new_version_is_warm_and_not_before(place: Any) -> None:
    place.desire(place.endpoint(live=place.arm(1)))
    service = place.serve()
    place.applied()
    place.desire(place.endpoint(live=place.arm(2, load_s=0.5)))
    place.until(lambda: place.status().seen == 2)
    assert place.status().revision == 1
    assert service.predict({"person": "p", "x": 0}).json["predictions"][0]["version"] == 1
    place.applied()
    assert service.predict({"person": "p", "x": 0}).json["predictions"][0]["version"] == 2


def test_S06_a_version_that_does_not_load_leaves_the_old_one_and_is_named(place: Any) -> None:
    live = place.arm(1)
    place.desire(place.endpoint(live=live), place.endpoint("other", live=live))
    service = place.serve()
    place.applied()
    place.desire(place.endpoint(live=place.arm(2, loads=False)), place.endpoint("other", live=place.arm(3)))
    status = place.until(
        lambda: (told := place.status()).endpoints["wage"].problem and told.endpoints["other"].live == 3 and told
    )
    assert "version 2" in status.endpoints["wage"].problem
    assert "this library is not here" in status.endpoints["wage"].problem
    assert (status.seen, status.revision, status.endpoints["wage"].live) == (2, 1, 1)
    assert service.predict({"person": "p", "x": 0}).json["predictions"][0]["version"] == 1
    place.desire(place.endpoint(live=live))
    assert place.applied().problem is None


def test_S06_a_version_whose_golden_answers_differ_is_not_served(place: Any) -> None:
    good, bad = place.arm(1), place.arm(2)
    manifest = place.objects.get(bad.package).replace(
        _digest_of(place, bad, "model.pkl").encode(), _digest_of(place, good, "model.pkl").encode()
    )
    place.desire(place.endpoint(live=good))
    place.serve()
    place.applied()
    worse = type(bad)(version=2, package=place.objects.put(manifest), trusted=True)
    place.desire(place.endpoint(live=good, canary=worse, share=1.0))
    place.until(lambda: "golden row 0" in (place.status().endpoints["wage"].problem or ""))
    assert place.status().endpoints["wage"].canary is None


def _digest_of(place: Any, arm: Any, path: str) -> str:
    from perennial.models.package import read_manifest

    return read_manifest(place.objects.get(arm.package)).files[path][0]


def test_a_spec_that_is_broken_is_refused_as_a_whole_and_named(place: Any) -> None:
    place.desire(place.endpoint(live=place.arm(1)))
    service = place.serve()
    place.applied()
    (place.serving / "spec.json").write_text('{"revision": 2, "endpoints": [{}]}')
    place.until(lambda: "name" in (place.status().problem or ""))
    assert service.predict({"person": "p", "x": 0}).status == 200
    place.desire()
    place.until(lambda: service.predict({"person": "p", "x": 0}).status == 404)


def test_S08_the_canary_gets_its_share_by_entity_in_every_process(place: Any) -> None:
    place.desire(place.endpoint(live=place.arm(1), canary=place.arm(2), share=0.1))
    service = place.serve()
    place.applied()
    rows = [{"person": f"person {i}", "x": 0} for i in range(10_000)]
    answers = service.predict(*rows).json["predictions"]
    share = sum(answer["arm"] == "canary" for answer in answers) / len(answers)
    assert abs(share - 0.1) < 0.015
    assert all(answer["version"] == {"live": 1, "canary": 2}[answer["arm"]] for answer in answers)
    assert all(answer["prediction"] == answer["version"] for answer in answers)
    service.kill()
    place.serve()
    place.applied()
    again = place.services[-1].predict(*rows[:500]).json["predictions"]
    assert [answer["arm"] for answer in again] == [answer["arm"] for answer in answers[:500]]
    assert all(goes_to_canary("s", f"{i}", 0.2) for i in range(500) if goes_to_canary("s", f"{i}", 0.1))


def test_S08_a_shadow_never_delays_or_fails_the_primary(place: Any) -> None:
    place.desire(place.endpoint(live=place.arm(1), shadow=place.arm(2)))
    service = place.serve("--timeout-s", "3")
    place.applied()
    # The live model answers these three at once, while the shadow raises, dies twice and hangs over them.
    place.desire(place.endpoint(live=place.linear(1), shadow=place.arm(2)))
    place.applied()
    started = time.monotonic()
    replies = [service.predict({"person": "p", "x": x}) for x in (-1, -2, -3, 5)]
    assert time.monotonic() - started < 2.5
    assert [reply.status for reply in replies] == [200] * 4
    place.until(lambda: service.status()["shadow_pending"] == 0, "the shadow's answers")
    errors = {x: error for x, _, error in told_by_shadow(place)}
    assert "cursed" in errors[-1]
    assert "died twice" in errors[-2]
    assert "did not answer" in errors[-3]
    assert (5, 7.0, None) in told_by_shadow(place)
    assert [frame.id for frame in shadows(place)] == [reply.json["predictions"][0]["id"] for reply in replies]


def test_S08_a_row_that_kills_its_shadow_is_given_up_also_where_workers_start_slower_than_requests_may_take(
    place: Any,
) -> None:
    place.desire(place.endpoint(live=place.linear(1), shadow=place.arm(2)))
    service = place.serve("--timeout-s", "0.5")
    place.applied()
    assert [service.predict({"person": "p", "x": x}).status for x in (-2, 5)] == [200, 200]
    place.until(lambda: service.status()["shadow_pending"] == 0, "the shadow's answers")
    told = told_by_shadow(place)
    assert [(x, value) for x, value, _ in told] == [(-2, None), (5, 7.0)]
    assert "died twice" in told[0][2]


def test_P3_owed_shadow_answers_are_given_after_kill_9_each_once(place: Any) -> None:
    spec = place.endpoint(live=place.arm(1), shadow=place.arm(2, slow_s=0.05))
    place.desire(spec)
    service = place.serve()
    place.applied()
    asked = {service.predict({"person": "p", "x": i}).json["predictions"][0]["id"]: i for i in range(30)}
    place.until(lambda: len(shadows(place)) > 3)
    shadow = service.workers()[1]
    os.kill(shadow, signal.SIGKILL)
    service.kill()
    assert len(shadows(place)) < 30
    service = place.serve()
    place.applied()
    place.until(lambda: service.status()["shadow_pending"] == 0, "the shadow's answers")
    told = [(frame.id, frame.version, frame.values[0]) for frame in shadows(place)]
    assert sorted(told) == sorted((name, 2, i + 2.0) for name, i in asked.items())


def test_P3_what_a_shadow_owed_when_it_left_is_written_down_as_not_answered(place: Any) -> None:
    live, shadow = place.arm(1), place.arm(2, slow_s=0.3)
    place.desire(place.endpoint(live=live, shadow=shadow))
    service = place.serve()
    place.applied()
    for i in range(5):
        service.predict({"person": "p", "x": i})
    place.desire(place.endpoint(live=live))
    place.applied()
    place.until(lambda: service.status()["shadow_pending"] == 0)
    told = told_by_shadow(place)
    assert len(told) == 5
    assert any("left the endpoint" in (error or "") for _, _, error in told)


def test_P7_S15_it_answers_from_the_verified_cache_with_nothing_else_there(place: Any) -> None:
    place.desire(place.endpoint(live=place.linear(1)))
    service = place.serve()
    place.applied()
    service.kill()
    shutil.rmtree(place.folder / "objects")
    service = place.serve()
    place.applied()
    assert service.predict({"person": "p", "x": 1}).status == 200


def test_P4_a_changed_byte_in_the_cache_is_not_served(place: Any) -> None:
    arm = place.arm(1)
    place.desire(place.endpoint(live=arm))
    service = place.serve()
    place.applied()
    service.kill()
    model = place.serving / "cache" / arm.package / "model.pkl"
    whole = model.read_bytes()
    _change(model, whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:])
    service = place.serve()  # the store has it as it was
    place.applied()
    assert service.predict({"person": "p", "x": 1}).json["predictions"][0]["prediction"] == 2.0
    assert model.read_bytes() == whole
    assert any("differs from its digest" in line and "copied again" in line for line in place.log())
    service.kill()
    _change(model, b"")
    shutil.rmtree(place.folder / "objects")
    service = place.serve()
    place.until(lambda: "differs from its digest" in (service.status()["problem"] or ""))
    assert service.predict({"person": "p", "x": 1}).status == 503


def _change(path: Path, data: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(data)


def test_F19_a_version_that_keeps_crashing_is_answered_for_by_the_fallback(place: Any) -> None:
    place.desire(place.endpoint(live=place.arm(2), fallback=place.arm(1)))
    service = place.serve()
    place.applied()
    for _ in range(2):  # each kills two workers
        service.predict({"person": "p", "x": -2})
    answer = service.predict({"person": "p", "x": 1}).json["predictions"][0]
    assert (answer["arm"], answer["version"], answer["prediction"]) == ("fallback", 1, 2.0)
