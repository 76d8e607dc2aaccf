"""One turn of a loop: collect, features, split, train, evaluate, check the requirements, register.

The model is judged on the newest rows, which it has not seen, and then fitted again on all rows, because the newest
are the most like what comes next; both fits are in the run. Everything runs from the stored bundle. What is unchanged
is taken from the cache, and a turn in which nothing is new ends with the version that there is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from blake3 import blake3

from perennial.data.datasets import DatasetVersion
from perennial.errors import LoopError, Refused
from perennial.loop.declaration import Declaration
from perennial.loop.graph import Wiring, check
from perennial.models.facts.verdict import Verdict
from perennial.pipeline.bundle import Bundle, load_bundle, make_bundle, materialise
from perennial.pipeline.declare import declare
from perennial.pipeline.execute import Execution
from perennial.registry.versions import ModelVersion
from perennial.renew.collecting import Collected, collect
from perennial.renew.correcting import Correction, corrected_of, provenance_of, recollected
from perennial.renew.recording import PLAN_TAG, Recorder
from perennial.renew.retraining import Job
from perennial.renew.rooms import Rooms
from perennial.store.decoding import ready
from perennial.types import JSON, Digest, canonical_json

if TYPE_CHECKING:
    from perennial.evaluate.evaluation import Evaluation
    from perennial.renew.fitting import Fitted

__all__ = ["Outcome", "run_job", "run_loop"]

Say = Callable[[str], None]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a turn ended with. `is_new` is False when nothing had changed since the run that made this version."""

    name: str
    version: int
    state: str
    run_id: str
    is_new: bool
    ran: list[str]
    cached: list[str]
    data: dict[str, int]
    verdicts: list[Verdict]


def run_loop(rooms: Rooms, project: Path, loop_file: Path | None, say: Say, *, reason: str = "run by hand") -> Outcome:
    """Run the loop of a project and remember its code for retraining.

    Args:
        rooms: The workspace.
        project: The user's folder.
        loop_file: Default: `loop.py` in the project.
        say: Told what happens, a line at a time.
        reason: Why; kept with the version.

    Raises:
        LoopError, DataError, UserCodeError: What the user can mend; names file and line.
    """
    file = loop_file or project / "loop.py"
    bundle = make_bundle(file if file.is_absolute() else project / file, project, rooms.objects)
    folder = materialise(bundle, rooms.objects, rooms.folder.bundles)
    declaration = declare(bundle, folder, project, rooms.objects)
    rooms.renew.set_loop(
        name=declaration.name, bundle=bundle.digest, declaration=dict(declaration.to_json()), project=str(project)
    )
    turn = _Turn(rooms, bundle, declaration, folder, project, reason, say)
    return turn.run(run_id=None)


def run_job(rooms: Rooms, job: Job, say: Say) -> dict[str, Any]:
    """Retrain a loop from the bundle that it was last run with. The job's id is the run's id.

    So that an attempt that died after it had registered its version is found done by the next one.
    """
    loop = rooms.renew.loop(name=job.loop)
    decision = next((one for one in rooms.renew.decisions(endpoint=job.loop) if one.job == job.id), None)
    if decision is not None and decision.verdict == "correct":
        correction = msgspec.convert(decision.evidence["correction"], ready(Correction))
        return _corrected(rooms, job, Path(loop.project), correction, say)
    bundle = load_bundle(Digest(loop.bundle), rooms.objects)
    rooms.objects.pin([bundle.digest, *bundle.files.values()])  # the run names them only when it begins
    folder = materialise(bundle, rooms.objects, rooms.folder.bundles)
    declaration = Declaration.from_json(loop.declaration)
    turn = _Turn(rooms, bundle, declaration, folder, Path(loop.project), job.reason, say)
    outcome = turn.run(run_id=job.id)
    return {"version": outcome.version, "state": outcome.state, "is_new": outcome.is_new}


