"""Unmodified clients of other projects, each in an environment of its own, and a real service that they talk to."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from perennial.models.build import build
from perennial.models.preparation import learn
from perennial.serve.spec import Arm, EndpointSpec, read_status
from tests.serve.conftest import Place, Service
from tests.serve.conftest import place as place

IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}
ENVIRONMENTS = Path(os.environ.get("PERENNIAL_CLIENT_ENVIRONMENTS", Path(__file__).parents[2] / ".venv"))
SCRIPT_S = 300.0
ROWS = 200

# Scripts of another interpreter, which has what they import.
collect_ignore = ["ask_kserve.py", "ask_triton.py"]


@dataclass(frozen=True)
class Digits:
    """Held-out images of digits, and what the model itself says of them."""

    x: list[list[float]]
    labels: list[int]
    probabilities: list[list[float]]


@dataclass(frozen=True)
class Served:
    """A service with the endpoints `wage` (y = x + 3) and `digits`, over HTTP and gRPC."""

    service: Service
    http: str
    grpc: str
    digits: Digits
    folder: Path

    def ask(self, environment: str, script: str) -> dict[str, Any]:
        """What a client's script found out, without a way out to the network."""
        python = ENVIRONMENTS / environment / "bin" / "python"
        if not python.exists():
            reason = f"the environment {environment} is missing; make .venv/{environment}/.done installs it"
            pytest.fail(reason) if IN_CI else pytest.skip(reason)
        told = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        told |= {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
        told |= dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
        rows, out = self.folder / "rows.json", self.folder / "out.json"
        rows.write_text(json.dumps(self.digits.x))
        words = [python, Path(__file__).with_name(script), self.http, self.grpc, rows, out]
        done = subprocess.run(words, env=told, capture_output=True, text=True, timeout=SCRIPT_S, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(out.read_text())


@pytest.fixture
def served(place: Place, tmp_path: Path) -> Served:
    arm, signature, digits = _digits(place)
    spec = EndpointSpec(name="digits", task="classification", signature=signature, live=arm, salt="salt")
    place.desire(place.endpoint(live=place.linear(3)), spec)
    service = place.serve("--grpc-port", "0")
    place.applied()
    status = read_status(place.serving / "status.json")
    assert status is not None
    return Served(service, f"127.0.0.1:{service.port}", status.grpc, digits, tmp_path)


def _digits(place: Place) -> tuple[Arm, Any, Digits]:
    """A logistic regression of scikit-learn's digits: 64 columns, 10 labels that are whole numbers."""
    images = load_digits()
    names = [f"pixel_{i // 8}_{i % 8}" for i in range(64)]
    table = pa.table({**{name: images.data[:, i] for i, name in enumerate(names)}, "digit": images.target})
    train, held_out = table.slice(0, 1500), table.slice(1500, ROWS)
    preparation = learn(train, target="digit", task="classification")
    x = preparation.x(preparation.raw(train))
    model = LogisticRegression(max_iter=200).fit(x, preparation.y(train))
    package = build(
        model=model, preparation=preparation, train=train, held_out=held_out, objects=place.objects,
        provenance={"origin": "executor", "version": 7}, environment="",
    )  # fmt: skip
    held = preparation.x(preparation.raw(held_out))
    digits = Digits(
        np.column_stack([held_out[name] for name in names]).tolist(),
        [int(label) for label in model.predict(held)],
        model.predict_proba(held).tolist(),
    )
    arm = Arm(version=7, package=package, trusted=True)
    return arm, msgspec.to_builtins(preparation.signature), digits
