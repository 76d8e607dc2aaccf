"""Write what many callers log at the same time: whatever waits is written together, and each is told alone.

A training logs one point at a time, and a server has many trainings. The points that arrive while others are being
flushed to disk share one look at each run, one statement for each table and one flush.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import NamedTuple

import sqlalchemy as sa

from perennial.errors import Invalid, NotFound, PerennialError
from perennial.store.prepared import Prepared
from perennial.store.records import Records, Transaction
from perennial.tracking.points import Point, Written
from perennial.tracking.records import runs

__all__ = ["Entry", "MetricLog", "Tell", "writable"]

MAX_COUNTS = 200_000  # metrics whose rows are counted; forgotten, they become chunks when their run ends

Tell = Callable[[BaseException | None], None]
"""Gets None when all is durable, or why nothing of an entry was kept. Called on the writer's thread: be quick."""

_STATE = Prepared(sa.select(runs.c.lifecycle, runs.c.experiment).where(runs.c.id == sa.bindparam("run")), ("run",))


class Entry(NamedTuple):
    """Points of one run, by metric. Keys and numbers are checked already."""

    run: str
    points: Mapping[str, list[Point]]


class MetricLog:
    """The way of metric points into the records. Safe for concurrent use."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._lock = Lock()
        self._waiting: list[tuple[Entry, Tell]] = []
        self._counts: dict[tuple[str, str], int] = {}

    def write(self, entry: Entry) -> None:
        """Log this, durably.

        Raises:
            NotFound: There is no such run. Invalid: It is deleted.
        """

        def change(tx: Transaction) -> None:
            self.within(tx, [entry])

        self._records.write(change)

    def within(self, tx: Transaction, entries: Sequence[Entry]) -> None:
        """Log these as part of a transaction."""
        written = Written(self._counts)
        for entry in entries:
            _add(written, writable(tx, entry.run), entry)
        self._write(tx, written)

    def submit(self, entry: Entry, tell: Tell) -> None:
        """Log this without waiting; `tell` is called when it is durable, or when it is not going to be."""
        with self._lock:
            self._waiting.append((entry, tell))
            is_first = len(self._waiting) == 1
        if not is_first:
            return  # who was first has asked for all
        taken: list[tuple[Entry, Tell]] = []
        refused: dict[int, PerennialError] = {}

        def change(tx: Transaction) -> None:
            with self._lock:
                taken.extend(self._waiting)
                self._waiting = []
            self._write_all(tx, [entry for entry, _ in taken], refused)

        def told(_done: None, error: BaseException | None) -> None:
            if error is not None and not taken:  # it did not even begin
                with self._lock:
                    taken.extend(self._waiting)
                    self._waiting = []
            for number, (_, tell) in enumerate(taken):
                tell(error or refused.get(number))

        try:
            self._records.submit(change, told)
        except PerennialError as error:
            told(None, error)

    def _write_all(self, tx: Transaction, entries: list[Entry], refused: dict[int, PerennialError]) -> None:
        written = Written(self._counts)
        known: dict[str, int | PerennialError] = {}
        for number, entry in enumerate(entries):
            state = known.get(entry.run)
            if state is None:
                try:
                    state = writable(tx, entry.run)
                except (NotFound, Invalid) as error:
                    state = error
                known[entry.run] = state
            if isinstance(state, int):
                _add(written, state, entry)
            else:
                refused[number] = state
        self._write(tx, written)

    def _write(self, tx: Transaction, written: Written) -> None:
        written.write(tx.connection)
        if len(self._counts) > MAX_COUNTS:
            self._counts.clear()


def writable(tx: Transaction, run: str) -> int:
    """The experiment of a run that may be written to.

    Raises:
        NotFound: There is no such run. Invalid: It is deleted.
    """
    # PostgreSQL refuses a text with NUL, and would refuse all points that are written together with these.
    state = _STATE.row(tx.connection, run) if run.isascii() and "\0" not in run else None
    if state is None:
        raise NotFound(f"Run with id={run} not found", remedy="perennial runs list")
    if state[0] != "active":
        raise Invalid(f"The run {run} must be in the 'active' state. Current state is {state[0]}.", remedy="restore it")
    return state[1]


def _add(written: Written, experiment: int, entry: Entry) -> None:
    for key, points in entry.points.items():
        written.add(experiment, entry.run, key, points)
