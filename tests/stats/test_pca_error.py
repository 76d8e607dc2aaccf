"""Reconstruction errors against scikit-learn's components, their sums, and what the test sees and does not."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from perennial.stats import ErrorSums, NothingToCount, OutOfRange, Pca, fit_pca, pca_test


def rows(n: int, rng: np.random.Generator, *, mixing: float = 0.9) -> np.ndarray:
    """Eight columns, in pairs that move together."""
    first = rng.normal(size=(n, 4))
    second = mixing * first + math.sqrt(1 - mixing**2) * rng.normal(size=(n, 4))
    return np.hstack([first * [1, 10, 100, 0.01] + 5, second])


def sums(pca: Pca, x: np.ndarray) -> ErrorSums:
    return ErrorSums.of(pca.errors(x))


@pytest.mark.parametrize("variance", [0.3, 0.65, 0.95])
def test_components_and_errors_are_those_of_scikit_learn(variance: float) -> None:
    rng = np.random.default_rng(0)
    reference, current = rows(800, rng), rows(100, rng)
    scaler = StandardScaler().fit(reference)
    theirs = PCA(n_components=variance).fit(scaler.transform(reference))
    z = scaler.transform(current)
    expected = np.linalg.norm(z - theirs.inverse_transform(theirs.transform(z)), axis=1)
    ours = fit_pca(reference, variance=variance)
    assert len(ours.components) == theirs.n_components_
    assert ours.errors(current) == pytest.approx(expected, rel=1e-9)
    assert ours.variance == pytest.approx(float(theirs.explained_variance_ratio_.sum()))


def test_shards_add_up_and_survive_json() -> None:
    rng = np.random.default_rng(1)
    pca = fit_pca(rows(500, rng))
    current = rows(300, rng)
    stored = Pca.from_dict(json.loads(json.dumps(pca.as_dict())))
    parts = [sums(stored, part) for part in np.array_split(current, 4)]
    added = parts[0] + parts[1] + parts[2] + parts[3]
    whole = sums(pca, current)
    assert added.rows == whole.rows == 300
    assert added.mean == pytest.approx(float(pca.errors(current).mean()))
    assert added.variance == pytest.approx(float(pca.errors(current).var(ddof=1)))


def test_columns_that_part_are_seen_though_each_looks_as_before() -> None:
    rng = np.random.default_rng(2)
    pca, held = fit_pca(rows(3000, rng)), rows(3000, rng)
    reference = sums(pca, held)
    broken = rows(1000, rng)
    broken[:, 0] = rng.permutation(broken[:, 0])
    found = pca_test(reference, sums(pca, broken))
    assert found.decision == "shifted"
    assert found.effect is not None
    assert found.effect > 0.15
    assert found.interval is not None
    assert found.interval.low > 0.05


def test_a_column_that_stands_still_is_rebuilt_too_well_and_seen() -> None:
    rng = np.random.default_rng(3)
    reference = rng.normal(size=(3000, 4))
    pca = fit_pca(reference, variance=0.3)
    stuck = rng.normal(size=(1000, 4))
    stuck[:, 1:3] = 0.0
    found = pca_test(sums(pca, rng.normal(size=(3000, 4))), sums(pca, stuck))
    assert found.decision == "shifted"
    assert (found.effect or 0) < 0


@pytest.mark.parametrize("m", [200, 5000])
def test_clean_windows_alarm_hardly_ever(m: int) -> None:
    rng = np.random.default_rng(4)
    pca = fit_pca(rows(2000, rng))
    reference = sums(pca, rows(2000, rng))
    shifted = [pca_test(reference, sums(pca, rows(m, rng)), alpha=0.05).decision == "shifted" for _ in range(200)]
    assert np.mean(shifted) <= 0.03


def test_a_change_at_the_tolerance_is_called_as_rarely_as_alpha() -> None:
    rng = np.random.default_rng(5)
    called = []
    for _ in range(1000):
        before, after = ErrorSums.of(rng.gamma(4, 0.25, size=900)), ErrorSums.of(1.05 * rng.gamma(4, 0.25, size=400))
        called.append(pca_test(before, after, alpha=0.05).decision == "shifted")
    assert np.mean(called) <= 0.05


def test_constant_columns_are_kept_as_they_are() -> None:
    rng = np.random.default_rng(6)
    reference = np.column_stack([rng.normal(size=(200, 3)), np.full(200, 7.0)])
    pca = fit_pca(reference)
    assert pca.scale[3] == 1.0
    moved = reference.copy()
    moved[:, 3] = 9.0
    assert pca.errors(moved).mean() > pca.errors(reference).mean() + 0.5


def test_few_rows_and_perfect_fits_are_undecided() -> None:
    few = pca_test(ErrorSums.of([1.0] * 10), ErrorSums.of([1.0] * 100))
    assert (few.decision, few.p_value) == ("undecided", None)
    perfect = pca_test(ErrorSums.of([0.0] * 100), ErrorSums.of([1.0] * 100))
    assert perfect.decision == "undecided"
    assert "rebuild every" in perfect.reasons[0]
    same = pca_test(ErrorSums.of([1.0] * 100), ErrorSums.of([1.0] * 100))
    assert same.decision == "within tolerance"
    assert pca_test(ErrorSums.of([1.0] * 100), ErrorSums.of([2.0] * 100)).p_value == 0.0
    assert math.isnan(ErrorSums.of([]).mean)
    assert math.isnan(ErrorSums.of([1.0]).variance)


def test_wrong_input_is_refused() -> None:
    pca = fit_pca(rows(100, np.random.default_rng(7)))
    for error, wrong in (
        (NothingToCount, lambda: fit_pca([[1.0, 2.0]])),
        (NothingToCount, lambda: fit_pca([[1.0, 2.0]] * 5)),
        (OutOfRange, lambda: fit_pca([[1.0, math.nan]] * 5)),
        (OutOfRange, lambda: fit_pca([1.0, 2.0])),
        (OutOfRange, lambda: pca.errors([[1.0, 2.0]])),
        (OutOfRange, lambda: pca_test(ErrorSums.of([1.0]), ErrorSums.of([1.0]), tolerance=-1.0)),
        (
            OutOfRange,
            lambda: Pca.from_dict({"mean": [0.0], "scale": [1.0], "components": [[1.0, 2.0]], "variance": 1.0}),
        ),
    ):
        with pytest.raises(error):
            wrong()
