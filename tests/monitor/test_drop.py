"""Detectors of realised performance: quiet while nothing changes, loud when it hurts, the same however they are fed."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from perennial import stats
from perennial.monitor.watching.watch import RECENT_ROWS, DetectorStep, LossReference, detect_drop, loss_reference
from perennial.types import canonical_json

LABELS = 10_000  # between false alarms
HELD_OUT = np.random.default_rng(99).normal(scale=0.5, size=1000)


def regression(tolerance: float = 0.1, labels: float = LABELS) -> LossReference:
    return loss_reference(
        (HELD_OUT**2).tolist(), HELD_OUT.tolist(), labels_between_false_alarms=labels, tolerance=tolerance
    )


def residuals(seed: int, rows: int, bias: float = 0.0, sd: float = 0.5) -> np.ndarray:
    return np.random.default_rng(seed).normal(bias, sd, size=rows)


def feed(
    reference: LossReference, values: np.ndarray, state: dict[str, Any] | None = None, at: int = 0
) -> DetectorStep:
    return detect_drop(
        reference,
        state,
        version=3,
        losses=values**2,
        residuals=values,
        at=list(range(at, at + len(values))),
    )


def test_the_designs_are_those_of_the_held_out_rows() -> None:
    reference = regression(tolerance=0.1)
    losses = HELD_OUT**2
    assert reference.loss_scale == pytest.approx(np.quantile(losses, 0.995))
    assert reference.residual_scale == pytest.approx(np.quantile(np.abs(HELD_OUT), 0.995))
    assert reference.bias_tolerance == pytest.approx(0.1 * np.sqrt(losses.mean()))
    assert (reference.rows, reference.mean_loss) == (1000, pytest.approx(losses.mean()))
    assert reference.bias_design is not None
    half = reference.bias_tolerance / (2 * reference.residual_scale)  # type: ignore[operator]
    assert sorted(set(reference.bias_design.mus)) == pytest.approx([0.5 - half, 0.5 + half])
    # The two share the budget: each may alarm falsely half as often.
    assert reference.loss_design.threshold == reference.bias_design.threshold == 2 * LABELS


def test_the_loss_may_reach_its_upper_bound_and_the_tolerance_in_whatever_order_the_rows_are_kept() -> None:
    scaled = np.minimum(HELD_OUT**2 / np.quantile(HELD_OUT**2, 0.995), 1.0)
    orders = [HELD_OUT, np.sort(HELD_OUT), HELD_OUT[::-1], HELD_OUT[np.argsort(HELD_OUT**2)]]
    allowed = {
        loss_reference(
            (order**2).tolist(), order.tolist(), labels_between_false_alarms=LABELS, tolerance=0.1
        ).loss_design.mus[0]
        for order in orders
    }
    assert len(allowed) == 1
    bound = allowed.pop() - 0.1 * scaled.mean()
    # An upper bound on the mean at 97.5 %: above it, by about what a normal interval says.
    assert scaled.mean() < bound < scaled.mean() + 4 * scaled.std() / np.sqrt(1000)


def test_wrong_labels_are_bounded_exactly_and_have_no_bias() -> None:
    wrong = [1.0] * 100 + [0.0] * 900
    reference = loss_reference(wrong, None, labels_between_false_alarms=LABELS, tolerance=0.05)
    assert (reference.residual_scale, reference.bias_design, reference.loss_scale) == (None, None, 1.0)
    assert reference.loss_design.threshold == LABELS
    clopper_pearson = beta.ppf(0.975, 101, 900)
    assert reference.loss_design.mus[0] == pytest.approx(clopper_pearson + 0.05 * 0.1)


@pytest.mark.parametrize("held_out", [[0.0] * 50, [0.0] * 999 + [1.0], [0.3], [5.0] * 40])
def test_an_odd_reference_still_gives_a_detector(held_out: list[float]) -> None:
    reference = loss_reference(held_out, held_out, labels_between_false_alarms=LABELS, tolerance=0.0)
    found = feed(reference, np.full(300, 1e3)).found
    assert "bias" in {finding.evidence["detector"] for finding in found}
    assert feed(reference, np.zeros(300)).found == []


def test_clean_streams_stay_within_the_budget() -> None:
    # 30 streams of 2,000 labels: at most 6 alarms are allowed on average; tolerance and bound leave far fewer.
    reference = regression(tolerance=0.05)
    alarms = sum(len(feed(reference, residuals(seed, 2000)).found) for seed in range(30))
    assert alarms <= 1


@pytest.mark.parametrize("sign, word", [(1, "low"), (-1, "high")])
def test_a_bias_beyond_the_tolerance_is_found(sign: int, word: str) -> None:
    delays = []
    for seed in range(5):
        found = feed(regression(), residuals(seed, 2000, bias=sign * 0.2)).found
        first = next(finding for finding in found if finding.evidence["detector"] == "bias")
        assert first.says.startswith(f"version 3 answers too {word}: by 0.")
        assert first.evidence["recent_bias"] == pytest.approx(sign * 0.2, abs=0.1)
        delays.append(first.evidence["labels_seen"])
    assert np.median(delays) < 400


def test_a_bias_within_the_tolerance_is_left_alone() -> None:
    for seed in range(5):
        assert feed(regression(tolerance=0.2), residuals(seed, 3000, bias=0.05)).found == []


def test_more_noise_without_bias_is_found_by_the_loss() -> None:
    found = feed(regression(), residuals(0, 2000, sd=0.8)).found
    assert found[0].evidence["detector"] == "loss"
    loss = found[0].evidence["recent_mean_loss"]
    assert loss == pytest.approx(0.64, abs=0.15)
    assert f"is wrong more than when it was tested: mean loss {loss:.3g}, 0.25 then" in found[0].says


def test_a_growing_bias_under_falling_noise_is_seen_only_by_the_bias() -> None:
    """What the wage panel does after 1982 (docs/decisions/0009): the squared error stays where it was."""
    random = np.random.default_rng(0)
    years = [(0.05, 0.48), (0.15, 0.46), (0.25, 0.42), (0.3, 0.38)]
    values = np.concatenate([random.normal(bias, sd, size=545) for bias, sd in years])
    found = feed(regression(), values).found
    assert found
    assert {finding.evidence["detector"] for finding in found} == {"bias"}


def test_a_rise_of_wrong_labels_is_found() -> None:
    reference = loss_reference([1.0] * 100 + [0.0] * 900, None, labels_between_false_alarms=LABELS, tolerance=0.05)
    wrong = (np.random.default_rng(0).random(2000) < 0.3).astype(float)
    step = detect_drop(reference, None, version=1, losses=wrong, residuals=None, at=list(range(2000)))
    assert step.found[0].evidence["labels_seen"] < 300
    assert step.found[0].evidence["recent_mean_loss"] == pytest.approx(0.3, abs=0.1)
    assert "recent_bias" not in step.found[0].evidence


@settings(max_examples=25)
@given(cuts=st.lists(st.integers(0, 1500), max_size=8), bias=st.sampled_from([0.0, 0.15, 0.4]))
def test_P13_F14_fed_in_pieces_it_finds_the_same_as_fed_at_once(cuts: list[int], bias: float) -> None:
    reference = regression()
    values = residuals(4, 1500, bias=bias)
    at_once = feed(reference, values)
    state: dict[str, Any] | None = None
    found = []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 1500], strict=True):
        step = feed(reference, values[start:end], state, at=start)
        found += step.found
        state = json.loads(canonical_json(step.state))  # as it is kept between two passes

    def told(findings: list[Any]) -> dict[str, Any]:
        return {
            finding.key: (finding.window_from, finding.window_to, finding.says, rounded(finding.evidence))
            for finding in findings
        }

    assert told(found) == told(at_once.found)
    assert len(found) == len(at_once.found)


def rounded(evidence: dict[str, Any]) -> dict[str, Any]:
    return {name: float(f"{value:.9g}") if isinstance(value, float) else value for name, value in evidence.items()}


def test_a_finding_tells_of_the_newest_labels_up_to_its_alarm() -> None:
    values = np.concatenate([residuals(0, 1000), residuals(1, 1000, bias=0.5)])
    first = next(one for one in feed(regression(), values).found if one.evidence["detector"] == "bias")
    seen = first.evidence["labels_seen"]
    assert 1000 < seen < 1150
    newest = values[seen - RECENT_ROWS : seen]
    assert first.evidence["recent_rows"] == RECENT_ROWS
    assert first.evidence["recent_mean_loss"] == pytest.approx(np.mean(newest**2))
    assert first.evidence["recent_bias"] == pytest.approx(np.mean(newest))
    assert (first.window_from, first.window_to) == (seen - RECENT_ROWS, seen)
    assert first.severity == "critical"
    assert f"(newest {RECENT_ROWS} of {seen} labels; e-value" in first.says
    assert first.says.endswith(f"{2 * LABELS:g} needed)")


def test_labels_come_in_any_order_of_their_predictions() -> None:
    values = residuals(1, 300, bias=1.0)
    at = np.random.default_rng(0).permutation(300).tolist()
    step = detect_drop(regression(), None, version=3, losses=values**2, residuals=values, at=at)
    first = step.found[0]
    used = at[: first.evidence["labels_seen"]]
    assert (first.window_from, first.window_to) == (min(used), max(used) + 1)


def test_each_alarm_has_a_name_of_its_own_and_the_detector_starts_anew() -> None:
    found = feed(regression(), residuals(0, 3000, bias=0.5)).found
    keys = [finding.key for finding in found]
    assert len(set(keys)) == len(keys)
    bias = [finding for finding in found if finding.evidence["detector"] == "bias"]
    assert [finding.key for finding in bias] == [f"drop/3/bias/{number}" for number in range(1, len(bias) + 1)]
    assert all(finding.evidence["e_value"] >= finding.evidence["threshold"] for finding in found)


def test_nothing_new_changes_nothing() -> None:
    held = feed(regression(), residuals(0, 100)).state
    step = feed(regression(), np.empty(0), held)
    assert (step.state, step.found) == (held, [])


def test_the_alarm_comes_where_the_detector_of_the_literature_gives_it() -> None:
    """Row by row, METHODS.md 2: M <- (1 + lambda (x - mu)) (M + 1), alarm at a mean of 2 A."""
    reference = regression()
    values = residuals(2, 1000, bias=0.3)
    design = reference.bias_design
    assert isinstance(design, stats.Design)
    mus, stakes = np.array(design.mus), np.array(design.lambdas)
    wealth = np.zeros(len(mus))
    for seen, value in enumerate(values, start=1):  # noqa: B007  # where it stops is the answer
        x = (np.clip(value / reference.residual_scale, -1, 1) + 1) / 2  # type: ignore[operator]
        wealth = (1 + stakes * (x - mus)) * (wealth + 1)
        if wealth.mean() >= 2 * LABELS:
            break
    first = next(one for one in feed(reference, values).found if one.evidence["detector"] == "bias")
    assert first.evidence["labels_seen"] == seen
    assert first.evidence["e_value"] == pytest.approx(wealth.mean())
