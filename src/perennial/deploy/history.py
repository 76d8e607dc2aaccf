"""What was live at a moment, and who let it: read from the chain of events, so it holds for any moment of the past."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from perennial.deploy.records import endpoints
from perennial.errors import NotFound
from perennial.registry.records import versions
from perennial.store.events import events

__all__ = ["LiveAt", "live_at"]

MOVES = ("rollout.live", "endpoint.rolled_back")  # the events after which another version is live


class LiveAt(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint served at a moment; `version` is None before its first deployment.

    Attributes:
        until: When another version took its place; None: it is still live.
        package: Digest of what answered.
        by: Who or what made it live: a person and the way in, or the reconciler, which follows the rollout's judges.
        how: "rollout", or "rollback" to what was live before.
        why: The verdict of the rollout, or the reason of the rollback.
        because: Why the rollout was started, and `asked_by` by whom.
        approved_by: A person, or "rule: ..."; `comment` is what they said.
    """

    endpoint: str
    at: int
    version: int | None = None
    since: int | None = None
    until: int | None = None
    package: str | None = None
    how: str = ""
    by: str = ""
    why: str = ""
    because: str = ""
    asked_by: str = ""
    approved_by: str | None = None
    approved_at: int | None = None
    comment: str = ""


def live_at(connection: sa.Connection, name: str, at: int) -> LiveAt:
    """What was live at this moment, in microseconds.

    Raises:
        NotFound: Nothing was ever deployed under this name.
    """
    if connection.execute(sa.select(endpoints.c.name).where(endpoints.c.name == name)).first() is None:
        raise NotFound(f"there is no endpoint {name}", remedy="perennial status shows what is served")
    about = events.c.subject == f"endpoint/{name}"
    moved = sa.select(events).where(about, events.c.kind.in_(MOVES))
    before = connection.execute(moved.where(events.c.at <= at).order_by(events.c.seq.desc()).limit(1)).first()
    if before is None:
        return LiveAt(endpoint=name, at=at)
    after = connection.execute(moved.where(events.c.seq > before.seq).order_by(events.c.seq).limit(1)).first()
    payload = _payload(before)
    is_rollout = before.kind == "rollout.live"
    version = int(payload["version"] if is_rollout else payload["to"])
    where = (versions.c.name == name) & (versions.c.version == version)
    row = connection.execute(sa.select(versions).where(where)).one()
    # The rollout that brought it here; after a rollback, the one that had brought it the first time.
    starts = sa.select(events).where(about, events.c.kind == "rollout.started", events.c.seq < before.seq)
    started = next(
        (
            event
            for event in connection.execute(starts.order_by(events.c.seq.desc()))
            if _payload(event).get("version") == version
        ),
        None,
    )
    return LiveAt(
        endpoint=name,
        at=at,
        version=version,
        since=before.at,
        until=after.at if after is not None else None,
        package=row.package,
        how="rollout" if is_rollout else "rollback",
        by=before.actor,
        why=str(payload.get("reason") or ""),
        because=str(_payload(started).get("because") or "") if started is not None else "",
        asked_by=started.actor if started is not None else "",
        approved_by=row.decided_by,
        approved_at=row.decided_at,
        comment=row.comment or "",
    )


def _payload(event: sa.Row[Any]) -> dict[str, Any]:
    return msgspec.json.decode(event.payload)
