"""What loops there are, what was decided about retraining them, and the jobs that came of it.

A decision is recorded once for each reason to look (its `key`), also when the answer is no. Deciding to retrain and
queueing the job are one transaction, so that one reason never trains twice.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from perennial.errors import Conflict, NotFound
from perennial.renew.records import decisions, jobs, loops, passes
from perennial.store.leases import Lease, Leases
from perennial.store.records import Records, Transaction
from perennial.types import canonical_json

__all__ = ["LEAD", "LEAD_TTL_S", "MAX_ATTEMPTS", "Decision", "Job", "LoopRecord", "Pass", "Retraining"]

LEAD = "reconciler"  # the lease of the one that decides
LEAD_TTL_S = 15.0
MAX_ATTEMPTS = 10  # a job whose process dies this often is given up; ten kills in a row are not an accident


class LoopRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A loop as it was last run: retraining uses this bundle, never the work tree. `declaration` is its JSON."""

    name: str
    bundle: str
    declaration: dict[str, Any]
    project: str
    at: int


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one reason to retrain. `live` is the version that was live; `job` is also the run's id."""

    endpoint: str
    key: str
    at: int
    trigger: str
    verdict: Literal["retrain", "correct", "no"]
    reason: str
    evidence: dict[str, Any]
    live: int | None
    job: str | None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One training to do. `epoch` counts its attempts; what an older attempt reports is refused."""

    id: str
    loop: str
    reason: str
    state: Literal["queued", "running", "done", "failed"]
    epoch: int
    holder: str | None
    created: int
    ended: int | None
    result: dict[str, Any] | None
    error: str | None


class Pass(msgspec.Struct, frozen=True, kw_only=True):
    """The reconciler's last look: at which moment, whether nothing was left to do, and what stood in its way."""

    clock: int
    idle: bool
    problem: str


