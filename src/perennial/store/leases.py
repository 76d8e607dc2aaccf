"""Leases: one holder at a time, and a growing epoch that shuts out a holder who slept through the end of its own.

No clocks are compared. A lease that somebody else holds is watched: when its holder has not renewed it for its whole
term, by the watcher's own monotonic clock, it is taken over. So a jump of the time of day, a simulated clock and
differing clocks of several machines do no harm. What a lease is for is the caller's business; every change made under
one calls `check` in its own transaction.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import msgspec
import sqlalchemy as sa

from perennial.errors import Conflict
from perennial.store.records import Records, Transaction
from perennial.store.tables import metadata

__all__ = ["Lease", "Leases"]

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("holder", sa.String, nullable=False),  # empty when it was given back
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("renewals", sa.BigInteger, nullable=False),
    sa.Column("ttl_ms", sa.BigInteger, nullable=False),
)


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The right to act as `name` for `ttl_s` seconds from the last renewal on."""

    name: str
    holder: str
    epoch: int
    ttl_s: float


class Leases:
    """Leases by name. Safe for concurrent use, by several owners of one PostgreSQL database too."""

    def __init__(self, records: Records, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._records = records
        self._monotonic = monotonic
        self._seen: dict[str, tuple[int, int, float]] = {}  # epoch, renewals, and since when they have been these
        self._lock = threading.Lock()

    def acquire(self, name: str, holder: str, ttl_s: float) -> Lease | None:
        """Take the lease, or None while another holder renews it. The same holder gets it again, with a new epoch."""

        def take(tx: Transaction) -> Lease | None:
            found = tx.connection.execute(
                sa.select(leases).where(leases.c.name == name).with_for_update()
            ).one_or_none()
            if found is None:
                tx.connection.execute(
                    sa.insert(leases).values(name=name, holder=holder, epoch=1, renewals=0, ttl_ms=round(ttl_s * 1e3))
                )
                return Lease(name=name, holder=holder, epoch=1, ttl_s=ttl_s)
            if found.holder not in ("", holder) and not self._is_over(name, found.epoch, found.renewals, found.ttl_ms):
                return None
            tx.connection.execute(
                sa.update(leases)
                .where(leases.c.name == name)
                .values(holder=holder, epoch=found.epoch + 1, renewals=0, ttl_ms=round(ttl_s * 1e3))
            )
            return Lease(name=name, holder=holder, epoch=found.epoch + 1, ttl_s=ttl_s)

        return self._records.write(take)

    def renew(self, lease: Lease) -> None:
        """Hold it for another term.

        Raises:
            Conflict: Somebody else has taken it.
        """

        def extend(tx: Transaction) -> None:
            self.check(tx, lease.name, lease.epoch)
            tx.connection.execute(
                sa.update(leases).where(leases.c.name == lease.name).values(renewals=leases.c.renewals + 1)
            )

        self._records.write(extend)

    def release(self, lease: Lease) -> None:
        """Give it back, so that the next one need not wait; nothing happens when it is lost already."""
        change = sa.update(leases).where(leases.c.name == lease.name, leases.c.epoch == lease.epoch).values(holder="")
        self._records.write(lambda tx: tx.connection.execute(change))

    def check(self, tx: Transaction, name: str, epoch: int) -> None:
        """Let this transaction go on only if the lease of this epoch is still the newest.

        Raises:
            Conflict: Somebody else has taken it; nothing of this transaction is kept.
        """
        query = sa.select(leases.c.epoch, leases.c.holder).where(leases.c.name == name).with_for_update()
        found = tx.connection.execute(query).one_or_none()
        if found is None or found.epoch != epoch:
            who = f"{found.holder or 'nobody'} has it with epoch {found.epoch}" if found else "it is gone"
            raise Conflict(f"the lease {name!r} of epoch {epoch} is over: {who}", remedy="stop, or acquire it again")

    def _is_over(self, name: str, epoch: int, renewals: int, ttl_ms: int) -> bool:
        now = self._monotonic()
        with self._lock:
            seen = self._seen.get(name)
            if seen is None or seen[:2] != (epoch, renewals):
                seen = self._seen[name] = (epoch, renewals, now)
        return now - seen[2] >= ttl_ms / 1e3
