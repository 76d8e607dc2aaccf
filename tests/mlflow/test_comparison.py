"""The comparison sees what differs: it would be worth nothing if it did not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.mlflow.comparison import IGNORED, differences, report

ENTRY: dict[str, Any] = {
    "call": "runs: get",
    "answer": {"tags": {"a": "1"}, "metrics": [1.0, 2.0]},
    "requests": ["GET /x 200"],
}


@pytest.mark.parametrize(
    "other, path",
    [
        ({"answer": {"tags": {"a": "2"}, "metrics": [1.0, 2.0]}}, "answer.tags.a"),
        ({"answer": {"tags": {}, "metrics": [1.0, 2.0]}}, "answer.tags.a"),
        ({"answer": {"tags": {"a": "1", "b": ""}, "metrics": [1.0, 2.0]}}, "answer.tags.b"),
        ({"answer": {"tags": {"a": "1"}, "metrics": [1.0]}}, "answer.metrics"),
        ({"answer": {"tags": {"a": "1"}, "metrics": [True, 2.0]}}, "answer.metrics[0]"),
        ({"requests": ["GET /x 404"]}, "requests[0]"),
    ],
)
def test_a_field_that_differs_is_told_with_its_path(other: dict[str, Any], path: str) -> None:
    found = list(differences([ENTRY], [ENTRY | other]))
    assert [each.path for each in found] == [path]
    assert path in report(found)


def test_a_call_that_one_of_them_lacks_is_told() -> None:
    assert {each.call for each in differences([ENTRY], [])} == {"runs: get"}
    assert {each.call for each in differences([], [ENTRY])} == {"runs: get"}


def test_the_same_is_the_same_and_what_is_ignored_has_a_reason_that_is_printed() -> None:
    assert not list(differences([ENTRY], [ENTRY]))
    assert all(each.reason and each.reason in report([]) for each in IGNORED)
