"""Requirements on behaviour: what happens to the answer when one thing about the input changes.

Each is a share of failures with its exact upper bound, and the first failures with their rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.errors import LoopError
from perennial.evaluate.answers import Answers
from perennial.evaluate.requirements.case import (
    Case,
    Result,
    failure_rate,
    feature_of,
    listed,
    scores_of,
    some_rows,
)

__all__ = ["directional", "examples", "invariant", "monotone", "robust"]

MONOTONE_ROWS = 100
MONOTONE_STEPS = 10
MONOTONE_SLACK = 0.01  # of the answers' spread: a step against the direction smaller than this is rounding, not a trend
ROBUST_MOVED = 0.1  # of the answers' spread, as `evaluate.robustness` has it
ALONE_ROWS = 200  # asked one at a time
SHOWN = 5  # failures that are told in full
ROUNDING = 1e-9


def monotone(case: Case, options: dict[str, Any]) -> Result:
    """The answer moves one way along the values of a feature, in every row tried."""
    feature, increasing = options["feature"], bool(options["increasing"])
    column = feature_of(case, "monotone", feature, numeric=True)
    rows = case.frame[some_rows(case, MONOTONE_ROWS)]
    grid = column.drop_nulls().unique().sort()
    grid = grid.filter(grid.is_finite())
    if len(grid) < 2:
        return None, f"the held-out rows have fewer than two values of {feature}: nothing to compare", {}
    steps = grid[np.unique(np.linspace(0, len(grid) - 1, min(MONOTONE_STEPS, len(grid))).astype(int))]
    answers = np.array(
        [
            scores_of(case, case.asked(rows.with_columns(pl.lit(value).cast(column.dtype).alias(feature))), "monotone")
            for value in steps.to_list()
        ]
    )
    against = np.diff(answers, axis=0) * (-1.0 if increasing else 1.0)
    slack = MONOTONE_SLACK * float(np.std(answers))
    broken = (against > slack).any(axis=0)
    worst = max(float(against.max(initial=0.0)), 0.0)
    direction = "rises" if increasing else "falls"
    says = f"the answer {direction} with {feature} for all {len(rows)} rows tried"
    evidence: dict[str, Any] = {"rows": len(rows), "broken": int(broken.sum()), "worst": worst}
    evidence["steps"] = [float(value) for value in steps]
    if broken.any():
        at, row = (int(one) for one in np.unravel_index(int(against.argmax()), against.shape))
        step = f"{answers[at, row]:.4g} at {steps[at]:g}, {answers[at + 1, row]:.4g} at {steps[at + 1]:g}"
        says = (
            f"for {int(broken.sum())} of {len(rows)} rows the answer moves the wrong way as {feature} grows, by up to "
            f"{worst:.4g} ({step})"
        )
        evidence["worst_row"] = _row(case, rows, row)
    return not broken.any(), says, evidence


def directional(case: Case, options: dict[str, Any]) -> Result:
    """A step of a feature moves the answer one way, in the declared share of the rows."""
    feature, step = options["feature"], float(options["by"])
    column = feature_of(case, "directional", feature, numeric=True)
    positions = some_rows(case)
    values = column.cast(pl.Float64).fill_nan(None)
    low, high = cast("float | None", values.min()), cast("float | None", values.max())
    moved = values + step
    # Beyond what the data hold, a model is not asked for anything.
    usable = (moved.is_not_null() & (moved >= low) & (moved <= high)).to_numpy() if low is not None else None
    if usable is not None:
        positions = positions[usable[positions]]
    if usable is None or not len(positions):
        says = f"no held-out row stays within the values of {feature} after a step of {step:+g}: nothing to compare"
        return None, says, {"tried": 0}
    rows = case.frame[positions]
    stepped = rows.with_columns(moved[positions].cast(column.dtype, strict=False).alias(feature))
    before, after = (scores_of(case, case.asked(one), "directional") for one in (rows, stepped))
    gained = (after - before) * (1.0 if options["increases"] else -1.0)
    least = float(options["least"])
    failed = gained < (least if least > 0 else -ROUNDING * max(1.0, float(np.abs(before).max())))
    passed, told, evidence = failure_rate(int(failed.sum()), len(rows), 1 - float(options["share"]))
    word = "rises" if options["increases"] else "falls"
    says = (
        f"after {feature} {step:+g} the answer {word} on average by {float(gained.mean()):.4g}; it does not in {told}"
    )
    evidence["mean"] = float(gained.mean())
    evidence["failures"] = [
        {"row": _row(case, rows, int(at)), "before": float(before[at]), "after": float(after[at])}
        for at in np.flatnonzero(failed)[:SHOWN]
    ]
    return passed, says, evidence


def invariant(case: Case, options: dict[str, Any]) -> Result:
    """A change that must not matter leaves the answers as they are, but for the allowed share."""
    if "rows" in options:
        what, rows, changed = _other_company(case, options["rows"])
    elif "scale" in options:
        what, rows, changed = _other_unit(case, options["scale"], options["fixed"])
    elif "swap" in options:
        what, rows, changed = _swapped(case, options["feature"], options["swap"])
    else:
        what, rows, changed = _shuffled(case, options["feature"])
    if not len(rows):
        return None, f"no held-out row could be asked again with {what}", {"tried": 0}
    before = case.asked(rows)
    after = changed if isinstance(changed, Answers) else case.asked(changed)
    differs, apart = _differs(case, before, after, float(options["tolerance"]))
    passed, told, evidence = failure_rate(int(differs.sum()), len(rows), float(options["changed_at_most"]))
    evidence["largest_change"] = float(apart.max())
    said = _labels(case, before), _labels(case, after)
    worst = np.argsort(-np.where(differs, apart, -1.0), kind="stable")[: min(SHOWN, int(differs.sum()))]
    evidence["failures"] = [
        {"row": _row(case, rows, int(at)), "before": said[0][at], "after": said[1][at]} for at in worst
    ]
    says = f"{what} changes the answer in {told}"
    if len(worst):
        says += f", for example from {_shown(said[0][worst[0]])} to {_shown(said[1][worst[0]])}"
    return passed, says, evidence


def robust(case: Case, options: dict[str, Any]) -> Result:
    """Noise on every number changes no more answers than allowed; and which feature alone changes the most."""
    noise, allowed = float(options["noise"]), float(options["changed_at_most"])
    numbers = [name for name in case.features if case.frame[name].dtype.is_numeric()]
    if not numbers:
        return None, "the model takes no numeric feature that could carry noise", {"tried": 0}
    rows = case.frame[some_rows(case)]
    random = np.random.default_rng(0)
    noisy = {name: _noisy(rows[name], case.frame[name], noise, random) for name in numbers}
    before = case.asked(rows)
    differs, _ = _differs(case, before, case.asked(rows.with_columns(list(noisy.values()))), ROBUST_MOVED)
    passed, told, evidence = failure_rate(int(differs.sum()), len(rows), allowed)
    alone = {
        name: float(_differs(case, before, case.asked(rows.with_columns(column)), ROBUST_MOVED)[0].mean())
        for name, column in noisy.items()
    }
    evidence["alone"] = alone
    worst = max(alone, key=lambda name: alone[name])
    says = f"noise of {noise * 100:g} % of each feature's standard deviation changes the answer in {told}"
    if differs.any():
        says += f"; most by {worst} alone ({alone[worst] * 100:.3g} %)"
    return passed, says, evidence


def examples(case: Case, options: dict[str, Any]) -> Result:
    """Every example is answered as expected."""
    cases: list[dict[str, Any]] = options["cases"]
    schema = {name: case.frame.schema[name] for name in case.features}
    for at, one in enumerate(cases, start=1):
        unknown = [name for name in one["given"] if name not in schema]
        if unknown:
            raise LoopError(
                f"require.examples: example {at} gives {listed(unknown)}, which the model does not take",
                remedy=f"use {', '.join(schema)}",
            )
    columns = {
        name: pl.Series(name, [one["given"].get(name) for one in cases], strict=False).cast(kind, strict=False)
        for name, kind in schema.items()
    }
    answers = _labels(case, case.asked(pl.DataFrame(list(columns.values()))))
    wrong: list[str] = []
    table: list[dict[str, Any]] = []
    for at, (one, answer) in enumerate(zip(cases, answers, strict=True), start=1):
        is_right = _matches(one, answer)
        table.append({"example": at, **one, "answered": answer, "passed": is_right})
        if not is_right:
            given = ", ".join(f"{name}={value}" for name, value in one["given"].items())
            wrong.append(f"example {at} ({given}) is answered {_shown(answer)}, not {_shown(one['expect'])}")
    says = listed(wrong, 3) if wrong else f"all {len(cases)} examples are answered as expected"
    return not wrong, says, {"examples": table}


def _swapped(case: Case, feature: str, values: Sequence[Any]) -> tuple[str, pl.DataFrame, pl.DataFrame]:
    """Each row that has one of the values, once for each of the others."""
    column = feature_of(case, "invariant", feature)
    wanted = [str(value) for value in values]
    texts = column.cast(pl.String, strict=False)
    missing = [value for value in wanted if value not in set(texts.drop_nulls().to_list())]
    if len(missing) == len(wanted):
        known = listed(texts.drop_nulls().unique().sort().to_list())
        raise LoopError(
            f"require.invariant({feature!r}): no held-out row has one of {', '.join(wanted)}",
            remedy=f"the data have {known}",
        )
    before: list[pl.DataFrame] = []
    after: list[pl.DataFrame] = []
    positions = some_rows(case)
    for value in wanted:
        rows = case.frame[positions].filter(texts[positions] == value)
        for other in values:
            if str(other) != value and len(rows):
                before.append(rows)
                after.append(rows.with_columns(pl.lit(other).cast(column.dtype).alias(feature)))
    return f"another {feature} ({' / '.join(wanted)})", pl.concat(before), pl.concat(after)


def _shuffled(case: Case, feature: str) -> tuple[str, pl.DataFrame, pl.DataFrame]:
    column = feature_of(case, "invariant", feature)
    positions = some_rows(case)
    rows = case.frame[positions]
    other = np.random.default_rng(0).permutation(len(case.frame))[: len(positions)]
    return f"another row's {feature}", rows, rows.with_columns(column[other].alias(feature))


def _other_company(case: Case, how: str) -> tuple[str, pl.DataFrame, Answers]:
    if how == "order":
        rows = case.frame[some_rows(case)]
        order = np.random.default_rng(0).permutation(len(rows))
        back = np.argsort(order)
        return "another order of the rows", rows, case.asked(rows[order]).take(back)
    rows = case.frame[some_rows(case, ALONE_ROWS)]
    one_by_one = [case.asked(rows[at]) for at in range(len(rows))]
    values = np.concatenate([one.prediction for one in one_by_one])
    tables = [one.probabilities for one in one_by_one if one.probabilities is not None]
    first = one_by_one[0]
    together = Answers(
        prediction=values,
        probabilities=np.concatenate(tables) if tables else None,
        classes=first.classes,
        positive=first.positive,
    )
    return "asking each row alone", rows, together


def _other_unit(case: Case, scale: dict[str, float], fixed: dict[str, Any]) -> tuple[str, pl.DataFrame, pl.DataFrame]:
    for name in scale:
        feature_of(case, "invariant", name, numeric=True)
    for name in fixed:
        feature_of(case, "invariant", name)
    rows = case.frame[some_rows(case)]
    for name, value in fixed.items():
        rows = rows.filter(pl.col(name).cast(pl.String, strict=False).ne_missing(pl.lit(str(value))))
    scaled = [
        (pl.col(name) * factor).cast(case.frame.schema[name], strict=False).alias(name)
        for name, factor in scale.items()
    ]
    told = [pl.lit(value).cast(case.frame.schema[name]).alias(name) for name, value in fixed.items()]
    what = ", ".join(f"{name} times {factor:g}" for name, factor in scale.items())
    what += "".join(f", {name} {value}" for name, value in fixed.items())
    return what, rows, rows.with_columns([*scaled, *told])


def _differs(
    case: Case, before: Answers, after: Answers, tolerance: float
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which answers changed, and how far each moved: numbers in their unit, labels by their probability or 1."""
    if case.task == "regression":
        apart = np.abs(after.prediction - before.prediction)
        spread = float(np.std(case.held_out.answers.prediction))
        rounding = ROUNDING * max(1.0, float(np.abs(before.prediction).max(initial=0.0)))
        return apart > max(tolerance * spread, rounding), apart
    differs = before.prediction != after.prediction
    if before.probabilities is None or after.probabilities is None:
        return differs, differs.astype(np.float64)
    return differs, np.abs(after.probabilities - before.probabilities).max(axis=1)