class Retraining:
    """Loops, decisions and jobs. Safe for concurrent use."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._leases = Leases(records)

    def lead(self, *, holder: str) -> int | None:
        """Become the one reconciler of this workspace; the epoch to write under, or None while another one leads.

        The same holder gets the lead again at once, under a new epoch that shuts its former self out.
        """
        lease = self._leases.acquire(LEAD, holder, LEAD_TTL_S)
        return None if lease is None else lease.epoch

    def keep_lead(self, *, holder: str, epoch: int) -> None:
        """Stay the one reconciler for another term.

        Raises:
            Conflict: Another one leads by now.
        """
        self._leases.renew(Lease(name=LEAD, holder=holder, epoch=epoch, ttl_s=LEAD_TTL_S))

    def set_loop(self, *, name: str, bundle: str, declaration: dict[str, Any], project: str) -> LoopRecord:
        """Remember the loop as it is run now; an event when its code changed.

        Raises:
            Conflict: Another project in this workspace has a loop of this name.
        """

        def change(tx: Transaction) -> LoopRecord:
            row = tx.connection.execute(sa.select(loops).where(loops.c.name == name)).mappings().first()
            if row is not None and row["project"] != project:
                raise Conflict(
                    f"this workspace has a loop {name!r} already, in {row['project']}",
                    remedy="give one of the two another name, or its own workspace with PERENNIAL_HOME",
                )
            if row is not None and row["bundle"] == bundle:
                return _loop(row)
            record = LoopRecord(name=name, bundle=bundle, declaration=declaration, project=project, at=tx.now)
            values = msgspec.structs.asdict(record) | {"declaration": canonical_json(declaration).decode()}
            tx.connection.execute(sa.delete(loops).where(loops.c.name == name))
            tx.connection.execute(sa.insert(loops).values(**values))
            tx.event("loop.changed" if row else "loop.added", f"loop/{name}", {"bundle": bundle})
            return record

        return self._records.write(change)

    def loops(self) -> list[LoopRecord]:
        """Every loop of the workspace, by name."""
        query = sa.select(loops).order_by(loops.c.name)
        return self._records.read(lambda connection: [_loop(row) for row in connection.execute(query).mappings()])

    def loop(self, *, name: str) -> LoopRecord:
        """One loop.

        Raises:
            NotFound: No loop of this name has been run here.
        """
        for record in self.loops():
            if record.name == name:
                return record
        raise NotFound(f"there is no loop {name!r} in this workspace", remedy="perennial run, in its project")

    def decide(
        self,
        *,
        endpoint: str,
        key: str,
        trigger: str,
        verdict: Literal["retrain", "correct", "no"],
        reason: str,
        evidence: dict[str, Any],
        live: int | None,
    ) -> Decision:
        """Record the answer to one reason to look, and queue the training if it is yes; a repeat changes nothing."""

        def change(tx: Transaction) -> Decision:
            where = (decisions.c.endpoint == endpoint) & (decisions.c.key == key)
            row = tx.connection.execute(sa.select(decisions).where(where)).mappings().first()
            if row is not None:
                return _decision(row)
            decision = Decision(
                endpoint=endpoint,
                key=key,
                at=tx.now,
                trigger=trigger,
                verdict=verdict,
                reason=reason,
                evidence=evidence,
                live=live,
                job=tx.new_id() if verdict != "no" else None,
            )
            values = msgspec.structs.asdict(decision) | {"evidence": canonical_json(evidence).decode()}
            tx.connection.execute(sa.insert(decisions).values(**values))
            tx.event(
                "retrain.decided",
                f"endpoint/{endpoint}",
                {"verdict": verdict, "trigger": trigger, "reason": reason, "key": key, "evidence": evidence},
            )
            if decision.job is not None:
                _queue(tx, decision.job, endpoint, reason)
            return decision

        return self._records.write(change)

    def decisions(self, *, endpoint: str) -> list[Decision]:
        """All decisions about an endpoint, oldest first."""
        query = sa.select(decisions).where(decisions.c.endpoint == endpoint).order_by(decisions.c.at, decisions.c.key)
        return self._records.read(lambda connection: [_decision(row) for row in connection.execute(query).mappings()])

    def jobs(
        self, *, loop: str | None = None, state: Literal["open", "queued", "running", "done", "failed"] | None = None
    ) -> list[Job]:
        """Jobs, oldest first; "open" are those that wait or run."""
        query = sa.select(jobs).order_by(jobs.c.created, jobs.c.id)
        if loop is not None:
            query = query.where(jobs.c.loop == loop)
        if state is not None:
            query = query.where(jobs.c.state.in_(["queued", "running"] if state == "open" else [state]))
        return self._records.read(lambda connection: [_job(row) for row in connection.execute(query).mappings()])

    def claim(self, *, holder: str, gone: list[str]) -> Job | None:
        """Take the oldest job that waits, or one whose holder is `gone`; None when there is nothing to do.

        Each claim raises the job's epoch, which fences off the attempt before it.
        """

        def change(tx: Transaction) -> Job | None:
            lost = jobs.c.state == "running"
            lost &= jobs.c.holder.in_(gone)
            waiting = sa.select(jobs).where((jobs.c.state == "queued") | lost).order_by(jobs.c.created, jobs.c.id)
            for row in tx.connection.execute(waiting).all():
                if row.epoch >= MAX_ATTEMPTS:
                    self._end(tx, row.id, row.epoch, "failed", None, f"its process died {row.epoch} times")
                    continue
                tx.connection.execute(
                    sa.update(jobs)
                    .where(jobs.c.id == row.id)
                    .values(state="running", holder=holder, epoch=row.epoch + 1)
                )
                return _job(tx.connection.execute(sa.select(jobs).where(jobs.c.id == row.id)).mappings().one())
            return None

        return self._records.write(change)

    def finish_job(self, *, id: str, epoch: int, result: dict[str, Any]) -> Job:
        """Report that a job is done.

        Raises:
            Conflict: A newer attempt has taken the job over.
        """
        return self._records.write(lambda tx: self._end(tx, id, epoch, "done", result, None))

    def fail_job(self, *, id: str, epoch: int, error: str) -> Job:
        """Report that a job failed for a reason that a new attempt would not mend.

        Raises:
            Conflict: A newer attempt has taken the job over.
        """
        return self._records.write(lambda tx: self._end(tx, id, epoch, "failed", None, error))

    def report_pass(self, *, clock: int, idle: bool, problem: str) -> None:
        """Say how far the reconciler has come."""

        def change(tx: Transaction) -> None:
            tx.connection.execute(sa.delete(passes))
            tx.connection.execute(sa.insert(passes).values(id=1, clock=clock, idle=idle, problem=problem))

        self._records.write(change)

    def last_pass(self) -> Pass | None:
        """The reconciler's last report; None before its first."""
        row = self._records.read(lambda connection: connection.execute(sa.select(passes)).first())
        return None if row is None else Pass(clock=row.clock, idle=row.idle, problem=row.problem)

    def _end(
        self,
        tx: Transaction,
        job: str,
        epoch: int,
        state: Literal["done", "failed"],
        result: dict[str, Any] | None,
        error: str | None,
    ) -> Job:
        row = tx.connection.execute(sa.select(jobs).where(jobs.c.id == job)).mappings().first()
        if row is None:
            raise NotFound(f"there is no job {job}")
        found = _job(row)
        if found.state == state and found.epoch == epoch:
            return found
        if found.epoch != epoch or found.state != "running":
            raise Conflict(f"job {job} is {found.state} in attempt {found.epoch}, not attempt {epoch}")
        tx.connection.execute(
            sa.update(jobs)
            .where(jobs.c.id == job)
            .values(
                state=state,
                ended=tx.now,
                error=error,
                result=None if result is None else canonical_json(result).decode(),
            )
        )
        tx.event(f"job.{state}", f"loop/{found.loop}", {"job": job, "error": error})
        return _job(tx.connection.execute(sa.select(jobs).where(jobs.c.id == job)).mappings().one())


def _queue(tx: Transaction, job: str, loop: str, reason: str) -> None:
    tx.connection.execute(
        sa.insert(jobs).values(id=job, loop=loop, reason=reason, state="queued", epoch=0, created=tx.now)
    )


def _loop(row: sa.RowMapping) -> LoopRecord:
    return LoopRecord(**_values(row, "declaration"))


def _decision(row: sa.RowMapping) -> Decision:
    return Decision(**_values(row, "evidence"))


def _job(row: sa.RowMapping) -> Job:
    return Job(**_values(row, "result"))


def _values(row: sa.RowMapping, json_column: str) -> dict[str, Any]:
    values: dict[str, Any] = dict(row)
    text = values[json_column]
    values[json_column] = None if text is None else msgspec.json.decode(text)
    return values
