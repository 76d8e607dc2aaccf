"""A model's answers to many rows as arrays, beside the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perennial.errors import DataError

__all__ = ["Answers", "as_labels", "constant_answers"]


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
        """From what a prediction service answers: `prediction` and, for some classifiers, `probabilities` by label.

        Raises:
            DataError: A row has no answer; such a row must not pass for a label or a number.
        """
        for row, output in enumerate(outputs):
            if output["prediction"] is None:
                raise DataError(
                    f"the model gives no answer on row {row}: {output.get('error', 'the answer is empty')}",
                    remedy="a model must answer every row it may be asked for",
                )
        if task == "regression":
            return cls(prediction=np.array([row["prediction"] for row in outputs], dtype=np.float64))
        labels = _texts([row["prediction"] for row in outputs])
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
    labels, counts = np.unique(as_labels(truth), return_counts=True)
    shares = counts / counts.sum()
    prediction = np.full(rows, labels[int(np.argmax(counts))], dtype=object)
    return Answers(prediction=prediction, probabilities=np.tile(shares, (rows, 1)), classes=tuple(labels))


def as_labels(values: NDArray[Any]) -> NDArray[Any]:
    """Labels as the text by which answers name their classes, shape (n,)."""
    return _texts(values.tolist())


def _texts(values: Sequence[Any]) -> NDArray[Any]:
    return np.array([str(value) for value in values], dtype=object)
