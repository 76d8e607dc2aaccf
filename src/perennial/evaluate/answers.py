"""A model's answers to many rows as arrays, beside the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Answers", "constant_answers"]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """`prediction`: shape (n,), floats for regression, labels as text for classification.

    `probabilities`: shape (n, n_classes) in the order of `classes`, or None where the model gives none.
    """

    prediction: NDArray[Any]
    probabilities: NDArray[np.float64] | None = None
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, outputs: Sequence[dict[str, Any]], task: str) -> Answers:
        """From what a prediction service answers: `prediction` and, for some classifiers, `probabilities` by label."""
        if task == "regression":
            return cls(prediction=np.array([row["prediction"] for row in outputs], dtype=np.float64))
        labels = np.array([str(row["prediction"]) for row in outputs], dtype=object)
        if not outputs or "probabilities" not in outputs[0]:
            return cls(prediction=labels)
        classes = tuple(outputs[0]["probabilities"])
        table = np.array([[row["probabilities"][name] for name in classes] for row in outputs], dtype=np.float64)
        return cls(prediction=labels, probabilities=table, classes=classes)

    def take(self, rows: NDArray[Any]) -> Answers:
        """Only these rows; `rows` is a mask or an array of positions."""
        table = None if self.probabilities is None else self.probabilities[rows]
        return Answers(prediction=self.prediction[rows], probabilities=table, classes=self.classes)

    def __len__(self) -> int:
        return len(self.prediction)


def constant_answers(truth: NDArray[Any], rows: int, task: str) -> Answers:
    """The trivial baseline: the mean of `truth`, or its most frequent label with the labels' shares."""
    if task == "regression":
        return Answers(prediction=np.full(rows, float(np.mean(truth))))
    labels, counts = np.unique(truth.astype(str), return_counts=True)
    shares = counts / counts.sum()
    prediction = np.full(rows, labels[int(np.argmax(counts))], dtype=object)
    return Answers(
        prediction=prediction,
        probabilities=np.tile(shares, (rows, 1)),
        classes=tuple(str(label) for label in labels),
    )
