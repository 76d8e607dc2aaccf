"""Runs: names, tags, params, batches, nested ones, updated, deleted, restored."""

from __future__ import annotations

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from recorder import Recorder


def run(rec: Recorder) -> None:
    client = MlflowClient()
    exp = rec.know("exp", client.create_experiment("runs"))
    made = rec("create", client.create_run, exp, start_time=1_700_000_000_000, tags={"a": "1"}, run_name="first")
    one = rec.know("run", made.info.run_id)
    rec("get", client.get_run, one)
    invented = client.create_run(exp)
    rec.know("run", invented.info.run_id)
    rec.know("invented", invented.info.run_name)
    rec("a name is invented", lambda: bool(invented.info.run_name))
    rec("and is a tag", client.get_run, invented.info.run_id)
    by_tag = client.create_run(exp, tags={"mlflow.runName": "by tag"})
    rec("named by a tag", client.get_run, rec.know("run", by_tag.info.run_id))
    rec.refused("two names", client.create_run, exp, run_name="a", tags={"mlflow.runName": "b"})
    logging(rec, client, one)
    batches(rec, client, one)
    life(rec, client, exp, one)
    fluent(rec)
    mistakes(rec, client, exp, one)


def logging(rec: Recorder, client: MlflowClient, one: str) -> None:
    rec("log_param", client.log_param, one, "alpha", 0.5)
    rec("log_param, the same", client.log_param, one, "alpha", 0.5)
    rec.refused("log_param, another", client.log_param, one, "alpha", 0.6)
    rec("log_param, empty", client.log_param, one, "nothing", "")
    rec("log_param, long", client.log_param, one, "long", "x" * 6000)
    rec("log_metric", client.log_metric, one, "loss", 0.25, timestamp=1_700_000_000_001, step=1)
    rec("log_metric, a path", client.log_metric, one, "val/loss top-1.x", 1e-300, timestamp=1, step=-3)
    rec("set_tag", client.set_tag, one, "colour", "grün")
    rec("set_tag, again", client.set_tag, one, "colour", "rot")
    rec("set_tag, name", client.set_tag, one, "mlflow.runName", "renamed by tag")
    rec("delete_tag", client.delete_tag, one, "a")
    rec.refused("delete_tag, none", client.delete_tag, one, "a")
    rec("get, logged", client.get_run, one)


def batches(rec: Recorder, client: MlflowClient, one: str) -> None:
    rec(
        "log_batch",
        client.log_batch,
        one,
        metrics=[Metric(f"m{at % 3}", at / 7, 1_700_000_000_000 + at, at) for at in range(200)],
        params=[Param(f"p{at}", str(at)) for at in range(100)],
        tags=[RunTag(f"t{at}", str(at)) for at in range(50)],
    )
    rec("get, with the batch", client.get_run, one)
    rec.refused("log_batch, one conflict", client.log_batch, one, params=[Param("fresh", "1"), Param("p0", "other")])
    rec.refused("log_batch, twice the same key", client.log_batch, one, params=[Param("d", "1"), Param("d", "2")])
    rec.refused("log_batch, a bad key", client.log_batch, one, metrics=[Metric("a", 1, 1, 0), Metric("../x", 1, 1, 0)])
    rec("nothing of them is there", lambda: sorted(client.get_run(one).data.params)[:3])
    rec("log_batch, empty", client.log_batch, one)


def life(rec: Recorder, client: MlflowClient, exp: str, one: str) -> None:
    rec("update", client.update_run, one, status="SCHEDULED", name="renamed")
    rec("get, renamed", client.get_run, one)
    rec("set_terminated", client.set_terminated, one, "FAILED", 1_700_000_100_000)
    rec("get, failed", client.get_run, one)
    rec("set_terminated, finished", client.set_terminated, one, "FINISHED", 1_700_000_200_000)
    rec("delete", client.delete_run, one)
    rec("get, deleted", client.get_run, one)
    rec("delete twice", client.delete_run, one)
    rec.refused("log_param, deleted", client.log_param, one, "late", "x")
    rec.refused("log_metric, deleted", client.log_metric, one, "late", 1.0)
    rec.refused("set_tag, deleted", client.set_tag, one, "late", "x")
    rec("restore", client.restore_run, one)
    rec("restore twice", client.restore_run, one)
    rec("get, restored", lambda: client.get_run(one).info)
    rec("search in the experiment", lambda: len(client.search_runs([exp])))


