"""What a change of the input may do to the answer: each check passes a model that obeys and names the rows of one that
does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import beta

from perennial.errors import LoopError
from perennial.evaluate.answers import Answers, HeldOut
from perennial.evaluate.requirements import Case, check_requirements
from perennial.loop import require
from perennial.loop.declaration import Requirement
from perennial.models.facts.verdict import Verdict
from perennial.types import canonical_json

ROWS = 1000
Model = Callable[[pl.DataFrame], np.ndarray]


def people(rows: int = ROWS) -> pl.DataFrame:
    random = np.random.default_rng(1)
    return pl.DataFrame(
        {
            "person": np.arange(rows),
            "sex": np.where(random.random(rows) < 0.5, "female", "male"),
            "education": random.integers(6, 18, size=rows),
            "height": random.normal(170, 10, size=rows),
            "unit": ["cm"] * rows,
        }
    )


def fair(frame: pl.DataFrame) -> np.ndarray:
    """Wages by education, and by height whatever its unit."""
    height = frame["height"].to_numpy() / np.where(frame["unit"].to_numpy() == "cm", 1.0, 10.0)
    return 0.5 * frame["education"].to_numpy() + 0.01 * height


def biased(frame: pl.DataFrame) -> np.ndarray:
    return fair(frame) + 1.0 * (frame["sex"] == "male").to_numpy()


def case(model: Model = fair, frame: pl.DataFrame | None = None) -> Case:
    rows = people() if frame is None else frame
    on = HeldOut(truth=fair(rows), answers=Answers(prediction=model(rows)))
    return Case(
        task="regression",
        frame=rows.with_columns(pl.lit(1).alias("not_taken")),
        inputs=people(1).columns,
        held_out=on,
        train=on,
        answer=lambda asked: Answers(prediction=model(asked)),
    )


def voting(model: Model = fair, classes: tuple[str, ...] = ("no", "yes")) -> Case:
    """The same as a classifier: yes with a probability that rises with the wage."""

    def answer(asked: pl.DataFrame) -> Answers:
        prob = 1 / (1 + np.exp(-(model(asked) - 7.7)))
        return Answers.of_arrays(None, np.column_stack([1 - prob, prob]), classes, "classification")

    frame = people()
    answers = answer(frame)
    on = HeldOut(truth=answers.prediction, answers=answers)
    return Case(task="classification", frame=frame, inputs=frame.columns, held_out=on, train=on, answer=answer)


def check(requirement: Requirement, on: Case) -> Verdict:
    (found,) = check_requirements([requirement], on)
    assert found.passed is None or type(found.passed) is bool
    canonical_json(found.evidence)
    return found


def test_swapping_a_protected_attribute_may_not_matter() -> None:
    swap = require.invariant("sex", swap=["female", "male"])
    found = check(swap, case())
    assert (found.passed, found.evidence["tried"], found.evidence["failed"]) == (True, ROWS, 0)
    # Of 1,000 rows without a failure: at most 0.3 % with 95 % confidence, 1 - 0.05^(1/1000).
    assert found.evidence["upper_bound"] == pytest.approx(1 - 0.05 ** (1 / ROWS))
    found = check(swap, case(biased))
    assert (found.passed, found.evidence["failed"]) == (False, ROWS)
    assert found.says.startswith("another sex (female / male) changes the answer in 1000 of 1000 (100 %, at most 100 %")
    assert found.evidence["failures"][0]["row"]["sex"] in {"female", "male"}
    assert found.evidence["largest_change"] == pytest.approx(1.0)


def test_a_swap_of_a_classifier_counts_labels_that_change() -> None:
    found = check(require.invariant("sex", swap=["female", "male"], changed_at_most=0.05), voting(biased))
    frame = people()
    female, male = (biased(frame.with_columns(pl.lit(sex).alias("sex"))) for sex in ("female", "male"))
    assert found.evidence["failed"] == int(((female > 7.7) != (male > 7.7)).sum())
    assert found.passed is False
    assert ", for example from " in found.says


def test_the_share_of_failures_is_judged_by_its_exact_upper_bound() -> None:
    def odd_for(share: float) -> Model:
        return lambda frame: (
            fair(frame) + (frame["sex"] == "male").to_numpy() * (frame["person"] < share * ROWS).to_numpy()
        )

    swap = require.invariant("sex", swap=["female", "male"], changed_at_most=0.05)
    for share, passed in ((0.03, True), (0.045, None), (0.06, False)):
        found = check(swap, case(odd_for(share)))
        failed = round(share * ROWS)
        assert (found.evidence["failed"], found.passed) == (failed, passed)
        assert found.evidence["upper_bound"] == pytest.approx(beta.ppf(0.95, failed + 1, ROWS - failed))
    assert "too few rows to tell whether it is within 5 %" in check(swap, case(odd_for(0.045))).says


def test_swaps_of_three_values_ask_for_each_of_the_others() -> None:
    frame = people().with_columns(sex=pl.Series(["a", "b", "c", "d"] * (ROWS // 4)))
    found = check(require.invariant("sex", swap=["a", "b", "c"]), case(frame=frame))
    assert found.evidence["tried"] == 3 * ROWS // 4 * 2


def test_an_id_or_an_irrelevant_column_may_not_matter() -> None:
    assert check(require.invariant("person"), case()).passed is True
    found = check(require.invariant("person"), case(lambda frame: frame["person"].to_numpy() * 1.0))
    assert found.passed is False
    assert found.says.startswith("another row's person changes the answer in ")


def test_the_order_of_rows_and_their_company_may_not_matter() -> None:
    def ranks(frame: pl.DataFrame) -> np.ndarray:
        return np.arange(len(frame)) * 1.0

    def among_others(frame: pl.DataFrame) -> np.ndarray:
        return frame["height"].to_numpy() - frame["height"].mean()

    order, alone = require.invariant(rows="order"), require.invariant(rows="alone")
    assert check(order, case()).passed is True
    assert check(alone, case()).passed is True
    assert check(order, case(ranks)).passed is False
    assert check(order, case(among_others)).passed is True
    assert check(alone, case(among_others)).passed is False
    assert check(alone, voting()).passed is True


def test_another_unit_may_not_matter() -> None:
    scale = require.invariant(scale={"height": 10.0}, fixed={"unit": "mm"})
    found = check(scale, case())
    assert (found.passed, found.evidence["tried"]) == (True, ROWS)
    blind = check(scale, case(lambda frame: frame["height"].to_numpy()))
    assert blind.passed is False
    assert blind.says.startswith("height times 10, unit mm changes the answer in 1000 of 1000")
    # Rows that have the other unit already are not asked.
    mixed = people().with_columns(unit=pl.Series(["cm", "mm"] * (ROWS // 2)))
    assert check(scale, case(frame=mixed)).evidence["tried"] == ROWS // 2


def test_a_step_moves_the_answer_one_way_and_stays_within_the_data() -> None:
    found = check(require.directional("education", by=+2), case())
    inside = int((people()["education"] <= 15).sum())
    assert (found.passed, found.evidence["tried"], found.evidence["mean"]) == (True, inside, pytest.approx(1.0))
    falling = check(require.directional("education", by=+2, increases=False), case())
    assert falling.passed is False
    assert falling.says.startswith("after education +2 the answer falls on average by -1; it does not in ")
    assert len(falling.evidence["failures"]) == 5
    assert check(require.directional("education", by=-2, increases=False), case()).passed is True
    assert check(require.directional("education", by=+2, least=1.5), case()).passed is False
    assert check(require.directional("education", by=2), voting()).passed is True


def test_a_step_that_leaves_the_data_compares_nothing() -> None:
    found = check(require.directional("education", by=100), case())
    assert (found.passed, found.evidence) == (None, {"tried": 0})
    with pytest.raises(LoopError, match="no such numeric column") as caught:
        check(require.directional("sex", by=1), case())
    assert caught.value.remedy == "use one of person, education, height"
    with pytest.raises(LoopError, match="no such column"):
        check(require.invariant("not_taken"), case())


def test_a_swap_of_values_that_no_row_has_is_an_error() -> None:
    with pytest.raises(LoopError, match="no held-out row has one of m, f") as caught:
        check(require.invariant("sex", swap=["m", "f"]), case())
    assert caught.value.remedy == "the data have female, male"


def test_examples_are_answered_as_expected_or_told() -> None:
    given = {"education": 12, "height": 170.0, "unit": "cm"}
    right = {"given": given, "expect": 7.7}
    assert check(require.examples([right]), case()).passed is True
    near = {"given": given, "expect": 7.6}
    found = check(require.examples([right, near]), case())
    assert found.passed is False
    assert found.says == "example 2 (education=12, height=170.0, unit=cm) is answered 7.7, not 7.6"
    assert check(require.examples([{**near, "tolerance": 0.2}]), case()).passed is True
    assert [row["passed"] for row in found.evidence["examples"]] == [True, False]
    more = {**given, "education": 17}
    assert check(require.examples([{"given": more, "expect": "yes"}]), voting()).passed is True
    assert check(require.examples([{"given": more, "expect": "no"}]), voting()).passed is False
    with pytest.raises(LoopError, match="example 1 gives wage, which the model does not take"):
        check(require.examples([{"given": {"wage": 1}, "expect": 1}]), case())


def test_noise_changes_few_answers_or_the_feature_behind_it_is_named() -> None:
    assert check(require.robust(noise=0.01), case()).passed is True

    def jumpy(frame: pl.DataFrame) -> np.ndarray:
        return np.sin(100 * frame["height"].to_numpy())

    found = check(require.robust(noise=0.05), case(jumpy))
    assert found.passed is False
    assert "; most by height alone (" in found.says
    assert found.evidence["alone"]["education"] == 0.0
    assert check(require.robust(noise=0.05), case(jumpy)) == found  # drawn by seed


def test_a_model_without_numbers_carries_no_noise() -> None:
    on = case(lambda frame: np.ones(len(frame)))
    told = Case(**{**on.__dict__, "inputs": ["sex", "unit"]})
    assert check(require.robust(), told).passed is None


def test_a_missing_value_and_a_whole_number_stay_what_they_are_under_noise() -> None:
    frame = people().with_columns(
        education=pl.when(pl.int_range(pl.len()) % 2 == 0).then("education"),
        height=pl.when(pl.int_range(pl.len()) % 3 == 0).then("height"),
    )
    seen: list[pl.DataFrame] = []

    def watching(asked: pl.DataFrame) -> Any:
        seen.append(asked)
        return np.ones(len(asked))

    check(require.robust(), case(watching, frame))
    for asked in seen:
        assert asked.schema["education"] == frame.schema["education"]
        assert asked["education"].null_count() == ROWS // 2
        assert asked["height"].null_count() == frame["height"].null_count()