def _corrected(rooms: Rooms, job: Job, project: Path, correction: Correction, say: Say) -> dict[str, Any]:
    """Make a version anew from its own code and data, with its answers corrected."""
    version = rooms.models.get(name=job.loop, version=correction.version)
    if version.bundle is None or version.declaration is None:
        raise Refused(f"{version.name} version {version.version} was not made by a loop", remedy="train anew")
    bundle = load_bundle(Digest(version.bundle), rooms.objects)
    folder = materialise(bundle, rooms.objects, rooms.folder.bundles)
    declaration = Declaration.from_json(json.loads(rooms.objects.get(Digest(version.declaration))))
    turn = _Turn(rooms, bundle, declaration, folder, project, job.reason, say, correction)
    outcome = turn.run(run_id=job.id)
    return {"version": outcome.version, "state": outcome.state, "is_new": outcome.is_new}


@dataclass(frozen=True)
class _Turn:
    rooms: Rooms
    bundle: Bundle
    declaration: Declaration
    folder: Path
    project: Path
    reason: str
    say: Say
    correction: Correction | None = None

    def run(self, *, run_id: str | None) -> Outcome:
        recorder = Recorder(self.rooms, self.declaration, self.say, run_id)
        known = self._registered(run_id) if run_id else None
        if known is not None:
            return self._outcome(known, recorder, {}, is_new=True)
        wiring = check(self.declaration)
        execution = Execution(
            bundle=self.bundle,
            declaration=self.declaration,
            folder=self.folder,
            project=self.project,
            objects=self.rooms.objects,
            cache=recorder,
            listener=recorder,
            environment=os.environ,
            clock=self.rooms.clock,
        )
        with recorder.run(self.bundle, self.project, self.reason, "retrain" if run_id else "run"), execution:
            if self.correction is None:
                collected = collect(self.rooms, execution, wiring, run_id=recorder.run_id)
            else:
                version = self.rooms.models.get(name=self.declaration.name, version=self.correction.version)
                collected = recollected(self.rooms, execution, wiring, version)
            plan = self._plan(execution, wiring, collected.versions)
            before = self._unchanged(plan)
            if before is not None:
                self.say(f"nothing is new since run {before.run_id}: {before.name} version {before.version} stands")
                recorder.forget(name for name in wiring.order if name not in wiring.collects)
                return self._outcome(before, recorder, collected.versions, is_new=False)
            recorder.begin(collected.versions, plan)
            fitted = self._fit(execution, wiring, collected, recorder)
            version = self._candidate(fitted, wiring, collected, recorder, execution)
        return self._outcome(version, recorder, collected.versions, is_new=True)

    def _fit(self, execution: Execution, wiring: Wiring, collected: Collected, recorder: Recorder) -> Fitted:
        from perennial.renew.fitting import fit  # here, because an unchanged loop needs nothing that fits models

        if self.declaration.target is None:
            raise LoopError(
                f"loop {self.declaration.name!r} names no target, so there is nothing to train for",
                where=self.declaration.where,
                remedy='write Loop(..., target="the column to predict")',
            )
        before = [name for name in wiring.order if self.declaration.step(name).kind == "step"]
        values = execution.run(before, collected.values)
        provenance: dict[str, JSON] = {
            "origin": "executor",
            "loop": self.declaration.name,
            "bundle": self.bundle.digest,
            "datasets": {found.name: found.version for found in collected.versions.values()},
        }
        corrected = None
        if self.correction is not None:
            corrected = corrected_of(self.rooms, self.declaration, self.correction)
            provenance |= provenance_of(corrected)
        return fit(execution, self.declaration, wiring, values, provenance, self.rooms, corrected=corrected)

    def _candidate(
        self, fitted: Fitted, wiring: Wiring, collected: Collected, recorder: Recorder, execution: Execution
    ) -> ModelVersion:
        from perennial.renew.judging import judge

        table = collected.versions.get(wiring.table)
        judged = judge(self.rooms, self.declaration, fitted, execution, table)
        recorder.judged(fitted, judged)
        self.say(_measured(judged.evaluation))
        data = collected.versions.get(wiring.table) or next(iter(collected.versions.values()))
        version = self.rooms.models.register(
            name=self.declaration.name,
            package=fitted.package,
            origin="loop",
            run_id=recorder.run_id,
            dataset=data.name,
            dataset_version=data.version,
            bundle=self.bundle.digest,
            declaration=self.rooms.objects.put(canonical_json(self.declaration.to_json())),
            evaluation=judged.evaluation_digest,
            verdicts=[*judged.verdicts, *([self.correction.verdict] if self.correction is not None else [])],
            trained_until=fitted.trained_until,
            reason=self.reason,
            judged_on=judged.judged_on,
        )
        self.say(f"{version.name} version {version.version}: {version.state}")
        return version

    def _plan(self, execution: Execution, wiring: Wiring, versions: dict[str, DatasetVersion]) -> str:
        """Everything that the result of this turn depends on, but for what is live meanwhile."""
        told: dict[str, Any] = {
            "steps": {name: execution.fingerprint(name, {}) for name in wiring.order},
            "data": {name: version.logical for name, version in versions.items()},
            "declaration": _without_places(self.declaration),
        }
        written = {
            str(requirement.options["function"]): execution.source_of(
                str(requirement.options["file"]), str(requirement.options["function"])
            )
            for requirement in self.declaration.requirements
            if requirement.kind == "custom"
        }
        if written:
            told["custom"] = written
        if self.correction is not None:
            told["correction"] = msgspec.to_builtins(self.correction)
        return blake3(canonical_json(told)).hexdigest()

    def _unchanged(self, plan: str) -> ModelVersion | None:
        found = self.rooms.runs.with_tag(loop=self.declaration.name, key=PLAN_TAG, value=plan)
        return self._registered(found.id) if found is not None else None

    def _registered(self, run_id: str) -> ModelVersion | None:
        return next(
            (
                found
                for found in self.rooms.models.list(name=self.declaration.name)
                if found.run_id == run_id and found.package is not None
            ),
            None,
        )

    def _outcome(
        self, version: ModelVersion, recorder: Recorder, versions: dict[str, DatasetVersion], *, is_new: bool
    ) -> Outcome:
        return Outcome(
            name=version.name,
            version=version.version,
            state=self.rooms.models.get(name=version.name, version=version.version).state,
            run_id=version.run_id or "",
            is_new=is_new,
            ran=recorder.ran,
            cached=recorder.cached,
            data={found.name: found.version for found in versions.values()},
            verdicts=version.verdicts,
        )


