"""MLflow's forms, Arrow streams, the OpenAPI document and its page, on the real service over HTTP."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc as ipc
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.serve.conftest import Place, Service
from tests.serve.protocols.asking import mutated
from tests.serve.protocols.browser import Browser

ARROW, PARQUET, JSON = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet", "application/json"


@pytest.fixture(scope="module")
def service(shared: Place) -> Service:
    """One endpoint that answers x + 1."""
    return shared.answering(shared.endpoint(live=shared.linear(1)))


def stream(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def test_ten_thousand_rows_as_an_arrow_stream(service: Service) -> None:
    x = np.arange(10_000.0)
    table = pa.table({"person": [f"p{at}" for at in range(10_000)], "x": x})
    reply = service.send("POST", "/predict/wage", stream(table), Content_Type=ARROW)
    assert (reply.status, reply.headers["content-type"]) == (200, ARROW)
    found = ipc.open_stream(reply.body).read_all()
    np.testing.assert_allclose(found["prediction"].to_numpy(), x + 1.0, rtol=1e-9)
    assert set(found["version"].to_pylist()) == {1}
    assert len(set(found["id"].to_pylist())) == 10_000
    more = pa.table({"person": ["p"] * 10_001, "x": np.zeros(10_001)})
    refused = service.send("POST", "/predict/wage", stream(more), Content_Type=ARROW)
    assert (refused.status, refused.json["where"]) == (422, "rows")


def test_mlflows_forms_and_the_errors_of_each_protocol(service: Service) -> None:
    frame = pl.DataFrame({"person": ["a", "b"], "x": [1.0, 2.0]})
    sink = io.BytesIO()
    frame.write_parquet(sink)
    bodies = [
        (json.dumps({"dataframe_split": {"columns": ["x", "person"], "data": [[1.0, "a"], [2, "b"]]}}).encode(), JSON),
        (json.dumps({"dataframe_records": frame.to_dicts()}).encode(), JSON),
        (frame.write_csv().encode(), "text/csv"),
        (sink.getvalue(), PARQUET),
    ]
    for path in ("/invocations", "/invocations/wage"):
        for body, kind in bodies:
            reply = service.send("POST", path, body, Content_Type=kind)
            assert reply.status == 200, reply.body
            np.testing.assert_allclose(reply.json["predictions"], [2.0, 3.0], rtol=1e-9)
            assert len(reply.headers["x-prediction-id"]) == 26
            assert reply.headers["x-model-version"] == "1"
    wrong = service.send("POST", "/invocations", b"{}", Content_Type=JSON)
    assert (wrong.status, wrong.json["error_code"]) == (400, "BAD_REQUEST")
    kind = service.send("POST", "/invocations", b"<a/>", Content_Type="application/xml")
    assert (kind.status, kind.headers["content-type"].partition(";")[0]) == (415, "text/plain")
    assert service.send("POST", "/invocations/nothing", bodies[0][0], Content_Type=JSON).status == 404


def test_S13_malformed_bodies_end_no_process(service: Service) -> None:
    draw = random.Random(20260603)
    frame = pl.DataFrame({"person": ["a", "b"], "x": [1.0, 2.0]})
    sink = io.BytesIO()
    frame.write_parquet(sink)
    good = [("/predict/wage", stream(frame.to_arrow()), ARROW), ("/invocations", sink.getvalue(), PARQUET)]
    statuses: set[int] = set()
    for _ in range(400):
        path, body, kind = draw.choice(good)
        statuses.add(service.send("POST", path, mutated(body, draw), Content_Type=kind).status)
    assert statuses <= {200, 400, 413, 422}, statuses
    assert {400} < statuses
    assert service.get("/readyz").status == 200
    assert "Traceback" not in service.log()


def test_the_document_and_the_page_are_of_what_is_served(service: Service, tmp_path: Path) -> None:
    document = service.get("/openapi.json").json
    OpenAPIV31SpecValidator(document).validate()
    assert "/predict/wage" in document["paths"]
    page = service.get("/docs/wage")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert service.get("/docs/nothing").status == 404
    browser = Browser(tmp_path)
    try:
        browser.open(f"http://127.0.0.1:{service.port}/docs")
        browser.run("document.querySelector('[data-name=x]').value = '41'")
        browser.run("document.querySelector('#ask button').click()")
        browser.until("document.querySelector('#answer .value') !== null")
        assert float(browser.run("document.querySelector('#answer .value').textContent")) == pytest.approx(42.0)
        assert browser.console == []
    finally:
        browser.close()
