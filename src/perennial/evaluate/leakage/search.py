"""Search for leaks: what gives the target away in the data at hand and will not do so in service.

Six things are looked for: a single column that tells nearly all of the target, or far more than all the others
together; a few numbers that add up to it; a column that holds means of the target; numbers of rows (ids) that predict;
held-out rows that are in the training data as well; and time travel. Each suspicion has its evidence and a strength:
"strong" ones should stop a candidate, "weak" ones are for a person to look at. A search finds what it looks for: no
suspicion is no proof.

Scores are out of sample: learned from training rows, measured on held-out ones, on at most 20,000 of each. For numbers
it is the share of the variance that is explained (R2), for labels the share of their entropy (an estimate from below
of the mutual information, over the entropy).

Source for the kinds: Kaufman, Rosset, Perlich & Stitelman (2012), Leakage in Data Mining, ACM TKDD 6 (4).
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from perennial.evaluate.answers import HeldOut
from perennial.evaluate.leakage.columns import telling_columns
from perennial.evaluate.leakage.explained import BIN_ROWS
from perennial.evaluate.leakage.means import target_means
from perennial.evaluate.leakage.rows import shared_entities, shared_rows, time_travel
from perennial.evaluate.leakage.sums import columns_that_add_up
from perennial.evaluate.leakage.suspicion import Sides, Suspicion

__all__ = ["search_leaks"]


def search_leaks(
    task: str,
    *,
    train: pl.DataFrame,
    train_truth: HeldOut,
    test: pl.DataFrame,
    test_truth: HeldOut,
    features: Sequence[str],
    time: str | None = None,
    key: str | None = None,
) -> list[Suspicion]:
    """Every suspicion, strong ones first.

    Args:
        task: "regression" or "classification".
        train: Columns of the rows that the model was fitted to.
        train_truth: Their truth.
        test: Columns of the held-out rows.
        test_truth: Their truth.
        features: The columns that the model takes.
        time: Column of moments, where there is one.
        key: Column of entities, where there is one.
    """
    if len(train) < 2 * BIN_ROWS or not len(test):
        return []
    if task != "regression":  # labels in one coding
        classes = train_truth.answers.coded(test_truth.answers.classes).classes
        train_truth, test_truth = train_truth.coded(classes), test_truth.coded(classes)
    sides = Sides(
        task=task,
        train=train,
        test=test,
        train_target=train_truth.truth,
        test_target=test_truth.truth,
        features=tuple(name for name in features if name in train.columns and name in test.columns),
        time=time,
        key=key,
    )
    some = sides.some()
    suspects = telling_columns(some)
    if sides.is_regression:
        suspects += columns_that_add_up(some, known={column for one in suspects for column in one.columns})
    for look in (target_means, shared_rows, shared_entities, time_travel):
        suspects += look(sides)
    return sorted(suspects, key=lambda one: one.strength != "strong")
