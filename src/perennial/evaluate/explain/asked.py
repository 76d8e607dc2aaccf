"""The one number for each row that is explained: a regression's answer, or the probability of one class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from perennial.errors import Invalid

if TYPE_CHECKING:
    from perennial.models.flavors.flavor import Answered, Label
    from perennial.models.package import Predictor

__all__ = ["Asked", "Floats", "Unit", "asked", "classes_of"]

Floats = NDArray[np.float64]
Unit = Literal["value", "probability", "label", "log-odds", "margin", "log"]
"""What attributions add up to. `label`: 1 where the answer is this class, from a model without probabilities;
`log-odds`: ln(p / (1 - p)); `margin`: the score behind a class, before the scores are made probabilities or a label;
`log`: the logarithm of the value."""


@dataclass(frozen=True)
class Asked:
    """What is explained.

    `of`: the target's name, or the class's. `position`: of the class in the order of the probabilities; None in a
    regression. `label`: the class itself.
    """

    of: str
    position: int | None = None
    label: Any = None

    def unit(self, answered: Answered) -> Unit:
        if self.position is None:
            return "value"
        return "label" if answered.probabilities is None else "probability"

    def numbers(self, answered: Answered) -> Floats:
        """The number for each row, shape (n,)."""
        if self.position is None:
            return np.asarray(answered.values, dtype=np.float64)
        if answered.probabilities is not None:
            return np.ascontiguousarray(answered.probabilities[:, self.position], dtype=np.float64)
        return np.fromiter((value == self.label for value in np.asarray(answered.values)), dtype=np.float64)


def classes_of(predictor: Predictor) -> list[Label]:
    """The labels in the order of the probabilities; empty for a regression."""
    if predictor.signature.task == "regression":
        return []
    return list(predictor.signature.classes or predictor.scorer.classes or [])


def asked(predictor: Predictor, labels: Sequence[Any] = (), *, of: Any = None) -> Asked:
    """The number to explain: the value, or the probability of one class.

    Args:
        predictor: Whose answers.
        labels: Labels of rows (true ones, or answers); their most frequent class is explained where there is no
            positive one.
        of: Ask for this class.

    Raises:
        Invalid: `of` is none of the model's classes.
    """
    classes = classes_of(predictor)
    if not classes:
        return Asked(predictor.signature.output.name)
    names = [str(label) for label in classes]
    chosen = of if of is not None else predictor.signature.positive
    if chosen is None:
        frequent = Counter(name for name in map(str, labels) if name in names).most_common(1)
        chosen = frequent[0][0] if frequent else names[-1]
    if str(chosen) not in names:
        raise Invalid(f"the model has no class {chosen!r}", remedy=f"ask for one of {', '.join(names)}")
    position = names.index(str(chosen))
    return Asked(names[position], position, classes[position])
