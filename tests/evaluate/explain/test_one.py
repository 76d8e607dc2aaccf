"""One prediction explained: in the process that trained, and from a stored package in a fresh one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from perennial.errors import Invalid
from perennial.evaluate.explain import explain_rows
from perennial.models.build import build
from perennial.models.package import Predictor, checkout
from perennial.models.preparation import learn
from perennial.store.objects import ObjectStore

FRESH = """
import json, sys
from pathlib import Path
import msgspec
from perennial.evaluate.explain import explain_rows
from perennial.models.package import Predictor
records, told = json.loads(sys.argv[1]), []
for folder in sys.argv[2:]:
    predictor = Predictor.load(Path(folder), trusted=True, native=True)
    told.append(explain_rows(predictor, predictor.frame(records)))
print(msgspec.json.encode(told).decode())
"""
RECORDS = [
    {"education": 12, "experience": 5, "gender": "female"},
    {"education": 18, "experience": 20, "gender": "male"},
]
MODELS = {
    "tree": HistGradientBoostingClassifier(max_iter=10),
    "linear": LinearRegression(),
    "sampled": KNeighborsClassifier(),
}


def test_an_income_is_explained_in_log_odds_largest_first(
    adult: tuple[pl.DataFrame, pl.DataFrame], fitted: Any
) -> None:
    model = HistGradientBoostingClassifier(max_iter=20, categorical_features="from_dtype")
    predictor = fitted(model, adult[0], "income")
    rows = adult[1].drop("income")
    found = explain_rows(predictor, rows.head(5), background=rows.tail(50))
    answers = predictor.predict(rows.head(5))
    for one, answer in zip(found, answers, strict=True):
        assert one.prediction == answer["prediction"]
        assert (one.method, one.unit, one.of, one.errors) == ("tree", "log-odds", ">50K", None)
        assert one.base + sum(one.contributions.values()) == pytest.approx(one.explained)
        assert 1 / (1 + np.exp(-one.explained)) == pytest.approx(answer["probabilities"][">50K"])
        sizes = [abs(value) for value in one.contributions.values()]
        assert sizes == sorted(sizes, reverse=True)


def test_each_row_is_explained_for_its_own_class(wages_1985: pl.DataFrame, fitted: Any) -> None:
    table = wages_1985.select("occupation", "wage", "education")
    predictor = fitted(KNeighborsClassifier(20), table, "occupation")
    rows = table.drop("occupation")
    found = explain_rows(predictor, rows.head(30), background=rows.tail(60))
    assert len({one.of for one in found}) > 1
    for one, answer in zip(found, predictor.predict(rows.head(30)), strict=True):
        assert one.of == one.prediction == answer["prediction"]
        assert (one.method, one.unit) == ("sampled", "probability")
        assert one.explained == pytest.approx(answer["probabilities"][one.of])
        assert one.errors is not None
        assert list(one.errors) == list(one.contributions)
    asked = explain_rows(predictor, rows.head(3), background=rows.tail(60), of="worker")
    assert {one.of for one in asked} == {"worker"}


def test_what_cannot_be_explained_is_said(wages_1985: pl.DataFrame, fitted: Any) -> None:
    table = wages_1985.select("wage", "education")
    predictor = fitted(LinearRegression(), table, "wage")
    rows = table.drop("wage").head(3)
    assert explain_rows(predictor, rows.head(0)) == []
    with pytest.raises(Invalid, match="no rows to compare"):
        explain_rows(predictor, rows)
    with pytest.raises(Invalid, match="no tree model"):
        explain_rows(predictor, rows, method="tree", background=rows)
    predictor = fitted(KNeighborsClassifier(), wages_1985.select("union", "wage"), "union")
    with pytest.raises(Invalid, match="no class 'perhaps'"):
        explain_rows(predictor, wages_1985.select("wage").head(2), background=wages_1985.select("wage"), of="perhaps")


@pytest.fixture(scope="module")
def packages(wages_1985: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checked-out packages of the models, by the way in which each is explained."""
    folder = tmp_path_factory.mktemp("explained")
    whole = wages_1985.select("wage", "education", "experience", "gender").with_columns(
        high=(pl.col("wage") > 9).replace_strict({True: "yes", False: "no"}, return_dtype=pl.String)
    )
    found: dict[str, Path] = {}
    with ObjectStore(folder / "objects") as objects:
        for kind, last in MODELS.items():
            target, other = ("wage", "high") if kind == "linear" else ("high", "wage")
            arrow = whole.drop(other).to_arrow()
            preparation = learn(arrow, target=target)
            encode = make_column_transformer((OneHotEncoder(), ["gender"]), remainder="passthrough")
            model = make_pipeline(encode, last).fit(preparation.x(preparation.raw(arrow)), preparation.y(arrow))
            digest = build(
                model=model,
                preparation=preparation,
                train=arrow,
                held_out=arrow,
                objects=objects,
                provenance={},
                environment="",
            )
            found[kind] = checkout(digest, objects, folder / "packages")
    return found


@pytest.fixture(scope="module")
def told(packages: dict[str, Path]) -> dict[str, Any]:
    """What a fresh process says of each."""
    words = [sys.executable, "-c", FRESH, json.dumps(RECORDS), *map(str, packages.values())]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return dict(zip(packages, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("kind", MODELS)
def test_a_fresh_process_explains_a_stored_package_in_the_same_way(
    kind: str, packages: dict[str, Path], told: dict[str, Any]
) -> None:
    here = Predictor.load(packages[kind], trusted=True, native=True)
    expected = explain_rows(here, here.frame(RECORDS))
    assert {one.method for one in expected} == {kind}
    for one, wanted in zip(told[kind], expected, strict=True):
        assert one["method"] == wanted.method
        assert one["explained"] == pytest.approx(wanted.explained)
        assert one["contributions"] == pytest.approx(wanted.contributions)
