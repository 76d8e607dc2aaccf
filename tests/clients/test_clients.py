"""Triton's and KServe's own clients against a real service: what they are told is what the model itself says."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from tests.clients.conftest import ROWS, Served
from tests.serve.conftest import Place

EXACT, SINGLE = 1e-6, 1e-4  # the compiled form counts in float32; the second also gets its input in float32


def same(served: Served, told: dict[str, Any], rows: int = ROWS, tolerance: float = EXACT) -> None:
    assert told["labels"] == served.digits.labels[:rows]
    assert np.array(told["probabilities"]).shape == (rows, 10)
    np.testing.assert_allclose(told["probabilities"], served.digits.probabilities[:rows], atol=tolerance)


def test_tritonclient_over_http_and_grpc(served: Served) -> None:
    found = served.ask("client-oip", "ask_triton.py")
    assert found["live"] == found["grpc live"] == [True, True, True]
    assert found["unready"] is False
    for name in ("json", "binary", "default", "gzip", "deflate", "grpc", "grpc gzip"):
        same(served, found[name])
    for name, tolerance in (("json one", EXACT), ("binary one", EXACT), ("grpc one", SINGLE)):
        same(served, found[name], rows=1, tolerance=tolerance)
        assert found[name]["id"] == "r7"
    for name in ("json wage", "binary wage"):
        assert found[name]["values"] == [4.5, 5.5]
        response = found[name]["response"]
        assert response["model_version"] == "3"
        assert response["id"] == response["parameters"]["prediction_id"]
    assert found["grpc wage"] == [4.5, 5.5]
    assert found["version"] == "7"
    assert len(set(found["grpc keyed"])) == 1

    assert found["server"]["name"] == found["grpc server"]["name"] == "perennial"
    assert [tensor["datatype"] for tensor in found["model"]["inputs"]] == ["FP64"] * 64
    assert [tensor["name"] for tensor in found["grpc model"]["outputs"]] == ["digit", "probabilities"]
    assert found["model"]["outputs"][1]["shape"] == [-1, 10]
    assert {model["name"]: model["state"] for model in found["index"]} == {"wage": "READY", "digits": "READY"}

    refusals = found["http refusals"]
    assert refusals.pop("late")["status"] in {"503", "504"}  # a microsecond: nobody began with it, or was not done
    assert {name: told["status"] for name, told in refusals.items()} == {
        "model": "404", "version": "404", "shape": "400", "infinite": "400", "load": "409",
    }  # fmt: skip
    assert "inputs[0].shape" in refusals["shape"]["message"]
    refusals = found["grpc refusals"]
    assert refusals.pop("late")["status"] in {"StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED"}
    assert {name: told["status"] for name, told in refusals.items()} == {
        "model": "StatusCode.NOT_FOUND", "version": "StatusCode.NOT_FOUND", "shape": "StatusCode.INVALID_ARGUMENT",
        "load": "StatusCode.ABORTED",
    }  # fmt: skip
    (counted,) = found["grpc stats"]["model_stats"]
    assert (counted["name"], int(counted["inference_stats"]["success"]["count"]) > 0) == ("digits", True)
    assert {model["name"]: model["state"] for model in found["grpc index"]["models"]} == {
        "wage": "READY", "digits": "READY",
    }  # fmt: skip


def test_kserves_client_over_both_protocols(served: Served) -> None:
    found = served.ask("client-kserve", "ask_kserve.py")
    assert found["live"] == found["grpc live"] == [True, True, True]
    assert found["v1 ready"] is True
    for name in ("json", "binary", "grpc typed", "grpc raw"):
        same(served, found[name])
        assert found[name]["id"] == "r7"
    same(served, {"labels": found["v1"]["predictions"], "probabilities": found["v1"]["probabilities"]})
    assert found["v1"]["classes"] == list(range(10))
    assert found["v1 wage"]["predictions"] == [4.5, 5.5]
    assert found["v1 wage"]["versions"] == [3, 3]
    assert (found["refusal"][0], "inputs[0].shape" in found["refusal"][1]) == (400, True)
    assert (found["v1 refusal"][0], "instances[0]" in found["v1 refusal"][1]) == (400, True)


def test_all_protocols_are_captured_alike(served: Served, place: Place) -> None:
    row = {"inputs": [{"name": "person", "shape": [1], "datatype": "BYTES", "data": ["p1"]},
                      {"name": "x", "shape": [1], "datatype": "FP64", "data": [1.5]}]}  # fmt: skip
    for path, body in (
        ("/v2/models/wage/infer", row), ("/v1/models/wage:predict", {"instances": [{"person": "p1", "x": 1.5}]}),
        ("/predict/wage", {"records": [{"person": "p1", "x": 1.5}]}),
    ):  # fmt: skip
        assert served.service.send("POST", path, json.dumps(body).encode()).status == 200
    served.service.stop()
    written = place.predicted()
    assert [made.inputs for made in written] == [[{"person": "p1", "x": 1.5}]] * 3
    assert [made.outputs[0]["prediction"] for made in written] == [4.5] * 3
