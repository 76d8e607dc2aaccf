"""The stretch of a change: exact cases, noise, and that clean sequences are left whole."""

from __future__ import annotations

import numpy as np
import pytest

from perennial.stats import NothingToCount
from perennial.stats.change_span import change_span


def test_a_change_at_the_end_and_one_in_the_middle() -> None:
    late = change_span([0.0] * 600 + [1.0] * 400, 0.0)
    assert (late.start, late.stop) == (600, 1000)
    middle = change_span([1.0] * 300 + [0.2] * 400 + [1.0] * 300, 1.0)
    assert (middle.start, middle.stop) == (300, 700)


def test_noisy_losses_are_dated_within_a_few_percent() -> None:
    away = []
    for seed in range(20):
        random = np.random.default_rng(seed)
        losses = random.random(2000) < np.where(np.arange(2000) >= 800, 0.35, 0.15)
        away.append(abs(change_span(losses, 0.15, seed=seed).start - 800))
    assert np.median(away) <= 40


def test_a_sequence_that_changed_as_a_whole_is_left_whole() -> None:
    whole = 0
    for seed in range(100):
        losses = np.random.default_rng(seed).random(1000) < 0.3
        span = change_span(losses, 0.15, seed=seed)
        whole += span.stop - span.start == 1000
    assert whole >= 96  # at level 0.01, 3 standard deviations


def test_long_sequences_are_added_up_first() -> None:
    values = np.concatenate([np.zeros(50_000), np.ones(30_000), np.zeros(20_000)])
    span = change_span(values, 0.0)
    assert (span.start, span.stop) == (50_000, 80_000)


def test_nothing_is_refused() -> None:
    with pytest.raises(NothingToCount):
        change_span([], 0.0)
