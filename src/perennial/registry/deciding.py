"""Let a candidate pass, or refuse it: who, when, why, and about exactly which bytes."""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa

from perennial.errors import Conflict, Forbidden, Refused
from perennial.registry.records import versions
from perennial.registry.test_sets import check_budget
from perennial.registry.version import ModelVersion, find, package_of
from perennial.store.records import Transaction

__all__ = ["decide"]


def decide(
    tx: Transaction,
    name: str,
    version: int,
    *,
    state: Literal["approved", "rejected"],
    who: str,
    comment: str,
    may_be_imported: bool = True,
    package: str | None = None,
) -> ModelVersion:
    """Move a candidate to another state; deciding the same twice changes nothing.

    Args:
        tx: The transaction; the event is written in it.
        name: Of the model.
        version: Its number.
        state: The decision.
        who: A person, or "rule: ...".
        comment: Why.
        may_be_imported: Whether this may be decided of code that came from elsewhere.
        package: The digest that was looked at, if it is known.

    Raises:
        Refused: It has no package, failed its requirements, or was judged by a test set that is used up.
        Forbidden: It was imported, and a person must decide.
        Conflict: Something else was decided before, or the package is another one.
    """
    current = find(tx.connection, name, version)
    decided_on = package_of(current)
    if package is not None and package != decided_on:
        raise Conflict(
            f"{name} version {version} is the package {decided_on[:12]}, not {package[:12]}",
            remedy="look at this version again, then decide",
        )
    if current.origin == "imported" and not may_be_imported:
        raise Forbidden(
            f"{name} version {version} was imported, so a person must vouch for its code",
            remedy=f"perennial approve {name}@{version}",
        )
    if current.state == state:
        return current
    if state == "approved" and current.state == "refused":
        failed = [verdict.says for verdict in current.verdicts if verdict.passed is False]
        raise Refused(
            f"{name} version {version} failed its requirements: {'; '.join(failed)}",
            remedy="train a better candidate, or change the requirement in the loop and run it again",
        )
    if current.state != "candidate":
        raise Conflict(
            f"{name} version {version} is already {current.state}",
            where=f"decided by {current.decided_by}" if current.decided_by else "",
            remedy="use `perennial deploy` or `perennial rollback` to change what is live"
            if current.state == "approved"
            else "train another candidate: perennial run",
        )
    if state == "approved":
        check_budget(tx.connection, name, version)
    tx.connection.execute(
        sa.update(versions)
        .where(versions.c.name == name, versions.c.version == version)
        .values(state=state, decided_by=who, decided_at=tx.now, comment=comment, updated=tx.now)
    )
    tx.event(f"model.{state}", f"model/{name}/{version}", {"by": who, "comment": comment, "package": decided_on})
    return find(tx.connection, name, version)
