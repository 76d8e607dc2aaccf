"""Write down a turn of a loop as a run: code, data, parameters, environment, each step with its log, metrics.

A turn in which nothing is new leaves no run behind. Whatever else happens, also a failure, does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from perennial.data.datasets import DatasetVersion
from perennial.ids import RandomIds
from perennial.loop.declaration import Declaration
from perennial.pipeline.bundle import Bundle
from perennial.pipeline.execute import Cached, StepOutcome
from perennial.pipeline.values import Value
from perennial.renew.rooms import Rooms
from perennial.store.decoding import ready
from perennial.tracking.about import PROCESS_TAG
from perennial.tracking.environment import environment_text
from perennial.tracking.git import git_state
from perennial.tracking.process import process_lives, process_name
from perennial.tracking.runs import MetricPoint, StepRecord
from perennial.types import Digest, RunId, canonical_json

if TYPE_CHECKING:
    from perennial.renew.fitting import Fitted
    from perennial.renew.judging import Judged

__all__ = ["PLAN_TAG", "Recorder"]

PLAN_TAG = "plan"  # names everything that the result depends on: the same again needs no new run


class Recorder:
    """The cache and listener of one turn. `ran` and `cached` name its steps."""

    def __init__(self, rooms: Rooms, declaration: Declaration, say: Callable[[str], None], run_id: str | None) -> None:
        self.run_id = RunId(run_id or RandomIds().new())
        self.ran: list[str] = []
        self.cached: list[str] = []
        self._rooms = rooms
        self._declaration = declaration
        self._say = say
        self._start: Callable[[], None] = lambda: None
        self._waiting: list[StepRecord] = []
        self._is_begun = False
        self._is_forgotten = False
        self._names: dict[str, int] = {}

    @contextmanager
    def run(self, bundle: Bundle, project: Path, reason: str, kind: str) -> Generator[None]:
        """The run lasts as long as the block, where it is the current one; an error in it is recorded and goes on.

        What a step logs to it is kept also in a turn in which nothing else is new.
        """

        def start() -> None:
            self._close_abandoned()
            git = git_state(project)
            objects = self._rooms.objects
            self._rooms.runs.start(
                loop=self._declaration.name,
                kind=kind,
                run_id=self.run_id,
                seed=0,
                bundle=bundle.digest,
                git_commit=git.commit,
                git_diff=objects.put(git.diff) if git.diff else None,
                environment=objects.put(environment_text().encode()),
                params=self._params(),
                reason=reason,
            )
            self._rooms.runs.set_tags(run_id=self.run_id, tags={PROCESS_TAG: process_name()})

        self._start = start
        try:
            with self._rooms.runs.attach(run_id=self.run_id, before=self._open):
                yield
        except BaseException as error:
            self._open()
            self._rooms.runs.finish(run_id=self.run_id, status="failed", error=str(error) or type(error).__name__)
            raise
        if self._is_begun or not self._is_forgotten:
            self._open()
            self._rooms.runs.finish(run_id=self.run_id, status="finished")

    def begin(self, versions: dict[str, DatasetVersion], plan: str) -> None:
        """There is something new: from here on everything is written down as it happens."""
        self._open()
        self._rooms.runs.start(
            loop=self._declaration.name,
            run_id=self.run_id,
            dataset={version.name: version.logical for version in versions.values()},
        )
        tags = {PLAN_TAG: plan} | {f"data.{found.name}": str(found.version) for found in versions.values()}
        self._rooms.runs.set_tags(run_id=self.run_id, tags=tags)

    def forget(self, unchanged: Iterable[str]) -> None:
        """Nothing was new, so that these steps need not run: leave no run behind."""
        self.cached.extend(unchanged)
        self._is_forgotten = True

    def judged(self, fitted: Fitted, judged: Judged) -> None:
        """Log what was measured, and where the rows behind it are."""
        at = self._rooms.clock.now()
        points = [
            MetricPoint(key=f"{part}/{name}", value=estimate.value, at=at)
            for part, estimates in (
                ("test", judged.evaluation.test),
                ("train", judged.evaluation.train),
                ("baseline", judged.evaluation.baseline),
            )
            for name, estimate in estimates.items()
        ]
        self._rooms.runs.log_metrics(run_id=self.run_id, metrics=points)
        artifacts = {
            "evaluation.json": judged.evaluation_digest,
            "split.json": self._rooms.objects.put(canonical_json(fitted.split.summary())),
            "package.json": fitted.package,
            "judged_package.json": fitted.judged_package,
            "answers.parquet": Digest(judged.evaluation.answers or ""),
        }
        for path, digest in artifacts.items():
            if digest:
                size = self._rooms.objects.size(digest)
                self._rooms.runs.add_artifact(run_id=self.run_id, path=path, digest=digest, size=size)

    # what `Execution` asks of a cache and a listener

    def get(self, fingerprint: Digest) -> Cached | None:
        found = self._rooms.runs.cached_step(fingerprint=fingerprint)
        if found is None or found.output is None:
            return None
        return Cached(msgspec.convert(found.output, ready(Value)), found.cached_from or "")

    def step_started(self, name: str) -> None:
        self._say(f"{name}, on all rows ..." if name in self._names else f"{name} ...")

    def step_ended(self, outcome: StepOutcome) -> None:
        (self.cached if outcome.state == "cached" else self.ran).append(outcome.name)
        if outcome.state == "cached":
            self._say(f"{outcome.name}: unchanged")
        # The model is fitted twice, on the older rows and on all: each is a step of its own.
        count = self._names[outcome.name] = self._names.get(outcome.name, 0) + 1
        record = StepRecord(
            name=outcome.name if count == 1 else f"{outcome.name} ({count})",
            fingerprint=outcome.fingerprint,
            state=outcome.state,
            cached_from=outcome.cached_from,
            log=outcome.log,
            output=None if outcome.value is None else msgspec.to_builtins(outcome.value),
            error=outcome.error,
            started=outcome.started,
            ended=outcome.ended,
        )
        if self._is_begun:
            self._rooms.runs.step(run_id=self.run_id, step=record)
        else:
            self._waiting.append(record)

    def _open(self) -> None:
        if self._is_begun:
            return
        self._start()
        self._is_begun = True
        for record in self._waiting:
            self._rooms.runs.step(run_id=self.run_id, step=record)
        self._waiting.clear()

    def _close_abandoned(self) -> None:
        """No run stays running for ever: one whose process is gone was killed."""
        for run in self._rooms.runs.list(loop=self._declaration.name):
            process = run.tags.get(PROCESS_TAG)
            if run.status == "running" and run.id != self.run_id and process and not process_lives(process):
                self._rooms.runs.finish(run_id=run.id, status="killed", error="its process ended before it did")

    def _params(self) -> dict[str, str]:
        params: dict[str, Any] = {
            f"{step.name}.{name}": value for step in self._declaration.steps for name, value in step.params.items()
        }
        return {name: value if isinstance(value, str) else json.dumps(value) for name, value in params.items()}
