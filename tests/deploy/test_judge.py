"""What a stage of a rollout concludes from what was observed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.deploy.judge import GUARD_ALPHA, Observed, judge
from perennial.types import canonical_json

DAY = 86_400_000_000
SHADOW: dict[str, Any] = {"min_labels": 50, "margin": 0.0, "max_time_s": 30 * 86_400.0, "at_max_time": "refuse"}
CANARY: dict[str, Any] = {
    "share": 0.2,
    "min_predictions": 100,
    "min_time_s": 86_400.0,
    "max_disagreement": 0.5,
    "max_time_s": 30 * 86_400.0,
    "at_max_time": "hold",
}
ACTIONS = [("promote", "next"), ("refuse", "refused"), ("hold", "held")]


def losses(seed: int, rows: int, gain: float) -> dict[str, Any]:
    """Losses of a live version, and of a candidate that saves `gain` of it a row on average."""
    random = np.random.default_rng(seed)
    live = random.normal(size=rows) ** 2
    return {"live_loss": live, "candidate_loss": live - gain + random.normal(scale=0.2, size=rows), "scale": 1.0}


def seen(days: float = 1.0, **found: Any) -> Observed:
    return Observed(now=round(days * DAY), since=0, **found)


def wealth_by_hand(saved: np.ndarray, scale: float) -> float:
    """The betting of METHODS.md 2 in Ville's mode, row by row."""
    values = (np.clip(saved / scale, -1, 1) + 1) / 2
    alternatives = 0.5 + np.geomspace(0.01, 0.25, 12)
    stakes = np.minimum((alternatives - 0.5) / 0.25, 0.999 / 0.5)
    wealth, largest = np.ones(12), 0.0
    for value in values:
        wealth = wealth * (1 + stakes * (value - 0.5))
        largest = max(largest, float(wealth.mean()))
    return largest


def test_a_clearly_better_version_goes_on_and_a_worse_one_is_refused() -> None:
    better = judge("shadow", SHADOW, seen(**losses(0, 300, 0.15)))
    assert better.to == "next"
    assert "better (e-value" in better.reason
    worse = judge("shadow", SHADOW, seen(**losses(0, 300, -0.15)))
    assert worse.to == "refused"
    assert "inferior" in worse.reason


def test_the_evidence_is_the_wealth_of_the_bets() -> None:
    found = losses(3, 120, 0.05)
    verdict = judge("shadow", SHADOW, seen(**found))
    saved = found["live_loss"] - found["candidate_loss"]
    paired = verdict.evidence["paired"]
    assert paired["e_value_better"] == pytest.approx(wealth_by_hand(saved, 1.0))
    assert paired["e_value_inferior"] == pytest.approx(wealth_by_hand(-saved, 1.0))
    assert paired["saved_per_row"] == pytest.approx(saved.mean())
    assert (verdict.evidence["labelled"], paired["needed"]) == (120, 20)
    canonical_json(verdict.evidence)


def test_two_equal_versions_are_not_told_apart() -> None:
    verdict = judge("shadow", SHADOW, seen(live_loss=np.ones(500), candidate_loss=np.ones(500)))
    assert verdict.to == "wait"
    assert "not yet clear" in verdict.reason
    assert verdict.evidence["paired"]["e_value_better"] == pytest.approx(1.0)


def test_no_verdict_before_enough_labels_however_clear() -> None:
    verdict = judge("shadow", SHADOW, seen(**losses(0, 49, 5.0)))
    assert verdict.to == "wait"
    assert verdict.reason == "49 labelled rows, 50 needed"


def test_with_a_margin_not_worse_is_enough() -> None:
    found = losses(1, 2000, -0.02)
    assert judge("shadow", SHADOW, seen(**found)).to == "refused"
    verdict = judge("shadow", SHADOW | {"margin": 0.1}, seen(**found))
    assert verdict.to == "next"
    assert "not worse by 0.1" in verdict.reason
    assert judge("shadow", SHADOW | {"margin": 0.1}, seen(**losses(1, 2000, -0.2))).to == "refused"


@pytest.mark.parametrize("declared, answer", ACTIONS)
def test_an_undecided_shadow_ends_at_its_max_time_as_declared(declared: str, answer: str) -> None:
    options = SHADOW | {"at_max_time": declared}
    found = losses(2, 100, 0.0)
    assert judge("shadow", options, seen(29.9, **found)).to == "wait"
    verdict = judge("shadow", options, seen(30, **found))
    assert verdict.to == answer
    assert "ran out of time (30 days)" in verdict.reason
    assert verdict.reason.endswith(f"declared for that: {declared}")


def test_a_verdict_counts_more_than_the_time() -> None:
    assert judge("shadow", SHADOW | {"at_max_time": "promote"}, seen(99, **losses(0, 300, -0.15))).to == "refused"
    assert judge("shadow", SHADOW, seen(99, **losses(0, 300, 0.15))).to == "next"


def test_a_shadow_that_answers_with_errors_is_refused_without_a_label() -> None:
    verdict = judge("shadow", SHADOW, seen(answered={"candidate": 100}, errors={"candidate": 10}))
    assert verdict.to == "refused"
    assert verdict.reason == "10 of 100 shadow answers are errors"
    assert judge("shadow", SHADOW, seen(answered={"candidate": 1000}, errors={"candidate": 8})).to == "wait"
    assert judge("shadow", SHADOW, seen(answered={"candidate": 1}, errors={"candidate": 1})).to == "wait"


