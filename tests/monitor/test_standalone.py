"""A report on real files tells what is published of them, and what it cannot tell it names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from perennial.errors import Invalid
from perennial.monitor import compare
from perennial.monitor.reporting.report import MonitorReport, Performance

# By month, as the README of the data set has them: ROC AUC and accuracy of the model's answers.
REALISED = {
    "2021-06": (0.8842, 0.8472),
    "2021-07": (0.7601, 0.8185),
    "2021-08": (0.7043, 0.5605),
    "2021-09": (0.6698, 0.5167),
    "2021-10": (0.8335, 0.2836),
    "2021-11": (0.7315, 0.5667),
    "2021-12": (0.9339, 0.4866),
    "2022-01": (0.8694, 0.4933),
    "2022-02": (0.9335, 0.5967),
    "2022-03": (0.7049, 0.6062),
    "2022-04": (0.9754, 0.6583),
    "2022-05": (0.9509, 0.7593),
}


@pytest.fixture(scope="module")
def houses(shared_data: Path) -> MonitorReport:
    folder = shared_data / "nannyml_california_housing"
    current = pl.read_csv(folder / "analysis.csv.gz").join(pl.read_csv(folder / "analysis_targets.csv"), on="id")
    return compare(
        folder / "reference.csv.gz",
        current,
        target="clf_target",
        prediction="y_pred",
        probs="y_pred_proba",
        time="timestamp",
        window="month",
    )


def metric(report: MonitorReport, name: str) -> Performance:
    return next(one for one in report.performance if one.metric == name)


@pytest.mark.parametrize("place, name", [(0, "roc_auc"), (1, "accuracy")])
def test_realised_performance_is_what_is_published(houses: MonitorReport, place: int, name: str) -> None:
    found = metric(houses, name)
    assert found.labels == list(REALISED)
    points = next(one for one in found.series if one.method == "realised").points
    assert [point.value for point in points] == pytest.approx([row[place] for row in REALISED.values()], abs=6e-5)
    assert found.overall["realised"].value == pytest.approx((0.8402, 0.5887)[place], abs=6e-5)
    assert found.reference.value == pytest.approx((0.9079, 0.6704)[place], abs=6e-5)
    assert found.is_worse


def test_estimated_performance_is_what_is_published(houses: MonitorReport) -> None:
    """The authors of the set give 0.829 (0.806 to 0.852) for March and 0.911 (0.887 to 0.934) for April 2022."""
    found = metric(houses, "roc_auc")
    points = dict(zip(found.labels, next(one for one in found.series if one.method == "cbpe").points, strict=True))
    assert points["2022-03"].value == pytest.approx(0.829, abs=0.001)
    assert points["2022-04"].value == pytest.approx(0.911, abs=0.001)
    for month, low, high in (("2022-03", 0.806, 0.852), ("2022-04", 0.887, 0.934)):
        assert (points[month].low, points[month].high) == pytest.approx((low, high), abs=0.01)
    assert "labelled windows" in found.rests_on["cbpe"], "its record stands beside it"


def test_the_place_moves_in_every_month_and_the_row_counter_is_not_compared(houses: MonitorReport) -> None:
    grid = houses.grid
    assert grid is not None
    marked = dict(zip(grid.columns, grid.marked, strict=True))
    assert all(marked["Latitude"])
    assert all(marked["Longitude"])
    assert sum(marked["Population"]) <= 1, "it moves least in the published ranking"
    assert "id" in houses.left_out
    assert houses.severity == "critical"
    assert houses.diagnosis is not None
    assert houses.diagnosis.would_change


def test_without_truth_it_says_that_it_estimates(shared_data: Path) -> None:
    folder = shared_data / "nannyml_california_housing"
    report = compare(
        folder / "reference.csv.gz",
        pl.read_csv(folder / "analysis.csv.gz")[:1464],
        target="clf_target",
        prediction="y_pred",
        probs="y_pred_proba",
    )
    found = metric(report, "roc_auc")
    assert "realised" not in found.overall
    assert found.chosen == "cbpe"
    assert [one.kind for one in report.findings if "estimated without labels" in one.says] == ["estimated performance"]
    assert any("no current row has its truth yet" in sentence for sentence in report.not_told)


def rows(seed: int, n: int = 1500) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    return pl.DataFrame({"x": draw.normal(size=n), "kind": draw.choice(["a", "b"], n)})


def test_tables_without_a_model_are_compared_as_tables() -> None:
    report = compare(rows(0), rows(1))
    assert report.is_quiet
    assert (report.performance, report.diagnosis, report.grid) == ([], None, None)
    assert any("hold no answers of a model" in sentence for sentence in report.not_told)
    assert "since when: the rows have no times" in report.not_told
    assert {one.method for one in report.together} == {"domain classifier", "reconstruction error"}


def test_a_reference_too_small_to_estimate_from_is_told() -> None:
    before = rows(0, 120).with_columns(y=pl.col("x"), answer=pl.col("x"))
    report = compare(before, before.drop("y"), target="y", prediction="answer", task="regression")
    assert any("at least 300 are needed" in sentence for sentence in report.not_told)


def test_columns_of_one_side_alone_and_wrong_windows_are_told() -> None:
    report = compare(rows(0), rows(1).with_columns(more=pl.lit(1)), thorough=False)
    assert report.left_out == {"more": "not in the reference table"}
    with pytest.raises(Invalid, match="need times"):
        compare(rows(0), rows(1), window="day", thorough=False)
