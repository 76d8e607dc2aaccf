"""KServe v1: rows as lists, objects or columns; predictions with what else is known of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from perennial.errors import Invalid
from perennial.models.signature import Field
from perennial.serve.intake import Intake
from perennial.serve.protocols.kserve import KServe
from perennial.serve.protocols.models import target_of

from .wire import FIRST, ROW, answer, classification, fired, numbers, post, regression

WIRE = KServe()
TWO = numbers(2)


def rows(body: Any, intake: Intake = TWO) -> list[tuple[Any, ...]]:
    return WIRE.decode(post(body), intake).rows()


@pytest.mark.parametrize("key", ["instances", "inputs"])
def test_rows_are_lists_in_order_or_objects(key: str) -> None:
    assert rows({key: [[1, 2.5], [3, 4]]}) == [(1.0, 2.5), (3.0, 4.0)]
    assert rows({key: [{"x1": 2.5, "x0": 1}]}) == [(1.0, 2.5)]
    assert rows({key: [{name: value for name, value in ROW.items() if name != "region"}]}, Intake(regression())) == [
        tuple(ROW.values())
    ]


def test_inputs_may_be_columns() -> None:
    assert rows({"inputs": {"x0": [1, 3], "x1": [2, 4]}}) == [(1.0, 2.0), (3.0, 4.0)]
    assert rows({"inputs": {"x0": [1], "x1": [2]}, "signature_name": "serving_default"}) == [(1.0, 2.0)]


def test_a_model_of_one_column_takes_bare_values() -> None:
    assert rows({"instances": [1, 2]}, numbers(1)) == [(1.0,), (2.0,)]
    assert rows({"instances": [[1], [2]]}, numbers(1)) == [(1.0,), (2.0,)]


@pytest.mark.parametrize("nested", [False, True])
def test_a_column_of_tensors_is_a_tensor_for_each_row(nested: bool) -> None:
    intake = Intake(regression([Field(name="image", type="float64", shape=[2, 2])]))
    image = [[1.0, 2.0], [3.0, 4.0]]
    found = rows({"instances": [[image], [image]] if nested else [image, image]}, intake)
    assert [[list(line) for line in row[0]] for row in found] == [image, image]


def test_a_bare_nan_is_null() -> None:
    intake = Intake(regression([Field(name="x", type="float64", nullable=True)]))
    assert rows(b'{"instances": [[NaN]]}', intake) == [(None,)]


@pytest.mark.parametrize(
    "body, where",
    [
        ({}, "instances"), ([], "instances"), (7, "instances"), (None, "instances"),
        ({"instances": None}, "instances"), ({"instances": 7}, "instances"), ({"instances": {}}, "instances"),
        ({"instances": [[1, 2]], "inputs": [[1, 2]]}, "inputs"),
        ({"instances": []}, "instances"),
        ({"instances": [[1, 2], [3]]}, "instances[1]"),
        ({"instances": [[1, 2], 3]}, "instances[1]"),
        ({"instances": [[1, 2, 3]]}, "instances[0]"),
        ({"instances": [[1, "2"]]}, "instances.x1[0]"),
        ({"instances": [[1, None]]}, "instances.x1[0]"),
        ({"instances": [{"x0": 1}]}, "instances[0].x1"),
        ({"instances": [{"x0": 1, "x1": 2, "z": 3}]}, "instances[0].z"),
        ({"instances": [{"x0": 1, "x1": [2]}]}, "instances[0].x1"),
        ({"instances": [{"x0": 1, "x1": 2}, [1, 2]]}, "instances[1]"),
        ({"inputs": {"x0": [1], "x1": [1, 2]}}, "inputs.x1"),
        ({"inputs": {"x0": 1, "x1": 2}}, "inputs.x0"),
        ({"inputs": {"x0": [1]}}, "inputs.x1"),
        ({"instances": [[0, 0]] * 10_001}, "instances"),
    ],
)  # fmt: skip
def test_S13_what_is_wrong_is_pointed_at(body: Any, where: str) -> None:
    with pytest.raises(Invalid) as error:
        rows(body)
    assert error.value.where == where


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b'{"instances": ' + b"[" * 100_000, b'{"instances": [[1, 2]], "instances": [[3, 4]]}',
     b'{"instances": [[1, Infinity]]}', b'{"instances": [[1, 1e999]]}', b'{"instances": [[1, ' + b"9" * 5000 + b"]]}"],
)  # fmt: skip
def test_S13_broken_json(body: bytes) -> None:
    with pytest.raises(Invalid):
        rows(body)


def test_an_answer_holds_predictions_and_what_is_known_of_them() -> None:
    made = WIRE.encode(answer([1.5, None], errors=[None, "it failed"]), post({}), TWO)
    assert json.loads(made.body) == {
        "predictions": [1.5, None], "id": FIRST, "versions": [3, 3], "errors": [None, "it failed"],
    }  # fmt: skip
    intake = Intake(classification(["no", "yes"]))
    labels = answer(["yes"], classes=["no", "yes"], probabilities=[[0.25, 0.75]], sets=[["yes"]], flags=[[fired("a")]])
    said = json.loads(WIRE.encode(labels, post({}), intake).body)
    assert said["predictions"] == ["yes"]
    assert (said["classes"], said["probabilities"], said["sets"]) == (["no", "yes"], [[0.25, 0.75]], [["yes"]])
    assert said["flags"][0][0] == {"guard": "range", "action": "flag", "column": "a", "says": "above 1"}


@pytest.mark.parametrize("status", [500, 503, 504])
def test_a_request_that_no_row_of_was_answered_is_an_error(status: int) -> None:
    made = WIRE.encode(answer([None], status=status, message="not now"), post({}), TWO)
    assert (made.status, json.loads(made.body)["error"]) == (status, f"not now [request {FIRST}]")


def test_paths() -> None:
    target = target_of("/v1/models/wage:predict")
    assert target is not None
    assert (target.verb, target.model, target.method) == ("infer", "wage", "POST")
    explain = target_of("/v1/models/a:b:explain")
    assert explain is not None
    assert (explain.verb, explain.model) == ("explain", "a:b")
