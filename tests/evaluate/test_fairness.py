"""Rates and losses of declared groups, beside fairlearn's and the published figures of the census data."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from fairlearn import metrics as fair
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.preprocessing import OrdinalEncoder

from perennial.errors import LoopError
from perennial.evaluate.answers import Answers, HeldOut
from perennial.evaluate.fairness import fairness


def made(seed: int, shares: tuple[float, float], rows: int = 4000) -> tuple[HeldOut, pl.DataFrame]:
    """Two groups of which these shares are chosen, at random."""
    random = np.random.default_rng(seed)
    group = np.array(["a", "b"])[random.integers(2, size=rows)]
    chosen = random.random(rows) < np.where(group == "a", *shares)
    truth = random.random(rows) < 0.4
    answers = Answers.of_arrays(chosen.astype(str), None, ("False", "True"), "classification")
    return HeldOut.of(truth.astype(str), answers, "classification"), pl.DataFrame({"group": group})


def test_groups_are_measured_as_fairlearn_does() -> None:
    on, frame = made(0, (0.5, 0.3))
    (found,), says = fairness("classification", on, frame, ["group"])
    truth, chosen = on.truth, on.answers.prediction
    options = {"sensitive_features": frame["group"].to_list()}
    ratio, difference = found.ratios["selection_rate_ratio"], found.ratios["equalised_odds_difference"]
    assert ratio.value == pytest.approx(fair.demographic_parity_ratio(truth, chosen, **options))
    assert difference.value == pytest.approx(fair.equalized_odds_difference(truth, chosen, **options))
    assert ratio.low < ratio.value < ratio.high < 0.8  # type: ignore[operator]
    assert says[0].startswith(f"by group, b is selected {ratio.value:.2f} times as often as a (")
    for row in found.groups:
        inside = (frame["group"] == row.group).to_numpy()
        rates = fair.true_positive_rate(truth[inside], chosen[inside])
        assert row.values["true_positive_rate"].value == pytest.approx(rates)
        assert row.values["selection_rate"].value == pytest.approx(chosen[inside].mean())


def test_groups_that_are_treated_alike_are_not_accused() -> None:
    said = sum(bool(fairness("classification", *made(seed, (0.4, 0.4)), ["group"])[1]) for seed in range(8))
    assert said == 0


def test_intervals_of_a_group_cover_its_rate() -> None:
    covered = 0
    for seed in range(40):
        (found,), _ = fairness("classification", *made(seed, (0.5, 0.3), rows=400), ["group"])
        rate = found.groups[1].values["selection_rate"]
        covered += rate.low <= 0.3 <= rate.high  # type: ignore[operator]
    assert covered >= 34  # of 40 at 95 %: fewer has a probability below 0.005


def test_a_small_group_is_listed_and_takes_no_part_in_ratios() -> None:
    on, frame = made(0, (0.5, 0.5))
    few = pl.int_range(pl.len(), eager=False)
    frame = frame.with_columns(group=pl.when(few < 49).then(pl.lit("rare")).otherwise("group"))
    on.answers.prediction[:49] = 0  # nobody of them is selected
    (found,), says = fairness("classification", on, frame, ["group"])
    rare = next(row for row in found.groups if row.group == "rare")
    assert (rare.rows, rare.is_judged, rare.values["selection_rate"].value) == (49, False, 0.0)
    assert found.ratios["selection_rate_ratio"].value > 0.8
    assert says == []


def test_a_group_without_positive_rows_has_no_true_positive_rate() -> None:
    on, frame = made(0, (0.5, 0.5))
    on.truth[(frame["group"] == "a").to_numpy()] = 0
    (found,), _ = fairness("classification", on, frame, ["group"])
    assert "true_positive_rate" not in found.groups[0].values
    assert "false_positive_rate" in found.groups[0].values
    assert "equalised_odds_difference" not in found.ratios


def test_a_regression_has_residuals_and_losses_by_group() -> None:
    random = np.random.default_rng(0)
    group = np.array(["a", "b", "c"])[np.arange(3000) % 3]
    truth = random.normal(size=3000)
    prediction = truth + random.normal(scale=0.5, size=3000) - 0.4 * (group == "c")
    on = HeldOut(truth=truth, answers=Answers(prediction=prediction))
    (found,), _ = fairness("regression", on, pl.DataFrame({"group": group}), ["group"])
    residual = {row.group: row.values["mean_residual"] for row in found.groups}
    assert residual["c"].value == pytest.approx((prediction - truth)[group == "c"].mean())
    assert residual["c"].high < -0.3 < residual["a"].low  # type: ignore[operator]
    assert found.ratios["mean_residual_difference"].value == pytest.approx(0.4, abs=0.06)
    assert found.worst == "c"


def test_a_column_that_is_missing_or_names_rows_is_an_error() -> None:
    on, frame = made(0, (0.5, 0.5))
    with pytest.raises(LoopError, match="the data have no column 'sex'") as caught:
        fairness("classification", on, frame, ["sex"])
    assert caught.value.remedy == "use one of group"
    names = frame.with_columns(name=pl.int_range(pl.len()).cast(pl.String))
    with pytest.raises(LoopError, match="different value in almost every row"):
        fairness("classification", on, names, ["name"])


def test_the_census_of_incomes_is_measured_as_published(adult: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    train, test = (part.with_columns(pl.col("income").str.strip_chars(".")) for part in adult)
    texts = [name for name in train.columns if train[name].dtype == pl.String and name != "income"]
    numbers = [name for name in train.columns if train[name].dtype != pl.String]
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1).fit(train.select(texts).to_numpy())

    def x(frame: pl.DataFrame) -> np.ndarray:
        return np.hstack([frame.select(numbers).to_numpy(), encoder.transform(frame.select(texts).to_numpy())])

    model = HistGradientBoostingClassifier(random_state=0).fit(x(train), train["income"].to_numpy())
    table = model.predict_proba(x(test))
    answers = Answers.of_arrays(None, table, model.classes_.tolist(), "classification", positive=">50K")
    on = HeldOut.of(test["income"], answers, "classification")
    (sex, race), says = fairness("classification", on, test, ["sex", "race"])
    female, male = ({name: one.value for name, one in row.values.items()} for row in sex.groups)
    # By the README of the data: Male accuracy 0.838, selection 0.256, TPR 0.657; Female 0.937, 0.083, 0.592.
    for group, accuracy, selection, positive in ((male, 0.838, 0.256, 0.657), (female, 0.937, 0.083, 0.592)):
        assert group["accuracy"] == pytest.approx(accuracy, abs=0.005)
        assert group["selection_rate"] == pytest.approx(selection, abs=0.01)
        assert group["true_positive_rate"] == pytest.approx(positive, abs=0.02)
    assert sex.ratios["selection_rate_ratio"].high < 0.4  # type: ignore[operator]
    assert sex.worst == "Male"
    assert len(race.groups) == 5
    assert says[0].startswith("by sex, Female is selected 0.3")
