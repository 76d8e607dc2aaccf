"""Find predictions among many: by their ids, and by the entity that they are about.

Only the columns that are asked for are read, of the chunks in question alone; what was read lately is kept at hand.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeVar

import polars as pl
import sqlalchemy as sa

from perennial.capture.kinds import kind_of_text
from perennial.capture.records import chunks
from perennial.capture.tables import PREDICTED, read_table
from perennial.errors import NotFound
from perennial.store.objects import ObjectStore
from perennial.store.records import Records
from perennial.types import Digest

__all__ = ["Finder", "again"]

CACHED_ROWS = 1_000_000  # whose ids are kept at hand for the labels that follow, about 60 MB
ATTEMPTS = 3  # chunks may be merged, and the old ones freed, between looking and reading

T = TypeVar("T")


class Finder:
    """Reads the ids of stored predictions. Safe for concurrent use."""

    def __init__(self, records: Records, objects: ObjectStore) -> None:
        self._records = records
        self._objects = objects
        self._known: OrderedDict[str, pl.DataFrame] = OrderedDict()
        self._lock = threading.Lock()

    def kinds(self, endpoint: str, ids: Sequence[str], *, after: int = 0) -> dict[str, str | None]:
        """Those of the ids that this endpoint predicted, with the kind of value that was predicted (see `kind_of`).

        `after`: look only in chunks with a greater number.
        """
        wanted = sorted(set(ids))
        if not wanted:
            return {}
        query = sa.select(chunks.c.digest, chunks.c.first_id, chunks.c.last_id).where(
            chunks.c.endpoint == endpoint, chunks.c.kind == "prediction", chunks.c.seq > after,
            chunks.c.first_id <= wanted[-1], chunks.c.last_id >= wanted[0],
        )  # fmt: skip

        def look() -> dict[str, str | None]:
            found: dict[str, str | None] = {}
            for digest, first, last in self._records.read(lambda c: c.execute(query).all()):
                low = bisect_left(wanted, first)
                if low == len(wanted) or wanted[low] > last:
                    continue
                within = pl.Series(wanted[low : bisect_left(wanted, last + "~")], dtype=pl.String)
                table = self._ids(digest)
                table = table.filter(pl.col("id").is_in(within.implode()))
                found.update((name, kind_of_text(value)) for name, value in table.iter_rows())
            return found

        return again(look)

    def latest(self, endpoint: str, asked: Sequence[tuple[str, int]]) -> dict[tuple[str, int], tuple[str, str | None]]:
        """The latest prediction of each entity that was asked for at a moment or before; with the kind of its value.

        Args:
            endpoint: Whose predictions.
            asked: Entities, as the text that lies in the tables, and moments.
        """
        if not asked:
            return {}
        until = max(at for _, at in asked)
        query = (
            sa.select(chunks.c.digest, chunks.c.max_at)
            .where(chunks.c.endpoint == endpoint, chunks.c.kind == "prediction", chunks.c.min_at <= until)
            .order_by(chunks.c.max_at.desc())
        )

        def look() -> dict[tuple[str, int], tuple[str, str | None]]:
            open_ = pl.DataFrame(sorted(set(asked)), schema={"entity": pl.String, "told": pl.Int64}, orient="row")
            best: dict[tuple[str, int], tuple[int, str, str | None]] = {}
            for digest, max_at in self._records.read(lambda c: c.execute(query).all()):
                # Chunks come with their newest rows falling: what is later than all that is left in them is found.
                is_open = [key not in best or best[key][0] <= max_at for key in open_.iter_rows()]
                open_ = open_.filter(pl.Series(is_open, dtype=pl.Boolean))
                if open_.is_empty():
                    break
                columns = ["id", "at", "entity", "prediction"]
                where = pl.col("entity").is_in(open_["entity"].unique().implode())
                table = read_table(self._objects.get(Digest(digest)), PREDICTED, columns=columns, where=where)
                near = table.sort("at", "id").join(open_, on="entity").filter(pl.col("at") <= pl.col("told"))
                near = near.group_by("entity", "told", maintain_order=True).last()
                for row in near.iter_rows(named=True):
                    key, found = (row["entity"], row["told"]), (row["at"], row["id"], kind_of_text(row["prediction"]))
                    best[key] = max(best.get(key, found), found, key=lambda one: one[:2])
            return {key: (name, kind) for key, (_, name, kind) in best.items()}

        return again(look)

    def _ids(self, digest: str) -> pl.DataFrame:
        with self._lock:
            known = self._known.get(digest)
            if known is not None:
                self._known.move_to_end(digest)
                return known
        table = read_table(self._objects.get(Digest(digest)), PREDICTED, columns=["id", "prediction"])
        with self._lock:
            self._known[digest] = table
            while sum(held.height for held in self._known.values()) > CACHED_ROWS and len(self._known) > 1:
                self._known.popitem(last=False)
        return table


def again(look: Callable[[], T]) -> T:
    """Look once more when a chunk was merged into a larger one and freed between looking and reading."""
    for _ in range(ATTEMPTS - 1):
        try:
            return look()
        except NotFound:
            continue
    return look()
