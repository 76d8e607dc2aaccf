"""Gates by Ville's inequality: the recursion by hand, the promise at all times, and what restarting is worth."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.stats import Design, Gate, GateState, OutOfRange, log_bets

streams = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=60)


def by_hand(gate: Gate, values: list[float]) -> list[float]:
    """Every bet kept apart: opened at row j with 1/(j (j + 1)), the rest still in the purse."""
    design, found = gate.design, []
    for t in range(1, len(values) + 1):
        total = 1 / (t + 1) if gate.restarts else 0.0
        for k, weight in enumerate(design.weights):
            factors = [1 + design.lambdas[k] * (x - design.mus[k]) for x in values[:t]]
            if gate.restarts:
                total += weight * sum(np.prod(factors[j - 1 :]) / (j * (j + 1)) for j in range(1, t + 1))
            else:
                total += weight * np.prod(factors)
        found.append(float(total))
    return found


@given(streams, st.booleans(), st.floats(0.02, 0.9))
def test_evidence_is_the_sum_over_all_bets(values: list[float], restarts: bool, mu0: float) -> None:
    gate = Gate(Design.above(mu0, threshold=1e180, kind="ville"), restarts)
    expected = by_hand(gate, values)
    state = gate.update(gate.start(), values)
    assert state.evidence == pytest.approx(expected[-1], rel=1e-9)
    assert state.peak == pytest.approx(max(1.0, *expected), rel=1e-9)


@given(streams, st.integers(0, 60), st.booleans())
def test_pieces_through_json_equal_all_at_once(values: list[float], cut: int, restarts: bool) -> None:
    gate = Gate.above(0.3, alpha=0.05, restarts=restarts)
    first = gate.update(gate.start(), values[:cut])
    stored = GateState.from_dict(json.loads(json.dumps(first.as_dict())))
    assert stored == first
    last, whole = gate.update(stored, values[cut:]), gate.update(gate.start(), values)
    assert (last.observations, last.refused_at) == (whole.observations, whole.refused_at)
    assert (last.evidence, last.peak) == pytest.approx((whole.evidence, whole.peak), rel=1e-9)


def test_long_streams_cross_blocks_without_a_seam() -> None:
    values = np.random.default_rng(0).beta(1, 9, size=10_000)
    gate = Gate(Design.above(0.12, threshold=1e150, kind="ville"))
    pieces = gate.start()
    for part in np.array_split(values, 29):
        pieces = gate.update(pieces, part)
    whole = gate.update(gate.start(), values)
    assert pieces.evidence == pytest.approx(whole.evidence, rel=1e-9)
    assert pieces.logs == pytest.approx(whole.logs, rel=1e-9)


def test_before_the_first_row_the_purse_is_full() -> None:
    for restarts in (True, False):
        gate = Gate.above(0.1, restarts=restarts)
        assert gate.finding(gate.start()).e_value == 1.0
        assert gate.update(gate.start(), []) == gate.start()


def test_a_refusal_is_for_good() -> None:
    gate = Gate.above(0.1, alpha=0.01)
    refused = gate.update(gate.start(), [1.0] * 20)
    assert refused.refused_at is not None
    assert refused.observations == refused.refused_at
    assert gate.update(refused, [0.0] * 1000) == refused
    found = gate.finding(refused)
    assert found.decision == "refused"
    assert (found.e_value or 0) >= 100
    assert found.p_value == pytest.approx(1 / refused.peak)
    assert "probability at most 0.01" in found.reasons[1]


def test_batches_add_up_over_shards() -> None:
    gate = Gate(Design.above(0.5, threshold=1e100, kind="ville"))
    values = np.random.default_rng(1).random(300)
    bets = log_bets(gate.design, values)
    whole = gate.advance(gate.start(), bets.reshape(3, 100, -1).sum(axis=1))
    shards = [bets[i : i + 100 : 2].sum(axis=0) + bets[i + 1 : i + 100 : 2].sum(axis=0) for i in (0, 100, 200)]
    assert gate.advance(gate.start(), shards).evidence == pytest.approx(whole.evidence)
    assert whole.observations == 3


@pytest.mark.parametrize("restarts", [True, False])
def test_a_good_stream_is_ever_refused_with_at_most_the_stated_probability(restarts: bool) -> None:
    rng = np.random.default_rng(2)
    gate = Gate.above(0.1, alpha=0.1, restarts=restarts)
    ever = [gate.update(gate.start(), (rng.random(3000) < 0.1) * 1.0).refused_at is not None for _ in range(300)]
    assert np.mean(ever) <= 0.1 + 0.03


def test_after_a_long_good_time_only_the_restarting_gate_sees_a_change_soon() -> None:
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.random(5000) < 0.05, rng.random(1500) < 0.3]).astype(float)
    restarting, plain = Gate.above(0.1), Gate.above(0.1, restarts=False)
    seen = restarting.update(restarting.start(), values).refused_at
    assert seen is not None
    assert 5000 < seen < 5200
    late = plain.update(plain.start(), values).refused_at
    assert late is None or late > seen


def test_a_fall_is_the_mirror_image_of_a_rise() -> None:
    values = np.random.default_rng(4).random(400)
    up, down = Gate.above(0.3), Gate.below(0.7)
    a, b = up.update(up.start(), values[:5]), down.update(down.start(), 1 - values[:5])
    assert a.evidence == pytest.approx(b.evidence, rel=1e-9)


def test_extremes_stay_finite() -> None:
    gate = Gate(Design.above(0.001, threshold=1e200, kind="ville"))
    flood = gate.advance(gate.start(), [log_bets(gate.design, np.ones(5000)).sum(axis=0)])
    assert np.isfinite(flood.evidence)
    quiet = gate.update(gate.start(), np.zeros(100_000))
    assert np.isfinite(quiet.logs).all()
    assert quiet.evidence >= 1 / 100_001


def test_wrong_input_is_refused() -> None:
    gate = Gate.above(0.1)
    for wrong in (
        lambda: Gate(Design.above(0.1)),
        lambda: Gate.above(0.1, alpha=1.0),
        lambda: Gate.above(1.0),
        lambda: gate.update(gate.start(), [1.5]),
        lambda: gate.advance(gate.start(), [[0.0]]),
        lambda: gate.advance(GateState(logs=(0.0,)), np.zeros((1, 12))),
        lambda: gate.advance(gate.start(), np.full((1, 12), np.nan)),
        lambda: GateState.from_dict({}),
        lambda: GateState.from_dict({"logs": [0.0], "observations": 1}),
        lambda: GateState.from_dict({"logs": [0.0], "observations": None}),
    ):
        with pytest.raises(OutOfRange):
            wrong()
