"""`/invocations` beside MLflow's own scoring server: the same package, the same requests, the same answers.

Ours is the real service, asked over HTTP by `requests` and by MLflow's deployment client; MLflow's is the function that
its server calls for each request, on the same package loaded by MLflow.
"""

from __future__ import annotations

import io
import json
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pytest
import requests
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from perennial.models.build import build
from perennial.models.package import checkout
from perennial.models.preparation import learn
from perennial.serve.spec import Arm, EndpointSpec, Spec
from perennial.store.files import LocalFiles
from perennial.store.objects import ObjectStore

from ...serve.conftest import Service, until

with warnings.catch_warnings():  # MLflow warns of its own type hints when it is imported
    warnings.simplefilter("ignore")
    import mlflow.pyfunc
    from mlflow.deployments import get_deploy_client
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc import scoring_server

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, of which there are many

TEXTS, NUMBERS = ["gender", "region", "union"], ["education", "experience"]
COLUMNS = [*TEXTS, *NUMBERS]
CSV, JSON, PARQUET = "text/csv", "application/json", "application/vnd.apache.parquet"


@pytest.fixture(scope="module")
def rows(shared_data: Path) -> pd.DataFrame:
    return pd.read_csv(shared_data / "cps_wages" / "cps1985.csv")[[*COLUMNS, "wage"]]


@pytest.fixture(scope="module")
def workspace(rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, dict[str, Any]]:
    """A folder with a package, its digest, and its signature."""
    folder = tmp_path_factory.mktemp("served") / ".perennial"
    objects = ObjectStore(folder / "objects")
    coded = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), TEXTS), remainder="passthrough")
    model = make_pipeline(coded, LinearRegression()).fit(rows[COLUMNS], rows["wage"])
    table = pl.from_pandas(rows).to_arrow()
    preparation = learn(table, target="wage", kind="pandas")
    package = build(
        model=model, preparation=preparation, train=table, held_out=table.slice(0, 20), objects=objects,
        provenance={"origin": "executor"}, environment="",
    )  # fmt: skip
    return folder, package, msgspec.to_builtins(preparation.signature)


