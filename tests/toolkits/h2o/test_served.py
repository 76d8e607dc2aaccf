"""A model of h2o that MLflow saved in h2o's binary form, served: converted to a MOJO when it is brought in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sklearn.datasets import load_iris

from ...endtoend.conftest import Project
from ..imported import assert_served_like_mlflow

# MLflow's own, of which there are many; h2o's client warns about levels, speed and its age.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_a_forest(project: Project, tmp_path: Path, h2o_cluster: Any) -> None:
    import mlflow.h2o
    import mlflow.pyfunc
    from h2o.estimators import H2OGradientBoostingEstimator
    from mlflow.models import infer_signature

    x = load_iris(as_frame=True).data.rename(columns=lambda name: name.replace(" (cm)", "").replace(" ", "_"))
    kinds = load_iris().target_names[load_iris().target]
    frame = h2o_cluster.H2OFrame(x.assign(kind=kinds), column_types={"kind": "factor"})
    model = H2OGradientBoostingEstimator(ntrees=10, seed=1)
    model.train(x=list(x.columns), y="kind", training_frame=frame)
    folder = tmp_path / "saved"
    mlflow.h2o.save_model(
        model,
        str(folder),
        signature=infer_signature(x, kinds),
        input_example=x.head(60),
        pip_requirements=["h2o"],
        settings={"init": {"url": h2o_cluster.connection().base_url, "strict_version_check": False}},
    )
    sample = tmp_path / "sample.parquet"
    x.assign(kind=kinds).to_parquet(sample)
    some = x.iloc[[0, 40, 80, 149]]
    predicted = mlflow.pyfunc.load_model(str(folder)).predict(some)
    rows = json.loads(some.to_json(orient="records", double_precision=15))
    words = ("--sample", str(sample), "--target", "kind", "--trust-code")
    expected = predicted[["setosa", "versicolor", "virginica"]].to_numpy()
    answers = assert_served_like_mlflow(project, folder, "iris", rows, expected, *words, kind="h2o", relative=1e-9)
    assert [answer["prediction"] for answer in answers] == predicted["predict"].tolist()
