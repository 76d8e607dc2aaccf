"""Answers of a classifier corrected for new shares of its classes, without training.

`prior.json` in a package: its model's probabilities are calibrated, weighted by how much more or less frequent each
class has become, and divided by their sum; the label is the most probable class. Native and compiled answers go through
the same lines. A package that is corrected once more holds both steps, in their order.

It assumes that rows of a class look as they did and only the classes' shares moved (`stats.label_shift` says when).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from perennial.errors import Corrupt, DataError
from perennial.models.flavors.flavor import Answered, Label
from perennial.store.decoding import ready
from perennial.types import JSON

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from perennial.models.flavors.flavor import Scorer

__all__ = ["PRIOR", "CorrectedScorer", "PriorStep", "Priors", "read_priors"]

PRIOR = "prior.json"
SMALLEST_PROB = 1e-7  # as in `stats.calibrators`


class PriorStep(Struct, frozen=True, kw_only=True):
    """One correction: p'(y|x) in proportion to softmax(scale * ln p + bias)_y * weight_y.

    Attributes:
        scale: Of the calibration, above 0.
        bias: One number per class.
        weights: New share of each class over its former one, at least 0.
    """

    scale: float
    bias: list[float]
    weights: list[float]


class Priors(Struct, frozen=True, kw_only=True):
    """What is done to a model's probabilities. `classes`: the labels that the numbers of each step belong to."""

    classes: list[Label]
    steps: list[PriorStep]

    def apply(self, probs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Corrected probabilities, shape (n, classes), in the order of `classes`."""
        import numpy as np

        found = np.asarray(probs, dtype=np.float64)
        for step in self.steps:
            logits = step.scale * np.log(np.maximum(found, SMALLEST_PROB)) + np.asarray(step.bias)
            raised = np.exp(logits - logits.max(axis=1, keepdims=True))
            raised /= raised.sum(axis=1, keepdims=True)
            weighted = raised * np.asarray(step.weights)
            sums = weighted.sum(axis=1, keepdims=True)
            # A row that is surely of a class of weight 0 has no other class to go to: it stays as it was.
            found = np.where(sums > 0.0, weighted / np.where(sums > 0.0, sums, 1.0), raised)
        return found

    def answered(self, found: Answered) -> Answered:
        """An answer corrected.

        Raises:
            Corrupt: The model gives no probabilities.
        """
        if found.probabilities is None:
            raise Corrupt("the answers of a model without probabilities cannot be corrected", where=PRIOR)
        return Answered(None, self.apply(found.probabilities))

    def then(self, step: PriorStep) -> Priors:
        """These corrections and one more."""
        return Priors(classes=self.classes, steps=[*self.steps, step])

    @property
    def weights(self) -> dict[str, float]:
        """Of each class, all steps together."""
        found = dict.fromkeys(map(str, self.classes), 1.0)
        for step in self.steps:
            for label, weight in zip(found, step.weights, strict=True):
                found[label] *= weight
        return found


@dataclass
class CorrectedScorer:
    """A model whose answers are corrected. Not safe for concurrent use.

    `model` is None: what its toolkit would say of an answer's reasons is about the answer before.
    """

    scorer: Scorer
    priors: Priors
    model: Any = None
    classes: list[Label] | None = field(init=False)
    options: Mapping[str, JSON] = field(init=False)
    relative: float = field(init=False)

    def __post_init__(self) -> None:
        self.classes = self.scorer.classes
        self.options, self.relative = self.scorer.options, self.scorer.relative
        if self.classes is not None and list(map(str, self.classes)) != list(map(str, self.priors.classes)):
            raise DataError(
                f"a correction for the classes {self.priors.classes} does not fit a model of {self.classes}",
                where=PRIOR,
                remedy="train anew",
            )

    def answer(self, x: pl.DataFrame) -> Answered:
        return self.priors.answered(self.scorer.answer(x))

    def close(self) -> None:
        self.scorer.close()


def read_priors(folder: Path) -> Priors | None:
    """What a checked-out package corrects; None where it answers as its model does.

    Raises:
        Corrupt: The file is not of this form.
    """
    path = folder / PRIOR
    if not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=ready(Priors))
    except msgspec.MsgspecError as error:
        raise Corrupt(f"this correction of a model is not readable: {error}", where=str(path)) from error
