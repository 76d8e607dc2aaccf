"""Networks that MLflow saved of PyTorch, served: an exported program and a pickled module, both of which are code."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.datasets import load_iris
from torch import nn

from ...endtoend.conftest import Project
from ..imported import assert_served_like_mlflow

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, of which there are many

X, Y = load_iris(return_X_y=True)


@pytest.mark.parametrize("form", ["pt2", "pickle"])
def test_a_network_of_probabilities(project: Project, tmp_path: Path, form: str) -> None:
    import mlflow
    from mlflow.models import infer_signature

    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3), nn.Softmax(1)).eval()
    x = X.astype(np.float32)
    options: dict[str, Any] = {"serialization_format": form}
    if form == "pt2":
        options["input_example"] = x[:5]
    folder = tmp_path / "saved"
    mlflow.pytorch.save_model(
        network,
        folder,
        signature=infer_signature(x, network(torch.tensor(x)).detach().numpy()),
        pip_requirements=[],
        **options,
    )
    sample = tmp_path / "sample.parquet"
    pl.DataFrame({"input": X, "kind": Y}).write_parquet(sample)
    some = x[[0, 40, 80, 149]]
    expected = mlflow.pyfunc.load_model(str(folder)).predict(some)
    rows = json.loads(json.dumps([{"input": row} for row in some.astype(float).tolist()]))
    words = ("--sample", str(sample), "--target", "kind", "--task", "classification", "--trust-code")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_served_like_mlflow(project, folder, "iris", rows, expected, *words, kind="pytorch", relative=1e-5)
