"""Networks of Keras that MLflow saved, served: by its flavor of Keras and by that of TensorFlow; they hold no code."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import polars as pl
import pytest
from sklearn.datasets import load_iris

from ...endtoend.conftest import Project
from ..imported import assert_served_like_mlflow

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, of which there are many

X, Y = load_iris(return_X_y=True)


def test_a_network_of_probabilities(project: Project, tmp_path: Path) -> None:
    import mlflow
    from mlflow.models import infer_signature

    keras.utils.set_random_seed(0)
    layers = [keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3, "softmax")]
    network = keras.Sequential(layers)
    x = X.astype(np.float32)
    sample = tmp_path / "sample.parquet"
    pl.DataFrame({"input": X, "kind": Y}).write_parquet(sample)
    some = x[[0, 40, 80, 149]]
    rows = [{"input": row} for row in some.astype(float).tolist()]
    signature = infer_signature(x, network.predict(x, verbose=0))
    for name, save in (("keras", mlflow.keras.save_model), ("tensorflow", mlflow.tensorflow.save_model)):
        folder = tmp_path / name
        save(network, path=str(folder), signature=signature, pip_requirements=[])
        expected = mlflow.pyfunc.load_model(str(folder)).predict(some)
        words = ("--sample", str(sample), "--target", "kind", "--task", "classification")
        assert_served_like_mlflow(project, folder, name, rows, expected, *words, kind="tensorflow", relative=1e-5)
