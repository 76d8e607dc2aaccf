"""Folders that MLflow saved of LightGBM, served: a booster, and an estimator of its scikit-learn interface."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import lightgbm
import pytest
from sklearn.datasets import load_diabetes, load_iris

from ...endtoend.conftest import Project
from ..imported import assert_served_like_mlflow

with warnings.catch_warnings():  # MLflow warns of its own type hints when it is imported
    warnings.simplefilter("ignore")
    import mlflow.lightgbm
    import mlflow.pyfunc
    from mlflow.models import infer_signature

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, of which there are many

QUICKLY: Any = {"pip_requirements": ["mlflow"]}  # else MLflow loads the model in another process to find out
X, Y = load_iris(return_X_y=True, as_frame=True)
DX, DY = load_diabetes(return_X_y=True, as_frame=True)


def test_a_booster_as_data_and_a_classifier_in_a_pickle(project: Project, tmp_path: Path) -> None:
    settings = {"objective": "regression", "verbose": -1, "num_threads": 1}
    booster = lightgbm.train(settings, lightgbm.Dataset(DX, DY), 20)
    classifier = lightgbm.LGBMClassifier(n_estimators=10, verbose=-1, n_jobs=1).fit(X, Y)
    for name, model, x, y in (("disease", booster, DX, DY), ("iris", classifier, X, Y)):
        folder = tmp_path / name
        mlflow.lightgbm.save_model(model, folder, signature=infer_signature(x, y), input_example=x.head(149), **QUICKLY)
        some = x.iloc[[0, 40, 80, 149]]
        rows = json.loads(some.to_json(orient="records", double_precision=15))
        expected = mlflow.pyfunc.load_model(str(folder)).predict(some)
        words, kind = ((), "lightgbm") if name == "disease" else (("--trust-code",), "mlflow")
        assert_served_like_mlflow(project, folder, name, rows, expected, *words, kind=kind, relative=1e-5)
