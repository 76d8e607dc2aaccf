"""F25: models of before people could say what they are for are there after the upgrade, and can be described."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from perennial.registry.versions import Models
from perennial.store.records import Records
from perennial.store.schema import SCRIPTS, ensure_schema, head, revision_of

MODEL = "INSERT INTO models (name, description, created, updated, last) VALUES ('salary', 'of a person', 1, 1, 1)"
VERSION = """INSERT INTO model_versions
    (name, version, package, origin, state, run_id, verdicts, reason, at, updated)
    VALUES ('salary', 1, :package, 'loop', 'candidate', 'r1', '[]', '', 1, 1)"""
TAG = "INSERT INTO model_version_tags (name, version, key, value) VALUES ('salary', 1, 'team', 'pay')"


@pytest.fixture(params=["sqlite", "postgresql"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Records]:
    """A database as revision 0004 left it, with a model that has a tag."""
    url = f"sqlite:///{tmp_path}/records.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("pg_database")
    scripts = tmp_path / "scripts"
    (scripts / "versions").mkdir(parents=True)
    for path in (SCRIPTS / "versions").glob("000[1234]_*.py"):
        shutil.copy(path, scripts / "versions" / path.name)
    with Records.open(url) as records:
        ensure_schema(records, scripts=scripts)
        records.write(lambda tx: tx.connection.execute(sa.text(MODEL)))
        records.write(lambda tx: tx.connection.execute(sa.text(VERSION), {"package": "1" * 64}))
        records.write(lambda tx: tx.connection.execute(sa.text(TAG)))
        yield records


def test_F25_a_model_of_before_is_there_with_its_tags_and_can_be_described(old: Records) -> None:
    ensure_schema(old)
    assert old.read(revision_of) == head()
    models = Models(old)
    assert models.get(name="salary").tags == {"team": "pay"}
    facts = models.about(name="salary")
    assert (facts.description, facts.purpose, facts.at) == ("of a person", "", None)
    assert models.describe(name="salary", purpose="fair pay").purpose == "fair pay"
    found = models.lineage(name="salary", version=1)
    assert (found.package, found.decisions, found.live) == ("1" * 64, [], [])
