"""Maintenance mutes notices and automatic action by event time, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial.errors import Conflict, Invalid, NotFound
from perennial.monitor.incidents.maintenance import covering
from perennial.store.actor import acting
from perennial.types import Micros
from tests.monitor.alarms import DAY, NOON, House, drop, house, shift

HOUR = DAY // 24


@pytest.fixture
def at(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path) as one:
        yield one


def test_what_lies_in_a_window_is_recorded_and_told_to_nobody(at: House) -> None:
    with acting("Ada", "cli"):
        window = at.maintenance.start(endpoint="wages", reason="moving house", until=NOON + 3 * DAY)
    at.find(shift(0), drop(1))
    at.find(shift(0), endpoint="fares")
    assert at.told() == [(3, "warn")]
    assert [found.muted for found in at.monitor.list(endpoint="wages")] == [window.number] * 2
    assert [(one.endpoint, one.muted) for one in at.incidents.list()] == [("fares", None), ("wages", 1), ("wages", 1)]
    assert at.incidents.feedback(endpoint="wages")[0].incidents == 0  # an alarm that nobody heard is none
    at.find(shift(4))  # the first that is found outside of it
    assert at.told() == [(3, "warn"), (1, "warn")]


def test_F13_windows_mute_by_event_time_whenever_it_is_looked(at: House) -> None:
    at.maintenance.start(endpoint="wages", reason="moving house", since=NOON + DAY, until=NOON + 2 * DAY)
    at.clock.set(Micros(NOON + 9 * DAY))  # long after it
    at.find(shift(1))
    assert at.told() == []
    at.clock.set(Micros(NOON + DAY + HOUR))  # within it, about a day before it
    at.find(shift(0, kind="data_quality", key="quality"))
    assert [severity for _, severity in at.told()] == ["warn"]


@pytest.mark.parametrize(
    "since, until, is_muted",
    [
        (0, 24, True),
        (0, 12, True),  # half of the window
        (0, 11, False),
        (23, 30, True),  # the window ends in it
        (24, 30, False),
        (-9, 0, False),
        (20, 23, False),
        (-9, None, True),
    ],
)
def test_a_finding_is_muted_when_its_window_ends_in_maintenance_or_lies_in_it_by_half(
    at: House, since: int, until: int | None, is_muted: bool
) -> None:
    ends = None if until is None else NOON + until * HOUR
    at.maintenance.start(reason="moving house", since=NOON + since * HOUR, until=ends)
    at.find(shift(0))
    assert (at.monitor.list(endpoint="wages")[0].muted is not None) == is_muted


def test_a_window_without_an_end_lasts_until_a_person_ends_it(at: House) -> None:
    with acting("Ada", "cli"):
        assert at.maintenance.start(reason="moving house").until is None
    at.clock.advance(3600)
    assert covering(at.maintenance.list(active=True), "wages", at.clock.now()) is not None
    with acting("Bob", "cli"):
        ended = at.maintenance.end(number=1)
    assert (ended.by, ended.ended_by, ended.until) == ("Ada", "Bob", NOON + HOUR)
    assert at.maintenance.list(active=True) == []
    with pytest.raises(Conflict, match="ended at"):
        at.maintenance.end(number=1)
    told = [(event.kind, event.subject, event.actor) for event in at.events()]
    assert told == [
        ("maintenance.started", "workspace", "Ada via cli"),
        ("maintenance.ended", "workspace", "Bob via cli"),
    ]


def test_a_window_needs_a_reason_and_an_order_of_its_ends(at: House) -> None:
    with pytest.raises(Invalid, match="needs a reason"):
        at.maintenance.start(reason=" ")
    with pytest.raises(Invalid, match="before it begins"):
        at.maintenance.start(reason="x", until=NOON)
    with pytest.raises(NotFound, match="no maintenance window 7"):
        at.maintenance.end(number=7)
    at.maintenance.start(endpoint="wages", reason="x")
    assert at.maintenance.list(endpoint="fares") == []
    assert len(at.maintenance.list(endpoint="wages")) == 1
