"""What protects the answers of an endpoint, as its live version was declared, and how much its intervals may miss now.

The declaration is stored with the version, so a rollback brings back what protected the earlier one. The level follows
the labels (`monitor.adapting`), for each version by itself, since its calibration scores are its own.
"""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from perennial.deploy.records import interval_levels
from perennial.loop.declaration import Declaration
from perennial.models.guards.spec import FailSafe
from perennial.registry.records import versions
from perennial.store.objects import ObjectStore
from perennial.store.records import Transaction
from perennial.types import Digest

__all__ = ["declaration_of", "failsafe_of", "set_alpha"]


def declaration_of(connection: sa.Connection, objects: ObjectStore, name: str, version: int) -> Declaration | None:
    """What the loop of this version declared; None for one that no loop made."""
    about = (versions.c.name == name) & (versions.c.version == version)
    digest = connection.execute(sa.select(versions.c.declaration).where(about)).scalar_one_or_none()
    return None if digest is None else Declaration.from_json(msgspec.json.decode(objects.get(Digest(digest))))


def failsafe_of(connection: sa.Connection, declaration: Declaration | None, name: str, version: int) -> FailSafe:
    """What was declared for this version, with its present level."""
    if declaration is None:
        return FailSafe()
    where = (interval_levels.c.endpoint == name) & (interval_levels.c.version == version)
    alpha = connection.execute(sa.select(interval_levels.c.alpha).where(where)).scalar_one_or_none()
    return FailSafe.of(declaration.failsafe, alpha=alpha)


def set_alpha(tx: Transaction, name: str, version: int, *, alpha: float, labels: int) -> bool:
    """Record the level after so many labels; whether it is another one than before."""
    where = (interval_levels.c.endpoint == name) & (interval_levels.c.version == version)
    before = tx.connection.execute(sa.select(interval_levels.c.alpha, interval_levels.c.labels).where(where)).first()
    if before is not None and before.labels >= labels:
        return False  # of two who follow the same labels the one behind does not undo the other
    values = {"alpha": alpha, "labels": labels, "at": tx.now}
    if before is None:
        tx.connection.execute(sa.insert(interval_levels).values(endpoint=name, version=version, **values))
    else:
        tx.connection.execute(sa.update(interval_levels).where(where).values(**values))
    return before is None or before.alpha != alpha
