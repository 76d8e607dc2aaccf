"""A project in a temporary folder that is bundled, declared and run for real."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from perennial.loop.declaration import Declaration
from perennial.loop.graph import bind_params, check
from perennial.pipeline.bundle import Bundle, make_bundle, materialise
from perennial.pipeline.declare import declare
from perennial.pipeline.execute import Cached, Execution, StepOutcome
from perennial.pipeline.values import Value
from perennial.store.objects import ObjectStore
from perennial.types import JSON, Digest


@dataclass
class Ran:
    """What one run of a project did."""

    execution: Execution
    outcomes: list[StepOutcome]
    values: dict[str, Value]
    collected: dict[str, Any]

    @property
    def states(self) -> dict[str, str]:
        return {outcome.name: outcome.state for outcome in self.outcomes}


@dataclass
class Project:
    """A folder with a loop, and the results of its earlier runs: the smallest real cache and listener."""

    folder: Path
    objects: ObjectStore
    results: dict[str, Cached] = field(default_factory=dict)
    outcomes: list[StepOutcome] = field(default_factory=list)
    started: list[str] = field(default_factory=list)

    def write(self, files: Mapping[str, str]) -> None:
        for path, text in files.items():
            target = self.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(textwrap.dedent(text).lstrip("\n"))

    def bundle(self) -> Bundle:
        return make_bundle(self.folder / "loop.py", self.folder, self.objects)

    def place(self, bundle: Bundle) -> Path:
        return materialise(bundle, self.objects, self.folder / ".perennial" / "bundles")

    def declare(self) -> Declaration:
        bundle = self.bundle()
        return declare(bundle, self.place(bundle), self.folder, self.objects)

    def execution(self, **options: Any) -> Execution:
        bundle = options.pop("bundle", None) or self.bundle()
        folder = self.place(bundle)
        declaration = declare(bundle, folder, self.folder, self.objects)
        given: Mapping[str, JSON] = options.pop("params", {})
        return Execution(
            bundle=bundle,
            declaration=declaration,
            folder=folder,
            project=self.folder,
            objects=self.objects,
            cache=self,
            listener=self,
            params=bind_params(declaration, given),
            environment=options.pop("environment", {}),
            **options,
        )

    def run(self, **options: Any) -> Ran:
        """Collect, then every step but train, which needs a split."""
        self.outcomes = []
        with self.execution(**options) as execution:
            wiring = check(execution.declaration)
            collected = {name: execution.collect(name) for name in wiring.collects}
            values = {name: execution.store(value) for name, value in collected.items()}
            rest = [name for name in wiring.order if name not in wiring.collects and name != wiring.train]
            values = execution.run(rest, values)
            return Ran(execution, self.outcomes, values, collected)

    def get(self, fingerprint: Digest) -> Cached | None:
        return self.results.get(fingerprint)

    def step_started(self, name: str) -> None:
        self.started.append(name)

    def step_ended(self, outcome: StepOutcome) -> None:
        self.outcomes.append(outcome)
        if outcome.state == "done" and outcome.fingerprint and outcome.value:
            self.results[outcome.fingerprint] = Cached(outcome.value, f"run {len(self.results)}")

    def log(self, name: str) -> str:
        (outcome,) = (outcome for outcome in self.outcomes if outcome.name == name)
        assert outcome.log is not None
        return self.objects.get(outcome.log).decode()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    folder = tmp_path / "project"
    folder.mkdir()
    before = os.getcwd()
    with ObjectStore(tmp_path / "objects") as objects:
        yield Project(folder, objects)
    assert os.getcwd() == before
