"""The corrected resampled t-test on scikit-learn's own example, and against what the plain test does wrong."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import make_moons
from sklearn.model_selection import GridSearchCV, RepeatedStratifiedKFold
from sklearn.svm import SVC

from perennial.stats import OutOfRange, corrected_resampled_t


def test_published_example_of_two_kernels_on_moons() -> None:
    x, y = make_moons(noise=0.352, random_state=1, n_samples=100)
    kernels = [
        {"kernel": ["linear"]},
        {"kernel": ["poly"], "degree": [2, 3]},
        {"kernel": ["rbf"]},
    ]
    folds = RepeatedStratifiedKFold(n_splits=10, n_repeats=10, random_state=0)
    search = GridSearchCV(SVC(random_state=0), kernels, scoring="roc_auc", cv=folds).fit(x, y)
    results = search.cv_results_
    scores = np.array([[results[f"split{fold}_test_score"][i] for fold in range(100)] for i in range(4)])
    best, second = np.argsort(-scores.mean(axis=1))[:2]
    differences = scores[best] - scores[second]
    found = corrected_resampled_t(differences, test_rows=10, train_rows=90)
    assert found.statistic is not None
    assert found.p_value is not None
    assert (round(found.statistic, 3), round(found.p_value, 3)) == (0.750, 0.227)
    assert found.decision == "inconclusive"
    plain = differences.mean() / (differences.std(ddof=1) / 10)
    assert (round(plain, 3), round(stats.t.sf(plain, 99), 3)) == (2.611, 0.005)


def test_interval_is_that_of_the_statistic() -> None:
    found = corrected_resampled_t([0.1, 0.3, 0.2, 0.4], test_rows=25, train_rows=75, margin=0.05)
    error = np.sqrt((1 / 4 + 1 / 3) * np.var([0.1, 0.3, 0.2, 0.4], ddof=1))
    assert found.interval is not None
    assert found.interval.low == pytest.approx(0.25 - stats.t.ppf(0.975, 3) * error)
    assert found.threshold == -0.05


def test_equal_differences_have_no_statistic() -> None:
    found = corrected_resampled_t([0.0, 0.0, 0.0], test_rows=1, train_rows=2)
    assert (found.statistic, found.p_value, found.decision) == (None, None, "inconclusive")
    assert corrected_resampled_t([0.5, 0.5], test_rows=1, train_rows=2).decision == "better"


def test_wrong_input_is_refused() -> None:
    for values, rows in (([0.1], 1), ([0.1, float("nan")], 1), ([0.1, 0.2], 0)):
        with pytest.raises(OutOfRange):
            corrected_resampled_t(values, test_rows=rows, train_rows=10)
