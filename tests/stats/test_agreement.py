"""Agreement of people: the tables that every text on it prints, the definition over all pairs, and the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from perennial.stats import NothingToCount, OutOfRange, fleiss_kappa, krippendorff_alpha
from perennial.stats.agreement import Scale

NO = math.nan
# Four people, twelve items, some labels missing: Krippendorff's own example.
FOUR = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NO, NO, NO],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NO, 3],
    [NO, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NO],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NO],
]
# Ten items, five classes, fourteen people each: the example of Fleiss' kappa.
FOURTEEN = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]


@pytest.mark.parametrize(
    "scale, alpha", [("nominal", 0.7434), ("ordinal", 0.8154), ("interval", 0.8491), ("ratio", 0.7974)]
)
def test_published_alpha_on_each_scale(scale: Scale, alpha: float) -> None:
    assert round(krippendorff_alpha(FOUR, scale=scale), 4) == alpha


def test_published_kappa_of_fleiss() -> None:
    assert round(fleiss_kappa(FOURTEEN), 4) == 0.2099


def over_all_pairs(table: np.ndarray, scale: str) -> float:
    """1 - observed / expected, pair by pair."""
    items = [column[~np.isnan(column)] for column in table.T]
    items = [item for item in items if len(item) > 1]
    every = np.concatenate(items)

    def apart(a: float, b: float) -> float:
        if scale == "nominal":
            return float(a != b)
        if scale == "interval":
            return (a - b) ** 2
        if scale == "ratio":
            return ((a - b) / (a + b)) ** 2 if a + b else 0.0
        low, high = min(a, b), max(a, b)
        between = np.sum((every >= low) & (every <= high)) - (np.sum(every == a) + np.sum(every == b)) / 2
        return float(between**2) if a != b else 0.0

    within = sum(
        sum(apart(a, b) for i, a in enumerate(item) for j, b in enumerate(item) if i != j) / (len(item) - 1)
        for item in items
    ) / len(every)
    across = sum(apart(a, b) for i, a in enumerate(every) for j, b in enumerate(every) if i != j)
    across /= len(every) * (len(every) - 1)
    return 1 - within / across if across else math.nan


@given(
    st.lists(st.lists(st.sampled_from([NO, 0.0, 1.0, 2.0, 5.0]), min_size=3, max_size=3), min_size=1, max_size=12),
    st.sampled_from(["nominal", "ordinal", "interval", "ratio"]),
)
def test_alpha_is_its_definition_over_all_pairs(rows: list[list[float]], scale: Scale) -> None:
    table = np.array(rows).T
    if not ((~np.isnan(table)).sum(axis=0) >= 2).any():
        with pytest.raises(NothingToCount):
            krippendorff_alpha(table, scale=scale)
        return
    assert krippendorff_alpha(table, scale=scale) == pytest.approx(over_all_pairs(table, scale), abs=1e-9, nan_ok=True)


def test_of_two_people_with_equal_habits_kappa_of_fleiss_is_that_of_cohen() -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(0, 3, 300)
    other = np.where(rng.random(300) < 0.7, one, rng.permutation(one))
    both = np.concatenate([one, other]), np.concatenate([other, one])  # each in either place, so that habits are equal
    counts = np.eye(3)[both[0]] + np.eye(3)[both[1]]
    assert fleiss_kappa(counts) == pytest.approx(cohen_kappa_score(*both))


def test_full_agreement_is_1_and_chance_about_0() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, 4000).astype(float)
    assert krippendorff_alpha([labels, labels]) == pytest.approx(1.0)
    assert krippendorff_alpha([labels, rng.permutation(labels)]) == pytest.approx(0.0, abs=0.04)
    assert math.isnan(krippendorff_alpha(np.ones((3, 5))))
    assert math.isnan(fleiss_kappa([[3, 0], [3, 0]]))


def test_wrong_input_is_refused() -> None:
    for wrong in (
        lambda: krippendorff_alpha([1.0, 2.0]),
        lambda: krippendorff_alpha([[1.0, math.inf], [1.0, 1.0]]),
        lambda: krippendorff_alpha([[-1.0, 1.0], [1.0, 1.0]], scale="ratio"),
        lambda: krippendorff_alpha([[0.0, 1.0], [1.0, 1.0]], scale="other"),  # type: ignore[arg-type]
        lambda: fleiss_kappa([[1, 0], [0, 1]]),
        lambda: fleiss_kappa([[2, 0], [1, 2]]),
        lambda: fleiss_kappa([[3, -1], [1, 1]]),
        lambda: fleiss_kappa([2, 0]),
    ):
        with pytest.raises(OutOfRange):
            wrong()
