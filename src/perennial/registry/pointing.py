"""Aliases: names that point at versions, and their moves."""

from __future__ import annotations

import re

import sqlalchemy as sa

from perennial.errors import Conflict, Forbidden, Invalid
from perennial.registry.names import RESERVED_ALIASES
from perennial.registry.records import aliases
from perennial.registry.version import find
from perennial.store.records import Transaction

__all__ = ["aliases_of", "check_own_alias", "move_own_alias", "point"]

_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def point(tx: Transaction, name: str, alias: str, version: int | None) -> None:
    """Move an alias within a transaction; writes nothing, also no event, when it already points there."""
    where = (aliases.c.name == name) & (aliases.c.alias == alias)
    old = tx.connection.execute(sa.select(aliases.c.version).where(where)).scalar_one_or_none()
    if old == version:
        return
    tx.connection.execute(sa.delete(aliases).where(where))
    if version is not None:
        tx.connection.execute(sa.insert(aliases).values(name=name, alias=alias, version=version))
    tx.event("alias.moved", f"model/{name}", {"alias": alias, "from": old, "to": version})


def aliases_of(connection: sa.Connection, name: str) -> dict[str, int]:
    """Which version each alias of this model points at."""
    query = sa.select(aliases.c.alias, aliases.c.version).where(aliases.c.name == name).order_by(aliases.c.alias)
    return {row.alias: row.version for row in connection.execute(query)}


def check_own_alias(name: str, alias: str) -> None:
    """Raises:
    Invalid: It cannot be an alias.
    Forbidden: It says what is served, and moves only through a rollout.
    """
    if not _ALIAS.fullmatch(alias) or alias.isdigit():
        raise Invalid(
            f"{alias!r} is not a name for an alias",
            remedy="use up to 100 letters, digits, '_', '-' and '.', and not a number alone",
        )
    if alias.lower() in RESERVED_ALIASES:
        raise Forbidden(
            f"the alias {alias!r} moves only through approval and rollout",
            remedy=f"perennial approve {name}@VERSION, or perennial deploy {name}@VERSION",
        )


def move_own_alias(tx: Transaction, name: str, alias: str, version: int | None, expected: int | None) -> dict[str, int]:
    """Point an alias of one's own at a version, if it still points where it is thought to; all aliases after that.

    Raises:
        Conflict: It does not.
    """
    find(tx.connection, name, version)
    present = aliases_of(tx.connection, name).get(alias, 0)
    if expected is not None and present != expected:
        raise Conflict(
            f"{name}@{alias} points at {f'version {present}' if present else 'no version'} meanwhile",
            remedy="look again, then decide",
        )
    point(tx, name, alias, version)
    return aliases_of(tx.connection, name)
