"""Diagnoses of real data: each planted fault by its cause, action, place and time; and what is said without labels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from perennial.errors import Invalid
from perennial.monitor.diagnosing.diagnosis import Diagnosis, diagnose
from perennial.monitor.diagnosing.injections import Fault
from tests.monitor import rehearsal


@pytest.fixture(scope="module")
def adults(shared_data: Path) -> rehearsal.Stage:
    return rehearsal.stage(shared_data, "adult_census", 1)


@pytest.fixture(scope="module")
def wages(shared_data: Path) -> rehearsal.Stage:
    return rehearsal.stage(shared_data, "cps_wages", 1)


@pytest.mark.parametrize(
    "fault, cause, action",
    [
        ("none", "none", "nothing"),
        ("benign", "none", "nothing"),
        ("covariate", "covariate", "retrain"),
        ("prior", "prior", "correct the prior"),
        ("concept", "concept", "retrain"),
        ("unit error", "data bug", "fix the pipeline"),
        ("null burst", "data bug", "fix the pipeline"),
        ("swapped columns", "data bug", "fix the pipeline"),
    ],
)
def test_each_fault_is_named_and_leads_to_its_action(
    adults: rehearsal.Stage, fault: Fault, cause: str, action: str
) -> None:
    case = adults.case(fault, 2001)
    found = diagnose(adults.reference, case.current)
    assert (found.cause, found.action) == (cause, action), found.says
    assert found.would_change
    told = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert told["cause"] == cause
    assert told["cost"]["metric"] == "accuracy"
    if fault not in {"none", "prior"}:
        assert set(case.columns) & set(found.columns)


def _parts(found: Diagnosis) -> float:
    return sum(part.estimate for part in found.shares.values())


@pytest.mark.parametrize("fault", ["covariate", "prior", "concept", "null burst"])
def test_the_shares_are_parts_of_the_change_of_the_loss(wages: rehearsal.Stage, fault: Fault) -> None:
    current = wages.case(fault, 2002).current
    found = diagnose(wages.reference, current)
    change = current.losses().mean() - wages.reference.losses().mean()
    if fault == "null burst":  # of all losses; the others cut the largest ones
        assert _parts(found) == pytest.approx(change, abs=1e-9)
    else:
        assert found.loss is not None
        assert _parts(found) == pytest.approx(found.loss.estimate, abs=1e-9)
        main = {"covariate": "covariate", "prior": "prior", "concept": "concept"}[fault]
        assert found.shares[main].low > 0.0
        assert found.shares[main].estimate > 0.6 * found.loss.estimate


def test_the_region_of_a_changed_relation_is_found_and_confirmed(adults: rehearsal.Stage) -> None:
    case = adults.case("concept", 2004)
    found = diagnose(adults.reference, case.current)
    assert case.where
    assert found.slices
    assert all(one.found_by == "search" and one.p_value is not None and one.p_value < 0.05 for one in found.slices)
    assert set(case.where) & set(found.slices[0].where)


def test_the_period_of_a_fault_is_dated(wages: rehearsal.Stage) -> None:
    for fault in ("null burst", "concept", "unit error"):
        case = wages.case(fault, 2003, begins=0.5, strength=1.5)
        found = diagnose(wages.reference, case.current)
        assert case.current.at is not None
        assert found.period is not None
        assert not found.period.is_whole
        begun = int(np.searchsorted(case.current.at, found.period.start))
        earliest = case.begins
        if fault == "null burst":
            earliest = int(np.argmax(case.current.inputs[case.columns[0]].is_null().to_numpy()))
        assert abs(begun - earliest) <= 100


def test_employment_chunk_27_is_people_in_group_quarters(shared_data: Path) -> None:
    folder = shared_data / "nannyml_employment_ma"
    table = rehearsal.table(shared_data, "nannyml_employment_ma")
    before = pl.read_parquet(folder / "reference.parquet")[::4]
    targets = pl.read_parquet(folder / "analysis_targets.parquet")
    after = pl.read_parquet(folder / "analysis.parquet").join(targets, on="id", maintain_order="left")[135_000:140_000]
    names = table.frame.drop(table.target).columns
    sides = [
        rehearsal.monitored(side, names, prediction="prediction", prob="predicted_probability", target="employed")
        for side in (before, after)
    ]
    found = diagnose(*sides)
    assert found.cause == "covariate"
    assert "RELP" in found.columns[:3]
    assert found.slices[0].where == {"RELP": "17"}
    assert found.slices[0].current_share == pytest.approx(0.696, abs=0.001)
    assert found.shares["covariate"].estimate > 3 * abs(found.shares["concept"].estimate)
    assert found.cost is not None
    assert found.cost.now == pytest.approx(0.7662, abs=1e-4)


def test_after_a_release_that_made_everything_worse_it_is_rolled_back(adults: rehearsal.Stage) -> None:
    current = adults.case("none", 2005).current
    random = np.random.default_rng(0)
    labels = current.predictions.to_list()
    other = {name: adults.model.classes[1 - at] for at, name in enumerate(adults.model.classes)}
    wrong = random.random(current.rows) < 0.25
    broken = replace(
        current,
        predictions=pl.Series([other[label] if flip else label for label, flip in zip(labels, wrong, strict=True)]),
        probs=np.where(wrong[:, None], current.probs[:, ::-1], current.probs),
    )
    assert diagnose(adults.reference, broken, released=True).action == "roll back"
    assert diagnose(adults.reference, broken, released=False).cause == "concept"


def test_answers_that_are_off_by_a_constant_only_want_calibration(wages: rehearsal.Stage) -> None:
    current = wages.case("none", 2006).current
    found = diagnose(wages.reference, replace(current, labels=current.labels + 0.6))
    assert found.cause == "concept"
    assert found.action == "recalibrate"
    assert next(one for one in found.tried if one.repair == "recalibrate").gain.low > 0.0


def test_few_labels_are_asked_to_be_more(adults: rehearsal.Stage) -> None:
    current = adults.case("concept", 2007, strength=2.0).current
    labels = current.labels.to_list()
    few = replace(current, labels=pl.Series([label if row < 300 else None for row, label in enumerate(labels)]))
    found = diagnose(adults.reference, few)
    assert found.labelled == (rehearsal.REFERENCE_ROWS, 300)
    assert found.cause == "concept"
    assert found.action == "ask for labels"


def test_the_cost_is_told_in_the_metric_of_the_user(adults: rehearsal.Stage) -> None:
    current = adults.case("concept", 2008).current
    found = diagnose(adults.reference, current, metric="roc_auc")
    assert found.cost is not None
    assert found.cost.metric == "roc_auc"
    assert found.cost.change.high < 0.0
    assert found.cost.higher_is_better


@pytest.mark.parametrize("fault, cause", [("none", "none"), ("covariate", "covariate"), ("unit error", "data bug")])
def test_without_labels_it_says_what_stays_unknown(adults: rehearsal.Stage, fault: Fault, cause: str) -> None:
    found = diagnose(adults.reference, replace(adults.case(fault, 2010).current, labels=None))
    assert found.cause == cause, found.says
    assert found.unknown
    assert found.labelled[1] == 0
    if fault == "covariate":
        assert found.action == "ask for labels"
        assert found.cost is not None
        assert found.cost.is_estimated
        assert found.cost.now < found.cost.before


def test_a_changed_relation_is_not_claimed_to_be_absent_without_labels(adults: rehearsal.Stage) -> None:
    found = diagnose(adults.reference, replace(adults.case("concept", 2011).current, labels=None))
    assert found.cause == "none"
    assert any("labels" in one for one in found.unknown)
    assert any("cannot be seen without labels" in one for one in found.because)


def test_what_cannot_be_compared_is_refused(adults: rehearsal.Stage, wages: rehearsal.Stage) -> None:
    with pytest.raises(Invalid, match="regression"):
        diagnose(adults.reference, wages.reference)
    with pytest.raises(Invalid, match="0 current rows"):
        diagnose(adults.reference, adults.reference.take(slice(0, 0)))
