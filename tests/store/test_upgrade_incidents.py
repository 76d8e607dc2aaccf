"""F25: findings of before there were incidents are there after the upgrade, and what is found next opens one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from perennial.monitor.findings import Monitor, NewFinding
from perennial.monitor.incidents.incidents import Incidents
from perennial.store.records import Records
from perennial.store.schema import SCRIPTS, ensure_schema, head, revision_of

FINDING = """INSERT INTO findings
    (endpoint, key, at, version, kind, severity, window_from, window_to, says, evidence)
    VALUES ('wages', 'drop/3/bias/1', 5, 3, 'performance_drop', 'critical', 1, 4, 'too low', :told)"""
DETECTOR = (
    "INSERT INTO detectors (endpoint, version, name, cursor, state) VALUES ('wages', 3, 'performance', 40, :told)"
)


@pytest.fixture(params=["sqlite", "postgresql"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Records]:
    """A database as revision 0008 left it, with a finding and a detector that stands somewhere."""
    url = f"sqlite:///{tmp_path}/records.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("pg_database")
    scripts = tmp_path / "scripts"
    (scripts / "versions").mkdir(parents=True)
    for path in (SCRIPTS / "versions").glob("000[1-8]_*.py"):
        shutil.copy(path, scripts / "versions" / path.name)
    with Records.open(url) as records:
        ensure_schema(records, scripts=scripts)
        records.write(lambda tx: tx.connection.execute(sa.text(FINDING), {"told": '{"e_value":2e5}'}))
        records.write(lambda tx: tx.connection.execute(sa.text(DETECTOR), {"told": "{}"}))
        yield records


def test_F25_findings_of_before_stay_and_open_no_incident(old: Records) -> None:
    ensure_schema(old)
    assert old.read(revision_of) == head()
    monitor, incidents = Monitor(old), Incidents(old)
    (finding,) = monitor.list(endpoint="wages")
    assert (finding.key, finding.at, finding.severity, finding.muted) == ("drop/3/bias/1", 5, "critical", None)
    assert finding.evidence == {"e_value": 2e5}
    assert incidents.list() == []
    again = NewFinding(
        key="drop/3/bias/1", version=3, kind="performance_drop", severity="critical", window_from=1, window_to=4,
        says="too low", evidence={},
    )  # fmt: skip
    new = NewFinding(
        key="drop/3/bias/2", version=3, kind="performance_drop", severity="critical", window_from=4, window_to=9,
        says="still too low", evidence={},
    )  # fmt: skip
    monitor.step(
        endpoint="wages", version=3, name="performance", cursor_from=40, cursor_to=50, state={}, found=[again, new]
    )
    assert [(one.says, one.findings) for one in incidents.list()] == [("still too low", 1)]
