"""Numbers that add up to the target: what it was computed from, in parts."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from perennial.evaluate.leakage.explained import floats
from perennial.evaluate.leakage.suspicion import Sides, Suspicion

__all__ = ["columns_that_add_up"]

ADDS_UP = 0.999  # of the variance, by at most three numbers in a sum


def columns_that_add_up(sides: Sides, *, known: Collection[str]) -> list[Suspicion]:
    """Up to three numbers whose weighted sum is the target, chosen in turn; not where all are `known` from before."""
    y, z = sides.train_target, sides.test_target
    whole = float(np.mean((z - np.mean(y)) ** 2))
    numbers = [name for name in sides.features if sides.train[name].dtype.is_numeric()]
    table, other = ({name: floats(frame[name]) for name in numbers} for frame in (sides.train, sides.test))
    numbers = [name for name in numbers if np.isfinite(table[name]).all() and np.isfinite(other[name]).all()]
    numbers = [name for name in numbers if float(np.std(table[name])) > 0]
    chosen: list[str] = []
    left = y - np.mean(y)
    for _ in range(min(3, len(numbers))):
        fits = {name: abs(float(np.corrcoef(table[name], left)[0, 1])) for name in numbers if name not in chosen}
        fits = {name: fit for name, fit in fits.items() if np.isfinite(fit)}
        if not fits or whole <= 0:
            return []
        chosen.append(max(fits, key=lambda name: fits[name]))
        x, x_held = (np.column_stack([np.ones(len(t[chosen[0]])), *(t[n] for n in chosen)]) for t in (table, other))
        weights, *_ = np.linalg.lstsq(x, y, rcond=None)
        left = y - x @ weights
        score = 1 - float(np.mean((z - x_held @ weights) ** 2)) / whole
        if score >= ADDS_UP and len(chosen) == 1:
            return []  # a copy, which was told by itself
        if score >= ADDS_UP and not set(chosen) <= set(known):
            parts = {name: float(weight) for name, weight in zip(chosen, weights[1:], strict=True)}
            says = " + ".join(f"{weight:.3g} {name}" for name, weight in parts.items())
            return [
                Suspicion(
                    kind="adds up",
                    columns=tuple(chosen),
                    strength="strong",
                    says=f"{says} is the target: it tells {score * 100:.5g} % of its variance",
                    evidence={"score": score, "weights": parts},
                )
            ]
    return []
