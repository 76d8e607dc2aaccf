"""A model's answers to many rows as arrays, beside the truth.

Labels are codes: a prediction and a truth of a classification are int64 positions in `classes`, the labels as text. The
labels of the model come first, in the order of its probabilities; labels that it never saw follow, with probability 0.
So a million rows cost a million small integers, and two models are compared in one coding (`Answers.coded`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.errors import DataError
from perennial.stats.resampling import Draws

__all__ = ["Answers", "Floats", "HeldOut", "Ints", "codes_of", "constant_answers"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def codes_of(values: Any, classes: Sequence[str] = ()) -> tuple[Ints, tuple[str, ...]]:
    """Labels as positions in `classes`, which is extended (sorted, at its end) by what is not in it.

    Args:
        values: Labels of any kind, shape (n,): an array, a series, a sequence. A label is known by its text.
        classes: Known labels in their order.

    >>> codes_of(["yes", "no", "maybe"], ("no", "yes"))
    (array([1, 0, 2]), ('no', 'yes', 'maybe'))
    """
    if isinstance(values, pl.Series):
        values = values.to_list()
    array = np.asarray(values) if not isinstance(values, list) else values
    if isinstance(array, np.ndarray) and array.dtype != object:
        kinds, inverse = np.unique(array, return_inverse=True)
        texts = [str(kind) for kind in kinds.tolist()]
    else:
        listed: list[Any] = array if isinstance(array, list) else array.tolist()
        known = {type(value) for value in listed}
        listed = listed if known <= {str} else [str(value) for value in listed]
        texts = list(dict.fromkeys(listed))
        at = {text: code for code, text in enumerate(texts)}
        inverse = np.fromiter((at[text] for text in listed), dtype=np.int64, count=len(listed))
    extended = (*classes, *sorted(set(texts) - set(classes)))
    position = {name: code for code, name in enumerate(extended)}
    recoded = np.array([position[text] for text in texts], dtype=np.int64)
    return recoded[inverse] if len(texts) else np.zeros(0, dtype=np.int64), extended


@dataclass(frozen=True, kw_only=True)
class Answers:
    """`prediction`: shape (n,), float64 for a regression, int64 positions in `classes` for a classification.

    `probabilities`: shape (n, n_classes) in the order of `classes`, or None where the model gives none. `classes` is
    empty for a regression. `positive`: the position of the class that binary metrics are about, where there are two.
    """

    prediction: NDArray[Any]
    probabilities: Floats | None = None
    classes: tuple[str, ...] = ()
    positive: int | None = None

    @classmethod
    def of(
        cls, outputs: Sequence[dict[str, Any]], task: str, classes: Sequence[Any] = (), *, positive: Any = None
    ) -> Answers:
        """From what a prediction service answers: `prediction` and, for some classifiers, `probabilities` by label.

        Args:
            outputs: One for each row.
            task: "regression" or "classification".
            classes: The model's labels in order; without them those of the probabilities, or as they come.
            positive: The label that binary metrics are about; the last of two where it is not said.

        Raises:
            DataError: A row has no answer; such a row must not pass for a label or a number.
        """
        for row, output in enumerate(outputs):
            if output["prediction"] is None:
                raise DataError(
                    f"the model gives no answer on row {row}: {output.get('error', 'the answer is empty')}",
                    remedy="a model must answer every row it may be asked for",
                )
        labels = [row["prediction"] for row in outputs]
        if task == "regression":
            return cls(prediction=np.array(labels, dtype=np.float64))
        has = bool(outputs) and "probabilities" in outputs[0]
        names = tuple(str(label) for label in classes) or (tuple(outputs[0]["probabilities"]) if has else ())
        table = None
        if has:
            table = np.array([[row["probabilities"].get(name, 0.0) for name in names] for row in outputs], np.float64)
        return cls.of_arrays(labels, table, names, task, positive=positive)

    @classmethod
    def of_arrays(
        cls, values: Any, probabilities: Floats | None, classes: Sequence[Any], task: str, *, positive: Any = None
    ) -> Answers:
        """From arrays: `values` are numbers or labels, None where the most probable class is the answer.

        Args:
            values: Shape (n,).
            probabilities: Shape (n, n_classes) in the order of `classes`, or None.
            classes: The model's labels, of any kind, in order.
            task: "regression" or "classification".
            positive: The label that binary metrics are about; the last of two where it is not said.
        """
        if task == "regression":
            return cls(prediction=np.asarray(values, dtype=np.float64))
        names = tuple(str(label) for label in classes)
        if values is None:
            assert probabilities is not None
            prediction = np.asarray(probabilities).argmax(axis=1).astype(np.int64)
            extended = names
        else:
            prediction, extended = codes_of(values, names)
        chosen = None
        if len(names or extended) == 2:
            chosen = extended.index(str(positive)) if str(positive) in extended else 1
        table = None if probabilities is None else _padded(np.asarray(probabilities, np.float64), len(extended))
        return cls(
            prediction=prediction,
            probabilities=table,
            classes=extended,
            positive=chosen,
        )

    def take(self, rows: NDArray[Any]) -> Answers:
        """Only these rows; `rows` is a mask or an array of positions."""
        table = None if self.probabilities is None else self.probabilities[rows]
        return replace(self, prediction=self.prediction[rows], probabilities=table)

    def labels(self) -> NDArray[Any]:
        """The predicted labels as text, shape (n,), dtype object."""
        return np.array(self.classes, dtype=object)[self.prediction]

    def coded(self, classes: Sequence[str]) -> Answers:
        """The same answers in the coding of `classes`, extended by own labels that are not in it."""
        if tuple(classes) == self.classes or not self.classes:
            return self
        extended = (*classes, *(name for name in self.classes if name not in set(classes)))
        place = np.array([extended.index(name) for name in self.classes], dtype=np.int64)
        table = None
        if self.probabilities is not None:
            table = np.zeros((len(self.prediction), len(extended)))
            table[:, place] = self.probabilities
        positive = None if self.positive is None else int(place[self.positive])
        return Answers(prediction=place[self.prediction], probabilities=table, classes=extended, positive=positive)

    def __len__(self) -> int:
        return len(self.prediction)


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Rows, truth and answers of one set; `clusters` names each row's entity.

    `truth`: float64 for a regression, int64 positions in `answers.classes` for a classification.
    """

    truth: NDArray[Any]
    answers: Answers
    clusters: NDArray[Any] | None = None

    @cached_property
    def draws(self) -> Draws:
        """How often each row (entity) is drawn in the bootstrap; shared by all that is measured on these rows."""
        return Draws(len(self.truth), clusters=self.clusters)

    @classmethod
    def of(cls, values: Any, answers: Answers, task: str, *, clusters: NDArray[Any] | None = None) -> HeldOut:
        """From the truth as it stands in the data: numbers, or labels of any kind."""
        if task == "regression":
            return cls(truth=np.asarray(values, dtype=np.float64), answers=answers, clusters=clusters)
        truth, extended = codes_of(values, answers.classes)
        return cls(truth=truth, answers=answers.coded(extended), clusters=clusters)

    def take(self, rows: NDArray[Any]) -> HeldOut:
        """Only these rows; `rows` is a mask or an array of positions."""
        clusters = None if self.clusters is None else self.clusters[rows]
        return HeldOut(truth=self.truth[rows], answers=self.answers.take(rows), clusters=clusters)

    def with_answers(self, answers: Answers) -> HeldOut:
        """Another model's answers to the same rows, in the coding of `classes`; the bootstrap draws are shared."""
        same = replace(answers.coded(self.answers.classes), positive=self.answers.positive)
        on = HeldOut(truth=self.truth, answers=same, clusters=self.clusters)
        on.__dict__["draws"] = self.draws  # where cached_property looks
        return on

    def coded(self, classes: Sequence[str]) -> HeldOut:
        """The same in the coding of `classes`, extended by own labels that are not in it."""
        if tuple(classes) == self.answers.classes or not self.answers.classes:
            return self
        answers = self.answers.coded(classes)
        place = np.array([answers.classes.index(name) for name in self.answers.classes], dtype=np.int64)
        return HeldOut(truth=place[self.truth], answers=answers, clusters=self.clusters)

    def labels(self) -> NDArray[Any]:
        """The true labels as text, shape (n,), dtype object."""
        return np.array(self.answers.classes, dtype=object)[self.truth]

    def __len__(self) -> int:
        return len(self.truth)


def constant_answers(truth: NDArray[Any], rows: int, task: str, classes: Sequence[str] = ()) -> Answers:
    """The trivial baseline: the mean of `truth`, or its most frequent label with the labels' shares.

    Args:
        truth: Numbers, or positions in `classes`.
        rows: How many answers to give.
        task: "regression" or "classification".
        classes: The coding of `truth`.
    """
    if task == "regression":
        return Answers(prediction=np.full(rows, float(np.mean(truth))))
    counts = np.bincount(truth, minlength=len(classes))
    return Answers(
        prediction=np.full(rows, int(np.argmax(counts)), dtype=np.int64),
        # One row seen `rows` times: a million rows of a hundred classes cost nothing.
        probabilities=np.broadcast_to(counts / counts.sum(), (rows, len(classes))),
        classes=tuple(classes),
        positive=1 if len(classes) == 2 else None,
    )


def _padded(table: Floats, columns: int) -> Floats:
    """With columns of zeros for labels that have no probability."""
    missing = columns - table.shape[1]
    return table if missing <= 0 else np.hstack([table, np.zeros((len(table), missing))])
