"""How well the suspects of a dirty table are those in which it differs from its clean version."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from perennial.data.relations.texts import text_blocks
from perennial.data.scan import Scan
from perennial.data.suspects.search import BLOCK_ROWS, Suspects
from perennial.errors import DataError

__all__ = ["Measured", "measure"]


@dataclass(frozen=True)
class Measured:
    """Counts of cells: wrong ones, suspects, and suspects that are wrong. `column` is empty for all columns."""

    column: str
    wrong: int
    suspects: int
    hits: int

    @property
    def precision(self) -> float:
        """Share of the suspects that are wrong; 1 when there are none."""
        return self.hits / self.suspects if self.suspects else 1.0

    @property
    def recall(self) -> float:
        """Share of the wrong cells that are suspects; 1 when there are none."""
        return self.hits / self.wrong if self.wrong else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of the two."""
        return 2 * self.hits / (self.suspects + self.wrong) if self.suspects + self.wrong else 1.0


def measure(found: Suspects, dirty: pa.Table | Scan, clean: pa.Table | Scan) -> list[Measured]:
    """Figures over all columns, then of each; the tables are compared by position, as text.

    Raises:
        DataError: The two tables are not of one shape.
    """
    ours, theirs = (pl.concat(list(text_blocks(what, BLOCK_ROWS))) for what in (dirty, clean))
    if ours.shape != theirs.shape:
        raise DataError(
            f"the clean table is {theirs.height} x {theirs.width}, this one {ours.height} x {ours.width}",
            remedy="give the clean version of the same table: rows and columns are compared by position",
        )
    figures: list[Measured] = []
    for index, name in enumerate(ours.columns):
        rows = found.frame.filter(pl.col("column") == name)["row"]
        wrong = ours.to_series(index) != theirs.to_series(index)
        figures.append(Measured(name, int(wrong.sum()), len(rows), int(wrong.gather(rows).sum())))
    total = Measured("", *(sum(getattr(one, what) for one in figures) for what in ("wrong", "suspects", "hits")))
    return [total, *figures]
