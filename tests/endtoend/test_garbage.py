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

from .conftest import ROW, Quick, until

# Columns that mention objects and do not keep them: what happened, and answers given before.
MENTIONS = {"events.payload", "idempotency.response"}
# Copies of a declared column beside them.
COPIES = {"steps.output": "steps.output_digest"}


def test_F35_after_a_collection_everything_that_a_lived_in_workspace_holds_still_works(quick: Quick) -> None:
    quick.write()
    quick.done("run")
    quick.up()
    quick.done("approve", "line@1")
    first = quick.answer("line", ROW)
    quick.write(("power: float = 1.0", "power: float = 2.0"))
    quick.done("run")
    why = until(lambda: quick.perennial("log", "--why", first["id"]), "an explanation")
    assert why.code == 0, why.err
    quick.end()

    with ObjectStore(quick.home / "objects") as objects:
        unnamed = objects.put_many([b"nothing names this", bytes(1 << 20)])
    for path in (quick.home / "objects/pins").glob("*.pins"):
        os.utime(path, (0, 0))  # their processes ended long ago
    with (
        Records.open(f"sqlite:///{quick.home}/records.db", read_only=True) as records,
        ObjectStore(quick.home / "objects") as objects,
    ):
        assert undeclared(records, objects) == set()
        freed = collect_garbage(records, objects)
        assert freed.young == 0
        assert freed.kept > 30
        assert not any(objects.has(digest) for digest in unnamed)

    assert quick.done("verify")["sound"]
    again = quick.done("run")
    assert not again["is_new"]
    assert set(again["cached"]) >= {"kept", "model"}
    quick.up()
    assert quick.answer("line", ROW)["prediction"] == first["prediction"]
    assert quick.perennial("log", "--why", first["id"]).code == 0
    assert quick.done("data", "show", "line.rows")


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
