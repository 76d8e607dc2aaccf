"""Plain requests: what the wire allows and refuses whatever the call is."""

from __future__ import annotations

import json

from mlflow import MlflowClient
from recorder import Recorder

BASE = "/api/2.0/mlflow"
JSON = {"Content-Type": "application/json"}


def run(rec: Recorder) -> None:
    client = MlflowClient()
    exp = rec.know("exp", client.create_experiment("wire"))
    one = rec.know("run", client.create_run(exp, run_name="wire").info.run_id)
    spellings(rec, exp, one)
    bodies(rec, one)
    addresses(rec, exp)


def spellings(rec: Recorder, exp: str, one: str) -> None:
    rec.rest("camelCase", "GET", f"{BASE}/experiments/get", params={"experimentId": exp})
    rec.rest("unknown fields", "GET", f"{BASE}/experiments/get", params={"experiment_id": exp, "what": "x"})
    rec.rest("old run id", "GET", f"{BASE}/runs/get", params={"run_uuid": one})
    search = f"{BASE}/runs/search"
    rec.rest(
        "an enum by number", "POST", search, json={"experiment_ids": [exp], "run_view_type": 1, "max_results": "5"}
    )
    rec.rest("an enum by name", "POST", search, json={"experimentIds": [exp], "runViewType": "ACTIVE_ONLY"})
    rec.rest("an enum that is none", "POST", search, json={"experiment_ids": [exp], "run_view_type": "SOME"})
    rec.rest("both spellings", "POST", search, json={"experiment_ids": [exp], "experimentIds": [exp]})
    rec.rest("null is absent", "POST", search, json={"experiment_ids": [exp], "filter": None, "order_by": None})
    metric = {"run_id": one, "key": "m", "value": "NaN", "timestamp": "1", "step": "2"}
    rec.rest("numbers as texts", "POST", f"{BASE}/runs/log-metric", json=metric)
    rec.rest("a truth value as number", "POST", f"{BASE}/runs/log-metric", json=metric | {"value": True})
    rec.rest("no number", "POST", f"{BASE}/runs/log-metric", json=metric | {"value": "many"})
    rec.rest("a fraction of a step", "POST", f"{BASE}/runs/log-metric", json=metric | {"step": 1.5})
    rec.rest("a step beyond 64 bits", "POST", f"{BASE}/runs/log-metric", json=metric | {"step": 2**63})


def bodies(rec: Recorder, one: str) -> None:
    path = f"{BASE}/runs/set-tag"
    body = json.dumps({"run_id": one, "key": "k", "value": "v"})
    rec.rest("JSON", "POST", path, data=body, headers=JSON)
    rec.rest(
        "JSON with a charset", "POST", path, data=body, headers={"Content-Type": "application/json; charset=utf-8"}
    )
    rec.rest("no type", "POST", path, data=body.encode(), headers={})
    rec.rest("another type", "POST", path, data=body, headers={"Content-Type": "text/plain"})
    rec.rest("no JSON", "POST", path, data=b"{nothing", headers=JSON)
    rec.rest("nothing", "POST", path, data=b"", headers=JSON)
    rec.rest("a list", "POST", path, data=b"[]", headers=JSON)
    for missing in ("run_id", "key"):
        left = {name: value for name, value in json.loads(body).items() if name != missing}
        rec.rest(f"without {missing}", "POST", path, json=left)
    rec.rest("a key of another kind", "POST", path, json={"run_id": one, "key": 3, "value": "v"})
    rec.rest("log-model of old clients", "POST", f"{BASE}/runs/log-model", json={"run_id": one, "model_json": "{}"})
    model = {
        "artifact_path": "m",
        "flavors": {},
        "utc_time_created": "2020-01-01 00:00:00",
        "run_id": one,
        "model_uuid": "u",
    }
    rec.rest("log-model", "POST", f"{BASE}/runs/log-model", json={"run_id": one, "model_json": json.dumps(model)})


def addresses(rec: Recorder, exp: str) -> None:
    rec.rest("of the browser", "GET", "/ajax-api/2.0/mlflow/experiments/get", params={"experiment_id": exp})
    rec.rest("an unknown call", "GET", f"{BASE}/experiments/nothing")
    rec.rest("the wrong method", "POST", f"{BASE}/experiments/get", json={"experiment_id": exp})
    rec.rest(
        "GET of a search", "GET", f"{BASE}/experiments/search", params={"max_results": 1, "filter": "name = 'wire'"}
    )
    rec.rest("search without a number", "POST", f"{BASE}/experiments/search", json={})
    rec.rest("runs of no experiment", "POST", f"{BASE}/runs/search", json={})
