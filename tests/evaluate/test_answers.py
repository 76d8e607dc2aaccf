"""Answers as arrays: labels are positions in the classes, whatever they were."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.errors import DataError
from perennial.evaluate.answers import Answers, HeldOut, codes_of, constant_answers
from perennial.evaluate.metrics import measure_on, metric_named

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "e"]))


@given(WORDS, st.permutations(["a", "b", "c"]))
def test_codes_stand_for_the_labels_and_known_classes_keep_their_place(values: list[str], known: list[str]) -> None:
    codes, classes = codes_of(values, known)
    assert [classes[code] for code in codes] == values
    assert list(classes[:3]) == known
    assert list(classes[3:]) == sorted(set(values) - set(known))
    for same in (np.array(values, dtype=object), np.array(values, dtype=str), pl.Series(values, dtype=pl.String)):
        again, others = codes_of(same, known)
        assert (again.tolist(), others) == (codes.tolist(), classes)


@pytest.mark.parametrize("labels", [(False, True), (0, 1), (0.5, 1.5), ("no", "yes")])
def test_labels_of_any_kind_find_their_probability(labels: tuple[Any, Any]) -> None:
    truth = np.array([labels[1], labels[0], labels[1]])
    outputs = [
        {"prediction": labels[p > 0.5], "probabilities": {str(labels[0]): 1 - p, str(labels[1]): p}}
        for p in (0.8, 0.4, 0.3)
    ]
    for answers in (
        Answers.of(outputs, "classification"),
        Answers.of(outputs, "classification", labels),
        Answers.of_arrays(None, np.array([[0.2, 0.8], [0.6, 0.4], [0.7, 0.3]]), labels, "classification"),
    ):
        on = HeldOut.of(truth, answers, "classification")
        assert on.labels().tolist() == [str(label) for label in truth.tolist()]
        assert answers.labels().tolist() == [str(labels[1]), str(labels[0]), str(labels[0])]
        assert measure_on(metric_named("accuracy", "classification"), on).estimate == pytest.approx(2 / 3)
        loss = measure_on(metric_named("log_loss", "classification"), on).estimate
        assert loss == pytest.approx(-np.mean(np.log([0.8, 0.6, 0.3])))


def test_F18_a_row_without_an_answer_is_named_and_never_taken_for_a_label() -> None:
    outputs = [{"prediction": 1.0}, {"prediction": None, "error": "ValueError: no"}]
    for task in ("regression", "classification"):
        with pytest.raises(DataError, match="no answer on row 1: ValueError: no"):
            Answers.of(outputs, task)


def test_two_models_that_order_their_classes_differently_are_put_in_one_coding() -> None:
    table = np.array([[0.7, 0.3], [0.1, 0.9]])
    one = Answers.of_arrays(None, table, ("cat", "dog"), "classification")
    other = Answers.of_arrays(None, table[:, ::-1], ("dog", "cat"), "classification", positive="dog")
    same = other.coded(one.classes)
    assert same.prediction.tolist() == one.prediction.tolist() == [0, 1]
    assert same.probabilities.tolist() == table.tolist()  # type: ignore[union-attr]
    assert (same.classes, same.positive) == (one.classes, 1)
    wider = one.coded(("fish", "dog"))
    assert (wider.classes, wider.prediction.tolist()) == (("fish", "dog", "cat"), [2, 1])
    assert wider.probabilities.tolist() == [[0, 0.3, 0.7], [0, 0.9, 0.1]]  # type: ignore[union-attr]
    assert wider.positive == 1


def test_labels_that_only_the_test_rows_have_do_not_move_the_others() -> None:
    answers = Answers.of_arrays(["b", "a"], None, ("b", "a"), "classification")
    on = HeldOut.of(["z", "a"], answers, "classification")
    assert (on.truth.tolist(), on.answers.classes) == ([2, 1], ("b", "a", "z"))
    assert on.answers.positive == answers.positive == 1  # still a model of two classes
    recoded = on.coded(("a", "b"))
    assert (recoded.labels().tolist(), recoded.answers.labels().tolist()) == (["z", "a"], ["b", "a"])
    assert recoded.answers.classes == ("a", "b", "z")


def test_a_part_of_the_rows_keeps_all_that_belongs_to_them() -> None:
    answers = Answers.of_arrays(None, np.eye(3), ("a", "b", "c"), "classification")
    on = HeldOut(truth=np.arange(3), answers=answers, clusters=np.array(["x", "y", "z"]))
    part = on.take(np.array([True, False, True]))
    assert (part.truth.tolist(), part.answers.prediction.tolist()) == ([0, 2], [0, 2])
    assert part.clusters.tolist() == ["x", "z"]  # type: ignore[union-attr]
    assert len(part) == len(part.answers) == 2


def test_the_trivial_baseline_is_the_mean_or_the_most_frequent_label() -> None:
    assert constant_answers(np.array([1.0, 2.0, 6.0]), 2, "regression").prediction.tolist() == [3.0, 3.0]
    answers = constant_answers(np.array([1, 1, 0, 1]), 2, "classification", ("False", "True"))
    assert answers.labels().tolist() == ["True", "True"]
    assert (answers.classes, answers.probabilities.tolist()) == (("False", "True"), [[0.25, 0.75]] * 2)  # type: ignore[union-attr]
