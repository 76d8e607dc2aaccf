"""Trivial models: what they know, and what they must not know."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import Ridge

from perennial.evaluate.answers import Answers, HeldOut, constant_answers
from perennial.evaluate.baselines import baselines, last_value_answers, linear_answers
from perennial.evaluate.material import Material


def material(train: pl.DataFrame, test: pl.DataFrame, **more: object) -> Material:
    def ask(frame: pl.DataFrame) -> Answers:
        return Answers(prediction=np.zeros(len(frame)))

    inputs = tuple(name for name in train.columns if name not in ("who", "day"))
    return Material(train_frame=train, test_frame=test, inputs=inputs, ask=ask, **more)  # type: ignore[arg-type]


def numbers(values: list[float]) -> HeldOut:
    return HeldOut(truth=np.array(values), answers=Answers(prediction=np.zeros(len(values))))


DAYS = [dt.date(2024, 1, day) for day in range(1, 7)]


def test_the_last_value_is_the_newest_that_was_known_before() -> None:
    train = pl.DataFrame({"day": [DAYS[1], DAYS[0]]})  # not in order
    test = pl.DataFrame({"day": [DAYS[3], DAYS[2], DAYS[2], DAYS[4]]})
    rows = material(train, test, time="day")
    found = last_value_answers("regression", train=numbers([2, 1]), test=numbers([40, 30, 31, 50]), material=rows)
    # Two rows of one day do not know each other; the day before does.
    assert found is not None
    assert found.prediction.tolist() == [31, 2, 2, 40]


def test_a_label_that_comes_late_is_not_known_before_it_comes() -> None:
    train, test = pl.DataFrame({"day": DAYS[:2]}), pl.DataFrame({"day": DAYS[2:6]})
    rows = material(train, test, time="day", delay_s=2 * 86_400.0)
    found = last_value_answers("regression", train=numbers([1, 2]), test=numbers([3, 4, 5, 6]), material=rows)
    assert found is not None
    assert found.prediction.tolist() == [1, 2, 3, 4]


def test_each_key_has_its_own_last_value_and_an_unknown_one_the_mean() -> None:
    train = pl.DataFrame({"who": ["ann", "bob", "ann"]})
    test = pl.DataFrame({"who": ["bob", "ann", "eve"]})
    rows = material(train, test, key="who")
    found = last_value_answers("regression", train=numbers([1, 2, 6]), test=numbers([0, 0, 0]), material=rows)
    assert found is not None
    assert found.prediction.tolist() == [2, 6, 3]
    timed = material(
        train.with_columns(day=pl.Series(DAYS[:3])), test.with_columns(day=pl.Series(DAYS[3:])), key="who", time="day"
    )
    found = last_value_answers("regression", train=numbers([1, 2, 6]), test=numbers([0, 0, 0]), material=timed)
    assert found is not None
    assert found.prediction.tolist() == [2, 6, 3]
    assert (
        last_value_answers("regression", train=numbers([1]), test=numbers([1]), material=material(train, test)) is None
    )


def test_the_linear_baseline_is_ridge_on_standardised_columns() -> None:
    random = np.random.default_rng(0)
    x = random.normal(loc=5, scale=(1, 100), size=(800, 2))
    job = np.array(["craft", "sales"])[random.integers(2, size=800)]
    y = x @ np.array([1.0, 0.02]) + (job == "sales") + 0.1 * random.normal(size=800)
    frame = pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "job": job})
    rows = material(frame[:600], frame[600:])
    on = [numbers(part.tolist()) for part in (y[:600], y[600:])]
    found = linear_answers("regression", train=on[0], test=on[1], material=rows)
    assert found is not None
    scaled = (x - x[:600].mean(axis=0)) / x[:600].std(axis=0, ddof=1)
    whole = np.column_stack([scaled, job == "sales", job == "craft"]).astype(float)
    expected = Ridge().fit(whole[:600], y[:600]).predict(whole[600:])
    assert found.prediction == pytest.approx(expected)


def test_a_linear_classifier_has_probabilities_in_the_models_coding_and_minds_no_gaps() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=600)
    label = np.where(x > 0, "yes", "no")
    frame = pl.DataFrame({"x": pl.Series(x), "job": ["a", None, "new"] * 200}).with_columns(
        x=pl.when(pl.int_range(pl.len()) % 10 > 0).then("x")
    )
    classes = ("yes", "no", "never seen")
    on = [
        HeldOut.of(part, Answers(prediction=np.zeros(300, int), classes=classes), "classification")
        for part in (label[:300], label[300:])
    ]
    found = linear_answers("classification", train=on[0], test=on[1], material=material(frame[:300], frame[300:]))
    assert found is not None
    assert found.classes == classes
    assert found.probabilities.sum(axis=1) == pytest.approx(np.ones(300))  # type: ignore[union-attr]
    assert (found.probabilities[:, 2] == 0).all()  # type: ignore[index]
    assert (found.prediction == on[1].truth).mean() > 0.9


def test_each_baseline_that_can_be_made_is_there_and_the_constant_always() -> None:
    random = np.random.default_rng(0)
    frame = pl.DataFrame({"x": random.normal(size=40), "day": [DAYS[0] + dt.timedelta(days=i) for i in range(40)]})
    on = [numbers(random.normal(size=20).tolist()) for _ in range(2)]
    found = baselines("regression", train=on[0], test=on[1], material=material(frame[:20], frame[20:], time="day"))
    assert list(found) == ["constant", "last value", "linear"]
    assert list(baselines("regression", train=on[0], test=on[1], material=None)) == ["constant"]
    blank = pl.DataFrame({"x": [1.0] * 20})
    assert list(baselines("regression", train=on[0], test=on[1], material=material(blank, blank))) == ["constant"]
    expected = constant_answers(on[0].truth, 20, "regression").prediction
    assert found["constant"].prediction.tolist() == expected.tolist()
