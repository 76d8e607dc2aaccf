"""What fixed distances, plain p-values and uncorrected columns do where nothing changed, and what replaces them."""

from __future__ import annotations

import numpy as np
import pytest

from perennial.stats import (
    NumericBins,
    benjamini_hochberg,
    js_distance,
    noncentral_chi2_sf,
    psi,
    tolerance_test,
)


@pytest.mark.parametrize("rows, above_psi, above_js", [(100, 0.40, 0.98), (200, None, 0.79)])
def test_fixed_thresholds_alarm_on_noise(rows: int, above_psi: float | None, above_js: float) -> None:
    rng = np.random.default_rng(0)
    psis, distances = [], []
    for _ in range(1200):
        reference, current = rng.normal(size=rows), rng.normal(size=rows)
        bins = NumericBins.from_reference(reference)
        counts = bins.count(current)
        inner = counts[1:-2]  # what lies outside the reference joins the outer bins: ten bins in all
        inner[0] += counts[0]
        inner[-1] += counts[-2]
        p, q = bins.count(reference)[1:-2] / rows, inner / rows
        psis.append(psi(p, q) > 0.2)
        distances.append(js_distance(p, q) > 0.1)
    if above_psi is not None:
        assert np.mean(psis) == pytest.approx(above_psi, abs=0.035)
    assert np.mean(distances) == pytest.approx(above_js, abs=0.035)


@pytest.mark.parametrize("rows, share", [(100, 0.072), (1000, 0.052)])
def test_without_tolerance_raw_shares_reject_too_often_in_small_windows_and_smoothed_ones_do_not(
    rows: int, share: float
) -> None:
    rng = np.random.default_rng(1)
    p = np.full(10, 0.1)
    raw, smoothed = [], []
    for _ in range(3000):
        a, b = rng.multinomial(rows, p), rng.multinomial(rows, p)
        raw.append(noncentral_chi2_sf(min(psi(a / rows, b / rows), 100.0) / (2 / rows), 9, 0.0) <= 0.05)
        smoothed.append(tolerance_test(a, b, 0.0, min_expected=0).decision == "shifted")
    assert np.mean(raw) == pytest.approx(share, abs=0.011)
    assert np.mean(smoothed) <= 0.06


@pytest.mark.parametrize("n, m, power", [(1000, 1000, 0.62), (10_000, 1000, 0.86), (50_000, 5000, 1.0)])
def test_a_shift_of_twice_the_tolerance_is_found_as_often_as_stated(n: int, m: int, power: float) -> None:
    rng = np.random.default_rng(2)
    p, direction = np.full(10, 0.1), np.array([1.0, -1.0] * 5)
    low, high = 0.0, 0.09
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if psi(p, p + middle * direction) < 0.1 else (low, middle)
    q = p + low * direction
    found = [
        tolerance_test(rng.multinomial(n, p), rng.multinomial(m, q), 0.05).decision == "shifted" for _ in range(1000)
    ]
    assert np.mean(found) == pytest.approx(power, abs=0.04)


def test_a_hundred_clean_columns_flag_five_a_day_unless_corrected() -> None:
    p = np.random.default_rng(3).random((6000, 100))
    flagged = (p <= 0.05).sum(axis=1)
    assert round(100 * float(np.mean(flagged > 0)), 1) == pytest.approx(99.3, abs=0.35)
    assert float(flagged.mean()) == pytest.approx(5.0, abs=0.1)
    ever = [benjamini_hochberg(row, 0.05).count > 0 for row in p]
    assert 100 * np.mean(ever) == pytest.approx(4.9, abs=0.7)
