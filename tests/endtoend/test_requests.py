"""Predictions over plain HTTP: what is answered, what is refused with a 4xx, and that the service is there after it."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import ROW, Project

PATH = "/predict/line"


def asked(**changes: Any) -> dict[str, Any]:
    return {"records": [ROW | changes]}


def test_an_answer_has_an_id_of_its_own_the_prediction_and_the_version(served: Project) -> None:
    answer = served.ask(PATH, {"records": [ROW, ROW]})
    assert answer.status == 200
    first, second = answer.json["predictions"]
    assert first["prediction"] == pytest.approx(8)
    assert first["id"] != second["id"]
    assert (first["version"], first["arm"]) == (1, "live")


@pytest.mark.parametrize(
    "body, status, says, where",
    [
        (asked(colour=3), 422, "column 'colour' is unknown", "records[0].colour"),
        ({"records": [{"b": 1.0}]}, 422, "column 'a' is missing", "records[0].a"),
        (asked(b="wide"), 422, "expects a number", "records[0].b"),
        (asked(b=True), 422, "expects a number", "records[0].b"),
        (asked(b=[1]), 422, "expects a number", "records[0].b"),
        (asked(b=None), 422, "is null", "records[0].b"),
        (asked(b=float("nan")), 422, "is null", "records[0].b"),
        (b'{"records": [{"a": 1.0, "b": 1e999}]}', 422, "expects a number", "records[0].b"),
        (asked(b=float("inf")), 400, "the body is not JSON", ""),
        ({"records": [ROW, ROW | {"colour": 1}]}, 422, "column 'colour' is unknown", "records[1].colour"),
        ({"records": []}, 422, "1 to 10000 rows", "records"),
        ({"records": [ROW] * 10_001}, 422, "1 to 10000 rows", "records"),
        ({"records": 3}, 422, "", "records"),
        ({"records": [3]}, 422, "", "records[0]"),
        ({"rows": [ROW]}, 400, "unknown key 'rows'", ""),
        ([ROW], 400, "Expected `object`, got `array`", ""),
        (b'{"records": [', 400, "the body is not JSON", ""),
        (b"\xff\xfe", 400, "the body is not JSON", ""),
        (b"", 400, "the body is not JSON", ""),
    ],
)
def test_S13_a_wrong_request_is_a_4xx_that_says_what_is_wrong_where_and_how_to_go_on(
    body: object, status: int, says: str, where: str, served: Project
) -> None:
    answer = served.ask(PATH, body)
    told = answer.json
    assert answer.status == status, told
    assert says in told["message"]
    assert where in told.get("where", "")
    assert "to go on" in told["message"]
    assert told["request_id"]
    assert served.ask(PATH, asked()).status == 200


def test_S12_a_huge_body_is_413_and_names_the_limit(served: Project) -> None:
    answer = served.ask(PATH, b" " * (11 * 1024 * 1024))
    assert answer.status == 413
    assert "10485760" in answer.json["message"]
    assert served.ask(PATH, asked()).status == 200


def test_an_unknown_endpoint_is_404_and_a_wrong_method_405_with_what_there_is(served: Project) -> None:
    unknown = served.ask("/predict/lime", asked())
    assert (unknown.status, "endpoints here: line" in unknown.json["message"]) == (404, True)
    wrong = served.ask(PATH, method="GET")
    assert (wrong.status, "use POST" in wrong.json["message"]) == (405, True)
