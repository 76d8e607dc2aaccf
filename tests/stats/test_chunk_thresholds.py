"""Thresholds from reference chunks: the rates that they promise, and those that three standard deviations keep."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from perennial.stats import (
    ChunkThreshold,
    NothingToCount,
    OutOfRange,
    block_bootstrap_threshold,
    chunk_multiplier,
    chunk_threshold,
    wasserstein,
)


@pytest.mark.parametrize("chunks, multiplier", [(5, "7.25"), (10, "4.29"), (20, "3.53"), (40, "3.24")])
def test_multipliers(chunks: int, multiplier: str) -> None:
    assert f"{chunk_multiplier(chunks):.2f}" == multiplier


@pytest.mark.parametrize("chunks, naive", [(5, "3.5"), (10, "1.2"), (40, "0.29")])
def test_three_deviations_alarm_too_often_and_the_multiplier_as_promised(chunks: int, naive: str) -> None:
    # The usual default divides by K; the share of clean chunks beyond it is exactly a tail of Student's law. Of five
    # chunks that is 3.53 %, for which a simulation printed 3.6.
    exact = stats.t.sf(3 * math.sqrt((chunks - 1) / chunks / (1 + 1 / chunks)), chunks - 1)
    assert f"{100 * exact:.2g}" == naive
    assert f"{100 * stats.norm.sf(3):.3f}" == "0.135"  # what it was meant to be
    kept_by_law = stats.t.sf(chunk_multiplier(chunks) / math.sqrt(1 + 1 / chunks), chunks - 1)
    assert 0.0012 < kept_by_law < 0.0014
    rng = np.random.default_rng(chunks)
    beyond = kept = 0
    for _ in range(10):
        values = rng.normal(size=(50_000, chunks))
        away = rng.normal(size=50_000) - values.mean(axis=1)
        beyond += int(np.sum(away > 3.0 * values.std(axis=1)))
        kept += int(np.sum(away > chunk_multiplier(chunks) * values.std(axis=1, ddof=1)))
    assert beyond / 5e5 == pytest.approx(exact, rel=0.08)
    assert kept / 5e5 == pytest.approx(0.00135, abs=0.00016)  # three standard deviations of the simulation


def test_threshold_is_the_prediction_interval() -> None:
    values = [0.10, 0.12, 0.11, 0.09, 0.13, 0.10]
    mean, sd = np.mean(values), np.std(values, ddof=1)
    for side, alpha, tails in (("upper", 0.01, 1), ("lower", 0.01, 1), ("both", 0.02, 2)):
        found = chunk_threshold(values, alpha=alpha, side=side)
        reach = stats.t.ppf(1 - alpha / tails, 5) * sd * math.sqrt(1 + 1 / 6)
        assert found.low == pytest.approx(-math.inf if side == "upper" else mean - reach)
        assert found.high == pytest.approx(math.inf if side == "lower" else mean + reach)
        for end in (found.low, found.high):
            if math.isfinite(end):
                assert found.judge(end).p_value == pytest.approx(alpha)
        assert found.judge(float(mean)).decision == "inside"


def test_a_drop_of_accuracy_lies_outside_and_a_rise_does_not_when_only_drops_are_news() -> None:
    found = chunk_threshold([0.82, 0.83, 0.81, 0.82, 0.83], side="lower", alpha=0.01)
    bad, good = found.judge(0.70), found.judge(0.99)
    assert (bad.decision, good.decision) == ("outside", "inside")
    assert bad.effect == pytest.approx(-0.122)
    assert bad.threshold == found.low
    assert good.threshold is None
    assert json.loads(json.dumps(found.as_dict()))["high"] is None


def test_equal_chunks_leave_no_room() -> None:
    found = chunk_threshold([0.5, 0.5, 0.5])
    assert found.judge(0.5).decision == "inside"
    assert found.judge(0.5).p_value == 1.0
    assert found.judge(0.5001).decision == "outside"
    assert found.judge(0.5001).p_value == 0.0


def bootstrap(values: np.ndarray, blocks: np.ndarray, *, size: int, seed: int) -> ChunkThreshold:
    return block_bootstrap_threshold(
        blocks, lambda a, b: wasserstein(values[a], values[b]), size=size, windows=99, alpha=0.05, seed=seed
    )


@pytest.mark.parametrize("by_day", [True, False])
def test_blocks_of_days_keep_their_promise_where_single_rows_do_not(by_day: bool) -> None:
    # 60 days of 30 rows; a day has a level of its own, so rows of one day resemble each other.
    rng = np.random.default_rng(7)

    def days(number: int) -> np.ndarray:
        return (rng.normal(size=(number, 1)) + rng.normal(size=(number, 30))).ravel()

    crossed = 0
    for repeat in range(25):
        reference = days(60)
        blocks = np.arange(60).repeat(30) if by_day else np.arange(1800)
        bound = bootstrap(reference, blocks, size=300, seed=repeat).high
        crossed += wasserstein(reference, days(10)) > bound
    if by_day:
        assert crossed <= 4
    else:
        assert crossed >= 10


def test_independent_rows_cross_the_bound_as_often_as_stated_and_shifted_ones_nearly_always() -> None:
    rng = np.random.default_rng(8)
    clean = shifted = 0
    for repeat in range(40):
        reference = rng.gamma(2.0, size=600)
        bound = bootstrap(reference, np.arange(600), size=400, seed=repeat).high
        clean += wasserstein(reference, rng.gamma(2.0, size=400)) > bound
        shifted += wasserstein(reference, 0.3 + rng.gamma(2.0, size=400)) > bound
    assert clean <= 6
    assert shifted >= 32


def test_bound_is_the_order_statistic_and_seeded() -> None:
    values = np.random.default_rng(9).normal(size=400)
    seen: list[float] = []

    def statistic(a: np.ndarray, b: np.ndarray) -> float:
        assert (len(a), len(b)) == (400, 90)
        seen.append(float(abs(values[a].mean() - values[b].mean())))
        return seen[-1]

    first = block_bootstrap_threshold(np.arange(400) // 20, statistic, size=90, windows=99, alpha=0.05, seed=3)
    assert first.high == sorted(seen)[94]  # ceil(0.95 * 100) = 95th smallest
    assert first.chunks == 99
    again = block_bootstrap_threshold(np.arange(400) // 20, statistic, size=90, windows=99, alpha=0.05, seed=3)
    other = block_bootstrap_threshold(np.arange(400) // 20, statistic, size=90, windows=99, alpha=0.05, seed=4)
    assert again == first != other
    assert first.judge(first.high).p_value is None


def test_wrong_input_is_refused() -> None:
    for error, wrong in (
        (OutOfRange, lambda: chunk_threshold([1.0])),
        (OutOfRange, lambda: chunk_threshold([1.0, math.nan])),
        (OutOfRange, lambda: chunk_threshold([1.0, 2.0], alpha=0.0)),
        (OutOfRange, lambda: chunk_threshold([1.0, 2.0], side="sideways")),  # type: ignore[arg-type]
        (OutOfRange, lambda: chunk_threshold([1.0, 2.0]).judge(math.nan)),
        (OutOfRange, lambda: chunk_multiplier(1)),
        (NothingToCount, lambda: block_bootstrap_threshold([], lambda a, b: 0.0, size=5)),
        (OutOfRange, lambda: block_bootstrap_threshold([1, 1], lambda a, b: 0.0, size=5)),
        (OutOfRange, lambda: block_bootstrap_threshold([1, 2], lambda a, b: 0.0, size=0)),
        (OutOfRange, lambda: block_bootstrap_threshold([1, 2], lambda a, b: 0.0, size=5, windows=98, alpha=0.01)),
        (OutOfRange, lambda: block_bootstrap_threshold([1, 2], lambda a, b: math.nan, size=5)),
    ):
        with pytest.raises(error):
            wrong()