def _noisy(rows: pl.Series, whole: pl.Series, noise: float, random: np.random.Generator) -> pl.Series:
    values = whole.cast(pl.Float64).fill_nan(None)
    spread = float(cast("float | None", values.filter(values.is_finite()).std()) or 0.0)
    moved = rows.cast(pl.Float64) + pl.Series(random.normal(scale=noise * spread, size=len(rows)))
    if rows.dtype.is_integer():  # a count stays one, and stays within what the data hold
        low, high = cast("float | None", values.min()), cast("float | None", values.max())
        moved = moved.round().clip(low, high)
    return moved.cast(rows.dtype, strict=False).alias(rows.name)


def _labels(case: Case, answers: Answers) -> list[Any]:
    """Answers as a person reads them."""
    return answers.prediction.tolist() if case.task == "regression" else answers.labels().tolist()


def _matches(one: dict[str, Any], answer: Any) -> bool:
    expected = one["expect"]
    if isinstance(answer, float):
        if isinstance(expected, bool) or not isinstance(expected, int | float):
            return False
        return abs(answer - expected) <= max(float(one.get("tolerance", 0.0)), ROUNDING * max(1.0, abs(expected)))
    return str(expected) == answer


def _row(case: Case, rows: pl.DataFrame, at: int) -> dict[str, Any]:
    """What the model was given in a row; moments as text."""
    return {
        name: value if value is None or isinstance(value, bool | int | float | str) else str(value)
        for name, value in rows.select(case.features).row(at, named=True).items()
    }


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
