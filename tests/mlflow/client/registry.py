"""The registry: models, versions, aliases, tags, stages, search."""

from __future__ import annotations

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from recorder import Recorder


def run(rec: Recorder) -> None:
    client = MlflowClient()
    exp = rec.know("exp", client.create_experiment("registry"))
    one = rec.know("run", client.create_run(exp, run_name="source").info.run_id)
    client.log_text(one, "weights", "model/weights.txt")
    root = client.get_run(one).info.artifact_uri
    rec("create", client.create_registered_model, "first", tags={"a": "1"}, description="what it is")
    rec("get", client.get_registered_model, "first")
    rec("create another", client.create_registered_model, "Second one")
    rec("describe", client.update_registered_model, "first", description="otherwise")
    rec("tag", client.set_registered_model_tag, "first", "b", "2")
    rec("delete tag", client.delete_registered_model_tag, "first", "a")
    rec("delete tag, again", client.delete_registered_model_tag, "first", "a")
    versions(rec, client, one, root)
    aliases(rec, client)
    stages(rec, client)
    search(rec, client)
    endings(rec, client, one, root)
    mistakes(rec, client, one, root)


def versions(rec: Recorder, client: MlflowClient, one: str, root: str) -> None:
    made = rec(
        "version", client.create_model_version, "first", f"{root}/model", run_id=one, tags={"x": "y"}, description="d"
    )
    rec("get it", client.get_model_version, "first", made.version)
    for at in range(3):
        rec(f"version {at + 2}", client.create_model_version, "first", f"{root}/model", run_id=one, tags={"n": str(at)})
    rec("a run's files", client.create_model_version, "Second one", f"runs:/{one}/model", run_id=one)
    rec("files elsewhere", client.create_model_version, "Second one", "s3://bucket/model")
    rec("describe it", client.update_model_version, "first", "1", description="told")
    rec("tag it", client.set_model_version_tag, "first", "1", "k", "v")
    rec("delete its tag", client.delete_model_version_tag, "first", "1", "k")
    rec("delete its tag, again", client.delete_model_version_tag, "first", "1", "k")
    rec("where its files are", client.get_model_version_download_uri, "first", "1")
    rec("the newest", client.get_latest_versions, "first")
    rec("of another version", client.create_model_version, "Second one", "models:/first/1")
    rec("get the model", client.get_registered_model, "first")


def aliases(rec: Recorder, client: MlflowClient) -> None:
    rec("alias", client.set_registered_model_alias, "first", "best", "2")
    rec("alias, moved", client.set_registered_model_alias, "first", "best", "3")
    rec("another alias", client.set_registered_model_alias, "first", "also", "3")
    rec("by alias", client.get_model_version_by_alias, "first", "best")
    rec("by alias latest", client.get_model_version_by_alias, "first", "latest")
    rec("a version tells its aliases", client.get_model_version, "first", "3")
    rec("delete alias", client.delete_registered_model_alias, "first", "also")
    rec("delete alias, again", client.delete_registered_model_alias, "first", "also")
    rec.refused("by an alias that is not there", client.get_model_version_by_alias, "first", "never")
    for wrong in ("latest", "v12", "a b", "x" * 256):
        rec.refused(f"alias {wrong[:10]}", client.set_registered_model_alias, "first", wrong, "1")
    rec.refused("alias of no version", client.set_registered_model_alias, "first", "none", "99")


def stages(rec: Recorder, client: MlflowClient) -> None:
    move = client.transition_model_version_stage
    rec("to Staging", move, "first", "1", "Staging")
    rec("to staging, others archived", move, "first", "2", "staging", archive_existing_versions=True)
    rec("the one before", lambda: client.get_model_version("first", "1").current_stage)
    rec("to Archived", move, "first", "3", "Archived")
    rec("newest of each stage", lambda: _by_stage(client.get_latest_versions("first", stages=["Staging", "Archived"])))
    rec("newest of all", lambda: _by_stage(client.get_latest_versions("first")))
    rec("back to None", move, "first", "3", "None")
    rec.refused("to no stage", move, "first", "1", "Nowhere")
    rec.refused("to None, others archived", move, "first", "1", "None", archive_existing_versions=True)
    rec.refused("of no version", move, "first", "99", "Staging")


def _by_stage(found: list[ModelVersion]) -> list[ModelVersion]:
    """Their order is nobody's promise."""
    return sorted(found, key=lambda version: version.current_stage)


def _numbers(found: list[ModelVersion]) -> list[list[str]]:
    return sorted([version.name, str(version.version)] for version in found)


