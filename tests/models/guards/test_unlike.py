"""What is unforeseen: real images that are no digits fire, digits do so as rarely as was declared."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.spatial import cKDTree
from sklearn.datasets import load_digits
from sklearn.neighbors import LocalOutlierFactor

from perennial.errors import DataError
from perennial.models.guards.conformal import kept, p_values
from perennial.models.guards.unlike import Method, calibrate, fit, looks_of_one_unit, scores

Floats = NDArray[np.float64]
P = 0.001


def digits() -> Floats:
    return load_digits(return_X_y=True)[0]


def letters() -> Floats:
    """Twenty capital letters, drawn large and scaled down to 8 x 8, as the digits were."""
    drawn: list[Floats] = []
    for letter in "ABCEFGHJKMNPQRTUVWXY":
        image = Image.new("L", (32, 32), 0)
        draw, font = ImageDraw.Draw(image), ImageFont.load_default(28)
        left, top, right, bottom = draw.textbbox((0, 0), letter, font=font)
        draw.text(((32 - right - left) / 2, (32 - bottom - top) / 2), letter, fill=255, font=font)
        drawn.append(np.asarray(image.resize((8, 8), Image.Resampling.BOX), dtype=float).ravel() / 255 * 16)
    return np.array(drawn)


def turned() -> Floats:
    """Every digit, a quarter turn to the left."""
    return np.rot90(digits().reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, 64)


def chances(method: Method, rows: Floats, *, same_unit: bool) -> Floats:
    arrays, calibration, _ = calibrate(digits(), method, same_unit=same_unit)
    return p_values(calibration, scores(arrays, rows))


def test_a_turned_digit_a_letter_and_a_blank_image_are_unforeseen() -> None:
    assert looks_of_one_unit(digits())
    assert (chances("nearest", turned(), same_unit=True) <= P).mean() > 0.99
    assert (chances("nearest", letters(), same_unit=True) <= P).all()
    assert (chances("nearest", np.zeros((1, 64)), same_unit=True) <= P).all()
    assert (chances("nearest", 16 - digits(), same_unit=True) <= P).all()


def test_what_the_covariance_sees_and_what_it_does_not() -> None:
    """A turned digit breaks how pixels go together; a letter lies between digits, where only neighbours tell."""
    assert (chances("mahalanobis", turned(), same_unit=False) <= P).mean() > 0.95
    assert (chances("mahalanobis", letters(), same_unit=False) <= P).mean() < 0.5


@pytest.mark.parametrize("method", ["mahalanobis", "nearest"])
def test_digits_fire_as_rarely_as_was_declared(method: Method) -> None:
    """Exact where the calibration rows are kept from the fit: over random halves the share at p <= 0.05 is 0.05."""
    rows = digits()
    fired: list[float] = []
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(len(rows))
        arrays = fit(rows[order[:800]], method, same_unit=True)
        calibration = kept(scores(arrays, rows[order[800:1299]]))  # 499 rows
        fired.append(float((p_values(calibration, scores(arrays, rows[order[1299:]])) <= 0.05).mean()))
    assert np.mean(fired) == pytest.approx(0.05, abs=0.012)  # 4 standard errors of 20 halves


@pytest.mark.parametrize("method", ["mahalanobis", "nearest"])
def test_p_values_without_rows_to_spare_err_to_the_large_side(method: Method) -> None:
    """Digits that were kept from all of it fire no more often than declared, within chance: p <= 0.01 of 897 rows."""
    rows = digits()
    fired = 0
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(len(rows))
        arrays, calibration, is_exact = calibrate(rows[order[:900]], method, same_unit=True)
        assert not is_exact
        fired += int((p_values(calibration, scores(arrays, rows[order[900:]])) <= 0.01).sum())
    assert fired <= 4 * 9 + 3 * 6 * 4**0.5


def test_enough_rows_make_p_values_exact() -> None:
    rows = np.random.default_rng(0).normal(size=(21_000, 3))
    arrays, calibration, is_exact = calibrate(rows, "mahalanobis", same_unit=False)
    assert (is_exact, len(calibration)) == (True, 10_000)
    fresh = np.random.default_rng(1).normal(size=(50_000, 3))
    assert (p_values(calibration, scores(arrays, fresh)) <= 0.001).mean() == pytest.approx(0.001, abs=0.0008)


def test_the_tenth_neighbour_is_that_of_a_tree_of_neighbours() -> None:
    rows = digits()
    arrays = fit(rows, "nearest", same_unit=True)
    scaled = (rows - arrays["center"]) / arrays["scale"]
    away = (letters() - arrays["center"]) / arrays["scale"]
    assert scores(arrays, letters()) == pytest.approx(cKDTree(scaled).query(away, k=[10])[0][:, 0], rel=1e-4)
    own = cKDTree(scaled).query(scaled, k=[11])[0][:, 0]  # the nearest is the row itself
    assert scores(arrays, rows, without_itself=True) == pytest.approx(own, rel=1e-3)
    # Another method altogether holds the same rows for strange.
    outside = LocalOutlierFactor(10, novelty=True).fit(scaled).score_samples(away)
    assert outside.max() < np.quantile(LocalOutlierFactor(10).fit(scaled).negative_outlier_factor_, 0.05)


def test_a_column_that_never_varied_fires_when_it_does() -> None:
    rows = np.column_stack([np.random.default_rng(0).normal(size=2000), np.full(2000, 7.0)])
    arrays, calibration, _ = calibrate(rows, "mahalanobis", same_unit=False)
    assert p_values(calibration, scores(arrays, np.array([[0.0, 7.0], [0.0, 9.0]]))).tolist()[1] <= P
    assert p_values(calibration, scores(arrays, np.array([[0.0, 7.0]])))[0] > 0.1


def test_a_broken_relation_of_columns_fires_though_each_value_is_usual() -> None:
    age = np.random.default_rng(0).uniform(20, 60, 2000)
    rows = np.column_stack([age, age - 18 + np.random.default_rng(1).normal(size=2000)])
    arrays, calibration, _ = calibrate(rows, "mahalanobis", same_unit=False)
    assert p_values(calibration, scores(arrays, np.array([[25.0, 40.0]])))[0] <= P
    assert p_values(calibration, scores(arrays, np.array([[58.0, 40.0]])))[0] > 0.05


def test_too_few_rows_and_too_many_columns_are_refused() -> None:
    with pytest.raises(DataError, match="10 rows do not tell"):
        fit(np.zeros((10, 2)), "nearest", same_unit=False)
    with pytest.raises(DataError, match="2000 numbers is too large") as caught:
        fit(np.random.default_rng(0).normal(size=(50, 2000)), "mahalanobis", same_unit=False)
    assert "nearest" in caught.value.remedy
