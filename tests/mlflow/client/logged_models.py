"""Logged models: made, found, tagged, finished, deleted, with metrics of their own."""

from __future__ import annotations

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelStatus
from recorder import Recorder

SEARCHES = (
    "name = 'model-1'",
    "name != 'model-1'",
    "attributes.name LIKE 'model%'",
    "model_type = 'odd'",
    "status = 'READY'",
    "params.depth = '2'",
    "tags.k = 'v1'",
    "metrics.acc > 0.15",
    "metrics.acc >= 0.1 AND params.depth != '3'",
    "creation_timestamp > 0",
)


def run(rec: Recorder) -> None:
    client = MlflowClient()
    exp = rec.know("exp", mlflow.set_experiment("logged models").experiment_id)
    one = rec.know("run", client.create_run(exp, run_name="source").info.run_id)
    models = []
    for at in range(4):
        made = rec(
            f"create {at}",
            client.create_logged_model,
            exp,
            name=f"model-{at}",
            source_run_id=one,
            tags={"k": f"v{at}"},
            params={"depth": str(at)},
            model_type="odd" if at % 2 else "even",
        )
        models.append(made.model_id)
    rec("get", client.get_logged_model, models[0])
    rec("finish", client.finalize_logged_model, models[0], LoggedModelStatus.READY)
    rec("fail", client.finalize_logged_model, models[1], LoggedModelStatus.FAILED)
    rec("tag", client.set_logged_model_tags, models[0], {"k": "new", "other": "x"})
    rec("delete tag", client.delete_logged_model_tag, models[0], "other")
    rec("params", lambda: client.log_model_params(models[0], {"late": "1"}))
    for at, model in enumerate(models):
        client.log_metric(one, "acc", at / 10, timestamp=1_500_000_000_000, step=at, model_id=model)
    rec("get, with metrics", client.get_logged_model, models[2])
    outputs(rec, client, one, models)
    search(rec, client, exp)
    external(rec, client)
    rec("delete", client.delete_logged_model, models[3])
    rec.refused("get, deleted", client.get_logged_model, models[3])
    rec("search, without it", lambda: len(client.search_logged_models([exp])))
    mistakes(rec, client, exp, models[0])


def outputs(rec: Recorder, client: MlflowClient, one: str, models: list[str]) -> None:
    from mlflow.entities import LoggedModelInput, LoggedModelOutput

    rec("log_outputs", client.log_outputs, one, [LoggedModelOutput(models[0], step=3)])
    rec("log_inputs of models", client.log_inputs, one, models=[LoggedModelInput(models[1])])
    rec("run with both", lambda: [client.get_run(one).inputs, client.get_run(one).outputs])


def search(rec: Recorder, client: MlflowClient, exp: str) -> None:
    for text in SEARCHES:
        rec(f"search {text}", lambda text=text: sorted(_names(client.search_logged_models([exp], text))))
    for order in (
        [{"field_name": "name"}],
        [{"field_name": "name", "ascending": False}],
        [{"field_name": "metrics.acc", "ascending": False}],
    ):
        rec(
            f"search by {order}",
            lambda order=order: [m.name for m in client.search_logged_models([exp], order_by=order)],
        )
    named = [{"field_name": "name"}]
    page = client.search_logged_models([exp], max_results=3, order_by=named)
    rec("first page", lambda: [[model.name for model in page], bool(page.token)])
    more = client.search_logged_models([exp], max_results=3, order_by=named, page_token=page.token)
    rec("second page", lambda: [[model.name for model in more], bool(more.token)])
    rec("whole", client.search_logged_models, [exp], order_by=named)
    rec.either("search name = 3", client.search_logged_models, [exp], "name = 3")
    for text in ("nothing = 'a'", "metrics.acc = 'a'", "name = 'a' OR name = 'b'"):
        rec.refused(f"search {text}", client.search_logged_models, [exp], text)
    rec("fluent search", lambda: len(mlflow.search_logged_models([exp], output_format="list")))


def _names(found: list[LoggedModel]) -> list[str]:
    return [model.name for model in found]


def external(rec: Recorder, client: MlflowClient) -> None:
    made = rec(
        "create_external_model", mlflow.create_external_model, name="outside", params={"a": "b"}, tags={"c": "d"}
    )
    rec("its status", lambda: client.get_logged_model(made.model_id).status)
    if hasattr(mlflow, "initialize_logged_model"):
        begun = rec("initialize_logged_model", mlflow.initialize_logged_model, name="begun")
        rec("finalize_logged_model", mlflow.finalize_logged_model, begun.model_id, "READY")
    with mlflow.start_run(run_name="measures") as measured:
        rec.know("run", measured.info.run_id)
        rec("set_active_model", mlflow.set_active_model, name="active")
        rec("log_metric to the active model", mlflow.log_metric, "m", 0.5, timestamp=1_500_000_000_000)
        rec("log_model_params", mlflow.log_model_params, {"z": "1"})
    rec("the active model", lambda: mlflow.get_logged_model(mlflow.get_active_model_id()))
    mlflow.clear_active_model()


def mistakes(rec: Recorder, client: MlflowClient, exp: str, model: str) -> None:
    none = "m-" + "f" * 32
    rec.refused("get none", client.get_logged_model, none)
    rec.refused("delete none", client.delete_logged_model, none)
    rec.refused("tag none", client.set_logged_model_tags, none, {"a": "b"})
    rec.refused("finish none", client.finalize_logged_model, none, LoggedModelStatus.READY)
    rec.refused("delete no tag", client.delete_logged_model_tag, model, "never")
    rec.refused("in no experiment", client.create_logged_model, "123456789")
    rec.refused("a bad name", client.create_logged_model, exp, name="a/b")
    rec.refused("search nowhere", client.search_logged_models, [])
    rec.refused("a page that nobody gave", client.search_logged_models, [exp], page_token="what")
