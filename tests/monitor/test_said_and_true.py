"""What is said of real data is what is true of it: a small form of `benchmarks/said_and_true.py`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .judging import HEADINGS, Judged, judged
from .known_truth import SETS, Case

PAGE = Path(__file__).parents[2] / "docs" / "monitoring" / "said-and-true.md"
SMALL = {
    "wages": ("people from everywhere",),
    "people": ("hours x 10", "nulls in a number", "a stale copy"),
}


@pytest.fixture(scope="module")
def cases(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Case]]:
    """The windows of each data set, with models that learned them."""
    folder = tmp_path_factory.mktemp("windows")
    return {name: list(make(shared_data, folder)) for name, make in SETS.items()}


@pytest.fixture(scope="module")
def found(cases: dict[str, list[Case]]) -> dict[str, Judged]:
    return {
        case.window: judged(case) for name, windows in SMALL.items() for case in cases[name] if case.window in windows
    }


@pytest.mark.parametrize("window", [window for windows in SMALL.values() for window in windows])
def test_a_report_says_what_is_true(window: str, found: dict[str, Judged]) -> None:
    assert found[window].wrong == (), "\n".join(found[window].report.lines())


def test_a_region_that_was_not_in_the_training_is_named_and_called_harmless(found: dict[str, Judged]) -> None:
    one = found["people from everywhere"]
    assert one.report.diagnosis is not None
    assert (one.report.diagnosis.cause, one.report.diagnosis.action) == ("none", "nothing")
    assert [column.name for column in one.report.shifted] == ["region"]
    assert "mae" not in one.missed


def test_rows_that_the_model_refused_are_told_and_the_others_measured(found: dict[str, Judged]) -> None:
    report = found["nulls in a number"].report
    (told,) = [one for one in report.issues if one.kind == "unanswered"]
    assert told.says.startswith("the model gave no answer to 2,400 of 6,000 rows (40.0%; 0.0% before)")
    assert {one.overall["realised"].rows for one in report.performance} == {3600}
    assert "age" in [one.name for one in report.shifted]


def test_a_delivery_of_the_reference_is_told_as_a_copy(found: dict[str, Judged]) -> None:
    kinds = [one.kind for one in found["a stale copy"].report.issues]
    assert "stale copy" in kinds


def test_a_wrong_diagnosis_is_shown_as_wrong(found: dict[str, Judged]) -> None:
    """The judge is asked about a truth that is not there."""
    from dataclasses import replace

    from .judging import wrong

    case = replace(
        found["hours x 10"].case,
        causes=("prior",),
        columns=("race",),
        realised={name: value + 0.01 for name, value in found["hours x 10"].case.realised.items()},
    )
    told = "; ".join(wrong(case, found["hours x 10"].report))
    assert "the cause is prior" in told
    assert "not named: race" in told
    assert "ROC AUC was" in told


def test_the_page_shows_every_window(cases: dict[str, list[Case]]) -> None:
    """Each case has a row, in order, and rows that are wrong are counted as wrong."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text().split("\n## ")[0].splitlines()
        if line.startswith("| ") and not line.startswith(("| data, ", "| ---"))
    ]
    assert all(len(row) == len(HEADINGS) for row in rows)
    shown = [case for windows in cases.values() for case in windows]
    assert [row[0] for row in rows] == [f"{case.data}, {case.window}" for case in shown]
    assert [row[1] for row in rows] == [f"{case.true} ({case.known})" for case in shown]
    right = sum(row[-1] == "right" for row in rows)
    counted = re.search(r"(\d+) of (\d+) are right", PAGE.read_text())
    assert counted is not None
    assert (int(counted[1]), int(counted[2])) == (right, len(shown))
