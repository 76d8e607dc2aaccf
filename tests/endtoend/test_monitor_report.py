"""`perennial monitor report`: what a deployed version was asked and answered, beside the rows it was judged on."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import polars as pl
import pytest

from .conftest import Project, Quick, until

ROWS = 600
CHANGES = (
    ("n = np.arange(200)", "n = np.arange(3000)"),
    ('"y": n % 7 * 2.0 + n % 5}', '"y": n % 7 * 2.0 + n % 5 + np.sin(n)}'),
    ("retrain.never())", "retrain.never())\nloop.capture(b='mask')"),
)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A version that was asked for rows of which one column lies higher than in any training row, with the truth."""
    project = Quick(tmp_path_factory.mktemp("asked"))
    project.write(*CHANGES)
    project.done("run")
    project.done("approve", "line@1")
    project.up()
    try:
        project.answer("line", {"a": 3.0, "b": 2.0})
        draw = np.random.default_rng(0)
        a, b = draw.integers(4, 12, ROWS).astype(float), draw.integers(0, 5, ROWS).astype(float)
        ids: list[str] = []
        for start in range(0, ROWS, 200):
            records = [{"a": x, "b": z} for x, z in zip(a[start : start + 200], b[start : start + 200], strict=True)]
            answer = project.ask("/predict/line", {"records": records})
            assert answer.status == 200, answer.body
            ids += [one["id"] for one in answer.json["predictions"]]
        labels = pl.DataFrame({"prediction_id": ids, "label": a * 2.0 + b + 5.0})
        labels.write_csv(project.folder / "labels.csv")
        project.done("label", "import", "labels.csv", "--endpoint", "line")
        yield project
    finally:
        project.end()


def test_a_report_shows_inputs_answers_and_truth_beside_the_held_out_rows(asked: Project) -> None:
    def told() -> dict[str, object] | None:
        said = asked.perennial("monitor", "report", "line", "--html", "line.html", "--json")
        assert said.code in (0, 1), said.err
        found = json.loads(said.out)
        return found if found["current"]["labelled"] == ROWS else None

    found = until(told, "all labels in the report")
    assert found["title"] == "line version 1"
    assert "held-out rows that version 1 was judged on" in found["reference"]["name"]
    columns = {one["name"]: one for one in found["columns"]}
    assert columns["a"]["decision"] == "shifted"
    assert found["left_out"] == {"b": "not written down as it came"}
    rmse = next(one for one in found["performance"] if one["metric"] == "rmse")
    assert rmse["overall"]["realised"]["value"] == pytest.approx(5.0, abs=0.5)
    assert rmse["reference"]["value"] == pytest.approx(0.7, abs=0.2)  # of a sine
    assert found["severity"] == "critical"
    page = (asked.folder / "line.html").read_text()
    assert "line version 1" in page
    assert "what it answered since it went live" in page


def test_it_ends_with_one_and_writes_a_page_by_default(asked: Project) -> None:
    said = asked.perennial("monitor", "report", "line", "--quick")
    assert said.code == 1, said.err
    assert "the answers are worse: RMSE" in said.out
    assert "the whole report: line-1-monitoring.html" in said.out
    assert (asked.folder / "line-1-monitoring.html").is_file()


def test_too_few_rows_are_a_sentence(asked: Project) -> None:
    said = asked.perennial("monitor", "report", "line", "--since", "2100-01-01")
    assert said.code == 2
    assert "answered 0 rows in this time; a report needs 100" in said.err
    said = asked.perennial("monitor", "report", "line", "--since", "soon")
    assert said.code == 2
    assert "'soon' is no time" in said.err
