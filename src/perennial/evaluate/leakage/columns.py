"""Columns that tell the target: nearly all of it, far more than the others together, or as ids that tell anything."""

from __future__ import annotations

from typing import Any

import polars as pl

from perennial.evaluate.leakage.explained import explained_by, explained_together
from perennial.evaluate.leakage.suspicion import Sides, Strength, Suspicion

__all__ = ["telling_columns"]

NEARLY_ALL = 0.95  # of variance or entropy, by one column
MUCH = 0.6  # by one column, and then compared with all others together
FAR_BEYOND = 0.35  # it leaves at most this share of what all others together leave unexplained
ID_SCORE = 0.1  # of variance or entropy, by the order of an id


def telling_columns(sides: Sides) -> list[Suspicion]:
    """A suspicion for each column that tells too much by itself."""
    scores = {name: explained_by(sides, name) for name in sides.features}
    ranked = sorted(scores, key=lambda name: -scores[name])
    unit = "variance of the target" if sides.is_regression else "entropy of the target"
    found: list[Suspicion] = []
    for name in ranked:
        score = scores[name]
        evidence: dict[str, Any] = {"score": score, "others": {other: scores[other] for other in ranked[:5]}}
        told = f"{score * 100:.3g} % of the {unit}"
        if score >= NEARLY_ALL:
            says = f"{name} alone tells {told}"
            found.append(Suspicion(kind="tells all", columns=(name,), strength="strong", says=says, evidence=evidence))
        elif score >= MUCH:
            rest = explained_together(sides, [other for other in sides.features if other != name])
            evidence["all others together"] = rest
            beyond = (1 - score) <= FAR_BEYOND * (1 - rest)
            says = f"{name} alone tells {told}, all other columns together {rest * 100:.3g} %"
            strength: Strength = "strong" if beyond else "weak"
            if beyond or score > rest:
                found.append(
                    Suspicion(kind="tells most", columns=(name,), strength=strength, says=says, evidence=evidence)
                )
        elif score >= ID_SCORE and name not in {sides.time, sides.key} and _is_id(sides.train[name]):
            says = f"{name} has another value in nearly every row, as an id has, and its order tells {told}"
            # Rows numbered as they came tell of a trend, which goes on; any other order was made by somebody who knew.
            in_time = sides.time is not None and _rises_with(sides.train[name], sides.train[sides.time])
            strength = "strong" if score >= MUCH / 2 and not in_time else "weak"
            found.append(
                Suspicion(kind="id predicts", columns=(name,), strength=strength, says=says, evidence=evidence)
            )
    return found


def _is_id(column: pl.Series) -> bool:
    kind = column.dtype
    return (kind.is_integer() or kind == pl.String) and column.n_unique() >= 0.9 * len(column)


def _rises_with(column: pl.Series, time: pl.Series) -> bool:
    if not column.dtype.is_integer():
        return False
    return bool(column[time.arg_sort()].is_sorted())
