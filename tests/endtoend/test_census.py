"""Incomes of 1994, from a file to a card: who is chosen how often, where the model is weak, and why it is refused.

The data are those of `shared/data/adult_census` (32,561 people; UCI Adult, CC BY 4.0).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Project, Quick

LOOP = '''\
"""Who earns more than 50,000 dollars a year? Asked of the census of 1994."""

import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier

from perennial import Loop, require, retrain

loop = Loop("income", target="income", positive=">50K")


@loop.collect
def census() -> pl.DataFrame:
    return pl.read_csv("adult_train.csv.gz", null_values="?").drop("fnlwgt")


@loop.train
def model(X, y):
    return HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=0).fit(X, y)


loop.evaluate(groups=["sex", "race"])
loop.require(
    require.better_than_baseline("accuracy"),
    require.metric("roc_auc", at_least=0.9),
    require.calibration(error_at_most=0.05),
    require.fairness("sex", selection_rate_ratio=0.8),
)
loop.retrain(retrain.never())
'''


@pytest.fixture(scope="module")
def income(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Iterator[Project]:
    """The loop, run once: it is refused."""
    project = Quick(tmp_path_factory.mktemp("income"))
    project.patience_s = 600.0
    shutil.copy(shared_data / "adult_census" / "adult_train.csv.gz", project.folder)
    project.write(loop=LOOP)
    said = project.perennial("run")
    assert said.code == 1, said.err
    (project.folder / "said").write_text(said.out)
    yield project
    assert project.done("verify")["sound"]


@pytest.fixture(scope="module")
def card(income: Project) -> dict[str, Any]:
    return income.done("models", "card", "income@1")


@pytest.fixture(scope="module")
def page(income: Project) -> str:
    income.done("models", "card", "income@1", "-o", "income.html")
    return " ".join((income.folder / "income.html").read_text(encoding="utf-8").split())


def test_it_is_refused_in_a_sentence_that_names_who_is_chosen_how_often(
    income: Project, card: dict[str, Any], page: str
) -> None:
    """The census itself has 10.9 % of women and 30.4 % of men above 50,000 dollars: a ratio of 0.36."""
    passed = [verdict["passed"] for verdict in card["requirements"]]
    assert (card["state"], passed) == ("refused", [True, True, True, False])
    verdict = card["requirements"][3]
    told = re.fullmatch(
        r"Female \((\d+) rows\) is chosen in ([\d.]+) % of its rows, Male \((\d+) rows\) in ([\d.]+) %: "
        r"a ratio of ([\d.]+), asked for at least 0.8",
        verdict["says"],
    )
    assert told is not None, verdict["says"]
    women, their_share, men, share, ratio = (float(text) for text in told.groups())
    assert women + men == card["evaluation"]["test"]["accuracy"]["rows"] == 6513
    assert (their_share, share) == (pytest.approx(8.0, abs=1.5), pytest.approx(26.5, abs=2.5))  # known of these data
    assert ratio == pytest.approx(their_share / share, abs=0.006)
    groups = {row["group"]: row for row in verdict["evidence"]["groups"]}
    assert groups["Female"]["selection_rate"] * 100 == pytest.approx(their_share, abs=0.01)
    assert set(verdict["evidence"]["ratios"]["selection_rate_ratio"]) == {"value", "low", "high"}

    sentence = f"groups of sex are chosen at rates whose ratio is at least 0.8: {verdict['says']}"
    assert f"FAILED  {sentence}" in (income.folder / "said").read_text()
    assert f'<li class="grave">{sentence[:1].upper()}{sentence[1:]}</li>' in page
    refused = income.perennial("approve", "income@1")
    assert refused.code == 1
    assert verdict["says"] in refused.err


def test_the_card_tells_how_groups_of_sex_and_race_fare(card: dict[str, Any], page: str) -> None:
    by = {one["column"]: one for one in card["evaluation"]["fairness"]}
    assert list(by) == ["sex", "race"]
    assert [row["group"] for row in by["race"]["groups"]] == [
        "Amer-Indian-Eskimo",
        "Asian-Pac-Islander",
        "Black",
        "Other",
        "White",
    ]
    rates = {row["group"]: row["values"] for row in by["sex"]["groups"]}
    # Known of these data, of another split and the same kind of model: accuracy 0.838 and 0.937, found again within two
    # percent; of the truly positive 0.657 and 0.592 are found.
    assert rates["Male"]["accuracy"]["value"] == pytest.approx(0.838, abs=0.02)
    assert rates["Female"]["accuracy"]["value"] == pytest.approx(0.937, abs=0.02)
    for group, known in (("Male", 0.657), ("Female", 0.592)):
        found = rates[group]["true_positive_rate"]
        assert found["low"] - 0.03 < known < found["high"] + 0.03
    (said,) = [text for text in card["evaluation"]["says"] if text.startswith("by sex, Female is selected 0.")]
    assert "as often as Male (" in said
    (part,) = re.findall(r"<h2>Fairness</h2>(.*?)</section>", page)
    for column in ("sex", "race"):
        assert f"<h3>By {column}" in part
    for group, values in rates.items():
        assert f"<tr><th>{group}</th>" in part
        assert f"{values['selection_rate']['value']:.4g} <small>" in part


def test_the_card_names_weak_groups_that_hold_on_rows_which_the_search_had_not_seen(
    card: dict[str, Any], page: str
) -> None:
    evaluation = card["evaluation"]
    searched = [one for one in evaluation["slices"] if one["found_by"] == "search"]
    worst = searched[0]
    assert worst["is_confirmed"]
    assert worst["where"]["marital_status"] == "Married-civ-spouse"  # who is rich among the married is hard to say
    assert worst["value"]["high"] < worst["rest"] - 0.1
    named = [text for text in evaluation["says"] if text.startswith("weak where ")]
    assert any("marital_status = Married-civ-spouse" in text for text in named)
    # Neither groups of nearly everybody, nor one group in several words.
    assert not [text for text in named if text.startswith("weak where capital_gain = 0:")]
    assert len([text for text in named if "marital_status = Married-civ-spouse and capital_gain = 0" in text]) == 1
    assert "<h3>Weak groups that a search found</h3>" in page
    assert "below 0.0001" in page
