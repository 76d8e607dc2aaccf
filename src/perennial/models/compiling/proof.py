"""Any candidate beside the native model: every test row and every boundary row, labels and numbers.

A candidate is proven if it gives every label that the native model gives, differs in probabilities or numbers by no
more than the tolerance, and refuses what the native model refuses. Nothing is averaged and no row is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.models.facts.compilation import Proof
from perennial.models.flavors.flavor import Answered, Scorer
from perennial.models.signature import Signature

__all__ = ["Known", "known_of", "labels_in", "prove"]

CHUNK = 65_536  # rows asked at once
MAX_REFUSED = 50  # refused rows that the candidate must refuse as well, one by one


@dataclass(frozen=True)
class Known:
    """What the native model answers: `rows` that it takes with their answers, and rows that it `refused`."""

    rows: pl.DataFrame
    values: NDArray[Any]
    probabilities: NDArray[np.float64] | None
    refused: pl.DataFrame


def labels_in(found: Answered, signature: Signature, classes: list[Any] | None) -> NDArray[Any]:
    """The answer of each row: the label or the number."""
    if found.values is not None:
        return np.asarray(found.values)
    assert found.probabilities is not None
    return np.asarray(classes or signature.classes)[found.probabilities.argmax(axis=1)]


def known_of(native: Scorer, rows: pl.DataFrame, signature: Signature) -> Known:
    """Ask the native model; rows that it refuses are found by halving."""
    taken, refused = list[tuple[pl.DataFrame, Answered]](), list[pl.DataFrame]()

    def ask(part: pl.DataFrame) -> None:
        try:
            taken.append((part, native.answer(part)))
        except Exception:  # noqa: BLE001  # a native model raises what it likes; the candidate must refuse the row too
            if part.height == 1:
                refused.append(part)
                return
            half = part.height // 2
            ask(part.head(half))
            ask(part.tail(part.height - half))

    for start in range(0, rows.height, CHUNK):
        ask(rows.slice(start, CHUNK))
    values = [labels_in(found, signature, native.classes) for _, found in taken]
    tables = [found.probabilities for _, found in taken if found.probabilities is not None]
    return Known(
        pl.concat([part for part, _ in taken]) if taken else rows.clear(),
        np.concatenate(values) if values else np.array([]),
        np.concatenate(tables) if tables else None,
        pl.concat(refused) if refused else rows.clear(),
    )


def prove(
    candidate: Scorer, test: Known, boundary: Known, signature: Signature, *, tolerance: float
) -> tuple[Proof, str | None]:
    """Compare; the second part says why it is not proven, None if it is.

    Args:
        candidate: Any scorer that claims to be the same model.
        test: The native model's answers to the test rows.
        boundary: Its answers to the boundary rows.
        signature: What is answered.
        tolerance: Of probabilities; of numbers relative to their spread over the test rows, or to themselves if larger.
    """
    is_number = signature.task == "regression"
    spread = float(np.std(test.values.astype(np.float64))) if is_number and len(test.values) else 1.0
    labels, difference, reason = 0, 0.0, None
    for name, known in (("test", test), ("boundary", boundary)):
        for start in range(0, known.rows.height, CHUNK):
            part = known.rows.slice(start, CHUNK)
            wanted = known.values[start : start + CHUNK]
            try:
                found = candidate.answer(part)
            except Exception as error:  # noqa: BLE001  # whatever it raises, it does not answer as the native model does
                reason = reason or f"it fails on a {name} row that the native model answers: {error}"
                continue
            if is_number:
                got = labels_in(found, signature, candidate.classes).astype(np.float64)
                scale = np.maximum(np.abs(wanted.astype(np.float64)), spread or 1.0)
                difference = max(difference, _apart(got / scale, wanted.astype(np.float64) / scale))
                continue
            wrong = int(np.count_nonzero(labels_in(found, signature, candidate.classes) != wanted))
            labels += wrong
            if wrong:
                reason = reason or f"{labels} {name} rows get another label"
            if known.probabilities is not None:
                if found.probabilities is None:
                    reason = reason or "it gives no probabilities"
                else:
                    difference = max(
                        difference, _apart(found.probabilities, known.probabilities[start : start + CHUNK])
                    )
    if difference > tolerance:
        what = "numbers" if is_number else "probabilities"
        reason = reason or f"{what} differ by {difference:.2g}, more than {tolerance:.0e}"
    for i in range(min(boundary.refused.height, MAX_REFUSED)):
        if reason is None and _answers(candidate, boundary.refused[[i]]):
            reason = "it answers a row that the native model refuses"
    proof = Proof(
        rows=test.rows.height,
        boundary_rows=boundary.rows.height,
        labels=labels,
        difference=difference,
        tolerance=tolerance,
    )
    return proof, reason


def _answers(candidate: Scorer, row: pl.DataFrame) -> bool:
    try:
        candidate.answer(row)
    except Exception:  # noqa: BLE001  # that it refuses is what is asked
        return False
    return True


def _apart(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Largest difference; equal infinities and two NaN are equal, one NaN is infinitely far."""
    with np.errstate(invalid="ignore"):
        apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    return float(np.max(np.nan_to_num(apart, nan=np.inf), initial=0.0))
