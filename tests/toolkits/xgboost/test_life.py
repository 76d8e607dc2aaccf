"""Models of XGBoost from training to service, by its scikit-learn interface and as a bare booster, with categories."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import xgboost

from perennial.errors import Corrupt
from perennial.models.build import build
from perennial.models.package import Predictor, checkout, read_manifest
from perennial.models.preparation import learn
from perennial.store.objects import ObjectStore

from ...endtoend.conftest import Project
from ..life import live

FLOWERS = '''\
"""Flowers, by XGBoost."""

from sklearn.datasets import load_iris
from xgboost import XGBClassifier

from perennial import Loop, require, retrain

loop = Loop("flowers", target="species")


@loop.collect
def flowers():
    frame = load_iris(as_frame=True).frame.rename(columns=lambda name: name.replace(" (cm)", "").replace(" ", "_"))
    frame["species"] = load_iris().target_names[frame.pop("target")]
    return frame


@loop.train
def model(X, y, *, rounds: int = 20):
    from sklearn.preprocessing import LabelEncoder

    return XGBClassifier(n_estimators=rounds, max_depth=3, n_jobs=1).fit(X, LabelEncoder().fit_transform(y))


loop.require(require.better_than_baseline("accuracy"))
loop.retrain(retrain.never())
'''

WAGES = '''\
"""Wages, by a bare booster that takes the occupation as a category and misses some hours."""

import numpy as np
import pandas as pd
import xgboost
from linearmodels.datasets import wage_panel

from perennial import Loop, require, retrain

loop = Loop("wages", target="lwage", key="nr")


@loop.collect
def wages():
    frame = wage_panel.load()[["nr", "educ", "exper", "hours", "occupation", "lwage"]]
    frame["occupation"] = "job " + frame["occupation"].astype(str)
    frame["hours"] = frame["hours"].astype(float).where(frame["hours"] > 500)
    return frame


@loop.train
def model(X, y):
    matrix = xgboost.DMatrix(X, y, enable_categorical=True)
    return xgboost.train({"max_depth": 4, "objective": "reg:squarederror", "nthread": 1}, matrix, num_boost_round=40)


loop.require(require.better_than_baseline("rmse"))
loop.retrain(retrain.never())
'''
FLOWER = {"sepal_length": 6.1, "sepal_width": 2.8, "petal_length": 4.7, "petal_width": 1.2}
WAGE = {"educ": 12, "exper": 5, "hours": 2000.0, "occupation": "job 5"}


def test_a_classifier_lives_from_training_to_service(project: Project) -> None:
    project.write(loop=FLOWERS)
    rows = [FLOWER, FLOWER | {"petal_length": 1.3}]
    told = live(project, "flowers", rows, task="classification", relative=1e-5, kind="xgboost", method="tree")
    assert [row["prediction"] for row in told["serving"]] == ["versicolor", "setosa"]
    assert set(told["serving"][0]["probabilities"]) == {"setosa", "versicolor", "virginica"}


def test_a_booster_with_categories_and_missing_values_lives_from_training_to_service(project: Project) -> None:
    project.write(loop=WAGES)
    rows = [WAGE, WAGE | {"hours": None}, WAGE | {"occupation": "job 1"}, WAGE | {"occupation": "never seen"}]
    live(project, "wages", rows, task="regression", relative=1e-5, kind="xgboost", method="tree")


def test_a_model_that_stopped_early_answers_with_its_best_rounds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 3))
    y = x[:, 0] + rng.normal(size=600)
    model = xgboost.XGBRegressor(n_estimators=300, learning_rate=0.3, early_stopping_rounds=3, n_jobs=1)
    model.fit(x[:300], y[:300], eval_set=[(x[300:], y[300:])], verbose=False)
    assert model.best_iteration < 299
    table = pa.table({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": y})
    objects = ObjectStore(tmp_path / "objects")
    digest = build(
        model=model,
        preparation=learn(table, target="y"),
        train=table,
        held_out=table.slice(0, 0),
        objects=objects,
        provenance={},
        environment="",
    )
    predictor = Predictor.load(checkout(digest, objects, tmp_path / "cache"))  # its format is data: nobody need vouch
    found = predictor.answers(pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2]})).values
    np.testing.assert_allclose(found, model.predict(x), rtol=1e-5)
    assert not read_manifest(objects.get(digest)).runs_code


def test_C09_a_pickle_that_claims_to_be_a_booster_is_refused(tmp_path: Path) -> None:
    from perennial.models.flavors.xgboost import read_booster

    path = tmp_path / "model.ubj"
    path.write_bytes(b"\x80\x05cos\nsystem\n.")
    with pytest.raises(Corrupt, match="does not read"):
        read_booster(path)
