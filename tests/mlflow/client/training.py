"""What a training does with the client: autologging, models logged, registered, loaded, evaluated."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from recorder import Recorder
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV

ROWS = 60
NEEDS = ["scikit-learn"]


def run(rec: Recorder) -> None:
    warnings.simplefilter("ignore")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    sections = (logged, autologged, boosted, evaluated)
    for section in sections:
        section(rec)


def _data() -> tuple[pd.DataFrame, pd.Series]:
    random = np.random.default_rng(7)
    frame = pd.DataFrame({"x": random.normal(size=ROWS), "y": random.normal(size=ROWS)})
    return frame, (frame["x"] + frame["y"] > 0).astype(int)


def _of(client: MlflowClient, run_id: str) -> dict[str, Any]:
    """A run's story without what a library's version or the clock decides."""
    found = client.get_run(run_id)
    return {
        "params": found.data.params,
        "metrics": {name: round(value, 9) for name, value in found.data.metrics.items()},
        "tags": {name: value for name, value in found.data.tags.items() if "git" not in name},
        "status": found.info.status,
        "inputs": [(each.dataset.name, [(t.key, t.value) for t in each.tags]) for each in found.inputs.dataset_inputs],
        "models": len(found.outputs.model_outputs) if found.outputs else 0,
        "files": sorted(each.path for each in client.list_artifacts(run_id)),
    }


def logged(rec: Recorder) -> None:
    client = MlflowClient()
    rec.know("exp", mlflow.set_experiment("logged by hand").experiment_id)
    table, target = _data()
    fitted = LinearRegression().fit(table, target)
    with mlflow.start_run(run_name="by hand") as active:
        one = rec.know("run", active.info.run_id)
        info = rec(
            "log_model",
            lambda: mlflow.sklearn.log_model(fitted, name="model", input_example=table[:2], pip_requirements=NEEDS),
        )
        model = info.model_id
    rec("the logged model", client.get_logged_model, model)
    rec("its files", lambda: sorted(f.path for f in client.list_logged_model_artifacts(model)))
    rec("the run's files", client.list_artifacts, one, "model")
    expected = [round(float(value), 9) for value in fitted.predict(table[:3])]
    for uri in (f"models:/{model}", f"runs:/{one}/model"):
        rec(f"load {uri}", lambda uri=uri: _agrees(mlflow.pyfunc.load_model(uri), table, expected))
    rec("register models:/m-", mlflow.register_model, f"models:/{model}", "by hand")
    rec("register runs:/", mlflow.register_model, f"runs:/{one}/model", "by hand", tags={"from": "run"})
    rec("the logged model, registered", lambda: client.get_logged_model(model).tags)
    client.set_registered_model_alias("by hand", "best", "2")
    for uri in ("models:/by hand@best", "models:/by hand/1", "models:/by hand/latest"):
        rec(f"load {uri}", lambda uri=uri: _agrees(mlflow.pyfunc.load_model(uri), table, expected))
    rec("load with its own library", lambda: type(mlflow.sklearn.load_model("models:/by hand@best")).__name__)
    rec("get_model_info", lambda: sorted(mlflow.models.get_model_info("models:/by hand@best").flavors))
    with mlflow.start_run(run_name="at once") as at_once:
        rec.know("run", at_once.info.run_id)
        options = {"name": "m", "registered_model_name": "at once", "pip_requirements": NEEDS}
        rec("log and register", lambda: mlflow.sklearn.log_model(fitted, **options).registered_model_version)
    rec("versions", lambda: len(client.search_model_versions("name = 'by hand'")))
    rec("no stage yet", client.get_latest_versions, "by hand", stages=["None"])
    rec.refused("load by no alias", mlflow.pyfunc.load_model, "models:/by hand@never")
    rec.refused("load no version", mlflow.pyfunc.load_model, "models:/by hand/77")
    rec.refused("register what is not there", mlflow.register_model, f"runs:/{'f' * 32}/model", "by hand")


def _agrees(loaded: Any, table: pd.DataFrame, expected: list[float]) -> bool:
    return [round(float(value), 9) for value in loaded.predict(table[:3])] == expected


def autologged(rec: Recorder) -> None:
    client = MlflowClient()
    rec.know("exp", mlflow.set_experiment("autolog").experiment_id)
    table, target = _data()
    mlflow.sklearn.autolog(log_input_examples=True, log_model_signatures=True)
    try:
        with mlflow.start_run(run_name="forest") as forest:
            rec("fit", lambda: bool(RandomForestClassifier(n_estimators=3, random_state=1).fit(table, target)))
        rec("a forest", _of, client, rec.know("run", forest.info.run_id))
        with mlflow.start_run(run_name="scored") as scored:
            fitted = LogisticRegression().fit(table, target)
            rec("score after the fit", lambda: round(fitted.score(table, target), 9))
        rec("a scored one", _of, client, rec.know("run", scored.info.run_id))
        with mlflow.start_run(run_name="search") as searched:
            GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=3).fit(table, target)
        rec("a grid search", _of, client, rec.know("run", searched.info.run_id))
        children = f"tags.`mlflow.parentRunId` = '{searched.info.run_id}'"
        rec("its children", lambda: len(mlflow.search_runs(filter_string=children)))
    finally:
        mlflow.sklearn.autolog(disable=True)


def boosted(rec: Recorder) -> None:
    client = MlflowClient()
    table, target = _data()
    if importlib.util.find_spec("xgboost"):
        import xgboost

        rec.know("exp", mlflow.set_experiment("xgboost").experiment_id)
        mlflow.xgboost.autolog()
        with mlflow.start_run(run_name="xgboost") as one:
            data = xgboost.DMatrix(table, label=target)
            xgboost.train(
                {"objective": "binary:logistic", "nthread": 1}, data, 5, evals=[(data, "train")], verbose_eval=False
            )
        mlflow.xgboost.autolog(disable=True)
        rec("xgboost", _of, client, rec.know("run", one.info.run_id))
        rec("xgboost, history", lambda: len(client.get_metric_history(one.info.run_id, "train-logloss")))
    if importlib.util.find_spec("lightgbm"):
        import lightgbm

        rec.know("exp", mlflow.set_experiment("lightgbm").experiment_id)
        mlflow.lightgbm.autolog()
        with mlflow.start_run(run_name="lightgbm") as two:
            given = lightgbm.Dataset(table, label=target)
            params = {"objective": "binary", "verbose": -1, "num_threads": 1}
            lightgbm.train(params, given, 5, valid_sets=[given], valid_names=["train"])
        mlflow.lightgbm.autolog(disable=True)
        rec("lightgbm", _of, client, rec.know("run", two.info.run_id))


def evaluated(rec: Recorder) -> None:
    client = MlflowClient()
    rec.know("exp", mlflow.set_experiment("evaluate").experiment_id)
    table, target = _data()
    fitted = LogisticRegression().fit(table, target)
    with mlflow.start_run(run_name="evaluated") as active:
        info = mlflow.sklearn.log_model(fitted, name="model", input_example=table[:2], pip_requirements=NEEDS)
        options = {"log_explainer": False, "log_model_explainability": False}
        measured = mlflow.models.evaluate(
            info.model_uri,
            table.assign(label=target),
            targets="label",
            model_type="classifier",
            evaluators="default",
            evaluator_config=options,
        )
        rec("evaluate", lambda: {name: round(float(value), 9) for name, value in measured.metrics.items()})
    rec("the evaluated run", _of, client, rec.know("run", active.info.run_id))
    rec("metrics of the model", lambda: sorted(m.key for m in client.get_logged_model(info.model_id).metrics or []))