def _measured(evaluation: Evaluation) -> str:
    """One line: the main metric on unseen rows, on the training rows, and of the trivial baseline."""
    name = evaluation.metric
    test, train, trivial = (part[name] for part in (evaluation.test, evaluation.train, evaluation.baseline))
    interval = f" ({test.low:.4g} to {test.high:.4g})" if test.low is not None and test.high is not None else ""
    told = (
        f"{name} {test.value:.4g}{interval} on {test.rows} unseen rows, {train.value:.4g} on the {train.rows} it was "
        f"fitted to, {trivial.value:.4g} for the trivial baseline; {evaluation.split}"
    )
    return f"{told}\nit overfits: {evaluation.overfits}" if evaluation.overfits else told


def _without_places(declaration: Declaration) -> dict[str, Any]:
    """The declaration without lines and files: a comment above a step changes nothing."""
    told: dict[str, Any] = dict(declaration.to_json())
    told["steps"] = [
        {key: value for key, value in step.items() if key not in {"file", "line"}} for step in told["steps"]
    ]
    told["requirements"] = [
        {**item, "options": {key: value for key, value in item["options"].items() if key not in {"file", "line"}}}
        for item in told["requirements"]
    ]
    return {key: value for key, value in told.items() if key not in {"file", "line"}}
