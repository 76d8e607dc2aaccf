"""Search for runs: the whole filter language, orders, pages."""

from __future__ import annotations

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType
from recorder import Recorder

FILTERS = (
    "metrics.loss < 0.5",
    "metrics.loss >= 0.5 and metrics.loss != 0.75",
    "metric.loss = 0.25",
    'metrics."val loss" > 0.5',
    "metrics.`val loss` <= 0.5",
    "metrics.odd != 1",
    "metrics.odd > 0",
    "params.kind = 'tree'",
    "parameters.kind != 'tree'",
    "param.kind LIKE 'T%'",
    "params.kind ILIKE 'T%'",
    "params.kind IS NULL",
    "params.kind IS NOT NULL",
    "params.`deep/key` = 'x'",
    "tags.stage = 'a'",
    "tag.stage != 'a'",
    "tags.stage LIKE '_'",
    "tags.stage IS NULL",
    'tags."with space" = "v"',
    "attributes.status = 'FINISHED'",
    "attribute.status != 'FINISHED'",
    "status = 'RUNNING'",
    "run.run_name LIKE 'run %'",
    "run_name = 'run 2'",
    "attributes.`run name` = 'run 3'",
    "user_id = 'ada'",
    "start_time >= 1500000000002",
    "attributes.created < 1500000000002",
    "end_time > 0",
    "artifact_uri LIKE 'mlflow-artifacts:%'",
    "dataset.name = 'train set'",
    "datasets.digest IN ('d1', 'd2')",
    "dataset.context = 'training'",
    "dataset.name LIKE '%set' AND dataset.context = 'eval'",
    "tags.stage = 'a' AND metrics.loss < 0.5 and params.kind LIKE '%'",
    'params.kind = "it\'s"',
    "metrics.never > 0",
)
REFUSED = (
    "metrics.loss",
    "metrics.loss < 'a'",
    "metrics.loss LIKE '1'",
    "params.kind > 'a'",
    "params.kind = 3",
    "nothing.kind = 'a'",
    "attributes.nothing = 'a'",
    "status > 'a'",
    "tags.stage = 'a' OR tags.stage = 'b'",
    "NOT tags.stage = 'a'",
    "(tags.stage = 'a')",
    "run_name IN ('run 1', 'run 2')",
    "dataset.nothing = 'a'",
    "start_time = 'soon'",
    "params.kind = 'open",
)
ORDERS = (
    ["metrics.loss"],
    ["metrics.loss DESC"],
    ["metrics.odd ASC"],
    ["metrics.odd DESC"],
    ["params.kind ASC", "metrics.loss"],
    ["tags.stage DESC"],
    ["attributes.start_time ASC"],
    ["start_time DESC"],
    ["end_time"],
    ["run_name DESC"],
    ["status", "run_name"],
    ["metrics.`val loss`"],
)


def run(rec: Recorder) -> None:
    client = MlflowClient()
    exp = rec.know("exp", client.create_experiment("search"))
    other = rec.know("exp", client.create_experiment("search, other"))
    for at in range(8):
        _one(rec, client, exp if at < 6 else other, at)
    both = [exp, other]
    for text in FILTERS:
        rec(text, lambda text=text: _names(client.search_runs(both, text)))
    rec.either("tags.stage = 'a' AND", lambda: _names(client.search_runs(both, "tags.stage = 'a' AND")))
    ids = ", ".join(f"'{found.info.run_id}'" for found in client.search_runs([exp])[:2])
    for text in (f"attributes.run_id IN ({ids})", f"run_id NOT IN ({ids})"):
        rec(text, lambda text=text: _names(client.search_runs(both, text)))
    for text in REFUSED:
        rec.refused(text, client.search_runs, both, text)
    for order in ORDERS:
        rec(f"by {order}", lambda order=order: _names(client.search_runs(both, order_by=order)))
    for order in (["nothing.x"], ["metrics.loss SIDEWAYS"], ["attributes.nothing"], ["loss"]):
        rec.refused(f"by {order}", client.search_runs, both, order_by=order)
    pages(rec, client, both)
    rec("in no experiment", client.search_runs, [])
    rec("in one that is not there", client.search_runs, ["123456789"])
    frame(rec)


def _names(found: list[mlflow.entities.Run]) -> list[str]:
    return [one.info.run_name for one in found]


def _one(rec: Recorder, client: MlflowClient, exp: str, at: int) -> None:
    made = client.create_run(exp, start_time=1_500_000_000_000 + at, run_name=f"run {at}", tags={"mlflow.user": "x"})
    run_id = rec.know("run", made.info.run_id)
    metrics = [Metric("loss", at / 8, 1, at), Metric("val loss", 1 - at / 8, 1, 0)]
    if at % 3 == 0:
        metrics.append(Metric("odd", (float("nan"), 1.0, float("inf"))[at // 3], 1, 0))
    params = [Param("deep/key", "x" if at == 4 else "y")]
    if at != 3:
        params.append(Param("kind", ("tree", "Tree", "linear", "", "it's", "tree", "_", "%")[at]))
    tags = [RunTag("with space", "v")] + ([RunTag("stage", "ab"[at % 2])] if at < 5 else [])
    client.log_batch(run_id, metrics=metrics, params=params, tags=tags)
    if at % 2:
        client.set_terminated(run_id, ("FINISHED", "KILLED")[at // 4], 1_500_000_001_000 + at)
    if at in (1, 2):
        _datasets(client, run_id, at)


def _datasets(client: MlflowClient, run_id: str, at: int) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    given = Dataset(f"{'train' if at == 1 else 'test'} set", f"d{at}", "code", "{}")
    tag = InputTag("mlflow.data.context", "training" if at == 1 else "eval")
    client.log_inputs(run_id, [DatasetInput(given, [tag])])


def pages(rec: Recorder, client: MlflowClient, both: list[str]) -> None:
    token, seen = None, []
    for at in range(3):
        page = client.search_runs(both, order_by=["metrics.loss"], max_results=3, page_token=token)
        rec(f"page {at}", lambda page=page: [_names(page), bool(page.token)])
        token = page.token
        seen += _names(page)
    rec("all pages", lambda: seen)
    rec.refused("a page that nobody gave", client.search_runs, both, page_token="what")
    rec.refused("none wanted", client.search_runs, both, max_results=0)
    rec.refused("too many wanted", client.search_runs, both, max_results=50_001)
    first = client.search_runs(both, "run_name = 'run 0'")[0].info.run_id
    client.delete_run(first)
    rec("deleted only", lambda: _names(client.search_runs(both, run_view_type=ViewType.DELETED_ONLY)))
    rec("all", lambda: _names(client.search_runs(both, run_view_type=ViewType.ALL, order_by=["run_name"])))
    client.restore_run(first)


def frame(rec: Recorder) -> None:
    rec("as a table", mlflow.search_runs, experiment_names=["search"], order_by=["run_name"])
    rec(
        "in all experiments",
        lambda: len(mlflow.search_runs(search_all_experiments=True, filter_string="tags.stage = 'a'")),
    )
    rec("by a name that is not there", lambda: len(mlflow.search_runs(experiment_names=["search", "never"])))
