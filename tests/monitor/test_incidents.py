"""Findings become incidents, each told once; incidents have a life, and every step of it is on record."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import get_args

import pytest

from perennial.config import Settings
from perennial.errors import Conflict, Invalid, NotFound
from perennial.monitor.findings import Kind
from perennial.monitor.incidents.incident import GROUPS, Group, Incident
from perennial.store.actor import acting
from perennial.types import Micros
from tests.monitor.alarms import DAY, NOON, House, drop, house, shift


@pytest.fixture
def at(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path) as one:
        yield one


def test_every_kind_of_finding_has_a_group() -> None:
    assert set(GROUPS) == set(get_args(Kind))
    assert set(GROUPS.values()) == set(get_args(Group))


def test_findings_of_one_group_are_one_incident_told_once(at: House) -> None:
    for day in range(5):
        at.find(shift(day))
        at.clock.advance(86_400)
    at.find(shift(2, kind="unforeseen", key="unforeseen/2"), name="b")  # another detector, the same group
    incident = at.one()
    assert (incident.endpoint, incident.version, incident.group, incident.state) == ("wages", 3, "inputs", "open")
    assert (incident.findings, incident.severity, incident.says) == (6, "warn", "inputs shifted on day 0")
    assert (incident.since, incident.until) == (NOON, NOON + 5 * DAY)
    assert at.told() == [(1, "warn")]
    assert [event.kind for event in at.events("incident.opened", "incident.escalated")] == ["incident.opened"]


def test_other_groups_versions_and_endpoints_are_other_incidents(at: House) -> None:
    at.find(shift(0), drop(0))
    at.find(shift(0, version=4, key="of version 4"))
    at.find(shift(0), endpoint="fares")
    assert sorted((one.endpoint, one.version, one.group) for one in at.incidents.list()) == [
        ("fares", 3, "inputs"),
        ("wages", 3, "inputs"),
        ("wages", 3, "performance"),
        ("wages", 4, "inputs"),
    ]
    assert len(at.incidents.list(endpoint="wages", group="inputs")) == 2


def test_what_is_no_more_than_information_opens_nothing(at: House) -> None:
    at.find(shift(0, severity="info"))
    assert at.incidents.list() == []
    assert at.notices.list() == []
    assert len(at.monitor.list(endpoint="wages")) == 1


def test_an_incident_is_as_bad_as_its_worst_finding_and_is_told_again_when_it_escalates(at: House) -> None:
    at.find(shift(0))
    at.find(shift(1, severity="critical", says="all inputs shifted"))
    at.find(shift(2))
    at.find(shift(3, severity="critical", says="still"))
    incident = at.one()
    assert (incident.severity, incident.says, incident.told) == ("critical", "all inputs shifted", "critical")
    assert at.told() == [(1, "warn"), (1, "critical")]
    (event,) = at.events("incident.escalated")
    assert (event.subject, event.payload["from"], event.payload["to"]) == ("incident/1", "warn", "critical")


def test_a_finding_its_incident_and_its_notices_are_one_transaction(at: House) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        at.find(shift(0), shift(1, evidence={"psi": float("nan")}))
    assert at.incidents.list() == []
    assert at.notices.list() == []
    assert at.events() == []


def test_F14_a_finding_that_is_found_again_changes_nothing(at: House) -> None:
    for _ in range(3):
        at.find(shift(0))
    assert at.one().findings == 1
    assert at.told() == [(1, "warn")]
    assert len(at.events("found.covariate_shift")) == 1


@pytest.mark.parametrize("seed", range(20))
def test_F15_findings_in_any_order_end_as_one_incident_of_the_same_span(tmp_path: Path, seed: int) -> None:
    with house(tmp_path) as at:
        found = [shift(day, severity="critical" if day % 4 == 0 else "warn") for day in range(7)]
        random.Random(seed).shuffle(found)
        for number, finding in enumerate(found):
            at.find(finding, name=str(number))
        incident = at.one()
        assert (incident.since, incident.until, incident.findings) == (NOON, NOON + 7 * DAY, 7)
        assert incident.severity == "critical"
        assert at.told() in ([(1, "critical")], [(1, "warn"), (1, "critical")])


def test_it_closes_by_itself_when_nothing_was_found_for_the_quiet_period(at: House) -> None:
    at.find(shift(0))
    at.clock.set(Micros(NOON + 8 * DAY - 1))
    assert at.incidents.close_quiet() == 0
    at.clock.set(Micros(NOON + 8 * DAY))  # seven days after the end of its only window
    assert at.incidents.close_quiet() == 1
    assert at.incidents.close_quiet() == 0
    incident = at.one()
    assert (incident.state, incident.closed_by, incident.comment) == (
        "closed",
        "",
        "nothing was found for 7 days",
    )
    (event,) = at.events("incident.closed")
    assert (event.payload["by_itself"], event.actor) == (True, "reconciler via reconciler")
    at.find(shift(9))
    assert [one.number for one in at.incidents.list(unsettled=True)] == [2]
    assert at.told() == [(1, "warn"), (2, "warn")]


def test_what_was_over_when_nobody_looked_is_closed_by_what_is_found_next(at: House) -> None:
    at.find(shift(0))
    at.clock.set(Micros(NOON + 60 * DAY))
    at.find(shift(59))
    assert [(one.number, one.state) for one in at.incidents.list()] == [(2, "open"), (1, "closed")]


def test_the_quiet_period_is_a_setting_and_kept_with_the_incident(tmp_path: Path) -> None:
    with house(tmp_path, settings=Settings(incident_quiet_days=1.5)) as at:
        at.find(shift(0))
        at.clock.set(Micros(NOON + round(2.5 * DAY)))
        assert at.incidents.close_quiet() == 1
        assert at.one().comment == "nothing was found for 1.5 days"


def test_F16_what_is_found_late_about_a_closed_incident_joins_it_and_is_not_told(at: House) -> None:
    at.find(shift(0), shift(1), shift(2))
    at.clock.set(Micros(NOON + 10 * DAY))
    at.incidents.close_quiet()
    at.find(shift(1, key="late"), name="b")
    assert (at.one().findings, at.one().state, at.told()) == (4, "closed", [(1, "warn")])
    at.find(shift(1, key="late and worse", severity="critical"), name="b")  # worse than what anybody knew
    assert [(one.number, one.severity, one.state) for one in at.incidents.list()] == [
        (2, "critical", "open"),
        (1, "warn", "closed"),
    ]


def test_F13_a_clock_that_jumps_neither_splits_an_incident_nor_hides_one(at: House) -> None:
    at.find(shift(0))
    at.clock.set(Micros(NOON - DAY))
    at.find(shift(1))
    at.clock.set(Micros(NOON + 3 * DAY))
    at.find(shift(2))
    assert (at.one().findings, at.told()) == (3, [(1, "warn")])
    at.clock.set(Micros(NOON + 400 * DAY))  # a jump forwards closes it too early ...
    at.incidents.close_quiet()
    at.clock.set(Micros(NOON + 4 * DAY))  # ... and what is found after it is mended is told
    at.find(shift(3))
    assert [(one.number, one.state) for one in at.incidents.list()] == [(2, "open"), (1, "closed")]
    assert at.told() == [(1, "warn"), (2, "warn")]


def test_an_incident_is_acknowledged_explained_and_closed_by_people(at: House) -> None:
    at.find(shift(0))
    with acting("Ada", "page"):
        assert at.incidents.acknowledge(number=1).acknowledged_by == "Ada"
        assert at.incidents.acknowledge(number=1).acknowledged_by == "Ada"  # again is fine
    with acting("Bob", "cli"):
        with pytest.raises(Conflict, match="acknowledged already, by Ada"):
            at.incidents.acknowledge(number=1)
        explained = at.incidents.explain(number=1, comment="a new sensor", cause="data bug")
        assert (explained.state, explained.cause, explained.explained_by) == ("explained", "data bug", "Bob")
    at.find(shift(1))
    assert at.one().state == "explained"
    assert at.told() == [(1, "warn")]  # known: nobody is told of more of the same
    at.find(shift(2, severity="critical"))
    assert at.told() == [(1, "warn"), (1, "critical")]  # but of worse
    with acting("Ada", "page"):
        closed = at.incidents.close(number=1, comment="the sensor is calibrated")
    assert (closed.state, closed.closed_by, closed.comment) == ("closed", "Ada", "the sensor is calibrated")
    told = [(event.kind, event.actor) for event in at.incidents.get(number=1).events]
    assert told == [
        ("incident.opened", "reconciler via reconciler"),
        ("incident.acknowledged", "Ada via page"),
        ("incident.explained", "Bob via cli"),
        ("incident.escalated", "reconciler via reconciler"),
        ("incident.closed", "Ada via page"),
    ]


def test_what_is_found_after_a_person_closed_it_is_another_incident(at: House) -> None:
    at.find(shift(0))
    at.clock.advance(86_400)
    at.incidents.close(number=1, comment="mended")
    at.find(shift(1))
    assert [(one.number, one.state) for one in at.incidents.list()] == [(2, "open"), (1, "closed")]


def test_a_person_has_to_say_why_and_of_what(at: House) -> None:
    at.find(shift(0))
    for verb in ("explain", "close", "false_alarm"):
        with pytest.raises(Invalid, match="this needs a comment"):
            getattr(at.incidents, verb)(number=1, comment=" \n")
        with pytest.raises(NotFound, match="there is no incident 9"):
            getattr(at.incidents, verb)(number=9, comment="x")
    with pytest.raises(Invalid, match="at most 2000 characters, not 2001"):
        at.incidents.close(number=1, comment="x" * 2001)
    with pytest.raises(NotFound):
        at.incidents.get(number=9)
    at.incidents.close(number=1, comment="mended")
    for verb in ("explain", "close"):
        with pytest.raises(Conflict, match="closed already, by reconciler"):
            getattr(at.incidents, verb)(number=1, comment="x")


def test_F40_of_two_who_close_at_once_one_wins_and_the_other_is_told(at: House) -> None:
    at.find(shift(0))
    ready = Barrier(2)

    def close(person: str) -> Incident | Conflict:
        ready.wait()
        try:
            with acting(person, "page"):
                return at.incidents.close(number=1, comment=f"by {person}")
        except Conflict as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(close, ("Ada", "Bob")))
    (lost,) = (one for one in outcomes if isinstance(one, Conflict))
    assert at.one().closed_by in lost.what
    assert len(at.events("incident.closed")) == 1


def test_a_false_alarm_is_counted_against_what_was_promised(at: House) -> None:
    with acting("Ada", "cli"):
        for number, day in enumerate((0, 20, 40), 1):
            at.clock.set(Micros(NOON + day * DAY))
            at.find(shift(day))
            if number == 1:
                continue
            found = at.incidents.false_alarm(number=number, comment="a holiday")
            assert (found.state, found.false_alarm_by, found.comment) == ("closed", "Ada", "false alarm: a holiday")
        with pytest.raises(Conflict, match="by Ada already"):
            at.incidents.false_alarm(number=2, comment="again")
    (feedback,) = at.incidents.feedback()  # of the 30 days before day 40
    assert feedback.says == "2 false alarms in 30 days, 1 was promised"
    assert (feedback.incidents, feedback.false_alarms, feedback.promised) == (2, 2, 1.0)
    assert [event.kind for event in at.events() if "alarm" in event.kind] == ["incident.false_alarm"] * 2
    at.clock.set(Micros(NOON + 60 * DAY))
    assert at.incidents.feedback(endpoint="wages")[0].says == "1 false alarm in 30 days, 1 was promised"
    assert at.incidents.feedback(endpoint="nobody") == []


def test_the_budget_is_what_the_monitors_declared_when_they_alarmed(at: House) -> None:
    at.find(shift(0, evidence={"promised": {"alarms": 2.0, "days": 90.0}}))
    at.incidents.false_alarm(number=1, comment="a holiday")
    assert at.incidents.feedback()[0].says == "1 false alarm in 90 days, 2 were promised"


def test_one_that_closed_by_itself_may_still_be_called_a_false_alarm(at: House) -> None:
    at.find(shift(0))
    at.clock.advance(20 * 86_400)
    at.incidents.close_quiet()
    found = at.incidents.false_alarm(number=1, comment="a holiday")
    assert (found.comment, found.false_alarm_comment) == ("nothing was found for 7 days", "a holiday")
    assert at.incidents.feedback()[0].false_alarms == 1