@pytest.fixture(scope="module")
def theirs(workspace: tuple[Path, str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder, package, _ = workspace
    checked = checkout(package, ObjectStore(folder / "objects"), tmp_path_factory.mktemp("cache"))  # type: ignore[arg-type]
    return mlflow.pyfunc.load_model(str(checked))


@pytest.fixture(scope="module")
def ours(workspace: tuple[Path, str, dict[str, Any]]) -> Iterator[str]:
    """The address of the real service."""
    folder, package, signature = workspace
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path.endswith("src"))
    LocalFiles().mkdirs(folder / "serving")
    endpoint = EndpointSpec(
        name="wage",
        task="regression",
        signature=signature,
        salt="s",
        live=Arm(version=1, package=package, trusted=True),
    )
    LocalFiles().write_atomic(
        folder / "serving" / "spec.json", msgspec.json.encode(Spec(revision=1, endpoints=[endpoint]))
    )
    service = Service(folder)
    try:
        until(lambda: service.get("/readyz").status == 200 and service.status()["revision"] == 1, "the service")
        yield f"http://127.0.0.1:{service.port}"
    finally:
        service.close()
        print(service.log())


def asked(theirs: Any, body: bytes, kind: str) -> tuple[int, Any]:
    """What MLflow's server answers: status and body."""
    try:
        found = scoring_server.invocations(body, kind, theirs, theirs.metadata.get_input_schema())
    except MlflowException as error:
        return error.get_http_status_code(), json.loads(error.serialize_as_json())
    return found.status, json.loads(found.response) if found.status == 200 else found.response


def parquet(frame: pd.DataFrame) -> bytes:
    sink = io.BytesIO()
    frame.to_parquet(sink)
    return sink.getvalue()


def forms(frame: pd.DataFrame) -> dict[str, tuple[bytes, str]]:
    """Each form in which clients send these rows."""
    records = frame.to_dict(orient="records")
    columns = frame.to_dict(orient="list")
    extra = frame.assign(rownames=1)
    told: dict[str, Any] = {
        "split": {"dataframe_split": frame.to_dict(orient="split")},
        "split without index": {"dataframe_split": {"columns": list(frame), "data": frame.to_numpy().tolist()}},
        "records": {"dataframe_records": records},
        "records with a column more": {"dataframe_records": extra.to_dict(orient="records")},
        "instances": {"instances": records},
        "inputs": {"inputs": columns},
        "params": {"inputs": columns, "params": {}},
        "whole numbers as floats": {"dataframe_records": frame.astype({"education": float}).to_dict(orient="records")},
    }
    found = {name: (json.dumps(body).encode(), JSON) for name, body in told.items()}
    found["csv"] = (frame.to_csv(index=False).encode(), CSV)
    found["csv with an index"] = (frame.to_csv().encode(), CSV)
    found["csv in its charset"] = (frame.to_csv(index=False).encode(), "text/csv; charset=utf-8")
    found["parquet"] = (parquet(frame), PARQUET)
    found["parquet with an index"] = (parquet(frame.set_index(pd.Index(range(7, 7 + len(frame)), name="row"))), PARQUET)
    return found


def test_each_form_is_answered_as_mlflow_answers_it(theirs: Any, ours: str, rows: pd.DataFrame) -> None:
    frame = rows[COLUMNS].head(50)
    for name, (body, kind) in forms(frame).items():
        status, told = asked(theirs, body, kind)
        assert status == 200, (name, told)
        reply = requests.post(f"{ours}/invocations", data=body, headers={"content-type": kind}, timeout=30)
        assert reply.status_code == 200, (name, reply.text)
        found = reply.json()
        assert list(found) == list(told) == ["predictions"], name
        np.testing.assert_allclose(found["predictions"], told["predictions"], rtol=1e-9, err_msg=name)


REFUSED: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"{", JSON),
    "a list": (b"[1]", JSON),
    "none of the keys": (b'{"rows": []}', JSON),
    "two of the keys": (b'{"inputs": [], "instances": []}', JSON),
    "a column missing": (b'{"dataframe_records": [{"education": 1}]}', JSON),
    "text for a number": (
        b'{"inputs": {"gender": ["male"], "region": ["x"], "union": ["no"], "education": ["a"], "experience": [3]}}',
        JSON,
    ),
    "records that are none": (b'{"dataframe_records": {"a": 1}}', JSON),
    "split without data": (b'{"dataframe_split": {"columns": ["a"]}}', JSON),
    "no Parquet": (b"PAR1", PARQUET),
    "CSV that is none": (b'"', CSV),
    "another type": (b"<a/>", "application/xml"),
    "another charset": (b"a\n1\n", "text/csv; charset=latin-1"),
    "another parameter": (b"{}", "application/json; version=2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_mlflow_refuses_is_refused_with_its_status_and_shape(theirs: Any, ours: str, name: str) -> None:
    body, kind = REFUSED[name]
    status, told = asked(theirs, body, kind)
    reply = requests.post(f"{ours}/invocations", data=body, headers={"content-type": kind}, timeout=30)
    assert reply.status_code == status, (reply.text, told)
    if status == 415:
        assert reply.headers["content-type"].startswith("text/plain")
    else:
        assert {"error_code", "message"} <= reply.json().keys()
        assert {"error_code", "message"} <= told.keys()


def test_health_and_version_as_mlflow_tells_them(ours: str) -> None:
    ping = requests.get(f"{ours}/ping", timeout=30)
    assert (ping.status_code, ping.text) == (200, "\n")
    assert requests.get(f"{ours}/version", timeout=30).text.count(".") == 2
    assert requests.get(f"{ours}/health", timeout=30).status_code == 200


def test_the_deployment_client_lists_asks_and_is_told_of_mistakes(theirs: Any, ours: str, rows: pd.DataFrame) -> None:
    client = get_deploy_client(ours)
    assert [one.name for one in client.list_endpoints()] == ["wage"]
    assert client.get_endpoint("wage").endpoint_url == f"{ours}/endpoints/wage/invocations"
    frame = rows[COLUMNS].head(5)
    inputs = {"dataframe_split": frame.to_dict(orient="split")}
    found = client.predict(endpoint="wage", inputs=inputs)
    told = asked(theirs, json.dumps(inputs).encode(), JSON)[1]
    np.testing.assert_allclose(found["predictions"], told["predictions"], rtol=1e-9)
    with pytest.raises(Exception, match="400"):
        client.predict(endpoint="wage", inputs={"rows": []})
    with pytest.raises(Exception, match="404"):
        client.predict(endpoint="nothing", inputs=inputs)
