"""What the guards of a version learn when it is made, and from which rows.

Inputs of all rows that the served model is trained on; labels and answers only of training rows that do not judge. For
intervals and thresholds of risk the training rows are split once more, in the way of the loop: a fit on the older part
answers the newer part, which calibrates. The served model is a later fit, on more rows, and is taken to err no more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from perennial.data.split import Split
from perennial.loop.declaration import Declaration
from perennial.models.guards.calibrating import Answered, Calibration, needs_calibration
from perennial.models.guards.fitting import fit_guards
from perennial.models.guards.spec import FailSafe
from perennial.models.package import Predictor
from perennial.models.preparation import Preparation

__all__ = ["guard_files"]

Retrain = Callable[[NDArray[np.int64] | None, int], Predictor]


def guard_files(
    declaration: Declaration,
    *,
    preparation: Preparation,
    judged: Predictor,
    retrain: Retrain,
    table: pa.Table,
    train: pa.Table,
    test: pa.Table,
    inner: Callable[[pa.Table, Declaration], Split],
) -> dict[str, bytes]:
    """The package's files of what guards learned; none where the loop declares nothing.

    Args:
        declaration: What the loop declares.
        preparation: Of the served model.
        judged: The fit on `train`, whose answers to `test` measure what the calibration is worth.
        retrain: Fits on these rows of `train` from this seed.
        table: The rows of the served model.
        train: Those of them that do not judge.
        test: Those that do: they calibrate nothing.
        inner: Splits training rows as the loop splits all rows.

    Raises:
        DataError: See `models.guards.fitting.fit_guards`.
    """
    if declaration.failsafe is None:
        return {}
    failsafe = FailSafe.of(declaration.failsafe)
    signature = preparation.signature
    calibration: Calibration | None = None
    if needs_calibration(failsafe):
        parts = inner(train, declaration)
        older = retrain(np.asarray(parts.train, dtype=np.int64), 0)
        newer = train.take(pa.array(parts.test, type=pa.int64()))
        calibration = Calibration(
            rows=_answered(older, newer, signature.classes or ()),
            test=_answered(judged, test, signature.classes or ()),
            says=f"of the training rows {parts.says}, answered by a fit on the others",
        )
    fitted = fit_guards(
        failsafe,
        signature,
        rows=preparation.raw(table),
        target=preparation.y(train),
        calibration=calibration,
    )
    return fitted.to_files()


def _answered(predictor: Predictor, table: pa.Table, classes: Sequence[Any]) -> Answered:
    frame = predictor.preparation.raw(table)
    found = predictor.answers(frame)
    probabilities = found.probabilities
    if probabilities is not None:
        # A fit on fewer rows may not know every class; what it does not know it finds impossible.
        aligned = np.zeros((frame.height, len(classes)))
        for at, label in enumerate(predictor.signature.classes or ()):
            aligned[:, list(classes).index(label)] = probabilities[:, at]
        probabilities = aligned
    is_number = predictor.signature.task == "regression"
    return Answered(
        frame=frame,
        truth=predictor.preparation.y(table),
        values=np.asarray(found.values, dtype=np.float64) if is_number else None,
        probabilities=probabilities,
        classes=classes,
    )
