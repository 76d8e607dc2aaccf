"""Composition and rate: the worked case, an exact sum, real rows, and intervals that cover."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.stats import LengthMismatch, NothingToCount, OutOfRange
from perennial.stats.kitagawa import kitagawa, segmented_change

rows = st.lists(st.tuples(st.integers(0, 4), st.floats(-100, 100)), min_size=1, max_size=40)


def test_the_worked_case() -> None:
    change = kitagawa([0.5, 0.5], [0.3, 0.7], [0.1, 0.3], [0.15, 0.3])
    assert change.composition.sum() == pytest.approx(0.035, abs=1e-12)
    assert change.rate.sum() == pytest.approx(0.020, abs=1e-12)
    assert change.total == pytest.approx(0.055, abs=1e-12)


@given(before=rows, after=rows)
def test_composition_and_rate_add_up_to_the_change_of_the_mean(
    before: list[tuple[int, float]], after: list[tuple[int, float]]
) -> None:
    (codes_before, values_before), (codes_after, values_after) = (zip(*side, strict=True) for side in (before, after))
    split = segmented_change(codes_before, values_before, codes_after, values_after, segments=5, resamples=5)
    change = np.mean(values_after) - np.mean(values_before)
    assert split.composition.estimate + split.rate.estimate == pytest.approx(change, abs=1e-9)
    assert split.by_segment.contribution.sum() == pytest.approx(change, abs=1e-9)


def test_a_segment_that_is_new_is_all_composition() -> None:
    change = kitagawa([1.0, 0.0], [0.6, 0.4], [0.1, float("nan")], [0.1, 0.5])
    assert change.rate.tolist() == [0.0, 0.0]
    assert change.composition.sum() == pytest.approx(0.16)


def test_employment_chunk_27_is_people_in_group_quarters_and_not_a_broken_model(shared_data: Path) -> None:
    folder = shared_data / "nannyml_employment_ma"
    before = pl.read_parquet(folder / "reference.parquet")
    targets = pl.read_parquet(folder / "analysis_targets.parquet")
    after = pl.read_parquet(folder / "analysis.parquet").join(targets, on="id", maintain_order="left")[135_000:140_000]
    losses = [(side["prediction"] != side["employed"]).cast(pl.Float64).to_numpy() for side in (before, after)]
    assert [round(float(one.mean()), 4) for one in losses] == [0.1728, 0.2338]
    relation = pl.concat([before["RELP"].cast(pl.String), after["RELP"].cast(pl.String)])
    names = relation.unique().sort()
    codes = relation.replace_strict(names, list(range(len(names))), return_dtype=pl.Int64).to_numpy()
    split = segmented_change(codes[: before.height], losses[0], codes[before.height :], losses[1])
    top = int(np.argmax(split.by_segment.contribution))
    change = split.by_segment
    assert names[top] == "17"
    shares = float(change.reference_share[top]), float(change.current_share[top])
    means = float(change.reference_mean[top]), float(change.current_mean[top])
    assert [round(share, 3) for share in shares] == [0.052, 0.696]
    assert [round(mean, 3) for mean in means] == [0.348, 0.336]
    assert split.composition.low > 0.05
    assert split.rate.low < 0 < split.rate.high


def test_intervals_cover_the_true_parts() -> None:
    random = np.random.default_rng(0)
    true = kitagawa([0.5, 0.5], [0.3, 0.7], [0.1, 0.3], [0.15, 0.3])
    covered = np.zeros(2)
    runs = 100
    for run in range(runs):
        codes = random.random(800) < 0.5, random.random(600) < 0.7
        values = (
            random.random(800) < np.where(codes[0], 0.3, 0.1),
            random.random(600) < np.where(codes[1], 0.3, 0.15),
        )
        split = segmented_change(codes[0], values[0], codes[1], values[1], resamples=200, seed=run)
        covered[0] += split.composition.low <= true.composition.sum() <= split.composition.high
        covered[1] += split.rate.low <= true.rate.sum() <= split.rate.high
    assert (covered >= 88).all()  # of 95 expected; 3 standard deviations


def test_shares_that_are_none_are_refused() -> None:
    with pytest.raises(OutOfRange, match="current_shares"):
        kitagawa([0.5, 0.5], [0.5, 0.6], [0.1, 0.2], [0.1, 0.2])
    with pytest.raises(OutOfRange, match="reference_means"):
        kitagawa([0.5, 0.5], [0.5, 0.5], [0.1, float("nan")], [0.1, 0.2])
    with pytest.raises(LengthMismatch):
        kitagawa([1.0], [0.5, 0.5], [0.1], [0.1])
    with pytest.raises(NothingToCount):
        segmented_change([], [], [0], [1.0])
    with pytest.raises(OutOfRange, match="codes"):
        segmented_change([0, 3], [1.0, 1.0], [0], [1.0], segments=2)
