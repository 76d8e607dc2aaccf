"""The ledger of test sets: each model that was judged by one is a look at it, and looks are a budget.

What a look tells steers what is tried next, so that rows which judged often enough are as good as training rows. A test
set is known by the digest of its rows, whoever judges by it; rows that it shares with earlier test sets of the same
model carry their looks over, in proportion: one new row does not make a new test set. A candidate whose look was beyond
the budget cannot be approved or deployed; those within it can, also later.

Where a loop says nothing, the budget is a hundred looks, but for each candidate no more than its own lead over the
trivial model bears (`looks_borne`): each look doubles the models that could have come of the answers so far, until one
of them leads by luck. So an answer that was put together from ninety-nine guesses is refused at the hundredth look, and
a model that is far better than the trivial one is not. Ten looks are always allowed: they give little to be lucky by.
Where a loop names a tolerance, the budget is that of `uses_left`, which promises an accuracy that is right to it in all
looks at once; where it names a number, that number, and whoever named it answers for it.
"""

from __future__ import annotations

import builtins
import math
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from perennial.data.row_sample import shared_share
from perennial.errors import Invalid, NotFound, Refused
from perennial.registry.records import test_set_uses, test_sets
from perennial.stats.test_set import Ladder, looks_borne, rows_needed, uses_left
from perennial.store.records import Records, Transaction

__all__ = ["JudgedOn", "LeaderboardLine", "Ledger", "LedgerLine", "check_budget", "count_use"]

PLANNED = 100  # looks, where a loop says nothing and the candidate's lead bears so many
ALWAYS = 10  # looks, whatever the lead
FAILURE = 0.05  # probability that any look of the budget misleads by more than the tolerance
LADDER_STEP = 0.01  # of the loss: smaller improvements are not shown
_BISECTIONS = 40


class JudgedOn(Struct, frozen=True, kw_only=True):
    """Which rows judged a candidate, and what they said.

    `test_set`: digest of the rows. `sample`: theirs (`data.row_sample`). `planned`: the budget, if the loop says one;
    `tolerance`: or else the error of an accuracy that it accepts, from which the budget follows. `disagreement`: share
    of rows answered otherwise than by the live version, at most; 1 where unknown. `loss`: lower is better, in about
    [0, 1]: the share of wrong labels, or the main error over that of the trivial baseline. `lead`: how much better than
    the trivial baseline, paired, by the main metric, and `lead_error` its standard error; None where unknown.
    """

    test_set: str
    rows: int
    sample: str
    loss: float
    loss_name: str
    planned: int | None = None
    tolerance: float | None = None
    disagreement: float = 1.0
    lead: float | None = None
    lead_error: float | None = None


class LedgerLine(Struct, frozen=True, kw_only=True):
    """One test set: how often it was looked at, how often it may be.

    `used` counts what was carried over from sets that share rows. `right_to`: an accuracy read from it is right to
    this much in each look of the budget with probability 0.95; None where so few rows promise nothing.
    """

    digest: str
    rows: int
    used: int
    planned: int
    left: int
    right_to: float | None
    fresh_rows: int
    models: list[str]
    first: int
    last: int
    says: str


class LeaderboardLine(Struct, frozen=True, kw_only=True):
    """One judged version. `shown`: the best loss that may be told after it; `is_step`: whether it moved that."""

    name: str
    version: int
    number: int
    loss_name: str
    shown: float
    is_step: bool
    at: int


