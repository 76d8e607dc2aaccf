"""Folders that MLflow saved, served: scikit-learn as skops and as a pickle, ONNX, and a Python model of MLflow's."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from skl2onnx import to_onnx
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge

from ...endtoend.conftest import Project
from ..imported import assert_served_like_mlflow

with warnings.catch_warnings():  # MLflow warns of its own type hints when it is imported
    warnings.simplefilter("ignore")
    import mlflow.onnx
    import mlflow.pyfunc
    import mlflow.sklearn
    from mlflow.models import infer_signature

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, of which there are many

QUICKLY: Any = {"pip_requirements": ["mlflow"]}  # else MLflow loads the model in another process to find out
X, Y = load_iris(return_X_y=True, as_frame=True)
DX, DY = load_diabetes(return_X_y=True, as_frame=True)
SOME = [0, 30, 60, 90, 120, 149]


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return json.loads(frame.to_json(orient="records", double_precision=15))


def test_scikit_learn_as_data_and_as_a_pickle(project: Project, tmp_path: Path) -> None:
    classifier, line = LogisticRegression(max_iter=500).fit(X, Y), Ridge().fit(DX, DY)
    for name, model, x, form in (("iris", classifier, X, "skops"), ("disease", line, DX, "cloudpickle")):
        folder = tmp_path / name
        mlflow.sklearn.save_model(
            model,
            folder,
            signature=infer_signature(x, model.predict(x)),
            input_example=x.head(40),
            serialization_format=form,
            **QUICKLY,
        )
        some = x.iloc[SOME]
        words, kind = (("--trust-code",), "mlflow") if form == "cloudpickle" else ((), "sklearn")
        expected = mlflow.pyfunc.load_model(str(folder)).predict(some)
        assert_served_like_mlflow(project, folder, name, rows_of(some), expected, *words, kind=kind, relative=1e-9)


def test_onnx_of_one_matrix(project: Project, tmp_path: Path) -> None:
    model = RandomForestClassifier(10, random_state=0).fit(X, Y)
    matrix = X.to_numpy().astype(np.float32)
    graph = to_onnx(model, matrix[:1], options={"zipmap": False})
    folder = tmp_path / "saved"
    mlflow.onnx.save_model(graph, folder, signature=infer_signature(matrix, model.predict(X)), **QUICKLY)
    pl.DataFrame({"input": X.to_numpy()}).write_parquet(tmp_path / "x.parquet")
    some = matrix[SOME]
    outputs = mlflow.pyfunc.load_model(str(folder)).predict(some)
    rows = [{"input": row} for row in some.astype(float).tolist()]
    words = ("--sample", str(tmp_path / "x.parquet"))
    answers = assert_served_like_mlflow(
        project, folder, "iris", rows, outputs["probabilities"], *words, kind="onnx", relative=1e-6
    )
    assert [answer["prediction"] for answer in answers] == outputs["label"].tolist()


def test_any_python_model(project: Project, tmp_path: Path) -> None:
    (tmp_path / "adding.py").write_text(ADDING)
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.5], "b": [10.0, 20.0, 30.0]})
    folder = tmp_path / "saved"
    mlflow.pyfunc.save_model(  # models from code: what is saved is the source
        folder,
        python_model=str(tmp_path / "adding.py"),
        signature=infer_signature(frame, frame["a"] + 2 * frame["b"]),
        input_example=frame,
        **QUICKLY,
    )
    expected = np.asarray(mlflow.pyfunc.load_model(str(folder)).predict(frame))
    assert expected.tolist() == [21.0, 42.0, 63.5]
    assert_served_like_mlflow(
        project, folder, "adder", rows_of(frame), expected, "--trust-code", kind="mlflow", relative=1e-9
    )


ADDING = """
import mlflow


class Adder(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input["a"] + 2 * model_input["b"]


mlflow.models.set_model(Adder())
"""
