"""Garbage collection in a workspace that has lived: everything that worked before it works after it."""

from __future__ import annotations

import os
import re

import sqlalchemy as sa

from perennial.store.gc import collect_garbage
from perennial.store.objects import ObjectStore
from perennial.store.records import Records
from perennial.store.tables import import_tables
from perennial.types import Digest

from .conftest import ROW, Project, until

# Columns that mention objects and do not keep them: what happened, and answers given before.
MENTIONS = {"events.payload", "idempotency.response"}
# Copies of a declared column beside them.
COPIES = {"steps.output": "steps.output_digest"}


def test_F35_after_a_collection_everything_that_a_lived_in_workspace_holds_still_works(project: Project) -> None:
    project.write()
    project.done("run")
    project.up()
    project.done("approve", "line@1")
    first = project.answer("line", ROW)
    project.write(("power: float = 1.0", "power: float = 2.0"))
    project.done("run")
    why = until(lambda: project.perennial("log", "--why", first["id"]), "an explanation")
    assert why.code == 0, why.err
    project.end()

    with ObjectStore(project.home / "objects") as objects:
        unnamed = objects.put_many([b"nothing names this", bytes(1 << 20)])
    for path in (project.home / "objects/pins").glob("*.pins"):
        os.utime(path, (0, 0))  # their processes ended long ago
    with (
        Records.open(f"sqlite:///{project.home}/records.db", read_only=True) as records,
        ObjectStore(project.home / "objects") as objects,
    ):
        assert undeclared(records, objects) == set()
        freed = collect_garbage(records, objects)
        assert freed.young == 0
        assert freed.kept > 30
        assert not any(objects.has(digest) for digest in unnamed)

    assert project.done("verify")["sound"]
    again = project.done("run")
    assert not again["is_new"]
    assert set(again["cached"]) >= {"kept", "model"}
    project.up()
    assert project.answer("line", ROW)["prediction"] == first["prediction"]
    assert project.perennial("log", "--why", first["id"]).code == 0
    assert project.done("data", "show", "line.rows")


def undeclared(records: Records, objects: ObjectStore) -> set[str]:
    """Columns that hold the name of a stored object though they do not say so, so that it would be lost."""
    found: set[str] = set()
    for table in import_tables().sorted_tables:
        for column in table.columns:
            name = f"{table.name}.{column.name}"
            if column.info.get("object") or name in MENTIONS or name in COPIES:
                continue
            values = records.read(
                lambda connection, column=column: connection.execute(sa.select(column)).scalars().all()
            )
            text = "\n".join(value.decode("latin-1") if isinstance(value, bytes) else str(value) for value in values)
            if any(objects.has(Digest(digest)) for digest in re.findall(r"\b[0-9a-f]{64}\b", text)):
                found.add(name)
    return found
