"""Versions that never change their content, who let them pass, and the names that point at them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from perennial.clock import FixedClock
from perennial.errors import Conflict, Forbidden, Invalid, NotFound, PerennialError, Refused
from perennial.models.facts.verdict import Verdict
from perennial.registry.versions import Models, ModelVersion
from perennial.store.actor import acting
from perennial.store.events import Events
from perennial.store.records import Records

PACKAGE = "a" * 64
PASSED = Verdict(kind="metric", sentence="rmse is at most 1", passed=True, says="rmse is 0.4", evidence={"rmse": 0.4})
FAILED = Verdict(kind="slices", sentence="no slice is worse", passed=False, says="service is worse: 0.9")
UNTOLD = Verdict(kind="better_than_live", sentence="better than live", passed=None, says="nothing is live yet")


def register(models: Models, **changes: object) -> ModelVersion:
    return models.register(**{"name": "wages", "package": PACKAGE, "origin": "loop", **changes})  # type: ignore[arg-type]


def kinds(records: Records) -> list[str]:
    return [event.kind for event in Events(records).list()]


def both(first: Callable[[], object], second: Callable[[], object]) -> list[object]:
    """What two calls at once return or raise."""
    start = Barrier(2)

    def call(one: Callable[[], object]) -> object:
        start.wait()
        try:
            return one()
        except PerennialError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(call, (first, second)))


def test_versions_count_up_and_come_back_as_they_were_registered(models: Models) -> None:
    first = register(models, run_id="r1", verdicts=[PASSED, UNTOLD], trained_until=5, reason="first")
    second = register(models, run_id="r2")
    assert (first.version, second.version) == (1, 2)
    assert models.get(name="wages", version=1) == first
    assert first.verdicts == [PASSED, UNTOLD]
    assert models.get(name="wages") == second
    assert models.list(name="wages") == [first, second]
    assert models.list(name="other") == []


def test_a_version_is_a_candidate_unless_a_requirement_failed(models: Models, records: Records) -> None:
    assert register(models, verdicts=[PASSED, UNTOLD]).state == "candidate"
    assert register(models, verdicts=[PASSED, FAILED]).state == "refused"
    assert kinds(records) == ["model.registered", "model.refused"]
    assert [version.version for version in models.list(state="candidate")] == [1]


def test_F14_F27_a_run_registers_once_however_often_it_asks(models: Models, records: Records) -> None:
    first = register(models, run_id="r1")
    assert register(models, run_id="r1", package="b" * 64) == first
    assert len(models.list(name="wages")) == 1
    assert kinds(records) == ["model.registered"]
    # Without a run, each is its own: two imports may hold the same bytes.
    assert register(models, origin="imported").version == 2
    assert register(models, origin="imported").version == 3


def test_P2_a_version_that_cannot_be_stored_leaves_neither_row_nor_event(models: Models, records: Records) -> None:
    with pytest.raises(PerennialError):
        register(models, reason="half a \ud800 surrogate")
    assert models.list() == []
    assert kinds(records) == []


@pytest.mark.parametrize("name", ["", "a/b", "../a", "wages@live", "-a", "a b", "a" * 101])
def test_a_name_that_could_be_read_as_something_else_is_refused(models: Models, name: str) -> None:
    with pytest.raises(Invalid, match="letters"):
        register(models, name=name)


def test_approval_names_the_person_the_moment_and_the_comment(
    models: Models, records: Records, clock: FixedClock
) -> None:
    register(models)
    clock.advance(60)
    with acting("vera", "cli"):
        approved = models.approve(name="wages", version=1, comment="looks fine")
    assert (approved.state, approved.decided_by, approved.comment) == ("approved", "vera", "looks fine")
    assert approved.decided_at == approved.at + 60_000_000
    event = Events(records).list()[-1]
    assert (event.kind, event.subject, event.actor) == ("model.approved", "model/wages/1", "vera via cli")


def test_F14_approving_twice_is_one_decision(models: Models, records: Records) -> None:
    register(models)
    with acting("vera", "cli"):
        first = models.approve(name="wages", version=1)
    with acting("wim", "cli"):
        assert models.approve(name="wages", version=1) == first
    assert kinds(records) == ["model.registered", "model.approved"]


def test_F31_a_refused_version_cannot_be_approved_by_anybody(models: Models) -> None:
    register(models, verdicts=[FAILED])
    for approve in (
        lambda: models.approve(name="wages", version=1),
        lambda: models.approve_by_rule(name="wages", version=1, rule="automatic"),
    ):
        with pytest.raises(Refused, match="service is worse") as caught:
            approve()
        assert "candidate" in caught.value.remedy
    assert models.get(name="wages", version=1).state == "refused"


def test_what_was_decided_stays_decided(models: Models) -> None:
    for _ in range(2):
        register(models)
    models.reject(name="wages", version=1, comment="no")
    models.approve(name="wages", version=2)
    with pytest.raises(Conflict, match="already rejected") as caught:
        models.approve(name="wages", version=1)
    assert "train another" in caught.value.remedy
    with pytest.raises(Conflict, match="already approved") as caught:
        models.reject(name="wages", version=2, comment="worse")
    assert "rollback" in caught.value.remedy


def test_F40_of_two_who_decide_at_once_one_wins_and_the_other_is_told(models: Models, records: Records) -> None:
    for version in range(1, 11):
        register(models)
        outcomes = both(
            lambda version=version: models.approve(name="wages", version=version),
            lambda version=version: models.reject(name="wages", version=version, comment="no"),
        )
        (lost,) = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
        (won,) = [outcome for outcome in outcomes if isinstance(outcome, ModelVersion)]
        assert won.state in lost.what
        assert models.get(name="wages", version=version) == won
    assert len(kinds(records)) == 20


def test_a_rule_is_recorded_as_the_rule(models: Models) -> None:
    register(models)
    assert models.approve_by_rule(name="wages", version=1, rule="automatic").decided_by == "rule: automatic"


def test_imported_code_is_trusted_only_once_a_person_approved_these_bytes(models: Models) -> None:
    register(models, origin="imported")
    assert not models.is_trusted(package=PACKAGE)
    with pytest.raises(Forbidden, match="person"):
        models.approve_by_rule(name="wages", version=1, rule="automatic")
    assert not models.is_trusted(package=PACKAGE)
    models.approve(name="wages", version=1)
    assert models.is_trusted(package=PACKAGE)
    assert not models.is_trusted(package="b" * 64)


def test_rejected_imports_stay_untrusted_and_own_packages_are_trusted(models: Models) -> None:
    register(models, origin="imported")
    models.reject(name="wages", version=1, comment="worse")
    assert not models.is_trusted(package=PACKAGE)
    register(models, package="b" * 64, verdicts=[FAILED])
    assert models.is_trusted(package="b" * 64)


@pytest.mark.parametrize("alias", ["live", "candidate", "Live", "CANDIDATE"])
@pytest.mark.parametrize("version", [1, None])
def test_reserved_aliases_move_only_through_approval_and_rollout(
    models: Models, alias: str, version: int | None
) -> None:
    register(models)
    with pytest.raises(Forbidden, match="rollout") as caught:
        models.set_alias(name="wages", alias=alias, version=version)
    assert "perennial deploy" in caught.value.remedy


@pytest.mark.parametrize("alias", ["3", "", "a@b", "a/b"])
def test_an_alias_that_reads_as_something_else_is_refused(models: Models, alias: str) -> None:
    register(models)
    with pytest.raises(Invalid):
        models.set_alias(name="wages", alias=alias, version=1)


def test_an_alias_of_ones_own_moves_and_goes(models: Models, records: Records) -> None:
    for _ in range(2):
        register(models)
    assert models.set_alias(name="wages", alias="best", version=1) == {"best": 1}
    assert models.set_alias(name="wages", alias="best", version=2) == {"best": 2}
    assert models.get(name="wages", alias="best").version == 2
    assert models.aliases(name="wages") == {"best": 2}
    assert models.set_alias(name="wages", alias="best", version=2) == {"best": 2}  # again: no event
    assert models.set_alias(name="wages", alias="best", version=None) == {}
    assert kinds(records).count("alias.moved") == 3
    with pytest.raises(NotFound, match="wages@best"):
        models.get(name="wages", alias="best")


def test_F40_an_alias_that_moved_meanwhile_is_not_moved_on(models: Models) -> None:
    for _ in range(3):
        register(models)
    models.set_alias(name="wages", alias="best", version=1, expected=0)
    outcomes = both(
        lambda: models.set_alias(name="wages", alias="best", version=2, expected=1),
        lambda: models.set_alias(name="wages", alias="best", version=3, expected=1),
    )
    (lost,) = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
    (won,) = [outcome for outcome in outcomes if isinstance(outcome, dict)]
    assert models.aliases(name="wages") == won
    assert f"version {won['best']}" in lost.what


def test_C15_what_is_not_there_is_not_found(models: Models) -> None:
    register(models)
    for ask in (
        lambda: models.get(name="other"),
        lambda: models.get(name="wages", version=2),
        lambda: models.get(name="wages", alias="best"),
        lambda: models.approve(name="other", version=1),
        lambda: models.set_alias(name="wages", alias="best", version=9),
        lambda: models.set_alias(name="other", alias="best", version=None),
    ):
        with pytest.raises(NotFound, match="there is no model"):
            ask()
    assert models.aliases(name="other") == {}
