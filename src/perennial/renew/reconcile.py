"""One pass of the reconciler: compare what should be with what is, and take the steps that are due.

A pass at time t looks only at what came before t, and every step is recorded once under a key or a revision. So it
may be killed between any two steps: the next pass finds the same facts and does what is left.
"""

from __future__ import annotations

import time

from perennial.deploy.endpoints import Endpoint, Rollout, StageOptions
from perennial.deploy.judge import judge
from perennial.errors import Conflict
from perennial.loop.declaration import Declaration
from perennial.monitor.incidents.maintenance import covering
from perennial.renew.observe import Observer
from perennial.renew.policy import Situation, propose
from perennial.renew.retraining import LoopRecord
from perennial.renew.rooms import Rooms
from perennial.serve.spec import read_status
from perennial.types import Micros

__all__ = ["Reconciler"]

WORKING = "more steps are due"
TEND_EVERY_S = 60.0  # by the machine's clock: small tables of predictions are merged, what is over goes
LOOK_EVERY_US = 5_000_000  # when nothing happens; a rollout by time or schedule is not more punctual than this


class Reconciler:
    """Looks at the loops of a workspace and takes the steps that are due.

    All that it keeps is what it saw of each loop last time, so as not to read the same again; losing that costs a look.
    """

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._seen: dict[str, tuple[int, ...]] = {}
        self._looked: dict[tuple[str, int], int] = {}
        self._tended = float("-inf")

    def look(self, now: Micros) -> str:
        """Take every step that is due at `now`; says what it waits for, or nothing when all is done."""
        rooms = self._rooms
        rooms.predictions.ingest()
        is_due = time.monotonic() - self._tended >= TEND_EVERY_S
        if is_due or rooms.clock.is_simulated:
            rooms.incidents.close_quiet()  # before anything is found: what is found next is another incident
        if is_due:
            rooms.predictions.tend()
            self._tended = time.monotonic()
        owed = sum(rooms.predictions.counts(endpoint=found.name).shadow_pending for found in rooms.endpoints.list())
        if rooms.clock.is_simulated and owed:
            # Simulated time does not run on before every shadow answer is there; real time cannot wait for that.
            return f"{owed} shadow answers are owed"
        acted = sum(self._tend(loop, now) for loop in rooms.renew.loops()) > 0  # every loop gets its turn
        revision = rooms.endpoints.publish()
        if acted:
            return WORKING
        status = read_status(rooms.folder.serving_status)
        if revision and (status is None or status.revision < revision):
            says = status.problem if status is not None and status.problem else "it is loading"
            return f"the prediction service does not serve revision {revision} yet: {says}"
        running = rooms.renew.jobs(state="open")
        return f"{running[0].loop} is being trained" if running else ""

    def _tend(self, loop: LoopRecord, now: Micros) -> bool:
        state = self._state(loop, now)
        if self._seen.get(loop.name) == state:
            return False
        acted = _tend(self._rooms, loop, now, self._looked)
        if not acted:
            self._seen[loop.name] = state
        return acted

    def _state(self, loop: LoopRecord, now: Micros) -> tuple[int, ...]:
        """What a look depends on: events, predictions, labels, and the time, which makes stages and schedules due."""
        counts = self._rooms.predictions.counts(endpoint=loop.name)
        moment = now if self._rooms.clock.is_simulated else now // LOOK_EVERY_US
        head = self._rooms.events.head()
        return (moment, head, counts.predictions, counts.shadow_answers, counts.latest_label_seq)


def _tend(rooms: Rooms, loop: LoopRecord, now: Micros, looked: dict[tuple[str, int], int]) -> bool:
    declaration = Declaration.from_json(loop.declaration)
    endpoint = next((found for found in rooms.endpoints.list() if found.name == loop.name), None)
    if endpoint is None or endpoint.live is None:
        return _send_on(rooms, declaration, None)
    observer = Observer(rooms, endpoint, declaration, now, looked=looked)
    rollout = endpoint.rollout
    if rollout is not None and rollout.state == "running" and _judge(rooms, observer, rollout):
        return True
    return any(
        [
            _watch(rooms, observer),
            _adapt(rooms, observer),
            _decide(rooms, declaration, endpoint, observer),
            _send_on(rooms, declaration, endpoint),
        ]
    )


