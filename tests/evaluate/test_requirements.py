"""Each requirement passes where it should, fails where it should, and says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from perennial.errors import LoopError
from perennial.evaluate.answers import Answers, HeldOut
from perennial.evaluate.requirements import Case, check_requirements
from perennial.loop import require
from perennial.loop.declaration import Requirement
from perennial.models.facts.verdict import Verdict
from perennial.types import canonical_json

ROWS = 400
Model = Callable[[pl.DataFrame], np.ndarray]


def people() -> tuple[pl.DataFrame, np.ndarray]:
    random = np.random.default_rng(0)
    education = random.integers(6, 18, size=ROWS).astype(float)
    frame = pl.DataFrame(
        {"education": education, "job": np.array(["craft", "sales", "clerk", "farm"])[np.arange(ROWS) % 4]}
    )
    return frame, 0.1 * education + random.normal(scale=0.5, size=ROWS)


def rising(frame: pl.DataFrame) -> np.ndarray:
    return 0.1 * frame["education"].to_numpy()


def flat(frame: pl.DataFrame) -> np.ndarray:
    return np.full(len(frame), 1.15)


def case(model: Model = rising, live: Model | None = None, fresh: int = ROWS, **changes: Any) -> Case:
    frame, truth = people()

    mask = np.arange(ROWS) >= ROWS - fresh
    whole: dict[str, Any] = {
        "task": "regression",
        "frame": frame,
        "held_out": HeldOut(truth=truth, answers=Answers(prediction=model(frame))),
        "train": HeldOut(truth=truth, answers=Answers(prediction=truth)),
        "answer": lambda rows: Answers(prediction=model(rows)),
        "live_version": None if live is None else 7,
        "live": None if live is None else Answers(prediction=live(frame)[mask]),
        "fresh": None if live is None else mask,
    }
    return Case(**{**whole, **changes})


def check(requirement: Requirement, on: Case) -> Verdict:
    (found,) = check_requirements([requirement], on)
    assert (found.kind, found.sentence) == (requirement.kind, requirement.sentence)
    assert found.passed is None or type(found.passed) is bool  # the registry asks `is False`
    canonical_json(found.evidence)
    return found


def test_a_metric_within_its_bound_passes() -> None:
    found = check(require.metric("rmse", at_most=0.6), case())
    assert found.passed is True
    truth, answers = people()[1], rising(people()[0])
    assert found.says.startswith(f"rmse is {np.sqrt(np.mean((truth - answers) ** 2)):.4g} (95% interval ")
    assert found.says.endswith("asked for at most 0.6")
    assert check(require.metric("rmse", at_most=0.4), case()).passed is False
    assert check(require.metric("r2", at_least=0.1), case()).passed is True
    assert check(require.metric("r2", at_least=0.9), case()).passed is False


def test_a_metric_of_another_task_is_an_error_with_those_there_are() -> None:
    with pytest.raises(LoopError, match="no metric 'accuracy' for regression"):
        check(require.metric("accuracy", at_least=0.5), case())


def test_without_a_live_version_there_is_nothing_to_compare_with() -> None:
    for requirement in (require.better_than_live("rmse"), require.not_worse_than_live("rmse", margin=0.1)):
        found = check(requirement, case())
        assert (found.passed, found.says) == (None, "there is no live version to compare with")


def test_rows_that_live_was_trained_on_do_not_count() -> None:
    found = check(require.better_than_live("rmse"), case(live=flat, fresh=29))
    assert found.passed is None
    assert found.says == "only 29 of the held-out rows are new to live version 7: the shadow will decide"


def test_better_than_live_asks_for_clearly_better() -> None:
    found = check(require.better_than_live("rmse"), case(live=flat, fresh=300))
    assert found.passed is True
    assert found.says.startswith("better against live version 7 on 300 rows new to both: rmse improves by ")
    worse = check(require.better_than_live("rmse"), case(model=flat, live=rising))
    assert worse.passed is False
    assert worse.says.startswith("inferior")
    same = check(require.better_than_live("rmse"), case(live=rising))
    assert same.passed is False  # equal is not better
    assert check(require.better_than_live("rmse", margin=1.0), case(live=flat)).passed is False


def test_only_the_fresh_rows_are_compared() -> None:
    frame, truth = people()
    fresh = np.arange(ROWS) >= 300
    candidate, live = rising(frame), flat(frame)
    found = check(require.better_than_live("mae"), case(live=flat, fresh=100))
    saved = np.abs(live - truth)[fresh].mean() - np.abs(candidate - truth)[fresh].mean()
    assert found.evidence["effect"] == pytest.approx(saved)
    difference = (live - truth)[fresh] ** 2 - (candidate - truth)[fresh] ** 2
    assert found.evidence["difference_scale"] == pytest.approx(1.5 * np.quantile(np.abs(difference), 0.95))


def test_not_worse_than_live_allows_the_margin_and_no_more() -> None:
    slightly = check(require.not_worse_than_live("rmse", margin=0.2), case(model=flat, live=rising))
    assert slightly.passed is True
    assert slightly.says.startswith("non-inferior")
    assert check(require.not_worse_than_live("rmse", margin=0.01), case(model=flat, live=rising)).passed is False


def test_labels_differ_by_one_at_most_however_rarely_they_differ() -> None:
    frame, _ = people()
    truth = np.array([0, 1] * 200)
    almost = truth.copy()
    almost[::50] = 2
    on = replace(
        case(),
        task="classification",
        held_out=HeldOut(truth=truth, answers=Answers(prediction=truth, classes=("a", "b"))),
        train=HeldOut(truth=truth, answers=Answers(prediction=truth, classes=("a", "b"))),
        live_version=7,
        live=Answers(prediction=almost, classes=("a", "b", "?")),
        fresh=np.ones(len(frame), dtype=bool),
    )
    found = check(require.better_than_live("accuracy"), on)
    assert found.passed is True
    assert found.evidence["effect"] == pytest.approx(0.02)
    assert found.evidence["difference_scale"] == 1.0


def test_better_than_the_baseline_needs_to_know_something() -> None:
    assert check(require.better_than_baseline("rmse"), case()).passed is True
    found = check(require.better_than_baseline("rmse"), case(model=lambda frame: rising(frame) * 0 + 1.3))
    assert found.passed is False
    assert found.says.startswith("inferior against always answering the mean: rmse improves by -")


def test_slices_name_the_weak_one() -> None:
    def blind_on_farms(frame: pl.DataFrame) -> np.ndarray:
        return rising(frame) + 2.0 * (frame["job"] == "farm").to_numpy()

    assert check(require.slices("rmse", by="job", within=0.1), case()).passed is True
    found = check(require.slices("rmse", by="job", within=0.1), case(model=blind_on_farms))
    assert found.passed is False
    assert " in farm (" in found.says
    assert [row["slice"] for row in found.evidence["slices"] if row["fails"]] == ["farm"]
    overall = found.evidence["overall"]
    assert found.evidence["bound"] == pytest.approx(1.1 * overall)


def test_a_slice_may_be_worse_by_its_allowance_also_where_the_metric_is_negative() -> None:
    # r2 is below 0 overall: 10 % worse is further below, never above.
    found = check(require.slices("r2", by="job", within=0.1), case(model=lambda frame: rising(frame) + 3.0))
    assert found.evidence["overall"] < 0
    assert found.evidence["bound"] == pytest.approx(1.1 * found.evidence["overall"])
    assert found.passed is True


def test_a_small_slice_is_listed_and_not_judged() -> None:
    frame, _ = people()
    rare = frame.with_columns(job=pl.when(pl.int_range(pl.len()) < 29).then(pl.lit("rare")).otherwise("job"))

    def blind_on_rare(rows: pl.DataFrame) -> np.ndarray:
        return rising(rows) + 9.0 * (rows["job"] == "rare").to_numpy()

    on = case(frame=rare, held_out=HeldOut(truth=people()[1], answers=Answers(prediction=blind_on_rare(rare))))
    found = check(require.slices("rmse", by="job", within=0.1), on)
    assert found.passed is True
    assert found.says.endswith("(1 of 5 slices have fewer than 30 rows and are not judged)")
    assert [(row["slice"], row["rows"]) for row in found.evidence["slices"]] == [
        ("clerk", 93),
        ("craft", 92),
        ("farm", 93),
        ("rare", 29),
        ("sales", 93),
    ]


def test_a_missing_value_is_a_slice_and_a_missing_column_an_error() -> None:
    frame, _ = people()
    on = case(frame=frame.with_columns(job=pl.when(pl.col("job") != "farm").then("job")))
    found = check(require.slices("rmse", by="job", within=0.5), on)
    assert [row["slice"] for row in found.evidence["slices"]] == ["(missing)", "clerk", "craft", "sales"]
    with pytest.raises(LoopError, match="no such column") as caught:
        check(require.slices("rmse", by="region", within=0.1), case())
    assert caught.value.remedy == "use one of education, job"


def test_monotone_finds_the_rows_that_move_the_wrong_way() -> None:
    def bent(frame: pl.DataFrame) -> np.ndarray:
        x = frame["education"].to_numpy()
        return np.where(frame["job"].to_numpy() == "farm", -0.1 * x, 0.1 * x)

    assert check(require.monotone("education", increasing=True), case()).passed is True
    found = check(require.monotone("education", increasing=True), case(model=bent))
    assert found.passed is False
    # A hundred rows at even distances: a quarter of them farm, or as near to it as the distances come.
    positions = np.linspace(0, ROWS - 1, 100).astype(int)
    farms = int((people()[0]["job"].to_numpy()[positions] == "farm").sum())
    assert found.evidence["broken"] == farms
    assert found.says.startswith(f"for {farms} of 100 rows the answer moves the wrong way as education grows")
    falling = check(require.monotone("education", increasing=False), case(model=lambda frame: -rising(frame)))
    assert falling.passed is True
    assert falling.says == "the answer falls with education for all 100 rows tried"


def test_a_flat_answer_and_rounding_break_no_trend() -> None:
    assert check(require.monotone("education", increasing=True), case(model=flat)).passed is True

    def rough(frame: pl.DataFrame) -> np.ndarray:
        return rising(frame) + 1e-4 * np.sin(1e4 * frame["education"].to_numpy())

    assert check(require.monotone("education", increasing=True), case(model=rough)).passed is True


@pytest.mark.parametrize("column", [[12.0] * ROWS, [None] * ROWS, [float("nan")] * ROWS])
def test_monotone_says_when_there_is_nothing_to_compare(column: list[float | None]) -> None:
    frame = people()[0].with_columns(education=pl.Series(column, dtype=pl.Float64))
    found = check(require.monotone("education", increasing=True), case(frame=frame))
    assert found.passed is None
    assert "fewer than two values of education" in found.says


def test_monotone_needs_a_number() -> None:
    with pytest.raises(LoopError, match="no such numeric column") as caught:
        check(require.monotone("job", increasing=True), case())
    assert caught.value.remedy == "use one of education"


def test_latency_keeps_its_timing_apart() -> None:
    found = check(require.latency(p99_ms=10_000), case())
    assert (found.passed, found.says) == (True, "one row takes less than 10000 ms in 99 of 100 cases")
    assert set(found.evidence) == {"rows", "limit_ms", "timing"}
    assert check(require.latency(p99_ms=1e-6), case()).passed is False


def test_all_verdicts_come_in_the_order_declared() -> None:
    asked = [require.metric("mae", at_most=9), require.better_than_live("mae"), require.better_than_baseline("mae")]
    assert [found.sentence for found in check_requirements(asked, case())] == [one.sentence for one in asked]


def test_the_same_rows_give_the_same_numbers() -> None:
    asked = [require.better_than_live("rmse"), require.slices("rmse", by="job", within=0.1)]
    first, second = (check_requirements(asked, case(live=flat)) for _ in range(2))
    assert first == second