def fluent(rec: Recorder) -> None:
    rec.know("exp", mlflow.set_experiment("fluent").experiment_id)
    with mlflow.start_run(run_name="parent", description="a parent", tags={"k": "v"}) as parent:
        rec.know("run", parent.info.run_id)
        rec("log_params", mlflow.log_params, {"depth": 3, "kind": None, "list": [1, 2]})
        rec("log_metrics", mlflow.log_metrics, {"acc": 0.5, "f1": 0.25}, step=2, timestamp=1_700_000_000_000)
        rec("log_metric", mlflow.log_metric, "acc", 0.75, step=3, timestamp=1_700_000_000_001)
        rec("log_param", mlflow.log_param, "single", True)
        rec("set_tags", mlflow.set_tags, {"x": "1", "y": 2})
        rec("delete_tag", mlflow.delete_tag, "x")
        for at in range(2):
            with mlflow.start_run(nested=True, run_name=f"child {at}") as child:
                rec.know("run", child.info.run_id)
                mlflow.log_metric("score", at, timestamp=1_700_000_000_000)
        later = mlflow.log_metric("late", 1.0, step=0, timestamp=1_700_000_000_000, synchronous=False)
        rec("logged in the background", later.wait)
        many = mlflow.log_params({"async": "yes"}, synchronous=False)
        rec("params in the background", many.wait)
    rec("parent", mlflow.get_run, parent.info.run_id)
    children = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    rec(
        "children", lambda: mlflow.search_runs(filter_string=children, order_by=["metrics.score"], output_format="list")
    )
    with mlflow.start_run(run_id=parent.info.run_id):
        rec("resumed", mlflow.log_metric, "again", 1.0, timestamp=1_700_000_000_000)
    try:
        with mlflow.start_run(run_name="fails") as failing:
            rec.know("run", failing.info.run_id)
            raise KeyError("on purpose")
    except KeyError:
        pass
    rec("a run that failed", lambda: mlflow.get_run(failing.info.run_id).info.status)
    rec("delete_run", mlflow.delete_run, failing.info.run_id)
    rec("last_active_run", lambda: mlflow.last_active_run().info.run_id)


def mistakes(rec: Recorder, client: MlflowClient, exp: str, one: str) -> None:
    none = "f" * 32
    rec.refused("create in no experiment", client.create_run, "123456789")
    rec.refused("get none", client.get_run, none)
    rec.refused("get, a bad id", client.get_run, "a b")
    rec.refused("log_param to none", client.log_param, none, "a", "b")
    rec.refused("log_metric to none", client.log_metric, none, "a", 1.0)
    rec.refused("log_batch to none", client.log_batch, none, [Metric("a", 1.0, 1, 0)])
    rec.refused("set_tag to none", client.set_tag, none, "a", "b")
    rec.refused("delete none", client.delete_run, none)
    rec.refused("restore none", client.restore_run, none)
    rec.refused("update none", client.update_run, none, status="FINISHED")
    rec.refused("a param with a bad key", client.log_param, one, "a*b", "b")
    rec.refused("a param with a long key", client.log_param, one, "k" * 251, "b")
    rec.refused("a metric with a bad key", client.log_metric, one, "/a", 1.0)
    rec.refused("a metric at no time", client.log_metric, one, "a", 1.0, timestamp=-1)
    rec.refused("a metric of text", client.log_metric, one, "a", "text")
    rec.refused("a tag with a long key", client.set_tag, one, "k" * 251, "b")
    rec("still as it was", lambda: sorted(client.get_run(one).data.tags)[:3])
