"""Drift of attributions against scikit-learn's NDCG, and at its edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from perennial.stats import LengthMismatch, NothingToCount, OutOfRange, attribution_drift


@given(st.integers(0, 1000))
def test_ndcg_is_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scale = rng.random((2, 6)) + 0.01
    before, after = rng.normal(size=(50, 6)) * scale[0], rng.normal(size=(40, 6)) * scale[1]
    drift = attribution_drift(before, after)
    shares = [np.abs(part).mean(axis=0) / np.abs(part).mean(axis=0).sum() for part in (before, after)]
    assert drift.ndcg == pytest.approx(ndcg_score(shares[0][np.newaxis], shares[1][np.newaxis]))
    assert drift.l1 == pytest.approx(np.abs(shares[0] - shares[1]).sum())


def test_the_same_attributions_have_not_moved() -> None:
    values = np.random.default_rng(0).normal(size=(30, 4))
    drift = attribution_drift(values, -3.0 * values)
    assert (drift.l1, drift.ndcg) == (pytest.approx(0.0, abs=1e-12), pytest.approx(1.0))


def test_everything_moved_to_another_feature() -> None:
    drift = attribution_drift([[1.0, 0.0]], [[0.0, 1.0]])
    assert drift.l1 == 2.0
    assert drift.ndcg == pytest.approx(1 / np.log2(3))
    assert drift.as_dict()["current"] == [0.0, 1.0]


def test_wrong_input_is_refused() -> None:
    with pytest.raises(LengthMismatch):
        attribution_drift([[1.0, 2.0]], [[1.0]])
    with pytest.raises(NothingToCount):
        attribution_drift([[0.0, 0.0]], [[1.0, 0.0]])
    with pytest.raises(OutOfRange):
        attribution_drift([[float("nan")]], [[1.0]])
    with pytest.raises(OutOfRange):
        attribution_drift([1.0], [1.0])