def _send_on(rooms: Rooms, declaration: Declaration, endpoint: Endpoint | None) -> bool:
    """Approve what the loop's rule lets pass, and start the rollout of the newest approved version."""
    name = declaration.name
    if declaration.retrain.approval == "automatic":
        for version in rooms.models.list(name=name, state="candidate"):
            if version.origin == "loop":
                rooms.models.approve_by_rule(
                    name=name, version=version.version, rule='approval="automatic" in the loop'
                )
    known = {rollout.version for rollout in rooms.endpoints.history(name=name)} if endpoint is not None else set[int]()
    approved = [found.version for found in rooms.models.list(name=name, state="approved") if found.origin == "loop"]
    newest = max(approved, default=0)
    if newest <= max(known, default=0):
        return False
    if endpoint is not None and (endpoint.rollout is not None or endpoint.pinned is not None):
        return False
    stages = [StageOptions(kind=stage.kind, options=dict(stage.options)) for stage in declaration.stages]
    because = rooms.models.get(name=name, version=newest).reason
    rooms.endpoints.start_rollout(name=name, version=newest, stages=stages, because=because)
    return True


def _judge(rooms: Rooms, observer: Observer, rollout: Rollout) -> bool:
    stage = rollout.stages[rollout.stage]
    verdict = judge(stage.kind, stage.options, observer.stage(rollout))
    if verdict.to == "wait":
        return False
    try:
        rooms.endpoints.advance(
            rollout_id=rollout.id,
            revision=rollout.revision,
            to=verdict.to,
            reason=verdict.reason,
            evidence=verdict.evidence,
        )
    except Conflict:
        return True  # a person or an earlier pass was quicker; look again
    return True


def _watch(rooms: Rooms, observer: Observer) -> bool:
    acted = False
    for step in observer.due_steps():
        try:
            rooms.monitor.step(
                endpoint=observer.endpoint.name,
                version=step.version,
                name=step.name,
                cursor_from=step.cursor_from,
                cursor_to=step.cursor_to,
                state=step.state,
                found=step.found,
                window=step.window,
            )
        except Conflict:
            return True
        acted = True
    return acted


def _adapt(rooms: Rooms, observer: Observer) -> bool:
    """Hand the level that the labels have led to on to the prediction service."""
    level = observer.interval_level()
    if level is None or observer.endpoint.live is None:
        return False
    alpha, labels = level
    return rooms.endpoints.adapt(
        name=observer.endpoint.name, version=observer.endpoint.live, alpha=alpha, labels=labels
    )


def _decide(rooms: Rooms, declaration: Declaration, endpoint: Endpoint, observer: Observer) -> bool:
    if endpoint.live is None or endpoint.live_since is None:
        return False
    history = rooms.endpoints.history(name=endpoint.name)
    ends = [rollout.ended for rollout in history if rollout.ended is not None and rollout.against is not None]
    jobs = rooms.renew.jobs(loop=endpoint.name, state="open")
    under_way = endpoint.rollout
    busy = "a training is under way" if jobs else ""
    if under_way is not None:
        busy = f"version {under_way.version} is on its way"
    elif endpoint.pinned is not None:
        busy = f"the endpoint is pinned: {endpoint.pinned}"
    elif (window := covering(rooms.maintenance.list(active=True), endpoint.name, observer.now)) is not None:
        busy = window.says
    situation = Situation(
        now=observer.now,
        live=endpoint.live,
        live_since=endpoint.live_since,
        last_end=max(ends, default=None),
        busy=busy,
        # What was found about a time of maintenance is recorded and never acted upon.
        findings=[found for found in rooms.monitor.list(endpoint=endpoint.name) if found.muted is None],
        decisions=rooms.renew.decisions(endpoint=endpoint.name),
        labels=observer.new_labels(),
        harm=observer.harm,
        correct=observer.correctable,
    )
    proposals = propose(declaration.retrain, situation)
    for proposal in proposals:
        rooms.renew.decide(
            endpoint=endpoint.name,
            key=proposal.key,
            trigger=proposal.trigger,
            verdict=proposal.verdict,
            reason=proposal.reason,
            evidence=proposal.evidence,
            live=endpoint.live,
        )
    return bool(proposals)
