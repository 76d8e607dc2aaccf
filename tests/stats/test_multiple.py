"""Control of the share of false findings."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from perennial.stats import OutOfRange, benjamini_hochberg, benjamini_yekutieli, e_benjamini_hochberg

probs = st.lists(st.floats(1e-9, 1.0), min_size=1, max_size=40)


@given(probs)
def test_adjusted_p_values_agree_with_scipy(p: list[float]) -> None:
    assert benjamini_hochberg(p).adjusted == pytest.approx(stats.false_discovery_control(p, method="bh"))
    assert benjamini_yekutieli(p).adjusted == pytest.approx(stats.false_discovery_control(p, method="by"))


@given(probs)
def test_selection_follows_the_definition(p: list[float]) -> None:
    ordered = sorted(p)
    k = max((i for i, value in enumerate(ordered, 1) if value <= i * 0.1 / len(p)), default=0)
    found = benjamini_hochberg(p, 0.1)
    assert found.count == k
    assert set(found.indices) == {i for i, value in enumerate(p) if k and value <= ordered[k - 1]}


def test_e_values_of_the_paper_style_example() -> None:
    found = e_benjamini_hochberg([100, 60, 25, 5, 1], 0.1)
    assert found.indices == (0, 1, 2)
    assert found.threshold == pytest.approx(5 / (0.1 * 3))
    assert e_benjamini_hochberg([1, 100, 5, 60, 25], 0.1).indices == (1, 3, 4)


def test_parallel_e_detectors_share_the_rule() -> None:
    # Alarm the top k* = max{k: M_(k) >= C A / k}, here C = 4, A = 100.
    assert e_benjamini_hochberg([210.0, 205.0, 120.0, 0.0], 0.01).indices == (0, 1)


def test_infinite_and_zero_evidence_are_allowed() -> None:
    assert e_benjamini_hochberg([float("inf"), 0.0]).indices == (0,)


def test_untested_columns_are_neither_selected_nor_counted() -> None:
    found = benjamini_hochberg([0.04, float("nan"), float("nan")], 0.05)
    assert found.indices == (0,)
    assert found.tests == 1
    assert np.isnan(found.adjusted[1])
    assert json.loads(json.dumps(found.as_dict()))["adjusted"] == [0.04, None, None]
    assert benjamini_hochberg([]).count == 0


def test_null_columns_are_rarely_flagged() -> None:
    rng = np.random.default_rng(3)
    flagged = [benjamini_hochberg(rng.random(100)).count > 0 for _ in range(2000)]
    assert 0.035 < np.mean(flagged) < 0.065


@pytest.mark.parametrize("p", [[1.1], [-0.1], [[0.1]]])
def test_wrong_p_values_are_refused(p: list) -> None:
    with pytest.raises(OutOfRange):
        benjamini_hochberg(p)
    with pytest.raises(OutOfRange):
        e_benjamini_hochberg([-1.0])
