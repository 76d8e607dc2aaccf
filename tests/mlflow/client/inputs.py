"""Data sets as inputs of runs."""

from __future__ import annotations

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag
from recorder import Recorder


def run(rec: Recorder) -> None:
    client = MlflowClient()
    exp = rec.know("exp", mlflow.set_experiment("inputs").experiment_id)
    one = rec.know("run", client.create_run(exp, run_name="one").info.run_id)
    table = pd.DataFrame({"x": [1.0, 2.0], "y": ["a", "b"]})
    data = mlflow.data.from_pandas(table, source="https://example.org/t.csv", name="table", targets="y")
    with mlflow.start_run(run_id=one):
        rec("log_input", mlflow.log_input, data, context="training", tags={"k": "v"})
        rec("log_input, again", mlflow.log_input, data, context="other")
        rec("log_input, numpy", mlflow.log_input, mlflow.data.from_numpy(np.arange(4.0), name="array"), context="eval")
        if hasattr(mlflow, "log_inputs"):
            rec("log_inputs", mlflow.log_inputs, datasets=[data], contexts=["third"], tags_list=[None])
    rec("of the run", lambda: _inputs(client, one))
    given = Dataset("own", "d1", "code", "{}", schema="{}", profile="{}")
    rec("client.log_inputs", client.log_inputs, one, [DatasetInput(given, [InputTag("a", "b")])])
    rec("of the run, after", lambda: [each.dataset.name for each in _inputs(client, one)])
    rec("source", lambda: mlflow.data.get_source(_inputs(client, one)[2]).to_json())
    path = "/ajax-api/2.0/mlflow/experiments/search-datasets"
    rec.rest("search-datasets", "POST", path, json={"experiment_ids": [exp]})
    rec.rest("search-datasets of none", "POST", path, json={"experiment_ids": []})
    rec.rest("search-datasets of many", "POST", path, json={"experiment_ids": [str(at) for at in range(21)]})
    rec.refused("log_inputs to none", client.log_inputs, "f" * 32, [DatasetInput(given)])
    for field, value in (("name", "n" * 501), ("digest", "d" * 37), ("source", "s" * 65536)):
        wrong = {"name": "n", "digest": "d", "source_type": "code", "source": "{}"} | {field: value}
        rec.refused(f"a long {field}", client.log_inputs, one, [DatasetInput(Dataset(**wrong))])
    rec.refused("a long tag", client.log_inputs, one, [DatasetInput(given, [InputTag("k" * 256, "v")])])


def _inputs(client: MlflowClient, run_id: str) -> list[DatasetInput]:
    """By name: their order is nobody's promise."""
    return sorted(client.get_run(run_id).inputs.dataset_inputs, key=lambda each: each.dataset.name)
