"""F25: a store of before the ledger of test sets gets one, and its versions may pass as before."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from perennial.registry.test_sets import JudgedOn, Ledger
from perennial.registry.versions import Models
from perennial.store.records import Records
from perennial.store.schema import SCRIPTS, ensure_schema, head, revision_of

MODEL = "INSERT INTO models (name, description, created, updated, last) VALUES ('salary', '', 1, 1, 1)"
VERSION = """INSERT INTO model_versions
    (name, version, package, origin, state, run_id, verdicts, reason, at, updated)
    VALUES ('salary', 1, :package, 'loop', 'candidate', 'r1', '[]', '', 1, 1)"""


@pytest.fixture(params=["sqlite", "postgresql"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Records]:
    """A database as revision 0003 left it, with a candidate that waits."""
    url = f"sqlite:///{tmp_path}/records.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("pg_database")
    scripts = tmp_path / "scripts"
    (scripts / "versions").mkdir(parents=True)
    for path in (SCRIPTS / "versions").glob("000[123]_*.py"):
        shutil.copy(path, scripts / "versions" / path.name)
    with Records.open(url) as records:
        ensure_schema(records, scripts=scripts)
        records.write(lambda tx: tx.connection.execute(sa.text(MODEL)))
        records.write(lambda tx: tx.connection.execute(sa.text(VERSION), {"package": "1" * 64}))
        yield records


def test_F25_a_candidate_of_before_the_ledger_passes_and_the_next_one_is_a_look(old: Records) -> None:
    ensure_schema(old)
    assert old.read(revision_of) == head()
    models, ledger = Models(old), Ledger(old)
    assert ledger.list() == []
    assert models.approve(name="salary", version=1).state == "approved"
    on = JudgedOn(test_set="a" * 64, rows=50, sample="", loss=0.5, loss_name="share of wrong labels")
    models.register(name="salary", package="2" * 64, origin="loop", judged_on=on)
    (line,) = ledger.list(name="salary")
    assert (line.rows, line.used, line.planned) == (50, 1, 10)
