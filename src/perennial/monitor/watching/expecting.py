"""The loss to be expected of rows whose truth is not known, learned on rows whose truth is.

A row's certainty (the probability of the label that was answered), calibrated, is the probability that the answer is
right; where a model gives none, a second model of its errors says how large they are there. Both hold as long as truth
and inputs are related as on the reference and inputs stay within it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from perennial.monitor.estimating.error_models import fit_error_model
from perennial.monitor.sample import Sample
from perennial.stats.calibrators import isotonic

__all__ = ["certainty", "expected_loss"]

Floats = NDArray[np.float64]
MIN_ROWS = 200  # labelled reference rows below which a calibration says more of chance than of the model


def expected_loss(reference: Sample) -> Callable[[Sample], Floats] | None:
    """A function that gives each row's expected loss, shape (n,); None where too few rows have the truth to learn it.

    Args:
        reference: Rows that the model was not trained on.
    """
    known = reference.take(reference.is_labelled)
    if known.rows < MIN_ROWS:
        return None
    if known.probs is None:
        model = fit_error_model(known)
        place = 1 if known.task == "regression" else 0  # squared errors; wrong answers
        return lambda rows: model.expected(rows)[place]
    said = certainty(known)
    usable = ~np.isnan(said)
    calibrated = isotonic(said[usable], 1.0 - known.losses()[usable])

    def expected(rows: Sample) -> Floats:
        if rows.probs is None:
            return np.full(rows.rows, 1.0 - float(calibrated(said[usable]).mean()))
        found = 1.0 - calibrated(certainty(rows))
        return np.where(np.isnan(found), 1.0, found)  # a label that it gives no probability to: wrong, as far as known

    return expected


def certainty(rows: Sample) -> Floats:
    """The probability of the label that was answered, shape (n,); NaN for one that the model does not know."""
    assert rows.probs is not None
    said = rows.probs[np.arange(rows.rows), rows.answered]
    return np.where(rows.answered >= 0, said, np.nan)
