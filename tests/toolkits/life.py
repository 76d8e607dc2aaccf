"""The life of a model of any toolkit, as its user lives it: train, register, approve, serve, reload, explain, card.

`live` runs a project's `loop.py` through the command line with the toolkit's own environment, and compares what the
prediction service answers with what a fresh process and MLflow's loader answer. Whatever differs fails.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from ..endtoend.conftest import ENVIRONMENT, Project
from .explained import assert_carded, assert_explained

PATIENCE_S = 300.0  # a run may start two clusters of h2o, or compile networks

# A fresh process: our own loader, the compiled form where there is one and the toolkit's own, then MLflow's loader.
# It explains with the form that serves and from the package alone, as the prediction service does.
RELOAD = """
import json, sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
import msgspec
import pandas as pd
from perennial.evaluate.explain import RowExplainer
from perennial.models.package import Predictor, compilation_in
folder, rows, is_classifier = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3] == "classification"
told = {}
for name, native in (("serving", False), ("native", True)):
    predictor = Predictor.load(folder, trusted=True, native=native)
    assert predictor.check_golden() == [] or native, predictor.check_golden()
    told[name] = predictor.predict(predictor.frame(rows))
    if not native:
        explained = RowExplainer(predictor).explain(predictor.frame(rows), seed=1)
        told["explained"] = msgspec.to_builtins(explained)
        told["signature"] = msgspec.to_builtins(predictor.signature)
    predictor.close()
told["form"] = compilation_in(folder).form
told["reason"] = compilation_in(folder).reason
import mlflow
model = mlflow.pyfunc.load_model(str(folder))
told["mlflow"] = list(model.predict(pd.DataFrame(rows)))
print(json.dumps(told, default=str))
"""


def live(
    project: Project,
    name: str,
    rows: list[dict[str, Any]],
    *,
    task: str,
    relative: float,
    kind: str,
    method: str,
) -> dict[str, Any]:
    """Take the loop in `project` from nothing to served; what was found on the way.

    Args:
        project: A folder with `loop.py`, whose loop has this `name`.
        name: The loop's.
        rows: Rows to predict.
        task: "classification" or "regression".
        relative: How far answers of two forms of the model may be apart.
        kind: The flavor that its package must name.
        method: By which it must be explained: "tree", "linear" or "sampled".
    """
    project.patience_s = PATIENCE_S
    registered = project.done("run")
    assert registered["state"] == "candidate", registered
    project.up()
    project.done("approve", f"{name}@1", "--comment", "looked at it")
    served = [project.answer(name, row) for row in rows]
    version = project.done("models", "show", f"{name}@1")
    folder = next(path.parent for path in (project.home / "serving").rglob(f"{version['package']}/manifest.json"))
    told = reload(folder, rows, task)
    for answers in (served, told["native"]):
        for found, expected in zip(answers, told["serving"], strict=True):
            assert_same(found, expected, relative)
    for found, expected in zip(told["mlflow"], told["serving"], strict=True):
        assert_same({"prediction": found}, {"prediction": expected["prediction"]}, relative)
    whole = assert_explained(project, f"{name}@1", rows, told, method=method, relative=relative)
    assert_carded(project, f"{name}@1", whole, kind=kind)
    told["version"] = version
    return told


def reload(folder: object, rows: list[dict[str, Any]], task: str) -> dict[str, Any]:
    """What a fresh process answers that loads this package."""
    done = subprocess.run(
        [sys.executable, "-c", RELOAD, str(folder), json.dumps(rows), task],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def assert_same(found: dict[str, Any], expected: dict[str, Any], relative: float) -> None:
    """Equal labels, and numbers and probabilities this close."""
    one, other = found["prediction"], expected["prediction"]
    if isinstance(other, float):
        assert float(one) == pytest.approx(other, rel=relative)
    else:
        assert str(one) == str(other)
    if "probabilities" in found and "probabilities" in expected:
        assert found["probabilities"] == pytest.approx(expected["probabilities"], rel=relative, abs=relative)
