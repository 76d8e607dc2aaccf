"""Folders that MLflow saved of XGBoost, served: a booster, and an estimator of its scikit-learn interface."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import xgboost
from sklearn.datasets import load_diabetes, load_iris

from ...endtoend.conftest import Project
from ..imported import assert_served_like_mlflow

with warnings.catch_warnings():  # MLflow warns of its own type hints when it is imported
    warnings.simplefilter("ignore")
    import mlflow.pyfunc
    import mlflow.xgboost
    from mlflow.models import infer_signature

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, of which there are many

QUICKLY: Any = {"pip_requirements": ["mlflow"]}  # else MLflow loads the model in another process to find out
X, Y = load_iris(return_X_y=True, as_frame=True)
DX, DY = load_diabetes(return_X_y=True, as_frame=True)


def test_a_booster_and_a_classifier(project: Project, tmp_path: Path) -> None:
    booster = xgboost.train({"max_depth": 3, "nthread": 1}, xgboost.DMatrix(DX, DY), num_boost_round=20)
    classifier = xgboost.XGBClassifier(n_estimators=10, max_depth=3, n_jobs=1).fit(X, Y)
    for name, model, x, y in (("disease", booster, DX, DY), ("iris", classifier, X, Y)):
        folder = tmp_path / name
        mlflow.xgboost.save_model(model, folder, signature=infer_signature(x, y), input_example=x.head(60), **QUICKLY)
        some = x.iloc[[0, 40, 80, 149]]
        rows = json.loads(some.to_json(orient="records", double_precision=15))
        expected = mlflow.pyfunc.load_model(str(folder)).predict(some)
        assert_served_like_mlflow(project, folder, name, rows, expected, kind="xgboost", relative=1e-5)
