"""Exact attributions of linear models: each coefficient times its input's distance from the mean of the background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from perennial.evaluate.explain.additive import Additive, Contributions
from perennial.evaluate.explain.asked import Floats
from perennial.evaluate.explain.inside import Inside, dense, inside

if TYPE_CHECKING:
    from perennial.models.package import Predictor

__all__ = ["linear_of"]


@dataclass(frozen=True)
class Linear:
    """score = intercept + coefficients . inputs; the base is the score of the background's mean.

    With inputs that are independent given the background these are the Shapley values of the score.
    """

    inside: Inside
    mean: Floats
    method: Literal["linear"] = "linear"
    relative: float = 1e-9

    def contributions(self, x: pl.DataFrame) -> Contributions:
        slopes: Floats = np.atleast_2d(np.asarray(self.inside.last.coef_, dtype=np.float64))
        starts: Floats = np.broadcast_to(np.asarray(self.inside.last.intercept_, dtype=np.float64), len(slopes))
        data = dense(self.inside.transform(x))
        values = (data - self.mean)[:, np.newaxis, :] * slopes
        return Contributions(self.inside.handed_back(values), starts + slopes @ self.mean)


def linear_of(predictor: Predictor, background: pl.DataFrame) -> Additive | None:
    """The way to explain the predictor's model; None where it is no linear model of scikit-learn's.

    Args:
        predictor: With the toolkit's own model in its scorer.
        background: Rows as the model's columns, whose mean is the base.

    Raises:
        Unfit: It is one, but what stands before it mixes columns.
    """
    model = predictor.scorer.model
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    is_linear = type(last).__module__.startswith(("sklearn.linear_model", "sklearn.svm"))
    if not (is_linear and hasattr(last, "coef_") and hasattr(last, "intercept_")):
        return None
    if getattr(last, "kernel", "linear") != "linear":
        return None
    found = inside(predictor, background)
    return Linear(found, dense(found.transform(background)).mean(axis=0))
