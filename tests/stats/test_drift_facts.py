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
    tolerance_tests,
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


@pytest.mark.parametrize("rows, above_psi, above_js", [(100, 40, 98), (200, None, 79)])
def test_fixed_thresholds_alarm_on_noise_to_the_percent(rows: int, above_psi: int | None, above_js: int) -> None:
    """Deciles of a reference hold a tenth of it each; what falls between two of them later has the law of Dirichlet.
    The rates lie near .3995, .9755 and .7909, so that half a percent and three errors of the simulation are left.
    """
    rng, repeats = np.random.default_rng(5), 30_000
    p = np.full(10, 0.1)
    drawn = [rng.multinomial(rows, chances) / rows for chances in rng.dirichlet(p * rows, repeats)]

    def share(over: list[bool]) -> float:
        return 100 * float(np.mean(over))

    if above_psi is not None:
        assert share([psi(p, q) > 0.2 for q in drawn]) == pytest.approx(above_psi, abs=0.5 + 0.85)
    error = 100 * 3 * float(np.sqrt(above_js / 100 * (1 - above_js / 100) / repeats))
    assert share([js_distance(p, q) > 0.1 for q in drawn]) == pytest.approx(above_js, abs=0.5 + error)


@pytest.mark.parametrize("rows, share", [(100, 0.073), (1000, 0.052)])
def test_without_tolerance_raw_shares_reject_too_often_in_small_windows_and_smoothed_ones_do_not(
    rows: int, share: float
) -> None:
    """Printed are .072 and .052; in a million draws they are .0729 and .0516."""
    rng, repeats = np.random.default_rng(1), 20_000
    p = np.full(10, 0.1)
    pairs = [(rng.multinomial(rows, p), rng.multinomial(rows, p)) for _ in range(repeats)]
    raw = [noncentral_chi2_sf(min(psi(a / rows, b / rows), 100.0) / (2 / rows), 9, 0.0) <= 0.05 for a, b in pairs]
    smoothed = [found.decision == "shifted" for found in tolerance_tests(pairs, 0.0, min_expected=0)]
    assert np.mean(raw) == pytest.approx(share, abs=0.0005 + 3 * np.sqrt(share * (1 - share) / repeats))
    assert np.mean(smoothed) <= 0.055


@pytest.mark.parametrize("n, m, power", [(1000, 1000, 0.62), (10_000, 1000, 0.85), (50_000, 5000, 1.0)])
def test_a_shift_of_twice_the_tolerance_is_found_as_often_as_stated(n: int, m: int, power: float) -> None:
    """Printed are .62, .86 and 1: the second is .850 of smoothed shares and .862 to .867 of raw ones."""
    rng = np.random.default_rng(2)
    p, direction = np.full(10, 0.1), np.array([1.0, -1.0] * 5)
    low, high = 0.0, 0.09
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if psi(p, p + middle * direction) < 0.1 else (low, middle)
    q = p + low * direction
    pairs = [(rng.multinomial(n, p), rng.multinomial(m, q)) for _ in range(20_000)]
    found = [one.decision == "shifted" for one in tolerance_tests(pairs, 0.05)]
    assert np.mean(found) == pytest.approx(power, abs=0.005 + 3 * np.sqrt(power * (1 - power) / 20_000))


def test_a_hundred_clean_columns_flag_five_a_day_unless_corrected() -> None:
    """Printed are 99.3, 5.0 and 4.9, by simulation. Exactly they are 100 (1 - .95^100) = 99.41, 5 and, by Simes, 5."""
    p = np.random.default_rng(3).random((20_000, 100))
    flagged = (p <= 0.05).sum(axis=1)
    assert 100 * float(np.mean(flagged > 0)) == pytest.approx(100 * (1 - 0.95**100), abs=0.17)
    assert round(float(flagged.mean()), 1) == 5.0
    ever = [benjamini_hochberg(row, 0.05).count > 0 for row in p]
    assert 100 * np.mean(ever) == pytest.approx(5.0, abs=0.47)