def search(rec: Recorder, client: MlflowClient) -> None:
    for at in range(4):
        client.create_registered_model(f"many {at}", tags={"even": str(at % 2 == 0)})
    for text in (
        None,
        "name = 'first'",
        "name LIKE 'many%'",
        "name ILIKE 'MANY%'",
        "name IN ('first', 'many 1')",
        "tags.even = 'True'",
        "tags.even != 'True'",
        "tags.even = 'True' AND name LIKE '%2'",
    ):
        rec(f"models {text}", lambda text=text: [m.name for m in client.search_registered_models(text)])
    for order in (["name DESC"], ["name ASC"], ["timestamp DESC", "name"], ["last_updated_timestamp ASC", "name"]):
        rec(
            f"models by {order}",
            lambda order=order: sorted(m.name for m in client.search_registered_models(order_by=order)),
        )
    page = client.search_registered_models(max_results=2, order_by=["name"])
    rec("models, first page", lambda: [[m.name for m in page], bool(page.token)])
    rec("models, second page", client.search_registered_models, max_results=2, order_by=["name"], page_token=page.token)
    run_id = client.get_model_version("first", "1").run_id
    for text in (
        "name = 'first'",
        "name LIKE 'Sec%'",
        f"run_id = '{run_id}'",
        f"run_id IN ('{run_id}')",
        "version_number > 2",
        "tags.n = '1'",
        "name = 'first' AND tags.n != '1'",
        "source_path LIKE '%model'",
    ):
        rec(f"versions {text}", lambda text=text: _numbers(client.search_model_versions(text)))
    rec(
        "versions by number",
        lambda: [v.version for v in client.search_model_versions("name='first'", order_by=["version_number ASC"])],
    )
    few = client.search_model_versions("name = 'first'", max_results=3, order_by=["version_number DESC"])
    rec("versions, first page", lambda: [[v.version for v in few], bool(few.token)])
    for text in ("nothing = 'a'", "name > 'a'", "name = 'a' OR name = 'b'", "tags.a < '3'"):
        rec.refused(f"models {text}", client.search_registered_models, text)
        rec.refused(f"versions {text}", client.search_model_versions, text)
    rec.refused("models, too many", client.search_registered_models, max_results=1001)
    rec.refused("models by nothing known", client.search_registered_models, order_by=["nothing"])
    rec("fluent", lambda: len(mlflow.search_registered_models()))
    rec("fluent versions", lambda: len(mlflow.search_model_versions()))


def endings(rec: Recorder, client: MlflowClient, one: str, root: str) -> None:
    rec("delete a version", client.delete_model_version, "first", "4")
    rec.refused("get the deleted", client.get_model_version, "first", "4")
    made = rec("its number is not given again", client.create_model_version, "first", f"{root}/model", run_id=one)
    rec("delete the aliased", client.delete_model_version, "first", "3")
    rec.refused("by its alias", client.get_model_version_by_alias, "first", "best")
    rec("rename", client.rename_registered_model, "first", "renamed")
    rec("get, renamed", client.get_registered_model, "renamed")
    rec("its version", client.get_model_version, "renamed", made.version)
    rec.refused("by the old name", client.get_registered_model, "first")
    rec("delete a model", client.delete_registered_model, "renamed")
    rec.refused("get the deleted model", client.get_registered_model, "renamed")
    rec("its name again", client.create_registered_model, "renamed")


def mistakes(rec: Recorder, client: MlflowClient, one: str, root: str) -> None:
    rec.refused("create twice", client.create_registered_model, "renamed")
    for wrong in ("", "  ", "a/b", "a:b", ".."):
        rec.refused(f"a name like {wrong!r}", client.create_registered_model, wrong)
    rec.refused("get none", client.get_registered_model, "never")
    rec.refused("delete none", client.delete_registered_model, "never")
    rec.refused("rename none", client.rename_registered_model, "never", "x")
    rec.refused("rename to a name that is taken", client.rename_registered_model, "renamed", "Second one")
    rec.refused("tag none", client.set_registered_model_tag, "never", "a", "b")
    rec.refused("version of none", client.create_model_version, "never", f"{root}/model", run_id=one)
    rec.refused("version from anywhere", client.create_model_version, "renamed", "/etc/passwd")
    rec.refused("version from above", client.create_model_version, "renamed", f"{root}/../../x", run_id=one)
    rec.refused("version of no logged model", client.create_model_version, "renamed", "models:/m-" + "f" * 32)
    rec.refused("get no version", client.get_model_version, "renamed", "1")
    rec.refused("get version abc", client.get_model_version, "renamed", "abc")
    rec.refused("delete no version", client.delete_model_version, "renamed", "1")
    rec.refused("tag no version", client.set_model_version_tag, "renamed", "1", "a", "b")
    rec.refused("newest of none", client.get_latest_versions, "never")
    rec.refused("files of none", client.get_model_version_download_uri, "renamed", "1")
