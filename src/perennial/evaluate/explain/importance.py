"""Permutation importance: how much worse the answers get when a feature's values are shuffled among held-out rows.

Features are the columns of a request, so the features' code and the model are one thing here. Strongly associated
features are shuffled together (`groups`): alone, each would be made up for by the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.evaluate.explain.asked import Floats, classes_of
from perennial.models.facts.explanation import Importance

if TYPE_CHECKING:
    from perennial.models.flavors.flavor import Answered
    from perennial.models.package import Predictor

__all__ = ["REPEATS", "Loss", "permutation_importance"]

REPEATS = 5
SMALLEST_PROB = 1e-15

LossName = Literal["rmse", "log_loss", "error_rate"]


@dataclass(frozen=True)
class Loss:
    """The loss by which importance is measured: RMSE, log loss, or the share of wrong labels without probabilities.

    `truth`: numbers, or positions in the model's classes; a position beyond them is a label the model does not know.
    """

    predictor: Predictor
    truth: NDArray[Any]

    def name(self, answered: Answered) -> LossName:
        if self.predictor.signature.task == "regression":
            return "rmse"
        return "log_loss" if answered.probabilities is not None else "error_rate"

    def of(self, answered: Answered) -> float:
        """The loss over all rows; lower is better."""
        if self.predictor.signature.task == "regression":
            return float(np.sqrt(np.mean((np.asarray(answered.values, dtype=np.float64) - self.truth) ** 2)))
        table = answered.probabilities
        if table is None:
            classes = np.array([*classes_of(self.predictor), None], dtype=object)
            wanted = classes[np.minimum(self.truth, len(classes) - 1)]
            return float(np.mean([a != b for a, b in zip(np.asarray(answered.values), wanted, strict=True)]))
        known = self.truth < table.shape[1]
        found: Floats = table[np.arange(len(self.truth)), np.where(known, self.truth, 0)]
        return float(-np.log(np.maximum(np.where(known, found, 0.0), SMALLEST_PROB)).mean())


def permutation_importance(
    predictor: Predictor,
    frame: pl.DataFrame,
    truth: NDArray[Any],
    together: list[list[str]],
    *,
    repeats: int = REPEATS,
    seed: int = 0,
    confidence: float = 0.95,
) -> list[Importance]:
    """Rise of the loss for each group of features, the largest first.

    Args:
        predictor: Whose answers.
        frame: Held-out rows as requests have them.
        truth: Numbers, or positions in the model's classes, one for each row.
        together: Groups of columns that are shuffled by one permutation.
        repeats: Permutations of each group.
        seed: Equal seeds give equal results.
        confidence: Coverage of the interval over the repeats (Student's). It tells how far the choice of permutations
            matters, not how far other held-out rows would.

    Source: Breiman (2001), Machine Learning 45, 5-32; model-agnostic as Fisher, Rudin & Dominici (2019), Journal of
    Machine Learning Research 20(177).
    """
    loss = Loss(predictor, truth)
    before = loss.of(predictor.answers(frame))
    rng = np.random.default_rng(seed)
    permutations = [rng.permutation(frame.height) for _ in range(repeats)]
    found: list[Importance] = []
    for names in together:
        rises = np.array(
            [
                loss.of(predictor.answers(frame.with_columns(frame.select(names)[order]))) - before
                for order in permutations
            ]
        )
        low, high = _interval(rises, confidence)
        found.append(Importance(features=names, rise=float(rises.mean()), low=low, high=high))
    return sorted(found, key=lambda one: -one.rise)


def _interval(rises: Floats, confidence: float) -> tuple[float, float]:
    mean = float(rises.mean())
    if len(rises) < 2:
        return float("-inf"), float("inf")
    from perennial import stats  # its SciPy costs a worker that explains single answers a quarter of a second

    half = stats.student_quantile(0.5 + confidence / 2.0, len(rises) - 1) * float(rises.std(ddof=1) / len(rises) ** 0.5)
    return mean - half, mean + half
