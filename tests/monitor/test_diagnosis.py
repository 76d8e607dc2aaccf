"""Diagnoses of real data: each planted fault by its cause, action, place and time; and what is said without labels."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from perennial.errors import Invalid
from perennial.monitor.diagnosing.diagnosis import Diagnosis, diagnose
from perennial.monitor.diagnosing.injections import Fault
from perennial.monitor.diagnosing.remedies import tried
from perennial.monitor.diagnosing.verdict import has_moved
from perennial.monitor.sample import Sample
from perennial.stats.results import Interval
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
    _does_not_contradict_itself(found)
    if fault not in {"none", "prior"}:
        assert set(case.columns) & set(found.columns)


def _does_not_contradict_itself(found: Diagnosis) -> None:
    told = " ".join((*found.says, *found.would_change))
    assert all(float(share) <= 100.0 for share in re.findall(r"([\d.]+)\s?%", told)), told
    assert all(float(auc) < 0.52 for auc in re.findall(r"look as before \(AUC ([\d.]+)\)", told)), told


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


def _houses(shared_data: Path, month: str) -> tuple[Sample, Sample]:
    """The reference, and a month of which nearly all places lie elsewhere; answered 1 from a probability of 0.8 on."""
    folder = shared_data / "nannyml_california_housing"
    after = pl.read_csv(folder / "analysis.csv.gz").join(pl.read_csv(folder / "analysis_targets.csv"), on="id")
    before = pl.read_csv(folder / "reference.csv.gz")
    names = rehearsal.table(shared_data, "nannyml_california_housing").frame.drop("clf_target").columns
    first, second = (
        rehearsal.monitored(side, names, prediction="y_pred", prob="y_pred_proba", target="clf_target")
        for side in (before, after.filter(pl.col("timestamp").str.starts_with(month)))
    )
    return first, second


def test_rows_outside_of_the_reference_are_told_to_be_there_and_no_more(shared_data: Path) -> None:
    reference, current = _houses(shared_data, "2022-01")
    found = diagnose(reference, current)
    assert (found.cause, found.action) == ("covariate", "retrain")
    assert found.says[0].startswith("These rows lie outside of what the model was trained on; whether the relation")
    assert "abstain there until then" in found.advice.because
    assert found.shares == {}
    assert any("the same labels" in one for one in found.unknown)
    _does_not_contradict_itself(found)
    few = replace(current, labels=pl.Series([v if row < 300 else None for row, v in enumerate(current.labels)]))
    assert diagnose(reference, few).action == "abstain there"


def test_a_relation_that_changed_where_it_can_be_compared_is_told_though_most_rows_lie_outside() -> None:
    draw = np.random.default_rng(31)

    def window(low: float, high: float, slope: float) -> Sample:
        x = draw.uniform(low, high, 4_000)
        return Sample(
            inputs=pl.DataFrame({"x": x}),
            task="regression",
            classes=(),
            predictions=pl.Series(x),
            labels=pl.Series(slope * x + draw.normal(0.0, 0.3, 4_000)),
        )

    reference = window(0.0, 1.0, 1.0)
    found = diagnose(reference, window(0.6, 1.6, 2.0))
    assert (found.cause, found.shares) == ("concept", {})
    assert found.overlap is not None
    assert found.overlap.outside > 0.5
    assert any("most rows lie outside" in one for one in found.says)
    assert diagnose(reference, window(0.6, 1.6, 1.0)).cause in {"none", "covariate"}


def test_without_labels_nothing_is_claimed_of_rows_outside_of_the_reference(shared_data: Path) -> None:
    reference, current = _houses(shared_data, "2022-03")
    found = diagnose(reference, replace(current, labels=None))
    assert (found.cause, found.action) == ("covariate", "abstain there")
    assert "cannot be told" in found.says[0]
    assert any("says nothing about rows that are unlike the reference" in one for one in found.because)
    _does_not_contradict_itself(found)


def test_what_calibration_gains_is_not_what_another_threshold_gains(shared_data: Path) -> None:
    """At 0.5 instead of 0.8 the answers are right much more often, with the same probabilities."""
    reference, _ = _houses(shared_data, "2022-01")
    half = np.random.default_rng(0).permutation(reference.rows) < reference.rows // 2
    tries = {one.repair: one.gain for one in tried(reference.take(half), reference.take(~half))}
    likeliest = np.asarray(reference.classes)[reference.probs[~half].argmax(axis=1)]
    other = reference.take(~half).losses().mean() - np.mean(reference.labels.to_numpy()[~half] != likeliest)
    assert other > 0.1
    assert abs(tries["correct the prior"].estimate) < 0.02
    assert tries["recalibrate"].estimate < 0.8 * other


def test_a_population_is_told_from_a_column_that_froze(adults: rehearsal.Stage) -> None:
    women = adults.pool.take(np.flatnonzero((adults.pool.inputs["sex"] == "Female").to_numpy())[:2000])
    found = diagnose(adults.reference, women)
    assert found.cause != "data bug"
    assert "sex" in found.columns
    everybody = adults.pool.take(slice(0, 2000))
    frozen = replace(everybody, inputs=everybody.inputs.with_columns(pl.lit("Female").alias("sex")))
    found = diagnose(adults.reference, frozen)
    assert (found.cause, found.columns) == ("data bug", ("sex",))


def test_people_who_never_had_a_value_are_told_from_a_value_that_got_lost(adults: rehearsal.Stage) -> None:
    nobody = adults.pool.inputs["workclass"].is_null().to_numpy()
    rows = np.concatenate([np.flatnonzero(nobody)[:800], np.flatnonzero(~nobody)[:1200]])
    assert int(nobody.sum()) >= 800
    assert diagnose(adults.reference, adults.pool.take(rows)).cause != "data bug"
    everybody = adults.pool.take(slice(0, 2000))
    names = ("workclass", "occupation")
    lost = everybody.inputs.with_columns(
        pl.when(pl.int_range(pl.len()) < 800).then(None).otherwise(pl.col(name)).alias(name) for name in names
    )
    assert diagnose(adults.reference, replace(everybody, inputs=lost)).cause == "data bug"


def test_names_that_all_gave_way_to_others_are_told_from_a_new_population(adults: rehearsal.Stage) -> None:
    everybody = adults.pool.take(slice(0, 2000))
    codes = everybody.inputs["sex"].replace_strict({"Female": "F", "Male": "M"})
    found = diagnose(adults.reference, replace(everybody, inputs=everybody.inputs.with_columns(codes.alias("sex"))))
    assert (found.cause, found.action, found.columns) == ("data bug", "fix the pipeline", ("sex",))
    # Others came, and the column has new names for them: nobody renamed anything.
    young = adults.pool.take(np.flatnonzero((adults.pool.inputs["age"] < 30).to_numpy())[:2000])
    codes = young.inputs["sex"].replace_strict({"Female": "F", "Male": "M"})
    others = replace(young, inputs=young.inputs.with_columns(codes.alias("sex")))
    assert diagnose(adults.reference, others).cause != "data bug"


def test_few_labels_that_are_nearly_all_wrong_are_not_passed_over(adults: rehearsal.Stage) -> None:
    current = adults.case("none", 2012).current
    labels = current.labels.to_list()
    others = [adults.model.classes[1 - adults.model.classes.index(label)] for label in labels]
    for texts, cause, action in ((others, "undecided", "ask for labels"), (labels, "none", "nothing")):
        few = replace(current, labels=pl.Series([text if row < 60 else None for row, text in enumerate(texts)]))
        found = diagnose(adults.reference, few)
        assert (found.cause, found.action) == (cause, action)
        assert any(one.startswith("the 60 labels that are there show a mean loss of") for one in found.because)


def test_another_mix_of_labels_that_costs_no_accuracy_still_wants_its_correction(adults: rehearsal.Stage) -> None:
    """Fewer of the rare and harder label: the loss falls, and all probabilities of it are too high."""
    rich = (adults.pool.labels == adults.model.classes[1]).to_numpy()
    rows = np.concatenate([np.flatnonzero(rich)[:120], np.flatnonzero(~rich)[:1880]])
    found = diagnose(adults.reference, adults.pool.take(np.random.default_rng(0).permutation(rows)))
    assert found.cause == "prior"
    assert found.action in {"correct the prior", "nothing"}
    assert found.loss is not None
    assert found.loss.estimate < 0.0


def test_a_fall_of_the_loss_has_to_be_surer_than_a_rise() -> None:
    def change(middle: float) -> Interval:
        return Interval(low=middle - 0.0196, high=middle + 0.0196, estimate=middle, level=0.95, n=2000, method="")

    assert has_moved(change(0.03), 0.1)
    assert not has_moved(change(-0.03), 0.1)
    assert has_moved(change(-0.04), 0.1)
    assert not has_moved(change(0.03), 0.5)


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
