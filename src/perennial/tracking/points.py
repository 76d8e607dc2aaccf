"""Points of metrics: write many at once, keep the latest value, read a history in pages, thin it for a picture.

New points are rows; a metric that has many of them, or comes with many, has them in chunks (`chunks`). Both together,
each point once, are its history. Whoever reads sees no difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from perennial.store.prepared import Prepared, upserting
from perennial.tracking.records import metric_chunks, metric_points, metrics_latest

if TYPE_CHECKING:
    from perennial.tracking.chunks import Columns

__all__ = [
    "Page",
    "Point",
    "Written",
    "compact",
    "evenly",
    "history",
    "picture",
    "remove_points",
    "write_columns",
]

CHUNK_FROM = 256  # a batch with so many points of one metric is stored as a chunk at once
CHUNK_POINTS = 4096  # at most, so that a picture need not look inside most of them
ROWS_UNTIL = 1000  # then the rows of a metric become a chunk
EXACT_UNTIL = 10_000  # points that are all read before some are chosen: then none counts twice
ENDED_FROM = 64  # when its run ends, from so many on

_INSERT = upserting(metric_points, keep=True)
_CHUNK = upserting(metric_chunks, keep=True)
_LATEST = upserting(metrics_latest, greater_by=("step", "at", "is_nan", "value"))
_p, _c = metric_points.c, metric_chunks.c
_ROWS = Prepared(
    sa.select(_p.at, _p.step, _p.value, _p.is_nan)
    .where(_p.run == sa.bindparam("run"), _p.key == sa.bindparam("key"))
    .order_by(_p.at, _p.step, _p.value),
    ("run", "key"),
)
_CLEAR = Prepared(
    sa.delete(metric_points).where(_p.run == sa.bindparam("run"), _p.key == sa.bindparam("key")), ("run", "key")
)
_MANY = Prepared(
    sa.select(_p.key)
    .where(_p.run == sa.bindparam("run"))
    .group_by(_p.key)
    .having(sa.func.count() >= sa.bindparam("least", type_=sa.Integer)),
    ("run", "least"),
)
_INDEX = Prepared(
    sa.select(_c.digest, _c.count, _c.min_at)
    .where(_c.run == sa.bindparam("run"), _c.key == sa.bindparam("key"), _c.max_at >= sa.bindparam("since"))
    .order_by(_c.min_at, _c.max_at, _c.digest),
    ("run", "key", "since"),
)
_EXTREMES = Prepared(
    sa.select(_c.digest, _c.count, _c.min_step, _c.max_step, _c.low, _c.low_step, _c.high, _c.high_step).where(
        _c.run == sa.bindparam("run"), _c.key == sa.bindparam("key")
    ),
    ("run", "key"),
)
_POINTS = Prepared(
    sa.select(_c.points).where(
        _c.run == sa.bindparam("run"), _c.key == sa.bindparam("key"), _c.digest == sa.bindparam("digest")
    ),
    ("run", "key", "digest"),
)


class Point(NamedTuple):
    """A point in the order in which the points of one metric are told: by time, step and value."""

    at: int
    step: int
    value: float


class Page(NamedTuple):
    """Some points of a history; `after` is where the next page begins, None at the end."""

    points: Columns
    after: Point | None


class Written:
    """What many callers log, gathered and written at once. Use inside one transaction, then forget."""

    def __init__(self, counts: dict[tuple[str, str], int]) -> None:
        """
        Args:
            counts: How many rows each metric got since it was last put into chunks, kept between transactions.
        """
        self._counts = counts
        self._rows: list[tuple[object, ...]] = []
        self._latest: dict[tuple[str, str], tuple[int, int, int, float, int]] = {}
        self._chunks: list[tuple[object, ...]] = []

    def add(self, experiment: int, run: str, key: str, points: list[Point]) -> None:
        """Points of one metric of one run."""
        if len(points) >= CHUNK_FROM:
            from perennial.tracking.chunks import columns_of

            self.add_columns(experiment, run, key, columns_of(*(list(column) for column in zip(*points, strict=True))))
            return
        best = self._latest.get((run, key))
        for at, step, value in points:
            is_nan = value != value  # the test for NaN that costs least
            number = 0.0 if is_nan else value
            self._rows.append((run, key, at, step, number, int(is_nan)))
            rank = (step, at, int(is_nan), number, experiment)
            if best is None or rank > best:
                best = rank
        if best is not None:
            self._latest[run, key] = best
        self._counts[run, key] = self._counts.get((run, key), 0) + len(points)

    def add_columns(self, experiment: int, run: str, key: str, columns: Columns) -> None:
        """Many points of one metric, in any order, also some of them twice."""
        from perennial.tracking.chunks import merged

        points = merged([columns])
        self._chunks += _chunks(run, key, points)
        self._take_latest(experiment, run, key, points)

    def _take_latest(self, experiment: int, run: str, key: str, points: Columns) -> None:
        if not len(points.at):
            return
        last = points.step == points.step.max()
        at = points.at[last].max()
        values = points.value[last & (points.at == at)]
        is_nan = bool((values != values).any())
        rank = (int(points.step.max()), int(at), int(is_nan), 0.0 if is_nan else float(values.max()), experiment)
        best = self._latest.get((run, key))
        if best is None or rank > best:
            self._latest[run, key] = rank

    def write(self, connection: sa.Connection) -> None:
        """Put everything down, in few statements."""
        if self._rows:
            _INSERT.many(connection, self._rows)
        if self._chunks:
            _CHUNK.many(connection, self._chunks)
        if self._latest:
            _LATEST.many(
                connection,
                [
                    (run, key, experiment, at, step, value, is_nan)
                    for (run, key), (step, at, is_nan, value, experiment) in self._latest.items()
                ],
            )
        full = [name for name in self._latest if self._counts.get(name, 0) >= ROWS_UNTIL]
        for run, key in full:
            compact(connection, run, key)
            del self._counts[run, key]


def write_columns(connection: sa.Connection, experiment: int, run: str, metrics: Mapping[str, Columns]) -> None:
    """Add whole histories, each point once: what an import does."""
    written = Written({})
    for key, columns in metrics.items():
        if len(columns.at) >= ENDED_FROM:
            written.add_columns(experiment, run, key, columns)
        else:
            written.add(experiment, run, key, _listed(columns))
    written.write(connection)


def compact(connection: sa.Connection, run: str, key: str | None = None) -> None:
    """Put the rows of a metric into chunks; of all metrics of a run that have many, when no key is given."""
    keys = [key] if key is not None else [found for (found,) in _MANY.rows(connection, run, ENDED_FROM)]
    for name in keys:
        points = _row_columns(connection, run, name)
        if len(points.at):
            _CHUNK.many(connection, _chunks(run, name, points))
            _CLEAR.run(connection, run, name)


def history(connection: sa.Connection, run: str, key: str, *, limit: int, after: Point | None = None) -> Page:
    """Points of a metric by time, step and value, from the one behind `after` on, at most `limit`.

    Reads no more chunks than the page needs, so that a long history costs as much as what is shown of it.
    """
    from perennial.tracking.chunks import decoded, merged

    index = _INDEX.rows(connection, run, key, -(2**63) if after is None else after.at)
    pieces, have = [_row_columns(connection, run, key)], 0
    horizon: int | None = None  # chunks that were not read hold nothing before this moment
    for number, (digest, count, _) in enumerate(index):
        pieces.append(decoded(_chunk(connection, run, key, digest), count))
        have += count
        horizon = index[number + 1][2] if number + 1 < len(index) else None
        if have > limit and horizon is not None:
            points = _between(merged(pieces), after, horizon)
            if len(points.at) > limit:
                break
            have = len(points.at)  # some were there twice, or lie behind the horizon
    points = _between(merged(pieces), after, horizon)
    has_more = len(points.at) > limit
    shown = points.take(slice(limit))
    return Page(shown, _last(shown) if has_more else None)


def picture(connection: sa.Connection, run: str, key: str, *, points: int) -> Columns:
    """The lowest and the highest value in each of `points / 2` equal ranges of steps, by step; times are 0.

    So a line through them has the outline of the whole metric. NaN is left out. Most chunks lie within one range and
    are not read: their extremes are known.
    """
    import numpy as np

    from perennial.tracking.chunks import Columns, decoded

    rows = _row_columns(connection, run, key)
    chunks = _EXTREMES.rows(connection, run, key)
    steps = [*(chunk[2] for chunk in chunks), *(chunk[3] for chunk in chunks)]
    if len(rows.step):
        steps += [int(rows.step.min()), int(rows.step.max())]
    if not steps:
        return rows
    first, last, bins = min(steps), max(steps), max(1, points // 2)
    width = (last - first) / bins or 1.0

    def bin_of(step: int) -> int:
        return min(bins - 1, int((step - first) / width))

    pieces = [rows]
    known_steps: list[int] = []
    known_values: list[float] = []
    for digest, count, low_at, high_at, low, low_step, high, high_step in chunks:
        if bin_of(low_at) != bin_of(high_at):
            pieces.append(decoded(_chunk(connection, run, key, digest), count))
        elif low is not None:
            known_steps += [low_step, high_step]
            known_values += [low, high]
    step = np.concatenate([*(piece.step for piece in pieces), np.array(known_steps, np.int64)])
    value = np.concatenate([*(piece.value for piece in pieces), np.array(known_values, np.float64)])
    numbers = ~np.isnan(value)
    step, value = step[numbers], value[numbers]
    bin_at = np.minimum(bins - 1, ((step.astype(np.float64) - first) / width).astype(np.int64)).astype(np.int16)
    # Numbers of 16 bits (there are at most 5,000 ranges) are sorted in linear time; by value nothing is sorted.
    order = np.argsort(bin_at, kind="stable")
    ordered = value[order]
    starts = np.flatnonzero(np.diff(bin_at[order], prepend=np.int16(-1)))
    sizes = np.diff(starts, append=len(order))
    chosen: set[int] = set()
    for extreme in (np.minimum, np.maximum) if len(order) else ():
        best = order[ordered == np.repeat(extreme.reduceat(ordered, starts), sizes)]
        best = best[np.lexsort((step[best], bin_at[best]))]
        _, firsts = np.unique(bin_at[best], return_index=True)
        chosen.update(best[firsts].tolist())
    kept = np.array(sorted(chosen), np.int64)
    kept = kept[np.lexsort((value[kept], step[kept]))]
    return Columns(np.zeros(len(kept), np.int64), step[kept], value[kept])


def evenly(connection: sa.Connection, run: str, key: str, first: int, last: int, count: int) -> Columns:
    """Points with steps from `first` to `last`, thinned to `count`: evenly by their rank, with the first and the last.

    Chunks of which no point is chosen are not read.
    """
    import numpy as np

    from perennial.tracking.chunks import decoded, merged

    # Each piece: its first step, how many points it has, and how to read them.
    pieces: list[tuple[int, int, Callable[[], Columns]]] = []

    def add(points: Columns) -> None:
        points = _within(points, first, last)
        if len(points.at):
            pieces.append((int(points.step.min()), len(points.at), lambda: points))

    def read(digest: bytes, size: int) -> Columns:
        return decoded(_chunk(connection, run, key, digest), size)

    rows = _row_columns(connection, run, key)
    add(rows)
    for digest, size, low, high, *_ in _EXTREMES.rows(connection, run, key):
        if first <= low and high <= last:
            pieces.append((low, size, partial(read, digest, size)))
        elif low <= last and high >= first:
            add(read(digest, size))  # only some of its points count
    pieces.sort(key=lambda piece: piece[0])
    total = sum(size for _, size, _ in pieces)
    ranks = np.arange(total) if total <= max(count, EXACT_UNTIL) else _ranks(total, count)
    chosen, start = [rows.take(slice(0))], 0
    for _, size, load in pieces:
        here = ranks[(ranks >= start) & (ranks < start + size)] - start
        if len(here):
            points = load()
            chosen.append(points.take(np.lexsort((points.at, points.step))[here]))
        start += size
    found = merged(chosen)
    order = np.lexsort((found.at, found.step))
    return found.take(order[_ranks(len(order), count)])


def remove_points(connection: sa.Connection, run: str) -> None:
    """Erase all metrics of a run."""
    for table in (metric_points, metric_chunks, metrics_latest):
        connection.execute(sa.delete(table).where(table.c.run == run))


def _chunks(run: str, key: str, points: Columns) -> list[tuple[object, ...]]:
    """Rows of the table of chunks, for points that are sorted."""
    from perennial.tracking.chunks import encoded

    starts = range(0, len(points.at), CHUNK_POINTS)
    return [(run, key, *encoded(points.take(slice(start, start + CHUNK_POINTS)))) for start in starts]


def _row_columns(connection: sa.Connection, run: str, key: str) -> Columns:
    from perennial.tracking.chunks import columns_of

    rows = _ROWS.rows(connection, run, key)
    values = [math.nan if is_nan else value for _, _, value, is_nan in rows]
    return columns_of([row[0] for row in rows], [row[1] for row in rows], values)


def _chunk(connection: sa.Connection, run: str, key: str, digest: bytes) -> bytes:
    row = _POINTS.row(connection, run, key, digest)
    assert row is not None  # read in the same transaction as the index
    return bytes(row[0])


def _between(points: Columns, after: Point | None, horizon: int | None) -> Columns:
    kept = points.at == points.at
    if horizon is not None:
        kept &= points.at < horizon
    if after is not None:
        later_value = (points.value > after.value) | ((points.value != points.value) & (after.value == after.value))
        later_step = (points.step > after.step) | ((points.step == after.step) & later_value)
        kept &= (points.at > after.at) | ((points.at == after.at) & later_step)
    return points.take(kept)


def _within(points: Columns, first: int, last: int) -> Columns:
    kept = (points.step >= first) & (points.step <= last)
    return points.take(kept)


def _ranks(total: int, count: int) -> Any:
    """`count` ranks below `total`, evenly, with the first and the last; all when they are no more."""
    import numpy as np

    if total <= count:
        return np.arange(total)
    if count == 1:
        return np.array([total - 1])
    return np.unique(np.linspace(0, total - 1, count).round().astype(np.int64))


def _last(points: Columns) -> Point:
    return Point(int(points.at[-1]), int(points.step[-1]), float(points.value[-1]))


def _listed(columns: Columns) -> list[Point]:
    return [Point(*point) for point in zip(*(column.tolist() for column in columns), strict=True)]
