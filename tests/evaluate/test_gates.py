"""Fairness, calibration, cost, data and repeated training: each gate passes what is right and says what is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import t as student_t

from perennial.data.datasets import DatasetVersion
from perennial.data.schema import Schema, Violation
from perennial.errors import LoopError
from perennial.evaluate.answers import Answers, HeldOut
from perennial.evaluate.requirements import KINDS, Case, DataFacts, PackageFacts, Refit, check_requirements
from perennial.loop import require
from perennial.loop.declaration import Requirement
from perennial.models.facts.verdict import Verdict
from perennial.types import canonical_json

ROWS = 2000


def chosen(rates: dict[str, float], rows: int = ROWS, **changes: Any) -> Case:
    """Applicants of groups that are chosen at these rates, and each time rightly."""
    random = np.random.default_rng(0)
    group = random.choice(list(rates), size=rows)
    prob = np.array([rates[name] for name in group])
    truth = (random.random(rows) < prob).astype(np.int64)
    return voted(truth, truth.astype(np.float64), **{"frame": pl.DataFrame({"group": group}), **changes})


def voted(truth: np.ndarray, prob: np.ndarray, frame: pl.DataFrame | None = None, **changes: Any) -> Case:
    answers = Answers.of_arrays(None, np.column_stack([1 - prob, prob]), ("no", "yes"), "classification")
    on = HeldOut(truth=truth, answers=answers)
    told: dict[str, Any] = {
        "task": "classification",
        "frame": pl.DataFrame({"x": prob}) if frame is None else frame,
        "held_out": on,
        "train": on,
        "answer": lambda _: answers,
    }
    return Case(**{**told, **changes})


def check(requirement: Requirement, on: Case) -> Verdict:
    (found,) = check_requirements([requirement], on)
    assert found.passed is None or type(found.passed) is bool
    canonical_json(found.evidence)
    return found


def test_every_requirement_that_can_be_declared_has_a_check() -> None:
    assert set(require.__all__) - {"METRICS"} == set(KINDS)


def test_a_requirement_of_a_newer_program_is_an_error() -> None:
    with pytest.raises(LoopError, match="there is no requirement 'kindness'"):
        check(Requirement("kindness", {}, "be kind"), chosen({"a": 0.5, "b": 0.5}))


def test_groups_chosen_alike_pass_and_a_clear_difference_names_both_groups() -> None:
    assert check(require.fairness("group"), chosen({"a": 0.5, "b": 0.5})).passed is True
    found = check(require.fairness("group"), chosen({"a": 0.3, "b": 0.6}))
    assert found.passed is False
    assert found.says.startswith("a (")
    assert "is chosen in" in found.says
    rates = {row["group"]: row["selection_rate"] for row in found.evidence["groups"]}
    assert f"a ratio of {rates['a'] / rates['b']:.2f}, asked for at least 0.8" in found.says


def test_a_ratio_that_few_rows_cannot_decide_fails_nobody() -> None:
    found = check(require.fairness("group"), chosen({"a": 0.32, "b": 0.5}, rows=160))
    assert found.passed is None
    assert found.says.endswith("; beyond it, but not clearly on so few rows")


def test_a_group_of_fewer_than_50_rows_is_listed_and_not_judged() -> None:
    on = chosen({"a": 0.5, "b": 0.5})
    few = on.frame.with_columns(group=pl.when(pl.int_range(pl.len()) < 49).then(pl.lit("few")).otherwise("group"))
    truth = np.where(np.arange(ROWS) < 49, 0, on.held_out.truth)
    found = check(require.fairness("group"), voted(truth, truth.astype(float), frame=few))
    assert found.passed is True
    assert found.says.endswith("; not judged for fewer than 50 rows: few")
    assert check(require.fairness("group"), chosen({"a": 0.5}, rows=60)).passed is None


def test_equalised_odds_compares_who_is_recognised() -> None:
    on = chosen({"a": 0.5, "b": 0.5})
    random = np.random.default_rng(1)
    missed = (on.frame["group"] == "a").to_numpy() & (on.held_out.truth == 1) & (random.random(ROWS) < 0.3)
    prob = np.where(missed, 0.0, on.held_out.truth)
    asked = require.fairness("group", selection_rate_ratio=None, equalised_odds=0.1)
    assert check(asked, on).passed is True
    found = check(asked, voted(on.held_out.truth, prob, frame=on.frame))
    assert found.passed is False
    assert found.says.startswith("of the truly positive, 100 % are answered positive in b and ")


def test_fairness_needs_a_positive_class_and_a_column() -> None:
    with pytest.raises(LoopError, match="no such column"):
        check(require.fairness("race"), chosen({"a": 0.5, "b": 0.5}))
    numbers = HeldOut(truth=np.zeros(9), answers=Answers(prediction=np.zeros(9)))
    on = chosen({"a": 0.5, "b": 0.5}, task="regression", held_out=numbers)
    with pytest.raises(LoopError, match="positive"):
        check(require.fairness("group"), on)


def test_probabilities_that_come_true_pass_and_overconfident_ones_do_not() -> None:
    random = np.random.default_rng(0)
    prob = random.random(ROWS)
    truth = (random.random(ROWS) < prob).astype(np.int64)
    assert check(require.calibration(error_at_most=0.03), voted(truth, prob)).passed is True
    sure = np.where(prob > 0.5, 0.97, 0.03)
    found = check(require.calibration(error_at_most=0.03), voted(truth, sure))
    assert found.passed is False
    # Predicted 0.97 and 0.03 where a quarter is otherwise: an error of 0.22 by hand.
    assert found.evidence["estimate"] == pytest.approx(0.22, abs=0.02)
    assert "; most in " in found.says


def test_a_calibrated_model_is_not_refused_for_few_rows() -> None:
    refused = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        prob = random.random(200)
        truth = (random.random(200) < prob).astype(np.int64)
        refused += check(require.calibration(error_at_most=0.01), voted(truth, prob)).passed is False
    assert refused <= 4  # of 40, at 2.5 % each; by chance more than 4 once in 300 times


def test_calibration_of_a_number_is_in_standard_deviations_of_the_truth() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(scale=10, size=ROWS)
    on = HeldOut(truth=truth, answers=Answers(prediction=truth + 5))
    told = voted(np.zeros(ROWS, np.int64), np.zeros(ROWS), task="regression", held_out=on)
    found = check(require.calibration(error_at_most=0.4), told)
    assert found.passed is False
    assert found.evidence["estimate"] == pytest.approx(5 / np.std(truth))
    assert check(require.calibration(error_at_most=0.6), told).passed is True


def test_calibration_without_probabilities_or_rows_does_not_apply() -> None:
    labels = HeldOut(
        truth=np.zeros(200, np.int64), answers=Answers(prediction=np.zeros(200, np.int64), classes=("a", "b"))
    )
    found = check(require.calibration(error_at_most=0.1), voted(labels.truth, np.zeros(200), held_out=labels))
    assert (found.passed, found.says) == (None, "calibration cannot be measured: the model gives no probabilities")
    few = voted(np.zeros(20, np.int64), np.zeros(20))
    assert check(require.calibration(error_at_most=0.1), few).says.endswith("20 held-out rows are too few")


def test_a_package_that_is_too_large_names_its_largest_file() -> None:
    package = PackageFacts(size_bytes=3_000_000, form="onnx-float32", largest={"model.skops": 2_500_000, "a": 1})
    on = chosen({"a": 0.5}, package=package)
    assert check(require.size(mb=3.5), on).passed is True
    found = check(require.size(mb=2), on)
    assert found.passed is False
    assert found.says == ("the package takes 3 MB, asked for at most 2 MB; the largest file is model.skops with 2.5 MB")
    assert check(require.size(mb=2), chosen({"a": 0.5})).passed is None
    assert check(require.memory(peak_mb=2), on).passed is None


def test_data_that_break_with_their_schema_fail_and_kept_out_rows_do_not() -> None:
    errors = [Violation(column="wage", kind="limit", severity="error", says="wage is below 0 in 3 rows", count=3)]
    warnings = [Violation(column="job", kind="category", severity="warning", says="job has new texts", count=9)]

    def version(quarantine: str | None) -> DatasetVersion:
        return DatasetVersion(
            name="a", version=1, logical="", manifest="", rows=1000, schema=Schema(columns=[]), state="accepted",
            parent=None, run_id=None, violations=[*errors, *warnings], changes={}, quarantine=quarantine, at=0,
            source=None, accepted_by=None,
        )  # fmt: skip

    broken = chosen({"a": 0.5}, data=DataFacts.of(version(None)))
    found = check(require.data_quality(), broken)
    assert (found.passed, found.says) == (False, "wage is below 0 in 3 rows (3 rows)")
    assert check(require.data_quality(broken_at_most=0.003), broken).passed is True
    found = check(require.data_quality(), chosen({"a": 0.5}, data=DataFacts.of(version("f" * 64))))
    assert found.passed is True
    assert found.says == "1000 rows fit their schema and checks; 3 rows or more that did not were kept out"


def test_columns_that_miss_too_much_are_named() -> None:
    on = chosen({"a": 0.5})
    holes = on.frame.with_columns(x=pl.when(pl.int_range(pl.len()) % 4 > 0).then(1.0))
    told = chosen({"a": 0.5}, frame=holes, data=DataFacts(rows=ROWS), train_frame=on.frame.with_columns(x=float("nan")))
    found = check(require.data_quality(missing_at_most=0.2), told)
    assert found.passed is False
    assert found.says == "25 % of x (held-out rows) are missing, 100 % of x (training rows) are missing"
    assert check(require.data_quality(), told).passed is True
    unchecked = chosen({"a": 0.5}, frame=holes)
    assert check(require.data_quality(), unchecked).passed is None
    assert check(require.data_quality(missing_at_most=0.2), unchecked).passed is False
    assert check(require.data_quality(missing_at_most=0.3), unchecked).passed is True


def numbers(noise: float, seed: int) -> HeldOut:
    truth = np.random.default_rng(0).normal(size=ROWS)
    noisy = truth + 0.5 * np.random.default_rng(1).normal(size=ROWS)
    return HeldOut(
        truth=truth, answers=Answers(prediction=noisy + noise * np.random.default_rng(seed).normal(size=ROWS))
    )


def trained(ours: HeldOut, refit: Any, **changes: Any) -> Case:
    told = {"task": "regression", "held_out": ours, "refit": refit, **changes}
    return voted(np.zeros(ROWS, np.int64), np.zeros(ROWS), **told)


def test_an_identical_refit_ends_it() -> None:
    calls: list[int] = []

    def again(seed: int) -> Refit:
        calls.append(seed)
        return Refit(answers=numbers(0, 0).answers)

    found = check(require.reproducible("rmse", refits=5), trained(numbers(0, 0), again))
    assert (found.passed, calls) == (True, [0])
    assert found.says == "trained again on the same rows, the model answers all 2000 held-out rows identically"
    by_digest = trained(numbers(0, 0), lambda _: Refit(answers=numbers(1, 1).answers, digest="d"), digest="d")
    assert check(require.reproducible("rmse"), by_digest).says.endswith("came out identical")


def test_a_refit_must_lie_where_such_trainings_lie() -> None:
    def again(seed: int) -> Refit:
        return Refit(answers=numbers(0.1, 100 + seed).answers)

    found = check(require.reproducible("rmse", refits=4), trained(numbers(0.1, 5), again))
    assert found.passed is True
    values = found.evidence["values"]
    half = student_t.ppf(0.975, 3) * np.std(values, ddof=1) * np.sqrt(1 + 1 / 4)
    assert found.evidence["high"] - found.evidence["low"] == pytest.approx(2 * half)
    lucky = check(require.reproducible("rmse", refits=4), trained(numbers(0, 5), again))
    assert lucky.passed is False
    assert ": outside what such trainings give (" in lucky.says
    assert check(require.reproducible("rmse", within=0.5), trained(numbers(0, 5), again)).passed is True
    assert check(require.reproducible("rmse", within=1e-6), trained(numbers(0, 5), again)).passed is False
    assert check(require.reproducible("rmse"), trained(numbers(0, 5), None)).passed is None


def test_a_compiled_form_that_rounds_is_no_other_training() -> None:
    plain = numbers(0.1, 5)
    rounded = plain.with_answers(Answers(prediction=plain.answers.prediction.astype(np.float32).astype(np.float64)))
    case = trained(rounded, lambda _: Refit(answers=plain.answers))
    assert check(require.reproducible("rmse", within=0.0), case).passed is False
    served = replace(case, uncompiled=lambda: plain.answers)
    assert check(require.reproducible("rmse", within=0.0), served).says.endswith("held-out rows identically")


def no_negative(answers: np.ndarray) -> tuple[bool, str]:
    """No wage is below zero."""
    return bool((answers >= 0).all()), f"{int((answers < 0).sum())} wages are below zero"


def test_a_function_of_the_loop_decides_and_says_why() -> None:
    def call(name: str, file: str, given: Any) -> Any:
        assert (name, Path(file).name) == ("no_negative", "test_gates.py")
        return no_negative(given["answers"])

    asked = require.custom(no_negative)
    assert asked.sentence == "No wage is below zero"
    found = check(asked, trained(numbers(0, 0), None, call=call))
    assert found.passed is False
    below = int((numbers(0, 0).answers.prediction < 0).sum())
    assert found.says == f"{below} wages are below zero"
    assert check(asked, trained(numbers(0, 0), None)).passed is None


@pytest.mark.parametrize("returned,passed", [(True, True), (np.bool_(False), False), ((True, "fine"), True)])
def test_a_function_may_return_what_numpy_gives(returned: Any, passed: bool) -> None:
    found = check(require.custom(no_negative), trained(numbers(0, 0), None, call=lambda *_: returned))
    assert found.passed is passed


@pytest.mark.parametrize("returned", [None, 1, "yes", (True, 3), (True, "a", "b")])
def test_a_function_that_returns_something_else_is_an_error(returned: Any) -> None:
    with pytest.raises(LoopError, match="the requirement 'no_negative' returned"):
        check(require.custom(no_negative), trained(numbers(0, 0), None, call=lambda *_: returned))


def test_a_function_that_raises_is_an_error_with_its_place() -> None:
    def call(*_: Any) -> Any:
        raise ValueError("no such column")

    with pytest.raises(LoopError, match="raised ValueError: no such column") as caught:
        check(require.custom(no_negative), trained(numbers(0, 0), None, call=call))
    assert caught.value.where.partition(":")[0].endswith("test_gates.py")
