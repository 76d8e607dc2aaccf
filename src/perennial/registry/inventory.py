"""Every model of a workspace in a line: what people say of it, how many versions, which one is live, what waits."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from perennial.registry.describing import ModelFacts, load_facts
from perennial.registry.records import aliases, versions

__all__ = ["InventoryLine", "inventory"]


class InventoryLine(msgspec.Struct, frozen=True, kw_only=True):
    """One model. `newest` is its highest version, in the state `newest_state`; `waiting` counts its candidates."""

    facts: ModelFacts
    versions: int
    newest: int | None
    newest_state: str | None
    newest_at: int | None
    waiting: int
    aliases: dict[str, int]


def inventory(connection: sa.Connection) -> list[InventoryLine]:
    """Every model, by name."""
    kept = versions.c.removed.is_(None)
    counted = sa.select(
        versions.c.name,
        sa.func.count().label("versions"),
        sa.func.max(versions.c.version).label("newest"),
        sa.func.sum(sa.case((versions.c.state == "candidate", 1), else_=0)).label("waiting"),
    )
    counts = {row.name: row for row in connection.execute(counted.where(kept).group_by(versions.c.name))}
    last = sa.select(versions.c.name, sa.func.max(versions.c.version).label("version")).where(kept)
    last = last.group_by(versions.c.name).subquery()
    joined = sa.select(versions.c.name, versions.c.state, versions.c.at).join(
        last, (versions.c.name == last.c.name) & (versions.c.version == last.c.version)
    )
    newest = {row.name: row for row in connection.execute(joined)}
    pointing: dict[str, dict[str, int]] = {}
    for row in connection.execute(sa.select(aliases).order_by(aliases.c.alias)):
        pointing.setdefault(row.name, {})[row.alias] = row.version
    lines: list[InventoryLine] = []
    for name, facts in load_facts(connection).items():
        count = counts.get(name)
        lines.append(
            InventoryLine(
                facts=facts,
                versions=count.versions if count is not None else 0,
                newest=count.newest if count is not None else None,
                newest_state=newest[name].state if name in newest else None,
                newest_at=newest[name].at if name in newest else None,
                waiting=int(count.waiting) if count is not None else 0,
                aliases=pointing.get(name, {}),
            )
        )
    return lines
