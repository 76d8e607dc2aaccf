"""The newest predictions of an endpoint in a span of time, of one version or with a guard that fired."""

from __future__ import annotations

from typing import Any

import msgspec
import polars as pl
import sqlalchemy as sa

from perennial.capture.finding import again
from perennial.capture.records import chunks
from perennial.capture.tables import PREDICTED, read_table
from perennial.errors import Invalid
from perennial.store.objects import ObjectStore
from perennial.store.records import Records
from perennial.types import Digest

__all__ = ["MAX_LISTED", "Listed", "search"]

MAX_LISTED = 1000
_COLUMNS = ("id", "at", "version", "arm", "status", "entity", "prediction", "error", "latency_us", "flags", "source")
_TEXTS = ("entity", "prediction", "flags")  # JSON


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One prediction without its input; `predictions.find` tells all of it."""

    id: str
    at: int
    version: int
    arm: str
    status: int
    entity: Any
    prediction: Any
    error: str | None
    latency_us: int
    flags: list[dict[str, Any]]
    source: str | None


def search(
    records: Records,
    objects: ObjectStore,
    *,
    endpoint: str,
    since: int | None,
    until: int | None,
    version: int | None,
    flagged: bool,
    limit: int,
) -> list[Listed]:
    """See `Predictions.search`."""
    if not 1 <= limit <= MAX_LISTED:
        raise Invalid(f"limit cannot be {limit}", where="limit", remedy=f"give 1 to {MAX_LISTED}")
    query = sa.select(chunks.c.digest, chunks.c.max_at)
    query = query.where(chunks.c.endpoint == endpoint, chunks.c.kind == "prediction")
    query = query if since is None else query.where(chunks.c.max_at >= since)
    query = query if until is None else query.where(chunks.c.min_at < until)
    wanted = pl.lit(True)
    for part in (
        None if since is None else pl.col("at") >= since,
        None if until is None else pl.col("at") < until,
        None if version is None else pl.col("version") == version,
        pl.col("flags").is_not_null() if flagged else None,
    ):
        wanted = wanted if part is None else wanted & part

    def look() -> pl.DataFrame:
        best = pl.DataFrame(schema={name: PREDICTED[name] for name in _COLUMNS})
        found = records.read(lambda c: c.execute(query.order_by(chunks.c.max_at.desc())).all())
        for digest, max_at in found:
            if best.height == limit and best["at"][-1] > max_at:
                break
            table = read_table(objects.get(Digest(digest)), PREDICTED, columns=_COLUMNS, where=wanted)
            best = pl.concat([best, table]).sort("at", "id", descending=True).head(limit)
        return best

    return [_listed(row) for row in again(look).iter_rows(named=True)]


def _listed(row: dict[str, Any]) -> Listed:
    parsed: dict[str, Any] = {name: None if row[name] is None else msgspec.json.decode(row[name]) for name in _TEXTS}
    values: dict[str, Any] = {**row, **parsed, "flags": parsed["flags"] or []}
    return Listed(**values)
