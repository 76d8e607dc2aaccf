"""The mean loss of a pool from rows chosen one by one: unbiased, sharper than chance, covered."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from perennial.stats import OutOfRange, draw_in_turn, lure, lure_weights


def test_over_all_ways_of_drawing_it_is_the_mean_of_the_pool() -> None:
    """Every order of three draws from five rows, each with its probability: exact, no simulation."""
    losses, scores = np.array([0.1, 2.0, 0.5, 3.0, 0.0]), np.array([1.0, 3.0, 0.5, 2.0, 0.2])
    expected, whole = 0.0, 0.0
    for order in itertools.permutations(range(5), 3):
        left, probs = scores.sum(), []
        for row in order:
            probs.append(scores[row] / left)
            left -= scores[row]
        chance = float(np.prod(probs))
        whole += chance
        expected += chance * lure(losses[list(order)], probs, pool=5).estimate
    assert whole == pytest.approx(1.0)
    assert expected == pytest.approx(losses.mean())


def test_forty_of_five_hundred_by_expected_loss_are_as_sharp_as_published() -> None:
    """Published (gamma losses, drawn in proportion to a noisy loss): truth .5148, .5144 +- .0434; at random .5135 +-
    .1097; the unweighted mean of the drawn 1.2426. Noise of the acquisition is not stated; here its log has sd 0.65.
    """
    rng = np.random.default_rng(1)
    losses = rng.gamma(0.5, 1.0, 500)
    found, random, drawn, covered = [], [], [], []
    for seed in range(1500):
        acquisition = losses * np.exp(0.65 * rng.normal(size=500)) + 0.05
        rows, probs = draw_in_turn(acquisition, 40, seed=seed)
        interval = lure(losses[rows], probs, pool=500)
        found.append(interval.estimate)
        covered.append(interval.low <= losses.mean() <= interval.high)
        drawn.append(losses[rows].mean())
        random.append(losses[rng.choice(500, 40, replace=False)].mean())
    told = f"LURE {np.mean(found):.4f} +- {np.std(found):.4f}, at random {np.mean(random):.4f} +- {np.std(random):.4f}"
    print(f"\ntruth {losses.mean():.4f}, {told}, unweighted {np.mean(drawn):.4f}, coverage {np.mean(covered):.3f}")
    assert np.mean(found) == pytest.approx(losses.mean(), abs=4 * np.std(found) / np.sqrt(1500))
    assert np.std(found) == pytest.approx(0.0434, abs=0.012)
    assert np.std(random) == pytest.approx(0.1097, abs=0.015)
    assert np.mean(drawn) > 2 * losses.mean()
    assert 0.92 <= np.mean(covered) <= 0.98


@pytest.mark.parametrize("shape", [0.3, 1.0, 3.0])
def test_the_interval_covers_for_light_and_heavy_losses(shape: float) -> None:
    rng = np.random.default_rng(0)
    losses = rng.gamma(shape, 1.0 / shape, 400)
    covered = []
    for seed in range(600):
        rows, probs = draw_in_turn(losses * rng.lognormal(sigma=0.5, size=400) + 0.1, 60, seed=seed)
        interval = lure(losses[rows], probs, pool=400)
        covered.append(interval.low <= losses.mean() <= interval.high)
    assert 0.91 <= np.mean(covered) <= 0.985


def test_probabilities_are_those_among_what_is_left() -> None:
    scores = np.array([5.0, 1.0, 3.0, 1.0])
    rows, probs = draw_in_turn(scores, 4, seed=3)
    left = scores.sum()
    for row, prob in zip(rows, probs, strict=True):
        assert prob == pytest.approx(scores[row] / left)
        left -= scores[row]
    firsts = [draw_in_turn(scores, 1, seed=seed)[0][0] for seed in range(3000)]
    assert np.bincount(firsts, minlength=4) / 3000 == pytest.approx(scores / 10.0, abs=0.03)


def test_equal_probabilities_are_a_plain_mean() -> None:
    probs = 1.0 / (100 - np.arange(30))
    assert lure_weights(probs, pool=100) == pytest.approx(np.ones(30))


def test_a_pool_drawn_to_the_end_has_no_doubt_left() -> None:
    rows, probs = draw_in_turn([1.0, 5.0, 2.0], 3)
    found = lure(np.array([3.0, 6.0, 9.0])[rows], probs, pool=3)
    assert (found.low, found.estimate, found.high) == (6.0, 6.0, 6.0)
    assert lure([1.0] * 5, [0.01] * 5, pool=100).high == np.inf


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(OutOfRange):
        lure([1.0], [0.0], pool=10)
    with pytest.raises(OutOfRange):
        lure([1.0, 1.0], [0.5, 0.5], pool=1)
    with pytest.raises(OutOfRange):
        draw_in_turn([1.0, 0.0], 1)
