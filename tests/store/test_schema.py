"""Migrations: run once, killed anywhere they leave the old tables, and an older program refuses newer ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from perennial.errors import ConfigError, Failure
from perennial.store.records import Records, create_tables
from perennial.store.schema import SCRIPTS, ensure_schema, head, revision_of
from perennial.store.schema.draft import draft
from perennial.store.tables import import_tables, metadata
from perennial.testing.crash import Acknowledge, run_in_child

first = sa.MetaData(naming_convention=metadata.naming_convention)
things = sa.Table(
    "things", first, sa.Column("id", sa.Integer, primary_key=True), sa.Column("kind", sa.String, nullable=False)
)
second = sa.MetaData(naming_convention=metadata.naming_convention)
sa.Table(
    "things",
    second,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String, nullable=False, index=True),
    sa.Column("size", sa.BigInteger),
)
sa.Table("others", second, sa.Column("id", sa.Integer, primary_key=True))


def keep(says: str, tables: sa.MetaData, scripts: Path) -> None:
    """What a developer does: draft, read, keep."""
    path, text = draft(says, tables=tables, scripts=scripts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """What an older program knew."""
    keep("first tables", first, tmp_path / "old")
    return tmp_path / "old"


@pytest.fixture
def new(tmp_path: Path) -> Path:
    keep("first tables", first, tmp_path / "new")
    keep("sizes", second, tmp_path / "new")
    return tmp_path / "new"


def missing(records: Records, tables: sa.MetaData) -> list[object]:
    """What alembic finds different between the database and the declared tables."""

    def compare(connection: sa.Connection) -> list[object]:
        return compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), tables)

    return records.read(compare)


needs_a_migration = pytest.mark.skipif(head() is None, reason="the first migration is not written yet")


@needs_a_migration
def test_migrated_tables_are_the_declared_ones(url: str, open_records: Callable[..., Records]) -> None:
    records = open_records(url)
    ensure_schema(records)
    assert missing(records, import_tables()) == []


def test_the_tables_of_all_rooms_can_be_drafted_for_both_databases(
    url: str, open_records: Callable[..., Records], tmp_path: Path
) -> None:
    keep("all tables", import_tables(), tmp_path / "all")
    records = open_records(url)
    ensure_schema(records, scripts=tmp_path / "all")
    assert missing(records, import_tables()) == []


def test_an_empty_database_gets_all_tables_and_a_second_time_nothing(
    url: str, open_records: Callable[..., Records], new: Path
) -> None:
    records = open_records(url)
    for _ in range(2):
        ensure_schema(records, scripts=new)
    assert missing(records, second) == []
    assert records.read(revision_of) == head(new) == "0002"


def test_an_upgrade_keeps_what_is_there_and_copies_it_first(
    url: str, open_records: Callable[..., Records], old: Path, new: Path
) -> None:
    records = open_records(url)
    ensure_schema(records, scripts=old)
    records.write(lambda tx: tx.connection.execute(sa.insert(things), [{"kind": "a"}, {"kind": "b"}]))
    ensure_schema(records, scripts=new)
    assert missing(records, second) == []
    assert records.read(lambda c: c.execute(sa.select(things.c.kind)).scalars().all()) == ["a", "b"]
    if records.path is not None:
        copy = open_records(f"sqlite:///{records.path.with_name('records-before-0002.db')}")
        assert copy.read(revision_of) == "0001"
        assert copy.read(lambda c: c.execute(sa.select(things.c.kind)).scalars().all()) == ["a", "b"]


def test_F26_older_program_refuses_newer_tables_and_names_the_version(
    url: str, open_records: Callable[..., Records], old: Path, new: Path
) -> None:
    records = open_records(url)
    ensure_schema(records, scripts=new)
    create_tables(records)
    records.fence(1)
    with pytest.raises(ConfigError, match=r"schema 0002, made by perennial \d+\.\d+.*; this program knows up to 0001"):
        ensure_schema(records, scripts=old)
    assert missing(records, second) == [] or records.read(revision_of) == "0002"


@pytest.mark.parametrize("failpoint", ["schema.backed_up", "schema.applied", "records.committing", "records.committed"])
def test_F25_a_killed_upgrade_is_done_or_undone(tmp_path: Path, old: Path, new: Path, failpoint: str) -> None:
    url = f"sqlite:///{tmp_path / 'records.db'}"
    with Records.open(url) as records:
        ensure_schema(records, scripts=old)
        records.write(lambda tx: tx.connection.execute(sa.insert(things), {"kind": "kept"}))

    def work(acknowledge: Acknowledge) -> None:
        with Records.open(url) as records:
            ensure_schema(records, scripts=new)

    turns = 3 if failpoint.startswith("records.") else 1  # two looks at the revision come before the upgrade
    assert run_in_child(work, f"{failpoint}=kill@{turns}").was_killed
    with Records.open(url) as records:
        assert records.read(revision_of) == ("0002" if failpoint == "records.committed" else "0001")
        ensure_schema(records, scripts=new)
        assert missing(records, second) == []
        assert records.read(lambda c: c.execute(sa.select(things.c.kind)).scalars().all()) == ["kept"]


def test_a_migration_that_fails_leaves_everything_as_it_was(
    url: str, open_records: Callable[..., Records], old: Path, new: Path
) -> None:
    records = open_records(url)
    ensure_schema(records, scripts=old)
    (script,) = (new / "versions").glob("0002_*.py")
    script.write_text(script.read_text() + "\n    op.execute('insert into nowhere values (1)')\n")
    with pytest.raises(Failure, match="nowhere"):
        ensure_schema(records, scripts=new)
    assert records.read(revision_of) == "0001"
    assert missing(records, first) == []


def test_every_operation_is_written_out(new: Path) -> None:
    text = next((new / "versions").glob("0002_*.py")).read_text()
    assert "op.create_table('others'" in text
    assert "op.add_column('things', sa.Column('size', sa.BigInteger()" in text
    assert "op.create_index(" in text
    assert "import perennial" not in text


def test_a_database_that_is_up_to_date_is_opened_without_alembic(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'records.db'}"
    with Records.open(url) as records:
        ensure_schema(records)
    code = (
        "import sys; from perennial.store.records import Records; from perennial.store.schema import ensure_schema\n"
        f"with Records.open({url!r}) as records: ensure_schema(records)\n"
        "sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@needs_a_migration
def test_migrations_are_numbered_without_gaps() -> None:
    numbers = sorted(path.name[:4] for path in (SCRIPTS / "versions").glob("[0-9]*_*.py"))
    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]
