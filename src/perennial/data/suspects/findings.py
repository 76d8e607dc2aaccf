"""What a detector says about cells; the detectors' words are put together in `search`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perennial.data.relations.texts import Ints, Texts

__all__ = ["Finding", "of_rows", "of_values"]


@dataclass(frozen=True)
class Finding:
    """Some cells of one column for which the same thing is wrong.

    Attributes:
        column: Its position.
        rows: Of the cells, from 0.
        scores: How sure that is, in [0, 1], one for each cell.
        reasons: What is wrong, in words, one for each cell.
        repairs: What should stand there, as far as that is known.
    """

    column: int
    rows: Ints
    scores: np.ndarray[Any, np.dtype[np.float64]]
    reasons: Sequence[str]
    repairs: Sequence[str | None]


def of_values(
    index: int, column: Texts, codes: Ints, score: Any, reasons: str | list[str], repairs: Sequence[str | None] = ()
) -> Finding:
    """A finding about all rows that hold one of these values."""
    rows, which = column.rows(codes)
    scores = np.broadcast_to(np.asarray(score, dtype=np.float64), len(codes))[which]
    told = [reasons if isinstance(reasons, str) else reasons[at] for at in which.tolist()]
    return Finding(index, rows, scores, told, [repairs[at] for at in which] if repairs else [None] * len(rows))


def of_rows(index: int, rows: Ints, score: float, reason: str, repairs: Sequence[str | None] = ()) -> Finding:
    """A finding about some rows, with one score and reason for all."""
    return Finding(index, rows, np.full(len(rows), score), [reason] * len(rows), repairs or [None] * len(rows))
