"""A folder that MLflow saved, brought in by `perennial models import`, approved, deployed and asked over HTTP.

What the prediction service answers is what MLflow's own loader predicts, and each answer can be explained.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ..endtoend.conftest import Project
from .explained import assert_adds_up
from .life import PATIENCE_S

Rows = list[dict[str, Any]]


def served(project: Project, folder: Path, name: str, rows: Rows, *words: str) -> Rows:
    """The answers of the service to these rows, once the folder is imported with these `words`, approved and live."""
    project.patience_s = PATIENCE_S
    version = project.done("models", "import", str(folder), "--name", name, *words)
    assert (version["state"], version["origin"]) == ("candidate", "imported")
    if not project.told:
        project.up()
    project.done("approve", f"{name}@1", "--comment", "known to us")
    project.done("deploy", f"{name}@1", "--now", "--because", "of this test")
    project.answer(name, rows[0])
    answer = project.ask(f"/predict/{name}", {"records": rows})
    assert answer.status == 200, answer.body
    return answer.json["predictions"]


def assert_served_like_mlflow(
    project: Project, folder: Path, name: str, rows: Rows, expected: Any, *words: str, kind: str, relative: float
) -> Rows:
    """Import, serve, compare, explain and verify; the answers.

    Args:
        project: A workspace; one serves several folders.
        folder: As MLflow saved it.
        name: For the model here.
        rows: As requests have them.
        expected: What MLflow's loader predicts for them: one value each, or a probability for each class.
        words: Of the import, such as --trust-code.
        kind: The flavor of the package that becomes of it.
        relative: How far numbers may be apart.
    """
    answers = served(project, folder, name, rows, *words)
    wanted = np.asarray(expected)
    if wanted.ndim == 2 and wanted.shape[1] > 1:
        found = [list(answer["probabilities"].values()) for answer in answers]
        np.testing.assert_allclose(found, wanted, rtol=relative, atol=relative)
    elif wanted.dtype.kind == "f":
        found = [answer["prediction"] for answer in answers]
        np.testing.assert_allclose(found, wanted.ravel(), rtol=relative)
    else:
        assert [answer["prediction"] for answer in answers] == wanted.ravel().tolist()
    file = project.folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    explained = project.done("models", "explain", f"{name}@1", "--rows", str(file))
    for one, answer in zip(explained, answers, strict=False):  # the first ones
        assert one["base"] + sum(one["contributions"].values()) == pytest.approx(one["explained"])
        if one["unit"] != "margin":
            assert_adds_up(one, answer, relative)
    card = project.folder / f"{name}.json"
    project.done("models", "card", f"{name}@1", "-o", str(card))
    assert json.loads(card.read_text())["package"]["kind"] == kind
    assert project.done("models", "verify", f"{name}@1")["differences"] == []
    return answers
