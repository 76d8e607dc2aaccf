"""From the sum of attributions to the answer: which of a few known ways is found by comparing with the model's answers.

So no toolkit's objective has to be read, and what is not additive in any known unit is noticed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from perennial.evaluate.explain.asked import Asked, Floats, Unit

if TYPE_CHECKING:
    from perennial.models.flavors.flavor import Answered, Label

__all__ = ["Link", "link_between"]


@dataclass(frozen=True)
class Link:
    """How sums of attributions, shape (n, k) for k scores, become answers."""

    unit: Unit
    answers: Callable[[Floats], Floats]

    def score_of(self, asked: Asked, scores: int) -> tuple[int, float]:
        """Which score explains what is asked, and its sign: the lower of two classes is the other one turned round."""
        if asked.position is None or scores == 1:
            return 0, -1.0 if asked.position == 0 else 1.0
        return asked.position, 1.0


def _sigmoid(sums: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-np.clip(sums, -700.0, 700.0)))


def _softmax(sums: Floats) -> Floats:
    shifted: Floats = np.exp(sums - sums.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


_REGRESSION = (Link("value", lambda sums: sums), Link("log", lambda sums: np.exp(np.clip(sums, -700.0, 700.0))))
_TWO_CLASSES = (
    Link("log-odds", lambda sums: np.hstack([1.0 - _sigmoid(sums), _sigmoid(sums)])),
    Link("probability", lambda sums: np.hstack([1.0 - sums, sums])),
)
_MORE = (Link("probability", lambda sums: sums), Link("margin", _softmax), Link("log-odds", _sigmoid))
_MARGIN = Link("margin", lambda sums: sums)


def link_between(sums: Floats, answered: Answered, classes: list[Label], *, relative: float) -> Link | None:
    """The link by which these sums give these answers on every row; None where there is none.

    Args:
        sums: Base plus attributions, shape (n, k): one score, or one for each class.
        answered: What the model answers to the same rows.
        classes: The model's labels in order, empty for a regression.
        relative: Two computations of one answer may differ by this share of their size.
    """
    if not classes:
        wanted = np.asarray(answered.values, dtype=np.float64)[:, np.newaxis]
        return _first(_REGRESSION, sums, wanted, relative) if sums.shape[1] == 1 else None
    if answered.probabilities is None:
        return _MARGIN if _same_labels(sums, answered.values, classes) else None
    if sums.shape[1] not in (1, len(classes)) or (sums.shape[1] == 1 and len(classes) != 2):
        return None
    return _first(_TWO_CLASSES if sums.shape[1] == 1 else _MORE, sums, answered.probabilities, relative)


def _first(links: tuple[Link, ...], sums: Floats, wanted: Floats, relative: float) -> Link | None:
    size = max(1e-3, float(np.abs(wanted).max(initial=0.0)))
    # Sums of hundreds of terms: a hundred times the last bits of one computation.
    near = 100.0 * max(relative, 1e-9) * size
    return next((link for link in links if bool((np.abs(link.answers(sums) - wanted) <= near).all())), None)


def _same_labels(sums: Floats, values: Any, classes: list[Label]) -> bool:
    if sums.shape[1] == 1:
        place = (sums[:, 0] > 0.0).astype(np.int64)
        return len(classes) == 2 and all(classes[i] == value for i, value in zip(place, values, strict=True))
    return sums.shape[1] == len(classes) and all(
        classes[i] == value for i, value in zip(sums.argmax(axis=1), values, strict=True)
    )
