"""Maintenance stops what happens by itself; what was found in it is never acted upon; it goes on when it ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial.api import connect
from perennial.monitor.findings import NewFinding
from perennial.renew.reconcile import Reconciler
from perennial.renew.training import run_loop
from perennial.workspace import Workspace

from .test_training import LOOP, people

HOUR = 3_600_000_000


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    """A workspace in which version 1 is live and a drop of its performance is a reason to retrain."""
    (tmp_path / "loop.py").write_text(LOOP.replace("retrain.by_hand()", "retrain.on_performance_drop()"))
    people(200).write_parquet(tmp_path / "people.parquet")
    with connect.open(tmp_path / ".perennial") as workspace:
        run_loop(workspace, tmp_path, None, lambda _: None)
        look(workspace)
        yield workspace


def look(ws: Workspace) -> None:
    reconciler = Reconciler(ws)
    for _ in range(5):
        reconciler.look(ws.clock.now())


def find_drop(ws: Workspace, number: int, *, at: int) -> None:
    found = NewFinding(
        key=f"drop/{number}", version=1, kind="performance_drop", severity="critical", window_from=at - HOUR,
        window_to=at, says=f"drop {number}", evidence={},
    )  # fmt: skip
    ws.monitor.step(
        endpoint="heights", version=1, name="test", cursor_from=number, cursor_to=number + 1, state={}, found=[found]
    )


def test_what_is_found_in_maintenance_trains_nothing_also_afterwards(ws: Workspace) -> None:
    now = ws.clock.now()
    ws.maintenance.start(endpoint="heights", reason="moving house", since=now - 9 * HOUR, until=now - 2 * HOUR)
    find_drop(ws, 0, at=now - 3 * HOUR)
    look(ws)
    assert ws.renew.decisions(endpoint="heights") == []
    assert [one.muted for one in ws.incidents.list()] == [1]
    find_drop(ws, 1, at=now)
    look(ws)
    assert [(one.key, one.verdict) for one in ws.renew.decisions(endpoint="heights")] == [("drop/1", "retrain")]


def test_what_was_found_before_waits_until_maintenance_ends(ws: Workspace) -> None:
    now = ws.clock.now()
    ws.maintenance.start(reason="moving house")
    find_drop(ws, 0, at=now - HOUR)
    look(ws)
    (waits,) = ws.renew.decisions(endpoint="heights")
    assert (waits.key, waits.verdict) == ("drop/0/waits", "no")
    assert "not now, maintenance 1 until it is ended: moving house" in waits.reason
    ws.maintenance.end(number=1)
    look(ws)
    assert ws.renew.decisions(endpoint="heights")[-1].verdict == "retrain"
