"""Sums of expected errors."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from perennial.stats import LengthMismatch, LossSums, NothingToCount, loss_sds, loss_sums


def test_of_known_errors_they_are_the_metrics_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth, told = rng.normal(size=500), rng.normal(size=500)
    off = told - truth
    found = loss_sums(np.abs(off), off**2).metrics()
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(truth, told))
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(truth, told))


def test_windows_add_up() -> None:
    both = loss_sums([1.0], [1.0]) + loss_sums([3.0, 2.0], [9.0, 4.0])
    assert both == loss_sums([1.0, 3.0, 2.0], [1.0, 9.0, 4.0])


def test_the_deviation_of_a_rows_part_is_that_of_many_windows() -> None:
    rng = np.random.default_rng(0)
    errors = rng.standard_t(8, size=(4000, 400))
    sds = loss_sds(errors[:500].ravel())
    windows = [loss_sums(np.abs(row), row**2).metrics() for row in errors]
    for name in ("mae", "mse", "rmse"):
        assert np.std([one[name] for one in windows]) == pytest.approx(sds[name] / 20.0, rel=0.06)


def test_nothing_is_no_window() -> None:
    with pytest.raises(NothingToCount):
        LossSums(rows=0, absolute=0.0, squared=0.0).metrics()
    with pytest.raises(LengthMismatch):
        loss_sums([1.0], [1.0, 2.0])
