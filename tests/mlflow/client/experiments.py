"""Experiments: made, found, renamed, tagged, deleted, restored."""

from __future__ import annotations

import mlflow
from mlflow import MlflowClient
from mlflow.entities import ViewType
from recorder import Recorder


def run(rec: Recorder) -> None:
    client = MlflowClient()
    rec("the default experiment", client.get_experiment, "0")
    first = rec.know("exp", client.create_experiment("fruit", tags={"team": "a", "näme": "Äpfel"}))
    rec("get", client.get_experiment, first)
    rec("get by name", client.get_experiment_by_name, "fruit")
    rec("get by a name that nobody has", client.get_experiment_by_name, "nobody")
    for at in range(5):
        rec.know("exp", client.create_experiment(f"Fruit {at}", tags={"n": str(at), "group": "b" if at % 2 else "c"}))
    rec("set_experiment, new", lambda: rec.know("exp", mlflow.set_experiment("set").experiment_id))
    rec("set_experiment, known", mlflow.set_experiment, "set")
    located = rec.know("exp", client.create_experiment("elsewhere", artifact_location="s3://bucket/prefix"))
    rec("get one with a location", client.get_experiment, located)

    rec("tag", client.set_experiment_tag, first, "team", "b")
    rec("tag without value", client.set_experiment_tag, first, "empty", "")
    rec("delete tag", client.delete_experiment_tag, first, "näme") if hasattr(client, "delete_experiment_tag") else None
    rec("rename", client.rename_experiment, first, "fruit, renamed")
    rec("get, renamed", client.get_experiment, first)
    search(rec, client)
    life(rec, client, first)
    mistakes(rec, client, first)


def search(rec: Recorder, client: MlflowClient) -> None:
    for text in (
        "name = 'set'",
        "name != 'set'",
        "name LIKE 'Fruit%'",
        "name ILIKE 'fruit%'",
        "attribute.name LIKE '%2'",
        "tags.team = 'b'",
        "tag.group != 'b'",
        "tags.n LIKE '%'",
        "tags.group = 'b' AND name LIKE 'Fruit%'",
        "creation_time > 0",
        "last_update_time > 0 and creation_time < 9999999999999",
        "tags.none = 'x'",
    ):
        rec(f"search {text}", client.search_experiments, filter_string=text)
    for order in (["name"], ["name DESC"], ["experiment_id ASC"], ["creation_time ASC", "name DESC"]):
        rec(f"search by {order}", client.search_experiments, order_by=order)
    page = rec("first page", client.search_experiments, max_results=3, order_by=["name ASC"])
    rec("second page", client.search_experiments, max_results=3, order_by=["name ASC"], page_token=page.token)
    rec("fluent search", mlflow.search_experiments, filter_string="name LIKE 'Fruit%'", order_by=["name"])
    for text in ("name = ", "name LIKE 3", "nothing = 'x'", "name = 'a' OR name = 'b'", "tags.a > 'x'", "name = set"):
        rec.refused(f"search {text}", client.search_experiments, filter_string=text)
    rec.refused("order by nothing known", client.search_experiments, order_by=["nothing"])
    rec.refused("a page that nobody gave", client.search_experiments, page_token="what")
    rec.refused("no results wanted", client.search_experiments, max_results=0)
    rec.refused("too many results wanted", client.search_experiments, max_results=50_001)


def life(rec: Recorder, client: MlflowClient, first: str) -> None:
    within = rec.know("run", client.create_run(first, run_name="in it").info.run_id)
    rec("delete", client.delete_experiment, first)
    rec("get, deleted", client.get_experiment, first)
    rec("by name, deleted", client.get_experiment_by_name, "fruit, renamed")
    rec("its run, deleted", client.get_run, within)
    rec("search deleted", client.search_experiments, view_type=ViewType.DELETED_ONLY)
    rec("search all", client.search_experiments, view_type=ViewType.ALL, order_by=["name"])
    rec.refused("delete twice", client.delete_experiment, first)
    rec.refused("create with its name", client.create_experiment, "fruit, renamed")
    rec.refused("a run in it", client.create_run, first)
    rec.refused("rename, deleted", client.rename_experiment, first, "other")
    rec.refused("tag, deleted", client.set_experiment_tag, first, "a", "b")
    rec.refused("set_experiment, deleted", mlflow.set_experiment, "fruit, renamed")
    rec("restore", client.restore_experiment, first)
    rec("its run, restored", client.get_run, within)
    rec.refused("restore twice", client.restore_experiment, first)


def mistakes(rec: Recorder, client: MlflowClient, first: str) -> None:
    rec.refused("get none", client.get_experiment, "123456789")
    rec.refused("get no number", client.get_experiment, "abc")
    rec.refused("create twice", client.create_experiment, "set")
    rec.refused("create without name", client.create_experiment, "")
    rec.refused("create with a long name", client.create_experiment, "x" * 501)
    rec.refused("rename to a name that is taken", client.rename_experiment, first, "set")
    rec.refused("rename none", client.rename_experiment, "123456789", "x")
    rec.refused("delete none", client.delete_experiment, "123456789")
    rec.refused("restore none", client.restore_experiment, "123456789")
    rec.refused("tag none", client.set_experiment_tag, "123456789", "a", "b")
    rec.refused("a tag with a long key", client.set_experiment_tag, first, "k" * 251, "b")
    rec.either("a location with a query", client.create_experiment, "q", artifact_location="mlflow-artifacts:/a?b=c")
    rec.refused("a location with runs:", client.create_experiment, "r", artifact_location="runs:/a/b")
    if hasattr(client, "delete_experiment_tag"):
        rec.refused("delete no tag", client.delete_experiment_tag, first, "never")
