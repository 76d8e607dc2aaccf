"""Conformal test martingales: published capitals, exact p-values, false alarms and what contamination hides."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from perennial.stats import (
    JumperState,
    NothingToCount,
    OutOfRange,
    conformal_p_values,
    fixed_reference_margin,
    fixed_reference_p_values,
    jump,
    martingale_test,
)


def test_published_capitals() -> None:
    assert f"{jump(JumperState(), [0.1] * 20).capital:.3f}" == "251.452"
    assert f"{jump(JumperState(), [0.1] * 50).capital:.1f}" == "4978806.1"
    assert f"{jump(JumperState(), [0.1, 0.9] * 25).capital:.5f}" == "0.28971"


@given(st.lists(st.floats(0.0, 1.0), max_size=50), st.integers(0, 50), st.floats(0.0, 0.3))
def test_capital_is_the_recursion_and_pieces_equal_the_whole(p: list[float], cut: int, margin: float) -> None:
    parts, peak = dict.fromkeys((-1, 0, 1), 1 / 3), 1.0
    for value in p:
        total = sum(parts.values())
        parts = {e: (0.99 * c + 0.01 / 3 * total) * (1 + e * (value - 0.5) - abs(e) * margin) for e, c in parts.items()}
        peak = max(peak, sum(parts.values()))
    whole = jump(JumperState(), p, margin=margin)
    assert whole.capital == pytest.approx(sum(parts.values()), rel=1e-9)
    assert math.exp(whole.log_peak) == pytest.approx(peak, rel=1e-9)
    stored = JumperState.from_dict(json.loads(json.dumps(jump(JumperState(), p[:cut], margin=margin).as_dict())))
    again = jump(stored, p[cut:], margin=margin)
    assert (again.log_capital, again.log_peak, again.n) == pytest.approx((whole.log_capital, whole.log_peak, len(p)))


def test_capital_never_overflows() -> None:
    state = jump(JumperState(), [0.0] * 5000)
    assert math.isfinite(state.log_capital)
    assert state.capital == math.inf


@given(st.lists(st.integers(0, 5).map(float) | st.floats(-9, 9), min_size=1, max_size=40), st.integers(0, 40))
def test_p_values_follow_the_definition_and_pieces_equal_the_whole(scores: list[float], cut: int) -> None:
    whole = conformal_p_values(scores, seed=5)
    for t in range(1, len(scores) + 1):
        above = sum(s > scores[t - 1] for s in scores[:t])
        same = sum(s == scores[t - 1] for s in scores[:t])
        assert above / t <= whole[t - 1] <= (above + same) / t
    parts = [conformal_p_values(scores[:cut], seed=5), conformal_p_values(scores[cut:], earlier=scores[:cut], seed=5)]
    assert np.concatenate(parts).tolist() == whole.tolist()


def test_p_values_of_exchangeable_rows_are_uniform_and_independent() -> None:
    p = conformal_p_values(np.random.default_rng(0).integers(0, 4, size=4000), seed=1)
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(p[:-1], p[1:])[0, 1]) < 0.05


@given(
    st.lists(st.integers(0, 5).map(float), min_size=1, max_size=20), st.lists(st.integers(0, 5).map(float), max_size=9)
)
def test_fixed_reference_p_values_follow_the_definition(reference: list[float], scores: list[float]) -> None:
    found = fixed_reference_p_values(reference, scores, seed=2)
    for p, score in zip(found, scores, strict=True):
        above, same = sum(r > score for r in reference), sum(r == score for r in reference)
        assert above / (len(reference) + 1) <= p <= (above + same + 1) / (len(reference) + 1)
    later = fixed_reference_p_values(reference, scores[3:], earlier=min(3, len(scores)), seed=2)
    assert later.tolist() == found[3:].tolist()


def test_margin_holds_the_mean_p_value_of_nearly_all_references() -> None:
    rng = np.random.default_rng(3)
    margin = fixed_reference_margin(200, beta=0.05)
    # Given uniform scores as a reference, the mean of a new row's p-value is (sum of them + 1/2)/(n + 1).
    means = (rng.random((4000, 200)).sum(axis=1) + 0.5) / 201
    assert np.mean(np.abs(means - 0.5) > margin) <= 0.05
    assert f"{fixed_reference_margin(10_000, beta=0.005):.4f}" == "0.0173"


def alarmed(changed_at: int | None, seeds: range, *, rows: int, fixed: bool, alpha: float) -> list[int | None]:
    found: list[int | None] = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        scores = np.abs(rng.normal(size=rows))
        if changed_at is not None:
            scores[changed_at:] *= 1.5
        reference = np.abs(rng.normal(size=4000)) if fixed else None
        test = martingale_test(scores, reference=reference, alpha=alpha, seed=seed)
        assert (test.decision == "changed") == (test.details["first"] is not None)
        found.append(test.details["first"])  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("fixed", [False, True])
def test_false_alarms_ever_are_as_rare_as_stated(fixed: bool) -> None:
    ever = [first is not None for first in alarmed(None, range(150), rows=1500, fixed=fixed, alpha=0.1)]
    assert np.mean(ever) <= 0.1


def test_without_its_margin_a_fixed_reference_would_alarm_falsely() -> None:
    rng = np.random.default_rng(4)
    ever = 0
    for seed in range(40):
        p = fixed_reference_p_values(rng.normal(size=50), rng.normal(size=4000), seed=seed)
        ever += jump(JumperState(), p).log_peak >= math.log(10)
    assert ever / 40 > 0.3


def test_a_fixed_reference_is_not_contaminated_by_what_came_after_the_change() -> None:
    growing = jump(JumperState(), conformal_p_values(stream := contaminated(), seed=0))
    fixed = jump(
        JumperState(),
        fixed_reference_p_values(stream[:500], stream[500:], seed=0),
        margin=fixed_reference_margin(500, beta=0.005),
    )
    # Long after the change the growing reference takes it for normal, and its evidence falls from its peak.
    assert growing.log_capital < growing.log_peak - 5
    assert fixed.log_capital > fixed.log_peak - 5
    assert fixed.log_peak > growing.log_peak


def contaminated() -> np.ndarray:
    rng = np.random.default_rng(5)
    return np.concatenate([np.abs(rng.normal(size=500)), np.abs(rng.normal(size=4000)) * 2])


@pytest.mark.parametrize("fixed", [False, True])
def test_changes_are_seen(fixed: bool) -> None:
    seen = alarmed(1000, range(20), rows=2000, fixed=fixed, alpha=0.01)
    assert all(first is not None and first > 1000 for first in seen)


def test_a_difference_within_the_tolerance_is_none() -> None:
    rng = np.random.default_rng(6)
    reference, scores = rng.normal(size=20_000), rng.normal(0.25, 1.0, size=20_000)  # AUC 0.57
    assert martingale_test(scores, reference=reference).decision == "changed"
    assert martingale_test(scores, reference=reference, tolerance=0.1).decision == "not changed"


def test_a_reference_of_a_few_rows_is_undecided() -> None:
    found = martingale_test([1.0] * 10, reference=[1.0, 2.0])
    assert (found.decision, found.e_value) == ("undecided", None)


def test_wrong_input_is_refused() -> None:
    for error, wrong in (
        (OutOfRange, lambda: jump(JumperState(), [1.5])),
        (OutOfRange, lambda: jump(JumperState(), [0.5], rate=0.0)),
        (OutOfRange, lambda: jump(JumperState(), [0.5], margin=0.5)),
        (OutOfRange, lambda: conformal_p_values([math.nan])),
        (NothingToCount, lambda: fixed_reference_p_values([], [1.0])),
        (OutOfRange, lambda: fixed_reference_margin(0, beta=0.1)),
        (OutOfRange, lambda: martingale_test([1.0], alpha=0.0)),
        (OutOfRange, lambda: martingale_test([1.0], tolerance=0.5)),
        (OutOfRange, lambda: JumperState.from_dict({})),
        (OutOfRange, lambda: JumperState.from_dict({"shares": [0.3, 0.3, 0.4]})),
        (OutOfRange, lambda: JumperState.from_dict({"shares": [0.3, 0.3, 0.4], "log_capital": 0, "log_peak": 0})),
    ):
        with pytest.raises(error):
            wrong()
