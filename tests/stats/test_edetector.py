"""The e-detector: unit check, equality with the recursion, merging, storage and the false-alarm promise."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.stats import Design, OutOfRange, State, advance, alarms, log_bet_sum, log_bets, update

EVERY_FIFTH = [float(i % 5 == 0) for i in range(200)]
UNIT = Design.above(0.1, threshold=1e4, alternatives=[0.15, 0.2, 0.3, 0.5])
streams = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=80)
kinds = st.sampled_from(["sr", "cusum", "ville"])


def by_recursion(design: Design, values: list[float]) -> list[float]:
    wealth = np.full(len(design.mus), 1.0 if design.kind == "ville" else 0.0)
    out: list[float] = []
    for x in values:
        factor = 1 + np.array(design.lambdas) * (x - np.array(design.mus))
        entry = {"sr": wealth + 1, "cusum": np.maximum(wealth, 1), "ville": wealth}[design.kind]
        wealth = factor * entry
        out.append(float(wealth @ np.array(design.weights)))
    return out


def test_unit_check() -> None:
    step = update(UNIT, UNIT.start(), EVERY_FIFTH[:50])
    wealth = np.expm1(step.state.carries)
    assert [f"{value:.3f}" for value in wealth[:3]] == ["117.306", "140.479", "52.323"]
    assert f"{wealth[3]:.4f}" == "3.0671"
    assert f"{step.evidence:.3f}" == "78.294"
    found = update(UNIT, UNIT.start(), EVERY_FIFTH)
    assert found.alarm is not None
    assert found.alarm + 1 == 156


def test_alarm_resets_the_state_and_leaves_the_rest_unused() -> None:
    found = update(UNIT, UNIT.start(), EVERY_FIFTH)
    assert found.state == State((0.0,) * 4, observations=156, alarms=1)
    assert found.evidence >= 1e4


def test_default_components() -> None:
    design = Design.above(0.1)
    assert len(design.mus) == 12
    assert design.lambdas[0] == pytest.approx(0.01 / 0.09)
    assert design.lambdas[-1] == pytest.approx(0.45 / 0.09)
    assert design.threshold == 1e5
    assert Design.above(0.001).lambdas[-1] == pytest.approx(499.5 / 0.999)


@given(streams, kinds, st.floats(0.001, 0.98))
def test_vectorised_form_equals_the_recursion(values: list[float], kind: str, mu0: float) -> None:
    for design in (Design.above(mu0, threshold=1e200, kind=kind), Design.below(mu0, threshold=1e200, kind=kind)):
        expected = by_recursion(design, values)[-1]
        if expected < 1e200:
            assert update(design, design.start(), values).evidence == pytest.approx(expected, rel=1e-9, abs=1e-290)


@given(streams, st.integers(0, 80), kinds)
def test_feeding_in_pieces_through_json_equals_feeding_at_once(values: list[float], cut: int, kind: str) -> None:
    design = Design.two_sided(0.3, 0.4, threshold=50.0, kind=kind)
    at_once, found = alarms(design, design.start(), values)
    first, before = alarms(design, design.start(), values[:cut])
    stored = State.from_dict(json.loads(json.dumps(first.as_dict())))
    again = Design.from_dict(json.loads(json.dumps(design.as_dict())))
    assert again == design
    last, after = alarms(again, stored, values[cut:])
    assert found == before + tuple(i + min(cut, len(values)) for i in after)
    assert last.observations == at_once.observations == len(values)
    assert last.carries == pytest.approx(at_once.carries, abs=1e-9)


def test_long_streams_cross_blocks_without_a_seam() -> None:
    values = np.random.default_rng(0).beta(1, 9, size=10_000)
    design = Design.above(0.12, threshold=1e100)
    pieces = design.start()
    for part in np.array_split(values, 37):
        pieces = update(design, pieces, part).state
    whole = update(design, design.start(), values)
    assert whole.evidence == pytest.approx(by_recursion(design, list(values))[-1], rel=1e-9)
    assert pieces.carries == pytest.approx(whole.state.carries, rel=1e-9)


def test_shards_of_a_batch_add_up() -> None:
    values = np.random.default_rng(1).random(300)
    design = Design.above(0.55, threshold=1e100)
    bets = log_bets(design, values)
    batches = bets.reshape(3, 100, -1).sum(axis=1)
    shards = np.stack([bets[i : i + 100].sum(axis=0) + 0.0 for i in (0, 100, 200)])
    split = np.stack([bets[i : i + 40].sum(axis=0) + bets[i + 40 : i + 100].sum(axis=0) for i in (0, 100, 200)])
    assert split == pytest.approx(shards)
    wealth = np.zeros(12)
    for total in batches:
        wealth = np.exp(total) * (wealth + 1)
    assert advance(design, design.start(), batches).evidence == pytest.approx(wealth.mean())


@pytest.mark.parametrize("mu0", [1e-200, 1e-100, 1e-8, 0.1, 0.9])
@pytest.mark.parametrize("rows", [0, 1, 63, 64, 65, 5000])
def test_the_sum_of_a_batch_is_that_of_its_rows(mu0: float, rows: int) -> None:
    draw, design = np.random.default_rng(rows), Design.above(mu0)
    for values in (draw.random(rows), np.ones(rows), np.zeros(rows), (draw.random(rows) < 0.3).astype(float)):
        assert log_bet_sum(design, values) == pytest.approx(log_bets(design, values).sum(axis=0), rel=1e-9, abs=1e-9)
    with pytest.raises(OutOfRange):
        log_bet_sum(design, [0.5, 1.5])


def test_a_flood_of_bad_values_does_not_overflow() -> None:
    design = Design.above(0.001, threshold=1e200)
    batch = log_bets(design, np.ones(5000)).sum(axis=0)
    found = advance(design, design.start(), [batch])
    assert found.alarm == 0
    assert np.isfinite(found.evidence)


def test_a_long_quiet_time_stays_finite() -> None:
    for kind in ("sr", "cusum", "ville"):
        design = Design.above(0.5, kind=kind)
        state = update(design, design.start(), np.zeros(200_000)).state
        assert np.isfinite(state.carries).all()


def test_a_fall_is_the_mirror_image_of_a_rise() -> None:
    values = np.random.default_rng(2).random(500)
    up, down = Design.above(0.3, threshold=1e150), Design.below(0.7, threshold=1e150)
    assert update(down, down.start(), 1 - values).evidence == pytest.approx(
        update(up, up.start(), values).evidence, rel=1e-9
    )


def test_two_sided_detects_both_ways() -> None:
    design = Design.two_sided(0.4, 0.5, threshold=1e3)
    assert sum(design.weights) == pytest.approx(1.0)
    assert update(design, design.start(), [1.0] * 50).alarm is not None
    assert update(design, design.start(), [0.0] * 50).alarm is not None
    assert update(design, design.start(), [0.0, 1.0] * 200).alarm is None


def test_ville_form_is_a_product() -> None:
    design = Design.above(0.1, threshold=100.0, kind="ville", alternatives=[0.5])
    factor_up, factor_down = 1 + design.lambdas[0] * 0.9, 1 - design.lambdas[0] * 0.1
    assert update(design, design.start(), [1.0, 0.0]).evidence == pytest.approx(factor_up * factor_down)
    assert design.budget == "a false alarm ever: probability at most 0.01"


def test_budget_is_a_sentence() -> None:
    assert Design.above(0.1).budget == "at most 1 false alarm per 100,000 observations, on average"


@pytest.mark.parametrize("values", [[1.5], [-0.1], [float("nan")], [[0.1]]])
def test_values_outside_the_unit_interval_are_refused(values: list) -> None:
    with pytest.raises(OutOfRange):
        update(UNIT, UNIT.start(), values)


def test_impossible_designs_and_states_are_refused() -> None:
    for wrong in (
        lambda: Design.above(0.0),
        lambda: Design.above(1.0),
        lambda: Design.above(0.1, threshold=1.0),
        lambda: Design.above(0.1, alternatives=[0.05]),
        lambda: Design.above(0.1, kind="other"),
        lambda: Design.two_sided(0.5, 0.4),
        lambda: Design((0.5,), (2.0,), (1.0,)),
        lambda: Design((0.5,), (1.0,), (0.5,)),
        lambda: Design((0.5,), (1.0, 1.0), (1.0,)),
        lambda: Design.from_dict({}),
        lambda: State.from_dict({}),
        lambda: advance(UNIT, State((0.0,)), np.zeros((1, 4))),
        lambda: advance(UNIT, UNIT.start(), np.zeros((1, 3))),
        lambda: advance(UNIT, UNIT.start(), np.full((1, 4), np.nan)),
    ):
        with pytest.raises(OutOfRange):
            wrong()


def run_length(design: Design, prob: float, rng: np.random.Generator, limit: int) -> int:
    state, seen = design.start(), 0
    while seen < limit:
        state, alarm, _ = update(design, state, (rng.random(4096) < prob).astype(float))
        if alarm is not None:
            return seen + alarm + 1
        seen += 4096
    return limit


def test_mean_time_between_false_alarms_reaches_a_small_threshold() -> None:
    rng = np.random.default_rng(4)
    design = Design.above(0.1, threshold=100.0)
    assert np.mean([run_length(design, 0.1, rng, 8192) for _ in range(400)]) > 100


@pytest.mark.long
def test_mean_time_between_false_alarms_reaches_the_threshold() -> None:
    rng = np.random.default_rng(5)
    design = Design.above(0.1, threshold=1e3)
    lengths = [run_length(design, 0.1, rng, 60_000) for _ in range(1000)]
    assert 1e3 <= np.mean(lengths) < 1.5e3  # 1.29e3 measured over 400 streams
    design = Design.above(0.1, threshold=1e4)
    lengths = [run_length(design, 0.1, rng, 120_000) for _ in range(400)]
    assert 1e4 <= np.mean(lengths) < 1.5e4
    assert 0.4 < np.mean(np.array(lengths) < 1e4) < 0.7  # about half of the clean streams alarm before the mean


@pytest.mark.long
@pytest.mark.parametrize("prob, delay", [(0.12, 1025), (0.15, 274), (0.20, 105), (0.30, 40)])
def test_median_delay_after_a_quiet_time(prob: float, delay: int) -> None:
    rng = np.random.default_rng(6)
    design = Design.above(0.1, threshold=1e4)
    delays: list[int] = []
    while len(delays) < 400:
        quiet = update(design, design.start(), (rng.random(2000) < 0.1).astype(float))
        if quiet.alarm is None:
            state, seen = quiet.state, 0
            while True:
                state, alarm, _ = update(design, state, (rng.random(4096) < prob).astype(float))
                if alarm is not None:
                    delays.append(seen + alarm + 1)
                    break
                seen += 4096
    assert np.median(delays) == pytest.approx(delay, rel=0.2)


def test_right_or_wrong_is_bet_on_as_any_other_values() -> None:
    one_by_one = np.vstack([log_bets(UNIT, [x]) for x in EVERY_FIFTH])
    assert np.array_equal(log_bets(UNIT, EVERY_FIFTH), one_by_one)