@pytest.mark.parametrize(
    "draws",
    [
        pytest.param(lambda random, shape: random.normal(size=shape), id="normal"),
        pytest.param(lambda random, shape: random.choice([-1.0, 1.0], size=shape), id="wrong labels"),
        pytest.param(lambda random, shape: random.laplace(size=shape) ** 3, id="heavy tails"),
    ],
)
def test_F31_peeking_at_every_row_promotes_an_equal_version_less_often_than_alpha(draws: Any) -> None:
    streams, rows = 400, 400
    saved = np.clip(draws(np.random.default_rng(5), (streams, rows)), -1, 1)
    promoted = [
        judge("shadow", SHADOW, seen(live_loss=one, candidate_loss=np.zeros(rows))).to == "next" for one in saved
    ]
    # The evidence is the largest wealth so far, so the last look promotes whenever any earlier one would have.
    # Three standard errors above alpha = 0.05 would be 0.083.
    assert sum(promoted) / streams <= 0.05


def test_a_look_in_between_never_takes_a_promotion_back() -> None:
    found = losses(0, 300, 0.15)
    answers = [
        judge(
            "shadow",
            SHADOW,
            seen(live_loss=found["live_loss"][:rows], candidate_loss=found["candidate_loss"][:rows]),
        ).to
        for rows in range(50, 301, 10)
    ]
    assert answers == sorted(answers, key=["wait", "next"].index)
    assert answers[-1] == "next"


def canary(**changes: Any) -> Observed:
    quiet: dict[str, Any] = {"answered": {"live": 800, "candidate": 200}, "compared": 200, "disagreed": 20}
    return seen(**{"days": 2, **quiet, **changes})


def test_a_quiet_canary_goes_on() -> None:
    verdict = judge("canary", CANARY, canary())
    assert verdict.to == "next"
    assert verdict.reason == "no guard fired on 200 answers at 20% of the traffic"
    canonical_json(verdict.evidence)


@pytest.mark.parametrize("kind, name", [("errors", "errors"), ("slow", "slow answers")])
def test_a_canary_with_more_than_its_share_of_bad_answers_is_rolled_back(kind: str, name: str) -> None:
    verdict = judge("canary", CANARY, canary(**{kind: {"live": 10, "candidate": 30}}))
    assert verdict.to == "rolled_back"
    assert verdict.reason.startswith(f"{name}: 0.75 of the bad events at 0.2 of the traffic")
    for harmless in ({"live": 40, "candidate": 10}, {"live": 50}, {"candidate": 1}, {}):
        assert judge("canary", CANARY, canary(**{kind: harmless})).to == "next"


def test_slow_answers_stand_apart_from_what_a_replay_must_repeat() -> None:
    calm, busy = (judge("canary", CANARY, canary(slow=slow)) for slow in ({}, {"live": 9, "candidate": 1}))
    assert calm.evidence != busy.evidence
    del calm.evidence["timing"], busy.evidence["timing"]
    assert calm == busy


def test_a_canary_that_disagrees_too_much_is_rolled_back() -> None:
    verdict = judge("canary", CANARY, canary(disagreed=180))
    assert verdict.to == "rolled_back"
    assert verdict.reason == "the versions disagree on 180 of 200 rows, more than 50%"
    assert judge("canary", CANARY, canary(disagreed=105)).to == "next"  # above the limit, not clearly
    assert judge("canary", CANARY | {"max_disagreement": 1.0}, canary(disagreed=200)).to == "next"
    assert judge("canary", CANARY | {"max_disagreement": 0.0}, canary(disagreed=1)).to == "rolled_back"


def test_a_guard_that_is_looked_at_after_every_row_fires_falsely_less_often_than_stated() -> None:
    streams, rows, limit = 200, 300, 0.2
    disagreed = (np.random.default_rng(3).random((streams, rows)) < limit).cumsum(axis=1)
    options = CANARY | {"max_disagreement": limit, "min_predictions": 10**6}
    fired = [
        any(
            judge("canary", options, canary(compared=row + 1, disagreed=int(one[row]))).to == "rolled_back"
            for row in range(0, rows, 3)
        )
        for one in disagreed
    ]
    assert sum(fired) / streams <= 3 * GUARD_ALPHA


def test_a_canary_waits_for_answers_and_for_its_least_time() -> None:
    few = judge("canary", CANARY, canary(answered={"candidate": 99}))
    assert (few.to, few.reason) == ("wait", "99 of 100 predictions in 2.0 of 1 days")
    assert judge("canary", CANARY, canary(days=0.99)).to == "wait"
    assert judge("canary", CANARY, canary(days=1.0)).to == "next"


@pytest.mark.parametrize("declared, answer", ACTIONS)
def test_a_canary_that_got_too_few_answers_ends_as_declared(declared: str, answer: str) -> None:
    options = CANARY | {"at_max_time": declared}
    assert judge("canary", options, canary(days=30, answered={"candidate": 5})).to == answer
    assert judge("canary", options, canary(days=30, errors={"live": 10, "candidate": 30})).to == "rolled_back"


@given(
    live=st.lists(st.floats(0, 1e6), min_size=1, max_size=120),
    gain=st.floats(-1e6, 1e6),
    scale=st.floats(1e-6, 1e6),
    errors=st.integers(0, 120),
)
def test_any_observation_gets_an_answer_with_numbers_that_can_be_stored(
    live: list[float], gain: float, scale: float, errors: int
) -> None:
    loss = np.array(live)
    verdict = judge(
        "shadow",
        SHADOW,
        seen(
            live_loss=loss,
            candidate_loss=loss - gain,
            scale=scale,
            answered={"candidate": 120},
            errors={"candidate": errors},
        ),
    )
    assert verdict.to in {"wait", "next", "refused"}
    canonical_json(verdict.evidence)
