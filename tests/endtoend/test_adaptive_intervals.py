"""Intervals that follow the labels: the noise of the world doubles, labels come by /feedback, the level is kept.

Adaptive conformal inference (Gibbs and Candès, NeurIPS 2021): after each label the share that may be missed moves by
step * (declared share - whether this one was missed). The labels of a round come when all of it was answered, so the
sum over a round is what the next one is answered with; that is computed here once more, from what clients saw alone.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from .conftest import LOOP, Project, until

TARGET, STEP = 0.1, 0.002
ROUND = 100  # rows that are asked for before their labels come
ROUNDS = 14
PATIENCE_S = 180.0  # for the owner to take labels up and the reconciler to follow them, on a busy machine
ROWS = """    n = np.arange(4000)
    noise = np.random.default_rng(1).laplace(0.0, 1.0, len(n))
    return pl.DataFrame({"a": n % 7 * 1.0, "b": n % 5 * 1.0, "y": n % 7 * 2.0 + n % 5 + noise})
"""
CHANGES = (
    ("    n = np.arange(200)\n", ""),
    ('    return pl.DataFrame({"a": n % 7 * 1.0, "b": n % 5 * 1.0, "y": n % 7 * 2.0 + n % 5})\n', ROWS),
    ("retrain.never())", f"retrain.never())\nloop.interval(level={1 - TARGET}, adaptive=True, step={STEP})"),
)


class Wages:
    """A project whose endpoint is asked in rounds; the truth is the model's plus noise of a scale that is told."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._draw = np.random.default_rng(2)

    def asked(self, scale: float) -> list[dict[str, Any]]:
        """The answers of one round, each with the truth."""
        a, b = self._draw.integers(0, 7, ROUND), self._draw.integers(0, 5, ROUND)
        records = [{"a": float(x), "b": float(z)} for x, z in zip(a, b, strict=True)]
        told = self.project.ask("/predict/line", {"records": records})
        assert told.status == 200, told.body
        truth = a * 2.0 + b + self._draw.laplace(0.0, scale, ROUND)
        return [row | {"truth": float(value)} for row, value in zip(told.json["predictions"], truth, strict=True)]

    def labelled(self, answers: list[dict[str, Any]]) -> None:
        labels = [{"id": answer["id"], "label": answer["truth"]} for answer in answers]
        told = self.project.ask("/feedback/line", {"labels": labels})
        assert (told.status, told.json["accepted"]) == (202, ROUND)

    @property
    def alpha(self) -> float | None:
        """What the service is told that intervals may miss; None: as declared."""
        spec = json.loads((self.project.home / "serving" / "spec.json").read_text())
        return spec["endpoints"][0]["failsafe"].get("alpha")

    def until_level(self, alpha: float) -> None:
        """Wait for what these labels lead to: the level, and the service answering with it."""
        until(
            lambda: self.alpha is not None and abs(self.alpha - alpha) < 1e-9,
            f"the level {alpha:.4f}",
            within_s=PATIENCE_S,
        )
        until(self.is_applied, "the service answering with it")

    def is_applied(self) -> bool:
        wanted = json.loads((self.project.home / "serving" / "spec.json").read_text())["revision"]
        return self.project.ask("/status", method="GET").json["revision"] == wanted


def missed(answer: dict[str, Any]) -> bool:
    low, high = (float(end) if end is not None else None for end in answer["interval"])
    return (low is not None and answer["truth"] < low) or (high is not None and answer["truth"] > high)


@pytest.fixture
def wages(project: Project) -> Wages:
    project.write(*CHANGES, loop=LOOP)
    assert project.done("run")["state"] == "candidate"
    project.done("approve", "line@1")
    project.up()
    project.answer("line", {"a": 3.0, "b": 2.0})
    return Wages(project)


@pytest.mark.long
def test_coverage_comes_back_under_drift_when_labels_come_by_feedback(wages: Wages) -> None:
    # Without drift first: what is declared holds, and the ends of the interval are those of a fixed one.
    still = [answer for _ in range(5) for answer in wages.asked(1.0)]
    assert np.mean([missed(answer) for answer in still]) == pytest.approx(TARGET, abs=0.05)
    width = np.mean([answer["interval"][1] - answer["interval"][0] for answer in still])
    alpha = TARGET
    adaptive: list[bool] = []
    fixed: list[bool] = []
    for _ in range(ROUNDS):
        answers = wages.asked(2.0)
        misses = [missed(answer) for answer in answers]
        adaptive += misses
        fixed += [abs(answer["truth"] - answer["prediction"]) > width / 2 for answer in answers]
        wages.labelled(answers)
        alpha += STEP * (ROUND * TARGET - sum(misses))
        wages.until_level(alpha)
    half = len(adaptive) // 2
    print(f"missed: fixed {np.mean(fixed):.3f}, adaptive {np.mean(adaptive):.3f}, "
          f"of the later half {np.mean(adaptive[half:]):.3f}, of the first round {np.mean(adaptive[:ROUND]):.3f}, "
          f"alpha at the end {alpha:.4f}")  # fmt: skip
    # A fixed one of 90 % in Laplace noise of scale 1 reaches to ln(10); with scale 2 exp(-ln(10) / 2) are missed.
    assert np.mean(fixed) == pytest.approx(10**-0.5, abs=0.04)
    # The bound of the method, which holds whatever happens; labels come a round late, which adds what that can move.
    bound = (max(TARGET, 1 - TARGET) + STEP * (1 + ROUND)) / (STEP * len(adaptive))
    assert abs(np.mean(adaptive) - TARGET) <= bound
    assert np.mean(adaptive[half:]) == pytest.approx(TARGET, abs=0.04)
    # It is the version's, and outlives the process: the service alone is started anew by the tree.
    level = wages.alpha
    assert level == pytest.approx(alpha)
    wages.project.end()
    wages.project.up()
    wages.project.answer("line", {"a": 3.0, "b": 2.0})
    assert wages.alpha == level
    assert wages.asked(2.0)[0]["interval"] != still[0]["interval"]
