"""Whether code in a package may run: decided by where its bytes come from and who let them pass, never by them."""

from __future__ import annotations

import sqlalchemy as sa

from perennial.registry.records import versions

__all__ = ["is_trusted"]


def is_trusted(connection: sa.Connection, package: str) -> bool:
    """A loop of this workspace made exactly these bytes, or a person approved them; what is unknown is not trusted."""
    query = sa.select(versions.c.origin, versions.c.state).where(versions.c.package == package)
    return any(row.origin == "loop" or row.state == "approved" for row in connection.execute(query))
