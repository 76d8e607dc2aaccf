"""How a model treats the groups of columns that were declared: rates, losses, and how far apart they are.

The values of a classification are those of fairlearn's `MetricFrame`; their intervals come from the same bootstrap
draws as every other. A group of fewer than 50 rows is listed and takes no part in ratios and differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.errors import LoopError
from perennial.evaluate.answers import Floats, HeldOut, Ints
from perennial.evaluate.columns import grouped
from perennial.evaluate.groups import estimate_of
from perennial.models.facts.evaluation import Estimate, Fairness, GroupRow

__all__ = ["MIN_ROWS", "fairness"]

MIN_ROWS = 50
FOUR_FIFTHS = 0.8
RATES = ("selection_rate", "true_positive_rate", "false_positive_rate", "accuracy")

Mask = NDArray[np.bool_]

_Table = dict[str, tuple[Floats, Floats]]  # name -> per group: as measured, shape (k,), and resampled, (resamples, k)


def fairness(task: str, on: HeldOut, frame: pl.DataFrame, columns: Sequence[str]) -> tuple[list[Fairness], list[str]]:
    """A table for each declared column, and sentences that a reviewer should read.

    Args:
        task: "regression" or "classification".
        on: Held-out rows.
        frame: Columns of the same rows, of the request and others.
        columns: Those whose values make the groups.

    Raises:
        LoopError: There is no such column, or it makes no groups.
    """
    found: list[Fairness] = []
    says: list[str] = []
    for name in columns:
        if name not in frame.columns:
            raise LoopError(
                f"loop.evaluate(groups=...): the data have no column {name!r}",
                remedy=f"use one of {', '.join(frame.columns)}",
            )
        made = grouped(frame[name])
        if made is None:
            raise LoopError(
                f"loop.evaluate(groups=...): column {name!r} has a different value in almost every row",
                remedy="name a column whose values make groups",
            )
        one, sentences = _column(task, on, name, made.codes, made.labels)
        found.append(one)
        says += sentences
    return found, says


def _column(task: str, on: HeldOut, name: str, codes: Ints, labels: tuple[str, ...]) -> tuple[Fairness, list[str]]:
    k = len(labels)
    counts = np.bincount(codes, minlength=k)
    judged = np.flatnonzero(counts >= MIN_ROWS)
    table = _regression(on, codes, k) if task == "regression" else _classification(on, codes, k)
    units = counts if on.clusters is None else np.bincount(np.unique(on.draws.unit * k + codes) % k, minlength=k)
    rows = [
        GroupRow(
            group=label,
            rows=int(counts[code]),
            values={
                what: estimate_of(float(value[code]), drawn[:, code], int(units[code]), int(counts[code]))
                for what, (value, drawn) in table.items()
                if np.isfinite(value[code])
            },
            is_judged=bool(counts[code] >= MIN_ROWS),
        )
        for code, label in enumerate(labels)
    ]
    ratios: dict[str, Estimate] = {}
    worst, says = None, list[str]()
    if len(judged) >= 2:
        smallest = int(units[judged].min())
        spread = _differences(table, judged)
        ratios = {
            what: estimate_of(float(value), drawn, smallest, int(counts[judged].sum()))
            for what, (value, drawn) in spread.items()
            if np.isfinite(value)
        }
        worst = labels[judged[int(np.argmax(table["loss"][0][judged]))]]
        says = _sentences(name, [rows[code] for code in judged], ratios, worst)
    return Fairness(column=name, groups=rows, ratios=ratios, worst=worst), says


def _classification(on: HeldOut, codes: Ints, k: int) -> _Table:
    positive = on.answers.positive
    right = on.truth == on.answers.prediction
    if positive is None:
        values = _by_fairlearn(np.ones(len(on), dtype=np.bool_), right, codes, k, ["accuracy"])
        drawn = {"accuracy": _shares(on, codes, k, right, None)}
    else:
        truth, chosen = on.truth == positive, on.answers.prediction == positive
        values = _by_fairlearn(truth, chosen, codes, k, RATES)
        drawn = {
            "selection_rate": _shares(on, codes, k, chosen, None),
            "true_positive_rate": _shares(on, codes, k, chosen & truth, truth),
            "false_positive_rate": _shares(on, codes, k, chosen & ~truth, ~truth),
            "accuracy": _shares(on, codes, k, right, None),
        }
        # A group without a positive (or negative) row has no such rate; fairlearn would call it 0.
        values["true_positive_rate"][np.bincount(codes[truth], minlength=k) == 0] = np.nan
        values["false_positive_rate"][np.bincount(codes[~truth], minlength=k) == 0] = np.nan
    values["loss"], drawn["loss"] = 1 - values["accuracy"], 1 - drawn["accuracy"]
    return {name: (value, drawn[name]) for name, value in values.items()}


def _by_fairlearn(truth: Mask, chosen: Mask, codes: Ints, k: int, names: Sequence[str]) -> dict[str, Floats]:
    """Each metric in each group. Equal rows are one row with their number as weight: a million rows become a few."""
    from fairlearn import metrics as fair
    from sklearn.metrics import accuracy_score

    known: dict[str, Any] = {
        "selection_rate": fair.selection_rate,
        "true_positive_rate": fair.true_positive_rate,
        "false_positive_rate": fair.false_positive_rate,
        "accuracy": accuracy_score,
    }
    counts = np.bincount(codes * 4 + truth * 2 + chosen)
    cells = np.flatnonzero(counts)
    weight = {"sample_weight": counts[cells]}
    by_group = fair.MetricFrame(
        metrics={name: known[name] for name in names},
        y_true=cells // 2 % 2,
        y_pred=cells % 2,
        sensitive_features=cells // 4,
        sample_params=dict.fromkeys(names, weight),
    ).by_group
    found: dict[str, Floats] = {}
    for name in names:
        found[name] = np.full(k, np.nan)
        found[name][by_group.index.to_numpy(dtype=np.int64)] = by_group[name].to_numpy(dtype=np.float64)
    return found


def _regression(on: HeldOut, codes: Ints, k: int) -> _Table:
    residual = on.answers.prediction - on.truth
    found: _Table = {}
    for name, rows in (("mean_residual", residual), ("loss", residual**2)):
        with np.errstate(invalid="ignore"):
            value = np.bincount(codes, rows, k) / np.bincount(codes, minlength=k)
        found[name] = (value, _shares(on, codes, k, rows, None))
    return found


def _shares(on: HeldOut, codes: Ints, k: int, above: Floats | Mask, below: Mask | None) -> Floats:
    """Resampled sums of `above` over the rows (those of `below`), by group; shape (resamples, k)."""
    draws = on.draws
    cell, cells = draws.group * k + codes, draws.groups * k
    sums = np.bincount(cell, above, cells).reshape(draws.groups, k)
    sizes = np.bincount(cell, below, cells).reshape(draws.groups, k).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (draws.weights @ sums) / (draws.weights @ sizes)


def _differences(table: _Table, judged: Ints) -> dict[str, tuple[float, Floats]]:
    """How far apart the judged groups are, as measured and resampled."""

    def of(name: str) -> tuple[Floats, Floats]:
        value, drawn = table[name]
        both = np.vstack([value[judged], drawn[:, judged]])
        return np.min(both, axis=1), np.max(both, axis=1)

    found: dict[str, Floats] = {"worst_group_loss": of("loss")[1]}
    if "selection_rate" in table:
        low, high = of("selection_rate")
        found["selection_rate_ratio"] = np.where(high > 0, low / np.where(high > 0, high, 1.0), 1.0)
        gaps = [high - low for low, high in (of("true_positive_rate"), of("false_positive_rate"))]
        found["equalised_odds_difference"] = np.maximum(*gaps)
    if "accuracy" in table:
        low, high = of("accuracy")
        found["accuracy_difference"] = high - low
    if "mean_residual" in table:
        low, high = of("mean_residual")
        found["mean_residual_difference"] = high - low
    return {name: (float(values[0]), values[1:]) for name, values in found.items()}


def _sentences(name: str, groups: Sequence[GroupRow], ratios: dict[str, Estimate], worst: str) -> list[str]:
    ratio = ratios.get("selection_rate_ratio")
    if ratio is not None and (ratio.high if ratio.high is not None else ratio.value) < FOUR_FIFTHS:
        rated = sorted(groups, key=lambda row: row.values["selection_rate"].value)
        least, most = rated[0], rated[-1]
        shares = [f"{row.values['selection_rate'].value * 100:.3g} %" for row in (least, most)]
        text = (
            f"by {name}, {least.group} is selected {ratio.value:.2f} times as often as {most.group} "
            f"({' and '.join(shares)} of their rows): below four fifths; the model errs most for {worst}"
        )
        return [text]
    return []
