"""Answers requests in one front: models are asked, what they say is written down, then the answers leave.

Everything that can be answered in one turn of the event loop is: one call of each model for all requests that came in
this turn, one write for all their frames, and then the answers. So no answer leaves that is not written, and a busy
service makes fewer calls and writes, not more. Where several models are asked, the one with the fewest rows answers
first, and its answers leave before the next one is asked. All of it belongs to the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from perennial.clock import Clock
from perennial.errors import Conflict, PerennialError, StoreError, Unavailable
from perennial.serve.answer import Answer
from perennial.serve.asked import Asked
from perennial.serve.counters import Counters
from perennial.serve.frames import Answered, row_ids
from perennial.serve.inline import InlineModel
from perennial.serve.job import Done, Job, Wanted
from perennial.serve.journal import Debt, Journal, answer_of
from perennial.serve.pace import Pace
from perennial.serve.parts import Part
from perennial.serve.route import Route

__all__ = ["Engine"]

log = logging.getLogger("perennial.serve")


class Engine:
    """Answers for one front.

    Attributes:
        pending: Requests that are being answered.
        problem: Why answers cannot be written down, or may not last; "" when all is well.
        on_debt: Told of each request that a shadow version shall answer as well.
        on_outcome: Told how each call of a model went: for which endpoint, and what the model is known by.
    """

    def __init__(self, journal: Journal, clock: Clock, counters: Counters) -> None:
        self.problem = ""
        self.pending = 0
        self.pace = Pace()
        self.on_debt: Callable[[Debt], None] = lambda debt: None
        self.on_outcome: Callable[[str, str, bool], None] = lambda endpoint, package, is_well: None
        self._journal = journal
        self._writer = journal.writer
        self._clock = clock
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self._models: set[InlineModel] = set()
        self._finished: list[Job] = []
        self._is_due = False
        self._inline = 0
        self._running: dict[tuple[str, str], tuple[str, list[Done]]] = {}

    # asking

    @property
    def is_busy(self) -> bool:
        """Whether callers wait for this process right now."""
        return self._is_due or self._inline > 0

    @property
    def answers_keys(self) -> bool:
        """Whether a request with a client's key is being answered."""
        return bool(self._running)

    def admits(self, route: Route) -> bool:
        """Whether one more request would be answered in a decent time."""
        model = route.models.get(route.arm("live"))
        if model is None:  # it is up to the chain of fallbacks
            return self.pace.allows(self._inline)
        if isinstance(model, InlineModel):
            # Who is the first to ask this model is answered before those who made the others wait.
            return model.waiting == 0 or self.pace.allows(self._inline)
        return model.waiting < route.queue_rows and model.pace.allows(model.waiting)

    def submit(self, route: Route, asked: Asked, wanted: Wanted, done: Done) -> None:
        """Answer these rows; `done` is called when the answer is written down, or with what prevents that.

        Raises:
            Invalid: A guard refuses them. Conflict: The key was used for another request.
        """
        slot = (route.name, wanted.key)
        if wanted.key:
            if route.privacy is not None:
                wanted.digest = route.privacy.digest(wanted.digest)
            earlier = self._journal.earlier(route.name, wanted.key, wanted.digest)
            if earlier is not None:
                done(earlier)
                return
            if slot in self._running:
                if self._running[slot][0] != wanted.digest:
                    raise Conflict(
                        f"the key {wanted.key!r} was used for another request", remedy="use a new Idempotency-Key"
                    )
                self._running[slot][1].append(done)
                return
        guarded = route.guarding.before(asked) if route.guarding is not None else None
        if wanted.key:
            self._running[slot] = (wanted.digest, [done])
            done = self._for_all(slot)
        at = self._clock.now()
        first = self._writer.issue(asked.height, at)
        job = Job(route, asked, wanted, done, first, at)
        self.pending += 1
        if guarded is None and route.share <= 0.0:
            self._ask(job, Part(asked, wanted.arm or "live", self._settled, deadline=job.deadline, job=job))
            return
        rows: list[int] | None = None
        if guarded is not None:
            asked, rows = guarded.asked, guarded.rows
            job.given = asked
            job.flags = guarded.flags
            job.scatter()
            for need, fallen in (("fall_back", []), ("abstain", [])):
                fallen += [at for at, told in enumerate(guarded.needs) if told == need]
                if fallen:
                    job.left += 1
                    if need == "abstain":
                        job.leave_to_person(fallen)
                        job.left -= 1
                    else:
                        self._fall_back(job, fallen, 0, None)
        self._ask_rows(job, asked, rows)

    def _ask_rows(self, job: Job, asked: Asked, rows: list[int] | None) -> None:
        """Ask the versions for these rows (None: for all)."""
        route, arm = job.route, job.wanted.arm or "live"
        if rows is not None and not rows:
            self._count_down(job)
            return
        if route.share <= 0.0 or job.wanted.arm:
            asked = asked if rows is None else asked.take(rows)
            self._ask(job, Part(asked, arm, self._settled, rows=rows, deadline=job.deadline, job=job))
            return
        split = route.split(asked.rows(), row_ids(job.id, job.asked.height), rows)
        if len(split) == 1 and rows is None:
            (arm,) = split
            self._ask(job, Part(asked, arm, self._settled, deadline=job.deadline, job=job))
            return
        job.scatter()
        job.left += len(split) - 1
        for arm, chosen in split.items():
            part = Part(asked.take(chosen), arm, self._settled, rows=chosen, deadline=job.deadline, job=job)
            self._ask(job, part)

    def _for_all(self, slot: tuple[str, str]) -> Done:
        def tell(outcome: Answer | PerennialError) -> None:
            for done in self._running.pop(slot)[1]:
                done(outcome)

        return tell

    def _ask(self, job: Job, part: Part) -> None:
        """Ask the version of a part's arm, or who stands in for it."""
        arm = job.route.arm(part.arm)
        if arm != part.arm and part.arm in job.route.models and job.route.gates[part.arm].takes_probe():
            # Whether it is well again is found out behind the caller's back, who gets an answer that can be relied on.
            self._put(Part(part.asked, part.arm, self._probed, deadline=job.deadline, job=job))
        if not arm:
            job.scatter()
            rows = list(part.rows) if part.rows is not None else list(range(part.asked.height))
            job.hand_on(rows, part.arm)
            self._fall_back(job, rows, 0, None)
            return
        if arm != part.arm:
            self._counters.add("fallbacks_total", (job.route.name, arm), part.asked.height)
        part.arm = arm
        self._put(part)

    def _put(self, part: Part) -> None:
        """Ask the model of a part's arm."""
        model = part.job.route.models[part.arm]
        if isinstance(model, InlineModel):
            model.ask(part)
            self._inline += 1
            self._models.add(model)
            self._wake()
        else:
            model.ask(part, max(0.0, part.deadline - time.perf_counter()))

    def _wake(self) -> None:
        if not self._is_due:
            self._is_due = True
            # After what else this turn of the loop has to say: the requests that arrived together are one batch.
            self._loop.call_soon(self._turn)

    # answering

    def _turn(self) -> None:
        began = time.perf_counter()
        inline, self._inline = self._inline, 0
        try:  # what models answer meanwhile belongs to this turn
            while self._models:
                # Who asks a model that is asked little does not wait for those who ask one much.
                model = min(self._models, key=lambda model: model.waiting)
                self._models.discard(model)
                rows = model.flush(began)
                self._counters.add("batches_total", (model.package[:12],))
                self._counters.add("batch_rows_total", (model.package[:12],), rows)
                if self._models and self._finished:
                    finished, self._finished = self._finished, []
                    self._finish(finished)
        finally:
            self._is_due = False
        finished, self._finished = self._finished, []
        if finished:
            self._finish(finished)
        if inline:
            self.pace.took(inline, time.perf_counter() - began)

    def _settled(self, part: Part) -> None:
        """A model has answered, or will not."""
        try:
            self._take_in(part)
        except Exception:  # the boundary of a request: others of this turn are answered all the same
            log.exception("request %s: what a model answered could not be taken in", part.job.id)
            part.told, part.failure = None, Unavailable("the answer could not be looked at")
            part.job.fail(part)
            self._count_down(part.job)

    def _take_in(self, part: Part) -> None:
        job: Job = part.job
        route = job.route
        told = part.told
        if told is None:
            self.on_outcome(route.name, route.keys[part.arm], False)
            if route.chain and part.step < len(route.chain):
                rows = list(part.rows) if part.rows is not None else list(range(part.asked.height))
                job.scatter()
                job.hand_on(rows, part.arm)
                self._fall_back(job, rows, part.step, part)
                return
            job.fail(part)
            self._count_down(job)
            return
        self.on_outcome(route.name, route.keys[part.arm], _went_well(part))
        guarding = route.guardings.get(part.arm)
        checked = None
        if guarding is not None:
            checked = guarding.after(part.asked, told.values, told.probabilities, errors=told.errors)
        if checked is None and (told.errors is None or not route.chain) and part.rows is None and not job.is_scattered:
            job.part = part
        else:
            job.scatter()
            again = job.take(part, checked)
            if again:
                self._fall_back(job, again, part.step, part)
                return
        self._count_down(job)

    def _probed(self, part: Part) -> None:
        """A version that others stand in for was asked as well: only how that went is of interest."""
        route = part.job.route
        self.on_outcome(route.name, route.keys[part.arm], _went_well(part))

    def _fall_back(self, job: Job, rows: list[int], step: int, part: Part | None) -> None:
        """Bring rows to the next in the chain who is there; the request's share in `left` goes with them."""
        route = job.route
        for at in range(step, len(route.chain)):
            link = route.chain[at]
            if link.kind == "arm" and route.gates[link.arm].is_broken:
                continue
            self._counters.add("fallbacks_total", (route.name, link.arm), len(rows))
            if link.kind == "arm":
                again = Part(job.given.take(rows), link.arm, self._settled, rows=rows, deadline=job.deadline, job=job)
                again.step = at + 1
                self._put(again)
                return
            if link.kind == "constant":
                job.give(rows, link.value, link.probabilities)
            else:
                job.leave_to_person(rows)
            self._count_down(job)
            return
        job.give_up(rows, part)
        self._count_down(job)

    def _count_down(self, job: Job) -> None:
        job.left -= 1
        if job.left == 0:
            self._finished.append(job)
            self._wake()

    def _finish(self, jobs: list[Job]) -> None:
        """Write the requests down and answer them."""
        now = time.perf_counter()
        frames: list[Answered] = []
        endpoints: list[str] = []
        rows = 0
        taken: list[Job] = []
        for job in jobs:
            try:
                frames.append(job.frame(self.layout_of(job.route.name, job.route), now))
            except StoreError as error:
                self._drop([job], error)
                continue
            endpoints.append(job.route.name)
            rows += job.asked.height
            taken.append(job)
        try:
            places = self._journal.write([job.written(frame) for job, frame in zip(taken, frames, strict=True)],
                                         endpoints, rows)  # fmt: skip
        except StoreError as error:
            self._drop(taken, error)
            return
        if self.problem and not self.problem.startswith("answers may"):
            self.problem = ""
        written = time.perf_counter()
        for job, frame, place in zip(taken, frames, places, strict=True):
            route = job.route
            self.pending -= 1
            job.wanted.answered, job.wanted.written = now, written
            self._count(route, frame, now - job.wanted.started)
            if frame.shadow_version is not None:
                self.on_debt(Debt(place, job.id, route.name, frame.shadow_version, job.at, job.asked.rows()))
            try:
                job.done(answer_of(frame, route.name, route.classes))
            except Exception:  # the boundary of a request: the others of this turn are answered all the same
                log.exception("request %s could not be answered", job.id)
            job.part = None  # which knows the job: without this circle both are gone at once, rows and all

    def _count(self, route: Route, frame: Answered, took: float) -> None:
        counters = self._counters
        version = str(frame.versions) if isinstance(frame.versions, int) else "several"
        arm = frame.arms if isinstance(frame.arms, str) else "several"
        counters.took((route.name, version), took)
        counters.add("requests_total", (route.name, frame.source, str(frame.status)))
        counters.add("rows_total", (route.name, version, arm), len(frame.values))
        if frame.errors is not None:
            failed = sum(error is not None for error in frame.errors)
            counters.add("row_errors_total", (route.name, version, arm), failed)
        for flags in frame.flags or ():
            for flag in flags:
                counters.add("guards_total", (route.name, flag.guard, flag.action))
        route.tally.took(frame.status, len(frame.values), took, frame.at)

    def _drop(self, jobs: Sequence[Job], error: StoreError) -> None:
        self.problem = error.what
        for job in jobs:
            self.pending -= 1
            self._writer.drop(job.asked.height)
            job.done(Unavailable(error.what, remedy=error.remedy))

    def layout_of(self, endpoint: str, route: Route | None) -> int:
        """The number of the layout of this endpoint's rows in the journal."""
        if route is None:
            return self._writer.layout(endpoint, ())
        if route.layout is None:
            policy = route.privacy.policy if route.privacy is not None else None
            route.layout = self._writer.layout(
                endpoint, route.intake.names, key=route.key, classes=route.classes, policy=policy
            )
        return route.layout


def _went_well(part: Part) -> bool:
    """Whether a model answered, in time, at least one of the rows."""
    told, job = part.told, part.job
    if told is None or (told.errors is not None and None not in told.errors):
        return False
    slow_s = job.route.slow_s
    return slow_s == float("inf") or time.perf_counter() - job.wanted.started <= slow_s
