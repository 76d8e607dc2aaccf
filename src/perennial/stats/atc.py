"""Accuracy without labels from confidence alone: a threshold (ATC) and a difference of means (DoC).

Both carry one number over from the reference and know nothing of calibration. They stand beside CBPE and PAPE as
baselines: where they agree the estimate is firmer, where a backtest prefers them they are the better ones.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Floats, finite_vector, same_length, unit_vector
from perennial.stats.errors import NothingToCount

__all__ = ["ASSUMPTION_ATC", "ASSUMPTION_DOC", "atc_accuracy", "atc_threshold", "doc_accuracy"]

ASSUMPTION_ATC: Final = "answers above one confidence are right, those below wrong, as often now as on the reference"
ASSUMPTION_DOC: Final = "accuracy falls as much as mean confidence does"


def atc_threshold(scores: ArrayLike, hits: ArrayLike) -> float:
    """The confidence above which as many reference rows lie as were answered rightly.

    Args:
        scores: Confidence of each reference row (largest probability, or negative entropy), shape (n,), finite.
        hits: 1 where the answer was right, shape (n,).

    Raises:
        LengthMismatch: The arrays differ in length.
        OutOfRange: A score is not finite, or a hit outside [0, 1].
        NothingToCount: There is no row.

    Source: Garg, Balakrishnan, Lipton, Neyshabur & Sedghi, ICLR 2022.

    >>> atc_threshold([0.5, 0.6, 0.7, 0.8, 0.9], [0, 1, 0, 1, 1])
    0.7
    """
    values, right = _pair(scores, hits)
    above = round(float(right.sum()))
    if above == 0:
        return float(np.nextafter(values.max(), np.inf))
    return float(np.partition(values, len(values) - above)[len(values) - above])


def atc_accuracy(scores: ArrayLike, threshold: float) -> float:
    """Share of rows at least as confident as the threshold: the estimated accuracy.

    >>> atc_accuracy([0.4, 0.65, 0.75, 0.95], 0.7)
    0.5
    """
    values = finite_vector(scores, "scores")
    if len(values) == 0:
        raise NothingToCount("scores")
    return float((values >= threshold).mean())


def doc_accuracy(reference_scores: ArrayLike, hits: ArrayLike, current_scores: ArrayLike) -> float:
    """Accuracy on the reference, less the fall of mean confidence; cut to [0, 1].

    Args:
        reference_scores: Largest probability of each reference row, shape (n,).
        hits: 1 where the answer was right, shape (n,).
        current_scores: Largest probability of each current row, shape (m,).

    Source: Guillory, Shankar, Ebrahimi, Darrell & Schmidt, ICCV 2021.

    >>> round(doc_accuracy([0.8, 0.9], [1, 1], [0.7, 0.8]), 2)
    0.9
    """
    values, right = _pair(reference_scores, hits)
    current = finite_vector(current_scores, "current_scores")
    if len(current) == 0:
        raise NothingToCount("current_scores")
    return float(np.clip(right.mean() - (values.mean() - current.mean()), 0.0, 1.0))


def _pair(scores: ArrayLike, hits: ArrayLike) -> tuple[Floats, Floats]:
    values = finite_vector(scores, "scores")
    right = unit_vector(hits, "hits")
    same_length("hits", right, len(values))
    if len(values) == 0:
        raise NothingToCount("scores")
    return values, right
