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
predictor = Predictor.load(Path(sys.argv[1]), trusted=True, native=True)
frame = predictor.frame(json.loads(sys.argv[2]))
print(msgspec.json.encode(explain_rows(predictor, frame)).decode())
"""


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


@pytest.mark.parametrize("kind", ["tree", "linear", "sampled"])
def test_a_fresh_process_explains_a_stored_package_in_the_same_way(
    kind: str, wages_1985: pl.DataFrame, tmp_path: Path
) -> None:
    table = wages_1985.select("wage", "education", "experience", "gender").with_columns(
        high=(pl.col("wage") > 9).replace_strict({True: "yes", False: "no"}, return_dtype=pl.String)
    )
    target = "wage" if kind == "linear" else "high"
    table = table.drop("high" if kind == "linear" else "wage")
    encode = make_column_transformer((OneHotEncoder(), ["gender"]), remainder="passthrough")
    last = {
        "tree": HistGradientBoostingClassifier(max_iter=10),
        "linear": LinearRegression(),
        "sampled": KNeighborsClassifier(),
    }[kind]
    arrow = table.to_arrow()
    preparation = learn(arrow, target=target)
    model = make_pipeline(encode, last).fit(preparation.x(preparation.raw(arrow)), preparation.y(arrow))
    objects = ObjectStore(tmp_path / "objects")
    digest = build(
        model=model,
        preparation=preparation,
        train=arrow,
        held_out=arrow,
        objects=objects,
        provenance={},
        environment="",
    )
    folder = checkout(digest, objects, tmp_path / "packages")
    here = Predictor.load(folder, trusted=True, native=True)
    records = [
        {"education": 12, "experience": 5, "gender": "female"},
        {"education": 18, "experience": 20, "gender": "male"},
    ]
    expected = explain_rows(here, here.frame(records))
    assert {one.method for one in expected} == {kind}
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(folder), json.dumps(records)], capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    for one, wanted in zip(told, expected, strict=True):
        assert one["method"] == wanted.method
        assert one["explained"] == pytest.approx(wanted.explained)
        assert one["contributions"] == pytest.approx(wanted.contributions)
