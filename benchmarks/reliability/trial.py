"""What every case needs: models of known cost, a service that runs them, a load, and a place for what was seen."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service import Running, Workspace

__all__ = ["KNOWN", "Held", "Trial", "ms"]

KNOWN = Path(__file__).with_name("known.py")
SOURCES = [f"127.0.0.{i}" for i in range(1, 9)] if sys.platform == "linux" else [""]
ENDPOINT = "wage"
SPREAD = 100_000.0  # training values of x, so that no row of a load is out of their range

_spec = importlib.util.spec_from_file_location("known", KNOWN)
assert _spec is not None
assert _spec.loader is not None
known = sys.modules["known"] = importlib.util.module_from_spec(_spec)  # by the name under which models are pickled
_spec.loader.exec_module(known)


@dataclass(frozen=True)
class Held:
    """One thing that must hold, what was measured, and whether it held; None where it could not be measured here."""

    must: str
    measured: str
    held: bool | None


def ms(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f} ms"


@dataclass
class Trial:
    """One case at work: a fresh folder, short or in full."""

    folder: Path
    short: bool
    _preparation: Any = field(default=None, init=False)

    def seconds(self, full: float, short: float) -> float:
        return short if self.short else full

    # models

    @property
    def preparation(self) -> Any:
        if self._preparation is None:
            from perennial.models.preparation import learn

            self._preparation = learn(_table(0.0), target="wage", key="person")
        return self._preparation

    def workspace(self, name: str = "workspace") -> Workspace:
        return Workspace(self.folder / name)

    def known(self, workspace: Workspace, version: int, **cost: Any) -> Any:
        """An arm whose model costs so much (see `known.py`)."""
        from perennial.models.build import SourceCode
        from perennial.serve.spec import Arm

        code = SourceCode(module="known", features=None, files={"known.py": KNOWN.read_bytes()})
        model = known.Known(float(version), **cost)
        package = workspace.package(model, self.preparation, _table(float(version)), code, version=version)
        return Arm(version=version, package=package, trusted=True)

    def linear(self, workspace: Workspace, version: int) -> Any:
        """An arm whose model is compiled: `x + version` as a linear regression."""
        from sklearn.linear_model import LinearRegression

        from perennial.serve.spec import Arm

        table = _table(float(version))
        model = LinearRegression().fit(self.preparation.x(self.preparation.raw(table)), self.preparation.y(table))
        package = workspace.package(model, self.preparation, table, version=version)
        return Arm(version=version, package=package, trusted=True)

    def endpoint(self, name: str = ENDPOINT, **options: Any) -> Any:
        import msgspec

        from perennial.serve.spec import EndpointSpec

        signature = msgspec.to_builtins(self.preparation.signature)
        return EndpointSpec(name=name, task="regression", signature=signature, salt="salt", **options)

    def start(self, workspace: Workspace, *options: str) -> Running:
        """A running service that has applied the spec; use it in a `with`."""
        running = workspace.serve(*options)
        try:
            workspace.applied(running)
        except BaseException:
            running.kill()
            raise
        return running

    # loads

    def load(
        self, running: Running, endpoint: str = ENDPOINT, versions: Sequence[int] = (1,), rows: int = 1,
        headers: Mapping[str, str] | None = None, samples: int = 2000,
    ) -> dict[str, Any]:  # fmt: skip
        """What a generator is told: varied rows, and what each version says of them."""
        every = [[float(1 + sample * rows + row) for row in range(rows)] for sample in range(samples)]
        bodies = [json.dumps({"records": [{"person": f"p{x:.0f}", "x": x} for x in sample]}) for sample in every]
        return {
            "host": running.host,
            "port": running.port,
            "path": f"/predict/{endpoint}",
            "bodies": bodies,
            "headers": dict(headers or {}),
            "answer": "plain",
            "tolerance": 1e-6,
            "expected": {str(version): [[x + version for x in sample] for sample in every] for version in versions},
        }

    def opened(self, load: Mapping[str, Any], per_s: float, seconds: float, **more: Any) -> dict[str, Any]:
        """The same load as an open loop."""
        return {
            **load,
            "mode": "scheduled",
            "per_s": per_s,
            "seconds": seconds,
            "clients": 512,
            "sources": SOURCES,
            **more,
        }


def _table(offset: float) -> Any:
    import numpy as np
    import pyarrow as pa

    x = np.linspace(0.0, SPREAD, 60)
    return pa.table({"person": [f"p{i}" for i in range(60)], "x": x, "wage": x + offset})
