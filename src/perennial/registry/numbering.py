"""The numbers of the versions of a model: one line for all, whoever registers; a number is given once."""

from __future__ import annotations

import sqlalchemy as sa

from perennial.registry.records import models
from perennial.store.records import Transaction

__all__ = ["next_version", "touch"]


def next_version(tx: Transaction, name: str) -> int:
    """The number of a version that is about to be written; the model is made when it is the first."""
    where = models.c.name == name
    counted = sa.update(models).where(where).values(last=models.c.last + 1, updated=tx.now)
    if tx.connection.execute(counted).rowcount == 0:  # the update has locked the row for this transaction
        tx.connection.execute(
            sa.insert(models).values(name=name, description="", created=tx.now, updated=tx.now, last=1)
        )
        return 1
    return tx.connection.execute(sa.select(models.c.last).where(where)).scalar_one()


def touch(tx: Transaction, name: str) -> None:
    """The model changed now."""
    tx.connection.execute(sa.update(models).where(models.c.name == name).values(updated=tx.now))
