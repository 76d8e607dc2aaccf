"""Columns that hold means of the target: an encoding that was made with the held-out rows among the others."""

from __future__ import annotations

import numpy as np

from perennial.evaluate.answers import Floats
from perennial.evaluate.leakage.explained import floats
from perennial.evaluate.leakage.suspicion import Sides, Suspicion

__all__ = ["target_means"]

EXACT = 1e-4  # of the target's standard deviation: a mean that was rounded is one still


def target_means(sides: Sides) -> list[Suspicion]:
    """Columns of few values, each the mean of the target (the share of a label) over the rows that have it."""
    found: list[Suspicion] = []
    y, z = sides.train_target, sides.test_target
    labels = [None] if sides.is_regression else list(range(sides.labels))
    for name in sides.features:
        train, test = sides.train[name], sides.test[name]
        if not train.dtype.is_float() or train.dtype != test.dtype:
            continue
        a, b = floats(train), floats(test)
        for label in labels:
            own = (y, z) if label is None else ((y == label).astype(np.float64), (z == label).astype(np.float64))
            both = _equals_means(np.concatenate([a, b]), np.concatenate(own))
            alone = _equals_means(a, own[0])
            if both is None and alone is None:
                continue
            groups = both if both is not None else alone
            rows, strength = (
                ("the held-out rows among them", "strong") if both is not None else ("training rows", "weak")
            )
            says = f"{name} is the mean of the target over the rows of each of {groups} groups, {rows}"
            found.append(
                Suspicion(
                    kind="target means",
                    columns=(name,),
                    strength=strength,
                    says=says,
                    evidence={"groups": groups},
                )
            )
            break
    return found


def _equals_means(values: Floats, target: Floats) -> int | None:
    """How many distinct values there are, if each is the mean of the target over its rows; None if not."""
    whole = np.isfinite(values)
    if not whole.all():
        values, target = values[whole], target[whole]
    if len(values) < 2:
        return None
    distinct, which = np.unique(values, return_inverse=True)
    spread = float(np.std(target))
    if not 2 <= len(distinct) <= len(values) / 3 or spread == 0:
        return None
    means = np.bincount(which, target) / np.bincount(which)
    return len(distinct) if float(np.abs(means - distinct).max()) <= EXACT * spread else None
