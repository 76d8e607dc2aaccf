"""The loss decomposition: the exact Gaussian case, a real shift, coverage, and the refusal without common ground."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats as laws
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from perennial.stats import LengthMismatch, NothingToCount, OutOfRange
from perennial.stats.disde import at_equal_inputs, disde, overlap


def _score(x: np.ndarray) -> np.ndarray:
    """P(current | x) of N(0, 1) against N(1, 1), as many rows of each."""
    return 1.0 / (1.0 + np.exp(0.5 - x))


def test_the_gaussian_case_to_its_digits() -> None:
    x = laws.norm.ppf((np.arange(40_001) + 0.5) / 40_001)
    found = disde(laws.norm.cdf(x), laws.norm.cdf(x + 1) + 0.1, _score(x), _score(x + 1), resamples=2)
    assert found.to_shared is not None
    assert found.concept is not None
    assert found.from_shared is not None
    assert [round(part.estimate, 4) for part in (found.to_shared, found.concept, found.from_shared)] == [
        0.1445,
        0.1000,
        0.1157,
    ]


def test_the_steps_add_up_to_the_whole_change() -> None:
    random = np.random.default_rng(1)
    losses, scores = (random.random(900), random.random(700)), (random.random(900), random.random(700))
    for expected in (None, (random.random(900), random.random(700))):
        found = disde(*losses, *scores, expected=expected, resamples=50)
        assert found.inputs is not None
        assert found.concept is not None
        assert found.inputs.estimate + found.concept.estimate == pytest.approx(found.total.estimate, abs=1e-12)
        assert found.total.estimate == pytest.approx(losses[1].mean() - losses[0].mean(), abs=1e-12)


def test_employment_chunk_27_is_a_change_of_inputs(shared_data: Path) -> None:
    folder = shared_data / "nannyml_employment_ma"
    before = pl.read_parquet(folder / "reference.parquet")
    targets = pl.read_parquet(folder / "analysis_targets.parquet")
    after = pl.read_parquet(folder / "analysis.parquet").join(targets, on="id", maintain_order="left")[135_000:140_000]
    names = [name for name in after.columns if name not in {"id", "year", "prediction", "predicted_probability"}]
    names.remove("employed")
    both = pl.concat([before.select(names), after.select(names)])
    table = np.column_stack(
        [both[name].cast(pl.Float64) if name == "AGEP" else both[name].cast(pl.String).rank("dense") for name in names]
    ).astype(float)
    is_current = np.arange(both.height) >= before.height
    scores = cross_val_predict(
        HistGradientBoostingClassifier(max_iter=60, random_state=0),
        table,
        is_current,
        cv=StratifiedKFold(5, shuffle=True, random_state=0),
        method="predict_proba",
    )[:, 1]
    losses = [(side["prediction"] != side["employed"]).cast(pl.Float64).to_numpy() for side in (before, after)]
    found = disde(losses[0], losses[1], scores[~is_current], scores[is_current])
    assert round(found.total.estimate, 4) == 0.0610
    assert found.to_shared is not None
    assert found.concept is not None
    assert found.from_shared is not None
    # Found with a classifier of its own; other folds alone move these by .001, .004 and .004.
    assert found.to_shared.estimate == pytest.approx(0.0807, abs=0.005)
    assert found.concept.estimate == pytest.approx(0.0060, abs=0.005)
    assert found.from_shared.estimate == pytest.approx(-0.0257, abs=0.005)
    assert found.concept.low < 0.0 < found.concept.high
    assert found.inputs is not None
    assert found.inputs.estimate / found.total.estimate == pytest.approx(0.90, abs=0.05)


def test_intervals_cover_the_changed_relation() -> None:
    random = np.random.default_rng(2)
    covered = close = 0
    for seed in range(100):
        x, z = random.normal(size=1500), random.normal(size=1000) + 1.0
        losses = random.random(1500) < laws.norm.cdf(x) * 0.8, random.random(1000) < laws.norm.cdf(z) * 0.8 + 0.1
        before, after = (1.0 / (1.0 + 1500 / 1000 * np.exp(0.5 - side)) for side in (x, z))
        found = disde(losses[0], losses[1], before, after, resamples=200, seed=seed)
        quick = at_equal_inputs(losses[0], losses[1], before, after)
        assert found.concept is not None
        assert quick.estimate == pytest.approx(found.concept.estimate, abs=1e-12)
        covered += found.concept.low <= 0.1 <= found.concept.high
        close += quick.low <= 0.1 <= quick.high
    assert min(covered, close) >= 88  # of 95 expected; 3 standard deviations


def test_an_expected_loss_takes_out_what_the_weights_leave() -> None:
    random = np.random.default_rng(3)
    x, z = random.normal(size=4000), random.normal(size=4000) + 1.0
    losses = laws.norm.cdf(x), laws.norm.cdf(z)
    blunt = np.full(4000, 0.5), np.full(4000, 0.5)  # a classifier that learned nothing
    without = disde(losses[0], losses[1], *blunt, resamples=20)
    with_it = disde(losses[0], losses[1], *blunt, expected=losses, resamples=20)
    assert without.concept is not None
    assert with_it.concept is not None
    assert without.concept.estimate > 0.2
    assert with_it.concept.estimate == pytest.approx(0.0, abs=1e-12)


def test_without_common_ground_no_split_is_given() -> None:
    random = np.random.default_rng(4)
    before, after = random.uniform(0.0, 0.001, 5000), random.uniform(0.999, 1.0, 3000)
    before[:20], after[:20] = 0.5, 0.5
    found = disde(random.random(5000), random.random(3000), before, after, resamples=20)
    assert found.decision == "undecided"
    assert found.concept is None
    assert found.inputs is None
    assert found.overlap.ess_reference < 100
    assert found.overlap.outside > 0.9
    assert "too little in common" in found.reasons[0]
    assert found.as_dict()["concept"] is None


def test_rows_that_all_lie_elsewhere_are_not_taken_for_common_ground() -> None:
    """Scores that are all alike have equal weights, so a large effective size, however far the windows are apart."""
    random = np.random.default_rng(6)
    found = disde(random.random(5000), random.random(700), np.full(5000, 0.0003), np.full(700, 0.998), resamples=20)
    assert min(found.overlap.ess_reference, found.overlap.ess_current) >= 700
    assert found.overlap.outside == 1.0
    assert found.overlap.common < 0.02
    assert found.decision == "undecided"
    assert "30 needed" in found.reasons[0]


def test_the_common_mass_of_two_normal_laws_is_its_integral() -> None:
    random = np.random.default_rng(7)
    found = overlap(_score(random.normal(size=40_000)), _score(random.normal(size=40_000) + 1))
    x = np.linspace(-10, 11, 200_001)
    p, q = laws.norm.pdf(x), laws.norm.pdf(x - 1)
    assert found.common == pytest.approx(float((2 * p * q / (p + q)).sum() * (x[1] - x[0])), abs=0.005)
    third = overlap(
        *(1.0 / (1.0 + 3.0 * np.exp(0.5 - random.normal(at, 1.0, size))) for at, size in ((0, 30_000), (1, 10_000)))
    )
    assert third.common == pytest.approx(found.common, abs=0.015)


def test_scores_made_on_other_shares_of_rows_weigh_alike() -> None:
    x = laws.norm.ppf((np.arange(4001) + 0.5) / 4001)
    third = x[::3]
    even = disde(laws.norm.cdf(x), laws.norm.cdf(x + 1), _score(x), _score(x + 1), resamples=2)
    fewer = disde(
        laws.norm.cdf(x), laws.norm.cdf(third + 1), _score(x), _score(third + 1), current_share=0.5, resamples=2
    )
    assert even.to_shared is not None
    assert fewer.to_shared is not None
    assert fewer.to_shared.estimate == pytest.approx(even.to_shared.estimate, abs=1e-3)


def test_the_mean_ratio_of_true_scores_is_one() -> None:
    random = np.random.default_rng(5)
    found = overlap(_score(random.normal(size=20_000)), _score(random.normal(size=20_000) + 1))
    assert found.mean_ratio == pytest.approx(1.0, abs=0.03)


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(OutOfRange, match="current_scores"):
        disde([0.0], [0.0], [0.5], [1.5])
    with pytest.raises(LengthMismatch):
        disde([0.0], [0.0], [0.5, 0.5], [0.5])
    with pytest.raises(NothingToCount):
        overlap([], [0.5])
