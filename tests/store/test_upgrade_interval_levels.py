"""F25: endpoints of before intervals followed labels are there after the upgrade, and their level can be kept."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from perennial.deploy.adapting import set_alpha
from perennial.deploy.records import interval_levels
from perennial.store.records import Records
from perennial.store.schema import SCRIPTS, ensure_schema, head, revision_of

ENDPOINT = "INSERT INTO endpoints (name, live, live_since) VALUES ('wages', 3, 1)"


@pytest.fixture(params=["sqlite", "postgresql"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Records]:
    """A database as revision 0005 left it, with an endpoint."""
    url = f"sqlite:///{tmp_path}/records.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("pg_database")
    scripts = tmp_path / "scripts"
    (scripts / "versions").mkdir(parents=True)
    for path in (SCRIPTS / "versions").glob("000[12345]_*.py"):
        shutil.copy(path, scripts / "versions" / path.name)
    with Records.open(url) as records:
        ensure_schema(records, scripts=scripts)
        records.write(lambda tx: tx.connection.execute(sa.text(ENDPOINT)))
        yield records


def test_F25_an_endpoint_of_before_is_there_and_its_level_is_kept(old: Records) -> None:
    ensure_schema(old)
    assert old.read(revision_of) == head()
    assert old.read(lambda c: c.execute(sa.text("SELECT name, live FROM endpoints")).all()) == [("wages", 3)]
    assert old.write(lambda tx: set_alpha(tx, "wages", 3, alpha=0.125, labels=7))
    kept = old.read(lambda c: c.execute(sa.select(interval_levels.c.alpha, interval_levels.c.labels)).all())
    assert kept == [(0.125, 7)]
