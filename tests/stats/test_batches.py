"""The band of the next value holds its rate on simulated batches, and agrees with tables of Student and Grubbs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from perennial.stats.batches import BatchLaw, learn_law
from perennial.stats.errors import OutOfRange


def law_of(values: object, **options: bool | float) -> BatchLaw:
    law = learn_law(values, **options)  # type: ignore[arg-type]
    assert law is not None
    return law


def test_the_normal_band_is_the_prediction_interval_of_student() -> None:
    values = np.array([9.8, 10.1, 10.0, 10.3, 9.9, 10.2, 9.7, 10.0])
    low, high = law_of(values).band(0.01)
    reach = stats.t.ppf(0.995, 7) * values.std(ddof=1) * np.sqrt(1 + 1 / 8)
    assert (low, high) == pytest.approx((10.0 - reach, 10.0 + reach))


@pytest.mark.parametrize("n", [7, 10, 20, 40])
@pytest.mark.parametrize("rate", [0.05, 0.01])
def test_normal_batches_leave_the_band_as_often_as_it_says(n: int, rate: float) -> None:
    draw = np.random.default_rng(n)
    series = draw.normal(5.0, 2.0, size=(4000, n + 1))
    left = sum(not (low <= row[-1] <= high) for row in series for low, high in [law_of(row[:-1]).band(rate)])
    # Tests for trend and normality reject some sound histories, after which the band is wider or less sure.
    assert left / len(series) < 1.6 * rate + 3 * np.sqrt(rate / len(series))


def test_a_series_of_heavy_tails_gets_the_wider_band() -> None:
    values = [1.0, 1.1, 0.9, 1.0, 1.05, 0.95, 9.0, 1.0, 1.02, 0.98]
    assert law_of(values).kind == "any"
    assert law_of([*values[:6], *values[7:]]).kind == "normal"


def test_what_grows_is_expected_to_grow_on() -> None:
    values = [100.0 + 10 * i + (-1) ** i for i in range(12)]
    law = law_of(values)
    assert law.is_differenced
    assert 215 < law.centre < 222


def test_what_never_moved_may_move_a_little() -> None:
    low, high = law_of([1000.0] * 10).band(0.001)
    assert 900 < low < 990 < 1010 < high < 1100
    assert learn_law([0.0] * 10) is None
    assert law_of([0.0] * 10, noise=0.01).band(0.01)[1] == pytest.approx(0.01 * np.sqrt(1.1) * stats.t.ppf(0.995, 9))


@pytest.mark.parametrize("kind", ["normal", "any"])
def test_how_surprising_a_value_is_agrees_with_its_band(kind: str) -> None:
    law = BatchLaw(centre=3.0, scale=2.0, n=15, kind=kind, is_differenced=False)  # type: ignore[arg-type]
    assert law.rate_of(law.band(0.02)[1]) == pytest.approx(0.02)
    assert law.rate_of(3.0) == 1.0
    assert law.rate_of(float("nan")) == 0.0


def test_six_batches_are_too_few() -> None:
    with pytest.raises(OutOfRange, match="at least 7"):
        learn_law([1.0] * 6)
