"""Faults put into real rows: each does what it says and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from perennial.errors import Invalid
from perennial.evaluate.columns import grouped_columns
from perennial.monitor.diagnosing.injections import FAULTS, Fault, inject
from tests.monitor import rehearsal


@pytest.fixture(scope="module")
def wages(shared_data: Path) -> rehearsal.Stage:
    return rehearsal.stage(shared_data, "cps_wages", 0)


@pytest.fixture(scope="module")
def adults(shared_data: Path) -> rehearsal.Stage:
    return rehearsal.stage(shared_data, "adult_census", 0)


def _key(frame: pl.DataFrame) -> list[tuple[object, ...]]:
    return frame.rows()


@pytest.mark.parametrize("fault", FAULTS)
def test_equal_seeds_give_equal_windows_and_others_do_not(wages: rehearsal.Stage, fault: Fault) -> None:
    one, same, other = (wages.case(fault, seed) for seed in (7, 7, 8))
    assert one.current.inputs.equals(same.current.inputs)
    assert one.says == same.says
    assert not one.current.inputs.equals(other.current.inputs)
    assert one.current.rows == rehearsal.WINDOW_ROWS
    assert one.current.at is not None
    assert np.diff(one.current.at).min() > 0


def test_rows_that_are_drawn_are_rows_of_the_pool(adults: rehearsal.Stage) -> None:
    labelled = adults.pool.inputs.with_columns(adults.pool.labels.alias("truth"))
    known = set(_key(labelled))
    for fault in ("none", "benign", "covariate", "prior"):
        drawn = adults.case(fault, 3).current
        assert set(_key(drawn.inputs.with_columns(drawn.labels.alias("truth")))) <= known


@pytest.mark.parametrize("fault", ["covariate", "prior", "concept"])
def test_the_loss_rises_by_about_what_was_asked_for(adults: rehearsal.Stage, fault: Fault) -> None:
    before = float(adults.pool.losses().mean())
    rises = [float(adults.case(fault, seed).current.losses().mean()) / before - 1.0 for seed in range(8)]
    assert 0.3 <= float(np.mean(rises)) <= 0.9


def test_a_benign_shift_moves_inputs_and_leaves_the_loss(adults: rehearsal.Stage) -> None:
    before = float(adults.pool.losses().mean())
    after = []
    for seed in range(8):
        case = adults.case("benign", seed)
        after.append(float(case.current.losses().mean()))
        counts = [
            side[name].value_counts().sort("count", descending=True)
            for side in (adults.pool.inputs, case.current.inputs)
            for name in case.columns[:1]
        ]
        assert not counts[0].equals(counts[1])
    assert float(np.mean(after)) == pytest.approx(before, rel=0.06)


def test_a_prior_shift_keeps_the_rows_of_each_label(adults: rehearsal.Stage) -> None:
    case = adults.case("prior", 1)
    for label in adults.model.classes:
        ages = [float(side.inputs.filter(side.labels == label)["age"].mean()) for side in (adults.pool, case.current)]
        assert ages[1] == pytest.approx(ages[0], abs=1.5)
    shares = [float((side.labels == ">50K").mean()) for side in (adults.pool, case.current)]
    assert abs(shares[1] - shares[0]) > 0.05


def test_labels_change_only_within_the_region(adults: rehearsal.Stage) -> None:
    for seed in range(6):
        case, clean = adults.case("concept", seed), adults.case("none", seed)
        assert case.where
        assert case.current.inputs.equals(clean.current.inputs)
        changed = (case.current.labels != clean.current.labels).to_numpy()
        inside = np.ones(len(changed), dtype=bool)
        for group in grouped_columns(case.current.inputs):
            if group.column in case.where:
                inside &= group.codes == group.labels.index(case.where[group.column])
        assert changed[inside].mean() >= 0.2
        assert not changed[~inside].any()


def test_a_unit_error_touches_one_column_by_a_power_of_ten(wages: rehearsal.Stage) -> None:
    case = wages.case("unit error", 4)
    (name,) = case.columns
    clean = wages.case("none", 4)
    ratio = float(case.current.inputs[name].mean()) / float(clean.current.inputs[name].mean())
    assert abs(np.log10(ratio)) == pytest.approx(round(abs(np.log10(ratio))), abs=0.05)
    assert abs(np.log10(ratio)) > 0.9


def test_a_null_burst_is_one_stretch_and_is_answered_anew(wages: rehearsal.Stage) -> None:
    case = wages.case("null burst", 5)
    missing = case.current.inputs[case.columns[0]].is_null().to_numpy()
    assert missing.mean() >= 0.2
    assert np.abs(np.diff(missing.astype(int))).sum() <= 2
    answers, _ = wages.model.predict(case.current.inputs)
    assert answers.equals(case.current.predictions)


def test_swapped_columns_hold_each_others_values(adults: rehearsal.Stage) -> None:
    case = adults.case("swapped columns", 6)
    one, other = case.columns
    known = {name: set(adults.pool.inputs[name].unique().to_list()) for name in case.columns}
    assert set(case.current.inputs[one].unique().to_list()) <= known[other]
    assert set(case.current.inputs[other].unique().to_list()) <= known[one]


def test_rows_before_the_fault_are_clean(wages: rehearsal.Stage) -> None:
    case = wages.case("null burst", 9, begins=0.5)
    assert case.begins == rehearsal.WINDOW_ROWS // 2
    assert case.current.inputs[: case.begins].null_count().sum_horizontal().item() == 0
    assert case.current.inputs[case.begins :].null_count().sum_horizontal().item() > 0


def test_what_cannot_be_done_is_refused(wages: rehearsal.Stage) -> None:
    with pytest.raises(Invalid, match="too few"):
        inject("none", wages.pool, wages.model.predict, rows=wages.pool.rows)
    with pytest.raises(Invalid, match="begins"):
        wages.case("none", 0, begins=1.0)
    with pytest.raises(Invalid, match="raises the loss"):
        wages.case("covariate", 0, strength=100.0)
    texts = replace(wages.pool, inputs=wages.pool.inputs.select("ethnicity", "smsa"))
    with pytest.raises(Invalid, match="quantity"):
        inject("unit error", texts, wages.model.predict)
