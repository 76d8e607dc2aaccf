"""Bounds of planned looks: published tables, simulated walks, and what more looks cost."""

from __future__ import annotations

import numpy as np
import pytest

from perennial.stats import (
    LengthMismatch,
    NothingToCount,
    OutOfRange,
    alpha_spent,
    constant_bounds,
    crossing_probs,
    spending_bounds,
)
from perennial.stats.group_sequential import Shape

FIVE = np.arange(1, 6) / 5


@pytest.mark.parametrize(
    "shape, bounds",
    [
        ("obrien-fleming", [4.8769, 3.3570, 2.6803, 2.2898, 2.0310]),
        ("pocock", [2.4380, 2.4268, 2.4102, 2.3966, 2.3860]),
    ],
)
def test_published_bounds_of_five_looks(shape: Shape, bounds: list[float]) -> None:
    assert spending_bounds(FIVE, shape=shape).round(4).tolist() == bounds


@pytest.mark.parametrize("shape, constant", [("pocock", 2.4132), ("obrien-fleming", 2.0401)])
def test_published_constants_of_five_looks(shape: Shape, constant: float) -> None:
    found = constant_bounds(5, shape=shape)
    assert round(float(found[-1]), 4) == constant
    assert found == pytest.approx(constant * (1.0 if shape == "pocock" else np.sqrt(1 / FIVE)), abs=2e-4)


@pytest.mark.parametrize("looks, rate", [(1, 0.05), (2, 0.083), (5, 0.142), (10, 0.193), (50, 0.320)])
def test_looking_at_a_plain_interval_errs_as_often_as_the_table_of_1969_says(looks: int, rate: float) -> None:
    found = crossing_probs(np.full(looks, 1.959964), np.arange(1, looks + 1) / looks)
    assert round(float(found.sum()), 3) == rate


@pytest.mark.parametrize("shape", ["obrien-fleming", "pocock"])
@pytest.mark.parametrize("fractions", [[1.0], [0.3, 0.5, 1.0], np.arange(1, 31) / 30])
def test_every_look_uses_up_what_was_planned(shape: Shape, fractions: list[float]) -> None:
    found = crossing_probs(spending_bounds(fractions, alpha=0.01, shape=shape), fractions)
    assert np.cumsum(found) == pytest.approx(alpha_spent(fractions, alpha=0.01, shape=shape), abs=1e-9)
    assert crossing_probs(constant_bounds(7, shape=shape), np.arange(1, 8) / 7).sum() == pytest.approx(0.05, abs=1e-9)


@pytest.mark.parametrize("drift", [0.0, 2.0, -3.2])
def test_walks_leave_where_it_says(drift: float) -> None:
    rng = np.random.default_rng(0)
    t = np.array([0.2, 0.5, 0.7, 1.0])
    bounds = spending_bounds(t, shape="pocock")
    steps = np.diff(t, prepend=0.0)
    walks = (rng.normal(size=(200_000, 4)) * np.sqrt(steps) + drift * steps).cumsum(axis=1) / np.sqrt(t)
    beyond = np.abs(walks) > bounds
    first = np.where(beyond.any(axis=1), beyond.argmax(axis=1), 4)
    found = np.bincount(first, minlength=5)[:4] / 200_000
    assert crossing_probs(bounds, t, drift=drift) == pytest.approx(found, abs=0.0035)


def test_a_bound_depends_on_what_was_looked_at_before_alone() -> None:
    assert spending_bounds([0.2, 0.5, 0.9])[:2] == pytest.approx(spending_bounds([0.2, 0.5, 0.6, 1.0])[:2])
    assert spending_bounds([0.001, 1.0])[0] > 30  # hardly anything may be used up so early


def test_wrong_input_is_refused() -> None:
    for wrong in (
        lambda: spending_bounds([0.5, 0.5]),
        lambda: spending_bounds([0.0, 0.5]),
        lambda: spending_bounds([0.5, 1.1]),
        lambda: spending_bounds([0.5], alpha=1.0),
        lambda: spending_bounds([0.5], shape="other"),  # type: ignore[arg-type]
        lambda: constant_bounds(0),
        lambda: constant_bounds(2, shape="other"),  # type: ignore[arg-type]
        lambda: crossing_probs([0.0], [1.0]),
    ):
        with pytest.raises(OutOfRange):
            wrong()
    with pytest.raises(LengthMismatch):
        crossing_probs([2.0], [0.5, 1.0])
    with pytest.raises(NothingToCount):
        alpha_spent([])
