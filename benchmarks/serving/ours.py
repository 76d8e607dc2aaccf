"""Our service with one model: packaged as a loop packages it, compiled where that was proven, capture on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from service import Running, Workspace, until
from traffic.asking import ask

from serving.models import Model
from serving.started import first_answer

__all__ = ["FORMS", "Ours", "packaged", "serving"]

ENDPOINT = "digit"
# How the same row is said in each protocol, and how its answer is read.
FORMS = ("plain", "inference")


def packaged(model: Model, folder: Path) -> tuple[Workspace, str]:
    """A workspace whose spec serves this model, and the form in which it is served."""
    import msgspec

    from perennial.models.preparation import learn
    from perennial.serve.spec import Arm, EndpointSpec

    workspace = Workspace(folder)
    table = model.table()
    preparation = learn(table, target="label", task="classification")
    package = workspace.package(model.model, preparation, table)
    signature = json.loads(workspace.objects.get(_file(workspace, package, "signature.json")))
    arm = Arm(version=1, package=package, trusted=True)
    workspace.desire(
        EndpointSpec(name=ENDPOINT, task="classification", signature=msgspec.to_builtins(signature), live=arm)
    )
    return workspace, workspace.form_of(package)


def _file(workspace: Workspace, package: str, name: str) -> Any:
    from perennial.models.package import read_manifest

    return read_manifest(workspace.objects.get(package)).files[name][0]


class Ours:
    """The running service, asked in one of the protocols."""

    def __init__(self, running: Running, workspace: Workspace, model: Model) -> None:
        self._running = running
        self._workspace = workspace
        self._model = model
        self.answered = 1  # the first answer, which `serving` waits for
        self.unsure = 0  # answers that may have been on their way when a caller gave up
        self._before = workspace.captured()
        self.loads = {form: self._load(form) for form in FORMS}
        self.ready_s = 0.0

    def _load(self, form: str) -> dict[str, Any]:
        columns = self._model.columns
        common = {
            "host": self._running.host,
            "port": self._running.port,
            "answer": form,
            "expected": [[label] for label in self._model.labels],
        }
        if form == "plain":
            bodies = [json.dumps({"records": [dict(zip(columns, row, strict=True))]}) for row in self._model.rows]
            return common | {"path": f"/predict/{ENDPOINT}", "bodies": bodies}
        told = [
            [
                {"name": name, "shape": [1], "datatype": "FP64", "data": [value]}
                for name, value in zip(columns, row, strict=True)
            ]
            for row in self._model.rows
        ]
        return common | {
            "path": f"/v2/models/{ENDPOINT}/infer",
            "bodies": [json.dumps({"inputs": inputs}) for inputs in told],
            "marker": '"outputs":',
        }

    def speaks(self, form: str) -> bool:
        """Whether it knows this protocol."""
        load = self.loads[form]
        status, _, _ = self._running.send("POST", load["path"], load["bodies"][0].encode())
        self.answered += status == 200
        return status == 200

    def ask(self, clients: int, seconds: float, form: str = "plain") -> dict[str, Any]:
        told = ask(self.loads[form] | {"clients": clients, "seconds": seconds})
        self.count(told)
        return told

    def memory(self) -> dict[str, Any]:
        return self._running.memory()

    def parts(self) -> dict[str, float]:
        """Proportional memory of each kind of process, in MB."""
        used: dict[str, list[float]] = {}
        for process in self._running.tree():
            words = process.cmdline()
            name = words[words.index("-m") + 1] if "-m" in words else "spawned"
            used.setdefault(name, []).append(process.memory_full_info().pss / 2**20)
        return {name: max(values) for name, values in used.items()}

    def check_capture(self) -> int:
        """Rows captured: as many as were answered, counted in the segments.

        Raises:
            SystemExit: They differ, or the service's own counters do not add up.
        """
        until(lambda: self._running.status().stored >= self.answered, "all answers stored", 15.0)
        status, rows = self._running.status(), self._workspace.captured() - self._before
        balanced = status.received == status.stored + status.dropped + status.pending
        if not self.answered <= rows <= self.answered + self.unsure or not balanced:
            raise SystemExit(
                f"{self.answered} rows were answered, {rows} are in the segments, the service says {status}"
            )
        return rows

    def count(self, told: dict[str, Any]) -> None:
        """Book what a generator was answered."""
        self.answered += told["answered"] + told["wrong"]
        self.unsure += told["failed"]


@contextmanager
def serving(model: Model, workspace: Workspace, *options: str) -> Iterator[Ours]:
    """Start the service and wait for its first right answer; `ready_s` is from the start of the process to then."""
    began = time.perf_counter()
    with workspace.serve(*options) as running:
        ours = Ours(running, workspace, model)
        first_answer(ours.loads["plain"], lambda: None)
        ours.ready_s = time.perf_counter() - began
        yield ours
