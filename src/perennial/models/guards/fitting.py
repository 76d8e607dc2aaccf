"""Learn from rows what the declared guards need, when a version is made.

Inputs alone tell ranges, usual values, categories and what is unforeseen: those of all rows that the served model was
trained on, whose labels are not looked at. Intervals and risks are calibrated (`models.guards.calibrating`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.errors import DataError
from perennial.models.guards.calibrating import Calibration, calibrated, measured, risks, says_conformal
from perennial.models.guards.fitted import Fitted, NumberColumn, Risk, Unlike, number_columns
from perennial.models.guards.rows import matrix_of
from perennial.models.guards.spec import FailSafe, Missing, OutOfRange, Unforeseen, Unseen
from perennial.models.guards.unlike import calibrate, looks_of_one_unit
from perennial.models.rows import to_records
from perennial.models.signature import Signature

__all__ = ["fit_guards"]

Floats = NDArray[np.float64]

MAX_CATEGORIES = 100_000  # different values of a column that are remembered


def fit_guards(
    failsafe: FailSafe,
    signature: Signature,
    *,
    rows: pl.DataFrame,
    target: NDArray[Any],
    calibration: Calibration | None = None,
) -> Fitted:
    """What the guards of a version need, learned from rows.

    Args:
        failsafe: What is declared.
        signature: Of the version.
        rows: What the served model was trained on, as requests have them.
        target: The target of the training rows that do not judge.
        calibration: Where `needs_calibration`.

    Raises:
        DataError: A guard names a column that is not there or not of its kind, or nothing can be shown at the declared
            risk.
    """
    numbers = number_columns(signature)
    _check_columns(failsafe, signature, numbers)
    matrix = matrix_of(rows, numbers)
    usual = _medians(matrix)
    arrays: dict[str, NDArray[Any]] = {"usual": usual, **_ranges(matrix, numbers)}
    categories = _categories(failsafe, signature, rows)
    says = [f"ranges, usual values and categories are those of {rows.height} training rows"]
    unlike = _unlike(failsafe, numbers, matrix, usual, arrays)
    if unlike is not None:
        says.append(_says_unlike(unlike, failsafe))
    conformal, found_risks = None, list[Risk]()
    if calibration is not None and failsafe.interval is not None:
        conformal = calibrated(failsafe, signature, numbers, calibration, arrays)
        says.append(says_conformal(conformal, calibration))
    if calibration is not None:
        found_risks = risks(failsafe, signature, calibration)
        says += [
            f"answers with a probability of {found.threshold:.4g} and more are wrong in at most {found.risk:g} of the "
            f"rows, with confidence {found.confidence:g}: {found.rows} of the calibration rows, {calibration.says}"
            for found in found_risks
        ]
    constant, prior = _constant(signature, target)
    fitted = Fitted(
        numbers=numbers,
        fills=_fills(rows, numbers, usual),
        categories=categories,
        unlike=unlike,
        conformal=conformal,
        risks=found_risks,
        constant=constant,
        classes=signature.classes,
        prior=prior,
        says=says,
        arrays=arrays,
    )
    if conformal is None or calibration is None:
        return fitted
    on_test = measured(fitted, conformal, calibration.test)
    share = "none" if on_test.covered is None else f"{on_test.covered:.3f}"
    told = f"of {on_test.tested} test rows, which calibrated nothing, they held the truth of {share}"
    return msgspec.structs.replace(fitted, conformal=on_test, says=[*says, told])


def _check_columns(failsafe: FailSafe, signature: Signature, numbers: Sequence[NumberColumn]) -> None:
    """A guard that looks at nothing would be no guard."""
    needed = {field.name: field for field in signature.inputs if field.required}
    of_numbers = {column.name for column in numbers}
    for guard in failsafe.guards:
        named = guard.columns if isinstance(guard, OutOfRange | Missing | Unseen | Unforeseen) else None
        for name in named or ():
            if name not in needed:
                raise DataError(
                    f"a guard names the column {name!r}, which the model is not given",
                    remedy=f"use one of {', '.join(needed)}",
                )
            if isinstance(guard, OutOfRange | Unforeseen) and name not in of_numbers:
                raise DataError(
                    f"a guard looks at the numbers of {name!r}, which is {needed[name].type}",
                    remedy=f"use one of {', '.join(of_numbers)}" if of_numbers else "take the guard away",
                )
            if isinstance(guard, Unseen) and needed[name].type not in ("string", "int64", "bool"):
                raise DataError(
                    f"guard.unseen names {name!r}, which holds no categories but {needed[name].type}",
                    remedy="use guard.range for numbers",
                )
        if isinstance(guard, OutOfRange | Unforeseen) and not of_numbers:
            raise DataError("a guard looks at numbers, and the model is given none", remedy="take the guard away")
    by = failsafe.interval.by if failsafe.interval is not None else None
    if by is None or by in needed or (by == "class" and signature.task == "classification"):
        return
    raise DataError(
        f"intervals are to hold by {by!r}, which is no column of the model",
        remedy=f'use "class" of a classification, or one of {", ".join(needed)}',
    )


def _medians(matrix: Floats) -> Floats:
    usual = np.zeros(matrix.shape[1])
    known = ~np.isnan(matrix).all(axis=0)
    if known.any():
        usual[known] = np.nanmedian(matrix[:, known], axis=0)
    return usual


def _ranges(matrix: Floats, numbers: Sequence[NumberColumn]) -> dict[str, Floats]:
    """Least and greatest of each number; of a tensor, those of all its numbers; of true and false none."""
    low, high = np.full(matrix.shape[1], -np.inf), np.full(matrix.shape[1], np.inf)
    for column in numbers:
        at = slice(column.start, column.start + column.width)
        values = matrix[:, at]
        values = values[~np.isnan(values)]
        if column.type != "bool" and values.size:
            low[at], high[at] = values.min(), values.max()
    return {"low": low, "high": high}


def _categories(failsafe: FailSafe, signature: Signature, rows: pl.DataFrame) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for guard in failsafe.guards:
        if not isinstance(guard, Unseen):
            continue
        repeated = [field.name for field in signature.inputs if field.required and field.categories is not None]
        for name in guard.columns if guard.columns is not None else repeated:
            values = rows[name].drop_nulls().unique().sort()
            if values.len() > MAX_CATEGORIES:
                raise DataError(
                    f"column {name!r} has {values.len():,} different values: these are no categories",
                    remedy="name fewer columns in guard.unseen",
                )
            found[name] = values.to_list()
        if guard.columns is None and not repeated:
            raise DataError("guard.unseen finds no column of categories", remedy="name columns=, or take it away")
    return found


def _fills(rows: pl.DataFrame, numbers: Sequence[NumberColumn], usual: Floats) -> dict[str, Any]:
    """The usual value of every column as a JSON value: a median, whole where the column is; else the most frequent."""
    by_name = {column.name: column for column in numbers}
    fills: dict[str, Any] = {}
    for name in rows.columns:
        column = by_name.get(name)
        if column is not None and column.type != "bool":
            values = usual[column.start : column.start + column.width]
            if column.width > 1 or isinstance(rows[name].dtype, pl.Array):
                shape = getattr(rows[name].dtype, "shape", (column.width,))
                fills[name] = values.reshape(shape).tolist()
            else:
                fills[name] = round(float(values[0])) if column.type == "int64" else float(values[0])
            continue
        seen = rows.select(pl.col(name)).drop_nulls()
        if seen.height:
            # Of values as frequent the first in order, so that the same rows give the same package.
            top = seen.group_by(name).len().sort("len", name, descending=[True, False]).select(name).head(1)
            fills[name] = to_records(top)[0][name]
    return fills


def _unlike(
    failsafe: FailSafe,
    numbers: Sequence[NumberColumn],
    matrix: Floats,
    usual: Floats,
    arrays: dict[str, NDArray[Any]],
) -> Unlike | None:
    guard = next((found for found in failsafe.guards if isinstance(found, Unforeseen)), None)
    if guard is None:
        return None
    chosen = [column for column in numbers if guard.columns is None or column.name in guard.columns]
    at = np.concatenate([np.arange(column.start, column.start + column.width) for column in chosen])
    rows = np.where(np.isnan(matrix), usual, matrix)[:, at]  # missing is not unforeseen: it has a guard of its own
    same_unit = guard.same_unit
    if same_unit is None:
        same_unit = (len(chosen) == 1 and chosen[0].width > 1) or looks_of_one_unit(rows)
    method = guard.method or ("nearest" if same_unit else "mahalanobis")
    found, calibration, is_exact = calibrate(rows, method, same_unit=same_unit)
    arrays |= {f"unlike_{name}": values for name, values in found.items()}
    arrays["unlike_at"], arrays["unlike_scores"] = at, calibration
    return Unlike(
        method=method,
        columns=[column.name for column in chosen],
        same_unit=same_unit,
        rows=len(found["reference"]) if method == "nearest" else len(rows) - (len(calibration) if is_exact else 0),
        calibration_rows=len(calibration),
        is_exact=is_exact,
    )


def _says_unlike(unlike: Unlike, failsafe: FailSafe) -> str:
    p = next(guard.p for guard in failsafe.guards if isinstance(guard, Unforeseen))
    least = 1 / (unlike.calibration_rows + 1)
    how = "rows kept from the fit" if unlike.is_exact else "rows, each scored without itself"
    told = (
        f"what is unforeseen is told by {unlike.method} on {len(unlike.columns)} columns; p-values are counted among "
    )
    told += f"{unlike.calibration_rows} {how}"
    return told if p >= least else f"{told}, too few for p = {p:g}: a row fires at p = {least:.2g}, beyond all of them"


def _constant(signature: Signature, target: NDArray[Any]) -> tuple[Any, list[float] | None]:
    if signature.task == "regression":
        return float(np.mean(np.asarray(target, dtype=np.float64))), None
    classes = signature.classes or []
    counts = [int(np.sum(target == label)) for label in classes]
    total = max(sum(counts), 1)
    return classes[int(np.argmax(counts))], [count / total for count in counts]
