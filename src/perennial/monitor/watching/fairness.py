"""Whether groups of people are still selected at rates as near to each other as when the version was judged.

The ratio of the lowest to the highest selection rate, beside four fifths and beside what it was; how often the model
errs in each group is followed as a slice (`labelled`). For classifications; a regression selects nobody.

Source: Equal Employment Opportunity Commission (1978), Uniform Guidelines, 29 CFR 1607.4 (the four-fifths rule).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from perennial.monitor.findings import NewFinding
from perennial.monitor.sample import Sample, places
from perennial.monitor.watching.watched import Look, Seen, Watched, finding
from perennial.stats.tails import log_normal_tail

__all__ = ["look_at_groups"]

FOUR_FIFTHS = 0.8
SLACK = 0.9  # of the ratio on the reference, where that is below four fifths already
MIN_ROWS = 50  # of a group, in the window and in the reference


def look_at_groups(watched: Watched, _held: Any, seen: Seen) -> Look:
    """Look at the answers of one window, by each declared column of groups."""
    if watched.reference.task != "classification" or not watched.reference.classes:
        return Look({}, [])
    positive = watched.positive or watched.reference.classes[-1]
    found: list[NewFinding] = []
    for column in watched.groups:
        before = watched.once(
            f"groups/{column}",
            lambda column=column: _selected(watched.reference, column, positive, _names(watched.reference, column)),
        )
        now = _selected(seen.rows, column, positive, list(before))
        judged = sorted(now.keys() & before.keys())
        if len(judged) < 2:
            continue
        allowed = min(FOUR_FIFTHS, SLACK * _ratio({name: before[name] for name in judged}))
        lowest, highest = (pick(judged, key=lambda name: now[name][0] / now[name][1]) for pick in (min, max))
        p_value = min(1.0, _p_value(now[lowest], now[highest], allowed) * len(judged) * (len(judged) - 1))
        if p_value > watched.level("fairness") / len(watched.groups):
            continue
        rates = {name: now[name][0] / now[name][1] for name in judged}
        says = (
            f"{positive} is answered for {rates[lowest]:.1%} of those whose {column} is {lowest} and for "
            f"{rates[highest]:.1%} where it is {highest}: a ratio of {rates[lowest] / rates[highest]:.2f}, "
            f"{allowed:.2f} is the least that is left alone"
        )
        evidence = {
            "column": column,
            "rates": rates,
            "rows": {name: now[name][1] for name in judged},
            "reference_rates": {name: before[name][0] / before[name][1] for name in judged},
            "allowed": allowed,
            "p_value": p_value,
            "assumption": "none; rows are answered independently of each other",
        }
        found.append(finding(watched, "fairness", seen.window, says, evidence, of=column))
    return Look({}, found)


def _names(rows: Sample, column: str) -> list[str]:
    if column not in rows.inputs.columns:
        return []
    return rows.inputs[column].cast(pl.String()).drop_nulls().unique().to_list()


def _selected(rows: Sample, column: str, positive: str, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Rows with the positive answer and all rows that were answered, by group."""
    if column not in rows.inputs.columns or rows.predictions is None:
        return {}
    group = places(rows.inputs[column].cast(pl.String()), names)
    if rows.predictions.null_count():
        group[rows.predictions.is_null().to_numpy()] = -1
    chosen = places(rows.predictions, [positive]) == 0
    # The first count is of rows in none of these groups.
    every, selected = (np.bincount(one + 1, minlength=len(names) + 1)[1:].tolist() for one in (group, group[chosen]))
    return {name: (some, total) for name, some, total in zip(names, selected, every, strict=True) if total >= MIN_ROWS}


def _ratio(selected: dict[str, tuple[int, int]]) -> float:
    rates = np.array([(some + 0.5) / (every + 1.0) for some, every in selected.values()])
    return float(rates.min() / rates.max())


def _p_value(lowest: tuple[int, int], highest: tuple[int, int], allowed: float) -> float:
    """That the true ratio is at least `allowed`: the logarithm of a ratio of rates is nearly normal (Katz, 1978)."""
    (a, n), (b, m) = ((some + 0.5, every + 1.0) for some, every in (lowest, highest))
    sd = math.sqrt(1.0 / a - 1.0 / n + 1.0 / b - 1.0 / m)
    return math.exp(log_normal_tail((math.log(allowed) - math.log((a / n) / (b / m))) / sd))