class Ledger:
    """Reads the ledger; looks are counted where versions are registered. Safe for concurrent use."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def list(self, *, name: str | None = None) -> list[LedgerLine]:
        """Every test set, that with the latest look last; those by which one model was judged when `name` is given."""
        query = sa.select(test_set_uses.c.test_set, sa.func.max(test_set_uses.c.at).label("last"))
        if name is not None:
            query = query.where(test_set_uses.c.name == name)
        query = query.group_by(test_set_uses.c.test_set).order_by("last", test_set_uses.c.test_set)

        def found(connection: sa.Connection) -> builtins.list[LedgerLine]:
            return [_line(connection, row.test_set) for row in connection.execute(query).all()]

        return self._records.read(found)

    def get(self, *, digest: str) -> LedgerLine:
        """One test set.

        Raises:
            NotFound: No model was judged by it.
        """
        return self._records.read(lambda connection: _line(connection, digest))

    def leaderboard(self, *, digest: str) -> builtins.list[LeaderboardLine]:
        """The models judged by a test set, in the order of their looks, with what may be told of each.

        Only a clear improvement on the best loss shown before is shown, rounded: what small differences on these rows
        say, they say about these rows alone.

        Raises:
            NotFound: No model was judged by it.
        """

        def found(connection: sa.Connection) -> builtins.list[LeaderboardLine]:
            _line(connection, digest)
            ladder = Ladder(LADDER_STEP)
            lines: list[LeaderboardLine] = []
            for use in _uses(connection, digest):
                after = ladder.after(use.loss)
                lines.append(
                    LeaderboardLine(
                        name=use.name,
                        version=use.version,
                        number=use.number,
                        loss_name=use.loss_name,
                        shown=after.shown,
                        is_step=after != ladder,
                        at=use.at,
                    )
                )
                ladder = after
            return lines

        return self._records.read(found)


def count_use(tx: Transaction, name: str, version: int, judged: JudgedOn) -> int:
    """Count a look, in the transaction that registers the version; gives its number.

    Raises:
        Invalid: The budget or the loss cannot be what is said.
    """
    if judged.rows < 1 or not math.isfinite(judged.loss) or (judged.planned is not None and judged.planned < 1):
        raise Invalid(
            f"a look at a test set of {judged.rows} rows with loss {judged.loss} and budget {judged.planned} cannot be",
            remedy="give rows and budget above zero and a finite loss",
        )
    connection = tx.connection
    known = connection.execute(sa.select(test_sets.c.digest).where(test_sets.c.digest == judged.test_set)).first()
    if known is None:
        connection.execute(
            sa.insert(test_sets).values(digest=judged.test_set, rows=judged.rows, sample=judged.sample, at=tx.now)
        )
    carried = _carried(connection, name, judged)
    before = connection.execute(
        sa.select(sa.func.count()).select_from(test_set_uses).where(test_set_uses.c.test_set == judged.test_set)
    ).scalar_one()
    number = before + round(carried) + 1
    planned = _planned(judged)
    connection.execute(
        sa.insert(test_set_uses).values(
            name=name,
            version=version,
            test_set=judged.test_set,
            number=number,
            carried=carried,
            planned=planned,
            tolerance=judged.tolerance,
            disagreement=judged.disagreement,
            loss=judged.loss,
            loss_name=judged.loss_name,
            at=tx.now,
        )
    )
    return number


def check_budget(connection: sa.Connection, name: str, version: int) -> None:
    """Whether a version was judged by a test set that could still judge.

    Raises:
        Refused: The budget was spent before its look; says how many fresh rows restore it.
    """
    use = connection.execute(
        sa.select(test_set_uses, test_sets.c.rows)
        .join(test_sets, test_sets.c.digest == test_set_uses.c.test_set)
        .where(test_set_uses.c.name == name, test_set_uses.c.version == version)
    ).first()
    if use is None or use.number <= use.planned:
        return
    carried = f" ({use.carried:.0f} of them carried over from test sets that share rows)" if use.carried >= 1 else ""
    fresh = _fresh_rows(use.rows, use.planned, use.tolerance, use.disagreement)
    raise Refused(
        f"{name} version {version} was judged by a test set that is used up: it was look {use.number}{carried} at "
        f"{use.rows} rows whose budget is {use.planned}, so that its result may be luck",
        where=f"test set {use.test_set[:12]}",
        remedy=f"collect {fresh} fresh rows to judge by, which restores {_looks(max(use.planned, 1))}, and train "
        "again; or plan more looks in loop.evaluate(test_uses=...), which makes each of them worth less",
    )


def _planned(judged: JudgedOn) -> int:
    if judged.planned is not None:
        return judged.planned
    if judged.tolerance is not None:
        return uses_left(judged.rows, FAILURE, judged.tolerance, judged.disagreement)
    if judged.lead is None or judged.lead_error is None:
        return ALWAYS
    return min(PLANNED, max(ALWAYS, looks_borne(judged.lead, judged.lead_error, failure=FAILURE)))


def _carried(connection: sa.Connection, name: str, judged: JudgedOn) -> float:
    """Looks at earlier test sets of this model, each by the share of the rows here that it had too."""
    uses = test_set_uses.alias()
    earlier = sa.select(uses.c.test_set).where(uses.c.name == name, uses.c.test_set != judged.test_set).distinct()
    query = (
        sa.select(test_sets.c.sample, sa.func.count().label("looks"))
        .join(test_set_uses, test_set_uses.c.test_set == test_sets.c.digest)
        .where(test_sets.c.digest.in_(earlier))
        .group_by(test_sets.c.digest, test_sets.c.sample)
    )
    return sum(row.looks * shared_share(judged.sample, row.sample) for row in connection.execute(query))


def _uses(connection: sa.Connection, digest: str) -> Any:
    query = sa.select(test_set_uses).where(test_set_uses.c.test_set == digest)
    return connection.execute(
        query.order_by(test_set_uses.c.at, test_set_uses.c.number, test_set_uses.c.name, test_set_uses.c.version)
    ).all()


def _line(connection: sa.Connection, digest: str) -> LedgerLine:
    test_set = connection.execute(sa.select(test_sets).where(test_sets.c.digest == digest)).first()
    if test_set is None:
        raise NotFound(f"no model was judged by a test set {digest}", remedy="test_sets.list names those there are")
    uses = _uses(connection, digest)
    last = uses[-1]
    used = max(use.number for use in uses)
    left = max(0, last.planned - used)
    right_to = _right_to(test_set.rows, last.planned, last.disagreement)
    says = f"{left} of {_looks(last.planned)} at these {test_set.rows} rows are left"
    if right_to is not None:
        says += f"; an accuracy read from them is right to {right_to:.2g}, in all of them, with probability 0.95"
    return LedgerLine(
        digest=digest,
        rows=test_set.rows,
        used=used,
        planned=last.planned,
        left=left,
        right_to=right_to,
        fresh_rows=_fresh_rows(test_set.rows, last.planned, last.tolerance, last.disagreement),
        models=sorted({use.name for use in uses}),
        first=uses[0].at,
        last=last.at,
        says=says,
    )


def _fresh_rows(rows: int, planned: int, tolerance: float | None, disagreement: float) -> int:
    """How many rows that no model was judged by bear the budget: as many as there are, or as the tolerance asks for."""
    if tolerance is None:
        return rows
    return rows_needed(max(planned, 1), FAILURE, tolerance, disagreement)


def _right_to(rows: int, planned: int, disagreement: float) -> float | None:
    """The smallest tolerance that so many rows promise for so many looks."""
    if planned < 1:
        return None
    low, high = 1e-6, 1.0 - 1e-6
    if rows_needed(planned, FAILURE, high, disagreement) > rows:
        return None
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if rows_needed(planned, FAILURE, middle, disagreement) <= rows:
            high = middle
        else:
            low = middle
    return high


def _looks(count: int) -> str:
    return f"{count} look{'s' if count != 1 else ''}"
