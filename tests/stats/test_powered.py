"""Intervals from few labels: coverage and width on the census chunks beside published ones, and exact cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from perennial.stats import Interval, OutOfRange, active_mean, active_probs, fit_confidence, powered_mean
from tests.stats.employment import CHUNKS, employment

LABELS = 200
REPEATS = 50


def test_two_hundred_labels_a_chunk_cover_with_the_published_widths(shared_data: Path) -> None:
    """Published coverage .940/.946/.946 and width .102 (labels alone), .095 (with estimates), .085 (chosen rows); goal:
    at least .94 with at most .086. The chunk whose calibration fails (27: .7662 right, .784 estimated) is unbiased.
    """
    reference, after = employment(shared_data)
    fitted = fit_confidence(reference.probs, reference.truth)
    rng = np.random.default_rng(0)
    covered: dict[str, list[bool]] = {"random": [], "powered": [], "active": []}
    width: dict[str, list[float]] = {"random": [], "powered": [], "active": []}
    of_27: list[float] = []
    for number in range(CHUNKS):
        rows = after.chunk(number)
        hits, f = rows.hits, fitted.correctness(rows.probs, rows.answered)
        pi = active_probs(np.sqrt(f * (1 - f)), labels=LABELS)
        for _ in range(REPEATS):
            order = rng.permutation(len(hits))
            some, rest = order[:LABELS], order[LABELS:]
            chosen = rng.random(len(hits)) < pi
            none = np.zeros(len(hits))
            found: dict[str, Interval] = {
                "random": powered_mean(hits[some], none[some], none[rest]),
                "powered": powered_mean(hits[some], f[some], f[rest]),
                "active": active_mean(f, chosen, hits[chosen], probs=pi),
            }
            for name, one in found.items():
                covered[name].append(one.low <= hits.mean() <= one.high)
                width[name].append(one.high - one.low)
            if number == 27:
                of_27.append(found["active"].estimate)
    for name in covered:
        print(f"\n{name}: coverage {np.mean(covered[name]):.3f}, width {np.mean(width[name]):.4f}", end="")
    print(f"\nchunk 27, active: {np.mean(of_27):.4f}, right {after.chunk(27).hits.mean():.4f}")
    published = {"random": 0.102, "powered": 0.095, "active": 0.085}
    for name, expected in published.items():
        assert np.mean(covered[name]) > 0.94, name
        assert np.mean(width[name]) == pytest.approx(expected, abs=0.0015), name
    assert np.mean(width["active"]) < 0.086
    fewer_labels = (np.mean(width["random"]) / np.mean(width["active"])) ** 2
    assert fewer_labels == pytest.approx(1.46, abs=0.05)
    of_all = after.chunk(27)
    assert round(float(of_all.hits.mean()), 4) == 0.7662
    assert round(float(fitted.correctness(of_all.probs, of_all.answered).mean()), 3) == 0.784
    assert np.mean(of_27) == pytest.approx(after.chunk(27).hits.mean(), abs=4 * np.std(of_27) / np.sqrt(REPEATS))


@pytest.mark.parametrize("kind", ["useful", "useless", "upside down"])
def test_the_process_behind_a_window_is_covered_whatever_the_estimates_are_worth(kind: str) -> None:
    rng = np.random.default_rng(1)
    covered = {"powered": 0, "active": 0}
    for _ in range(500):
        chance = rng.beta(4, 1, 2000)
        hits = (rng.random(2000) < chance).astype(float)
        f = {"useful": chance, "useless": rng.random(2000), "upside down": 1 - chance}[kind]
        pi = active_probs(np.sqrt(f * (1 - f)), labels=200)
        chosen = rng.random(2000) < pi
        first = powered_mean(hits[:200], f[:200], f[200:], target="process")
        second = active_mean(f, chosen, hits[chosen], probs=pi, target="process")
        covered["powered"] += first.low <= 0.8 <= first.high
        covered["active"] += second.low <= 0.8 <= second.high
    assert all(0.92 <= count / 500 <= 0.98 for count in covered.values()), covered


def test_with_all_labels_nothing_is_left_to_estimate() -> None:
    hits = np.array([1.0, 0.0] * 20)
    every = powered_mean(hits, np.full(40, 0.7), [])
    assert (every.low, every.estimate, every.high) == (0.5, 0.5, 0.5)
    every = active_mean(np.full(40, 0.7), np.ones(40), hits, probs=np.ones(40))
    assert (every.low, every.high) == pytest.approx((0.5, 0.5))


def test_perfect_estimates_need_no_luck() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=1000)
    found = powered_mean(values[:50], 3.0 * values[:50] - 1.0, 3.0 * values[50:] - 1.0)
    assert found.estimate == pytest.approx(values.mean())
    assert found.high - found.low < 1e-6


def test_a_few_labels_give_no_interval() -> None:
    assert powered_mean([1.0] * 19, [0.5] * 19, [0.5] * 100).high == np.inf


def test_the_budget_is_kept_where_some_rows_are_sure_to_be_labelled() -> None:
    doubt = np.concatenate([np.full(50, 100.0), np.ones(950)])
    pi = active_probs(doubt, labels=300)
    assert pi.sum() == pytest.approx(300.0)
    assert pi.max() == 1.0
    assert pi.min() > 0.0
    assert active_probs([0.0, 0.0], labels=1).tolist() == [0.5, 0.5]


def test_a_row_that_could_not_be_labelled_is_refused() -> None:
    with pytest.raises(OutOfRange, match="probs"):
        active_mean([0.5, 0.5], [True, False], [1.0], probs=[1.0, 0.0])
    with pytest.raises(OutOfRange, match="labels"):
        active_probs([0.5], labels=2)
