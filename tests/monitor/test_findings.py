"""Each finding once, and no observation skipped or counted twice."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from perennial.clock import FixedClock
from perennial.errors import Conflict
from perennial.ids import SeededIds
from perennial.monitor.findings import DetectorState, Monitor, NewFinding
from perennial.store.events import Events
from perennial.store.records import Records, create_tables
from perennial.types import Micros


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(Micros(1_700_000_000_000_000))


@pytest.fixture
def records(tmp_path: Path, clock: FixedClock) -> Iterator[Records]:
    with Records.open(f"sqlite:///{tmp_path / 'records.db'}", clock=clock, ids=SeededIds(1)) as records:
        create_tables(records)
        yield records


@pytest.fixture
def monitor(records: Records) -> Monitor:
    return Monitor(records)


def drop(number: int, **changes: Any) -> NewFinding:
    values: dict[str, Any] = {
        "key": f"drop/3/bias/{number}",
        "version": 3,
        "kind": "performance_drop",
        "severity": "critical",
        "window_from": 1,
        "window_to": 9,
        "says": "version 3 answers too low",
        "evidence": {"e_value": 2e5, "labels": 7},
    }
    return NewFinding(**{**values, **changes})


def step(monitor: Monitor, start: int, end: int, *found: NewFinding, **changes: Any) -> DetectorState:
    values: dict[str, Any] = {"endpoint": "wages", "version": 3, "name": "performance", "state": {"read": end}}
    return monitor.step(**{**values, **changes}, cursor_from=start, cursor_to=end, found=list(found))


def test_a_detector_goes_on_from_where_it_stands(monitor: Monitor, clock: FixedClock) -> None:
    assert monitor.detector(endpoint="wages", version=3, name="performance") is None
    first = step(monitor, 0, 40)
    assert monitor.detector(endpoint="wages", version=3, name="performance") == first
    clock.advance(5)
    second = step(monitor, 40, 90, drop(1))
    assert (second.cursor, second.state) == (90, {"read": 90})
    (finding,) = monitor.list(endpoint="wages")
    assert (finding.endpoint, finding.at, finding.key) == ("wages", clock.now(), "drop/3/bias/1")
    assert finding.evidence == {"e_value": 2e5, "labels": 7}


def test_F14_a_step_that_was_made_is_refused_and_leaves_nothing(monitor: Monitor, records: Records) -> None:
    step(monitor, 0, 40, drop(1))
    with pytest.raises(Conflict, match="stands at 40, not 0"):
        step(monitor, 0, 50, drop(2))
    assert [finding.key for finding in monitor.list(endpoint="wages")] == ["drop/3/bias/1"]
    assert [event.kind for event in Events(records).list()] == ["found.performance_drop", "incident.opened"]
    with pytest.raises(Conflict, match="stands at None, not 7"):
        step(monitor, 7, 8, name="shift")


def test_F28_of_two_watchers_one_steps(monitor: Monitor) -> None:
    for start in range(0, 100, 10):
        ready = Barrier(2)

        def watch(number: int, start: int = start, ready: Barrier = ready) -> DetectorState | Conflict:
            ready.wait()
            try:
                return step(monitor, start, start + 10, drop(start + number))
            except Conflict as error:
                return error

        with ThreadPoolExecutor(2) as pool:
            outcomes = list(pool.map(watch, (1, 2)))
        assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 1
    assert len(monitor.list(endpoint="wages")) == 10


def test_a_finding_is_recorded_once_for_its_key(monitor: Monitor, records: Records) -> None:
    step(monitor, 0, 10, drop(1), drop(1, says="again"))
    step(monitor, 10, 20, drop(1, says="and again"))
    (finding,) = monitor.list(endpoint="wages")
    assert finding.says == "version 3 answers too low"
    assert len(Events(records).list(kind="found.performance_drop")) == 1
    step(monitor, 0, 10, drop(1), endpoint="other")  # another endpoint's finding is its own
    assert len(monitor.list(endpoint="other")) == 1


def test_detectors_stand_apart(monitor: Monitor) -> None:
    step(monitor, 0, 40)
    step(monitor, 0, 5, version=4)
    step(monitor, 0, 7, name="shift")
    assert step(monitor, 40, 41).cursor == 41


def test_findings_are_listed_by_kind_and_version_oldest_first(monitor: Monitor, clock: FixedClock) -> None:
    step(monitor, 0, 10, drop(2), drop(1))
    clock.advance(1)
    step(monitor, 10, 20, drop(0, key="shift/4/0", kind="covariate_shift", version=4))
    assert [finding.key for finding in monitor.list(endpoint="wages")] == [
        "drop/3/bias/1",
        "drop/3/bias/2",
        "shift/4/0",
    ]
    assert len(monitor.list(endpoint="wages", kind="covariate_shift")) == 1
    assert len(monitor.list(endpoint="wages", version=3)) == 2
    assert monitor.list(endpoint="other") == []


def test_P2_a_step_that_cannot_be_stored_leaves_nothing(monitor: Monitor, records: Records) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        step(monitor, 0, 10, drop(1), drop(2, evidence={"e_value": float("nan")}))
    assert monitor.list(endpoint="wages") == []
    assert monitor.detector(endpoint="wages", version=3, name="performance") is None
    assert Events(records).list() == []
