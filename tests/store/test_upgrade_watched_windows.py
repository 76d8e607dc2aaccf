"""F25: a store of before windows were remembered is upgraded, and remembers what is looked at next."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial.monitor.findings import Monitor
from perennial.monitor.remembered import NewWindow
from perennial.store.records import Records
from perennial.store.schema import SCRIPTS, ensure_schema, head, revision_of


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Records]:
    """A database as revision 0009 left it."""
    scripts = tmp_path / "scripts"
    (scripts / "versions").mkdir(parents=True)
    for path in (SCRIPTS / "versions").glob("000[1-9]_*.py"):
        shutil.copy(path, scripts / "versions" / path.name)
    with Records.open(f"sqlite:///{tmp_path}/records.db") as records:
        ensure_schema(records, scripts=scripts)
        yield records


def step(monitor: Monitor, name: str, window: NewWindow) -> None:
    monitor.step(endpoint="wages", version=3, name=name, cursor_from=0, cursor_to=10, state={}, found=[], window=window)


def test_F25_windows_are_remembered_after_the_upgrade_and_what_labels_tell_is_added(old: Records) -> None:
    ensure_schema(old)
    assert old.read(revision_of) == head()
    monitor = Monitor(old)
    assert monitor.windows(endpoint="wages", version=3) == []
    said = {"metric": "accuracy", "method": "cbpe", "value": 0.9}
    step(monitor, "inputs", NewWindow(start=0, end=10, rows=5, alarms=["data_quality"], estimates=[said]))
    step(monitor, "labels", NewWindow(start=0, end=10, rows=5, alarms=["concept_drift"], entries=[{"realised": 0.8}]))
    (window,) = monitor.windows(endpoint="wages", version=3)
    assert (window.endpoint, window.version, window.end) == ("wages", 3, 10)
    assert window.alarms == ["data_quality", "concept_drift"]
    assert (window.estimates, window.entries) == ([said], [{"realised": 0.8}])
    assert monitor.windows(endpoint="wages", version=3, before=9) == []
    assert monitor.windows(endpoint="wages", version=4) == []
