"""Drift: the distances of the data sets' own descriptions, noise that is not taken for drift, and drift that is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from perennial.data.profile import profile
from perennial.data.profile.drift import ColumnDrift, drift
from perennial.data.scan import scan


def found(reference: object, current: object) -> dict[str, ColumnDrift]:
    return {one.column: one for one in drift(scan(reference), scan(current))}


def test_the_distances_of_the_taxi_data_are_those_of_their_description(shared_data: Path) -> None:
    folder = shared_data / "chicago_taxi"
    evaluation = found(folder / "train.csv.gz", folder / "eval.csv.gz")
    assert evaluation["company"].l_infinity == pytest.approx(0.008209, abs=1e-6)
    assert evaluation["payment_type"].l_infinity == pytest.approx(0.0048, abs=1e-6)
    assert not [one for one in evaluation.values() if one.decision == "shifted"]
    serving = found(folder / "train.csv.gz", folder / "serving.csv")
    assert serving["payment_type"].l_infinity == pytest.approx(0.0225, abs=1e-6)
    assert serving["tips"].decision == "gone"


def test_a_profile_and_the_rows_it_was_made_of_are_the_same_reference(shared_data: Path) -> None:
    folder = shared_data / "chicago_taxi"
    current = scan(folder / "eval.csv.gz")
    by_rows = {one.column: one for one in drift(scan(folder / "train.csv.gz"), current)}
    by_profile = {one.column: one for one in drift(profile(folder / "train.csv.gz"), current)}
    assert by_rows.keys() == by_profile.keys()
    for name, one in by_rows.items():
        assert sum(one.reference) == sum(by_profile[name].reference) == 10_000
        assert one.reference == by_profile[name].reference
        assert one.current == by_profile[name].current


def test_a_reference_too_large_for_its_sample_says_how_few_rows_it_stands_on() -> None:
    random = np.random.default_rng(0)
    reference = profile(pl.DataFrame({"a": random.normal(size=100_000)}))
    (one,) = drift(reference, scan(pl.DataFrame({"a": random.normal(size=50_000)})))
    assert sum(one.reference) == 10_000
    assert one.noise_floor == pytest.approx(11 * (1 / 10_000 + 1 / 50_000), rel=0.25)
    assert one.decision == "within tolerance"


def test_noise_is_not_taken_for_drift() -> None:
    random = np.random.default_rng(1)
    for _ in range(20):
        sides = [pl.DataFrame({f"c{k}": random.normal(size=500) for k in range(20)}) for _ in range(2)]
        assert not [one for one in found(*sides).values() if one.decision == "shifted"]


def test_a_shift_a_scaled_unit_and_a_lost_category_are_found() -> None:
    random = np.random.default_rng(2)
    n = 20_000
    color = np.array(["red", "green", "blue"])
    before = pl.DataFrame(
        {
            "moved": random.normal(size=n),
            "scaled": random.gamma(2, 2, n),
            "same": random.gamma(2, 2, n),
            "color": color[random.integers(0, 3, n)],
            "holes": random.normal(size=n),
            "flag": random.random(n) < 0.5,
        }
    )
    after = pl.DataFrame(
        {
            "moved": random.normal(0.5, 1, n),
            "scaled": random.gamma(2, 2, n) * 10,
            "same": random.gamma(2, 2, n),
            "color": color[random.integers(0, 2, n)],
            "holes": np.where(random.random(n) < 0.3, np.nan, random.normal(size=n)),
            "flag": random.random(n) < 0.8,
        }
    )
    decided = {name: one.decision for name, one in found(before, after).items()}
    assert decided.pop("same") == "within tolerance"
    assert set(decided.values()) == {"shifted"}
    holes = found(before, after)["holes"]
    assert (holes.reference_missing, round(holes.current_missing, 1)) == (0.0, 0.3)


def test_columns_that_came_went_or_changed_type_are_told_first() -> None:
    before = pl.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": [1.0, 2.0], "d": [[1], [2]]})
    after = pl.DataFrame({"a": ["1", "2"], "b": ["x", "y"], "e": [1.0, 2.0], "d": [[1], [2]]})
    told = drift(scan(before), scan(after))
    assert [(one.column, one.decision) for one in told[:3]] == [("a", "type"), ("c", "gone"), ("e", "new")]
    assert told[0].says == "was int64, is string"
    assert [one.column for one in told[3:]] == ["b"]


@pytest.mark.parametrize("rows", [0, 1, 50])
def test_too_few_rows_are_undecided(rows: int) -> None:
    before = pl.DataFrame({"a": np.arange(1_000), "b": ["x"] * 1_000})
    told = found(before, before.head(rows))
    assert {one.decision for one in told.values()} == {"undecided"}
    assert {one.decision for one in found(before.head(0), before).values()} == {"undecided"}


def test_long_texts_that_differ_late_are_one_category_on_both_sides() -> None:
    before = pl.DataFrame({"a": ["x" * 300 + str(k % 2) for k in range(400)]})
    assert found(before, before)["a"].psi == 0.0
    (one,) = drift(profile(before), scan(before))
    assert one.psi == 0.0


def test_a_key_of_many_values_against_a_profile_is_compared_on_its_sample() -> None:
    before = pl.DataFrame({"key": [f"k{k}" for k in range(5_000)]})
    (one,) = drift(profile(before), scan(before))
    assert sum(one.reference) == sum(one.current) == 5_000
    assert one.psi == pytest.approx(0.0, abs=1e-9)
