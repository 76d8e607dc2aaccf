"""Find the cells of a table that look wrong, from the table alone: no labels, no settings.

Every column is read as text. Detectors that know nothing of each other each give a score in [0, 1] and a reason; a
cell's score is 1 - product(1 - score), and from `THRESHOLD` on it is a suspect. A larger table is looked at in blocks
of `BLOCK_ROWS`, each by itself, so that memory does not grow with it; what holds between its columns is learned once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl
import pyarrow as pa

from perennial.data.relations.discovery import Relations, discover
from perennial.data.relations.texts import Texts, encode, text_blocks
from perennial.data.scan import Scan
from perennial.data.suspects.findings import Finding
from perennial.data.suspects.forms import forms
from perennial.data.suspects.merged import merged_values
from perennial.data.suspects.missing import missing_values
from perennial.data.suspects.numbers import numbers
from perennial.data.suspects.rules import broken_rules
from perennial.data.suspects.typos import typos

__all__ = ["BLOCK_ROWS", "THRESHOLD", "Suspect", "Suspects", "suspects"]

THRESHOLD = 0.51
BLOCK_ROWS = 250_000
BUDGET = 1_000_000  # cells that are kept, the surest first
_FRAME = {
    "row": pl.Int64,
    "column": pl.String,
    "value": pl.String,
    "score": pl.Float64,
    "reasons": pl.List(pl.String),
    "repair": pl.String,
}


@dataclass(frozen=True)
class Suspect:
    """A cell that looks wrong.

    Attributes:
        row: Counted from 0.
        column: Its name.
        value: What stands there.
        score: How sure that is, in [0, 1].
        reasons: Why, the strongest first.
        repair: What should stand there, if that is known.
    """

    row: int
    column: str
    value: str
    score: float
    reasons: list[str]
    repair: str | None


@dataclass(frozen=True)
class Suspects:
    """The cells of a table that look wrong.

    Attributes:
        rows: Of the table.
        columns: Names of its columns.
        frame: A line for each suspect (row, column, value, score, reasons, repair), by row and column.
        left_out: How many more there were than were kept.
    """

    rows: int
    columns: list[str]
    frame: pl.DataFrame
    left_out: int = 0

    @cached_property
    def cells(self) -> list[Suspect]:
        """The suspects, by row and column."""
        return [Suspect(**line) for line in self.frame.iter_rows(named=True)]

    def __len__(self) -> int:
        return self.frame.height


def suspects(
    what: pa.Table | Scan,
    *,
    relations: Relations | None = None,
    budget: int = BUDGET,
    min_score: float = THRESHOLD,
) -> Suspects:
    """The cells that look wrong.

    Args:
        what: A table; it may be larger than memory. A CSV file is read as it is written.
        relations: What holds between its columns; found in the table when not given.
        budget: Keep no more cells than this, the surest.
        min_score: From which score on a cell is a suspect. The default is meant for every table.

    Raises:
        DataError: The table cannot be read.

    >>> table = pa.table({"city": ["Bend"] * 30 + ["Bemd"], "state": ["OR"] * 31})
    >>> [(found.row, found.value, found.repair) for found in suspects(table).cells]
    [(30, 'Bemd', 'Bend')]
    """
    known = discover(what) if relations is None else relations
    names: list[str] = []
    kept, rows, left_out = pl.DataFrame(schema=_FRAME), 0, 0
    for block in text_blocks(what, BLOCK_ROWS):
        names = block.columns
        found = _in_block(block, known, min_score).with_columns(pl.col("row") + rows)
        rows += block.height
        kept = pl.concat([kept, found])
        if kept.height > budget:
            left_out += kept.height - budget
            kept = kept.sort("score", "row", "column", descending=[True, False, False]).head(budget)
    order = pl.Enum(names) if names else pl.String
    return Suspects(rows, names, kept.sort("row", pl.col("column").cast(order)), left_out)


def _in_block(block: pl.DataFrame, relations: Relations, min_score: float) -> pl.DataFrame:
    columns = encode(block)
    frames = [
        pl.DataFrame(
            {
                "row": finding.rows,
                "at": pl.Series([finding.column] * len(finding.rows), dtype=pl.Int64),
                "score": pl.Series(finding.scores, dtype=pl.Float64),
                "reason": pl.Series(finding.reasons, dtype=pl.String),
                "repair": pl.Series(finding.repairs, dtype=pl.String),
            }
        )
        for finding in _findings(columns, relations)
        if len(finding.rows)
    ]
    if not frames:
        return pl.DataFrame(schema=_FRAME)
    cells = (
        pl.concat(frames)
        .sort("score", descending=True, maintain_order=True)
        .group_by("row", "at")
        .agg(
            (1 - (1 - pl.col("score")).product()).alias("score"),
            pl.col("reason").alias("reasons"),
            pl.col("repair").drop_nulls().first(),
        )
        .filter(pl.col("score") >= min_score)
        .sort("row", "at")
    )
    values = [columns[at].values[int(columns[at].codes[row])] for row, at in cells.select("row", "at").iter_rows()]
    found = [columns[at].name for at in cells["at"]]
    return cells.with_columns(
        pl.Series("column", found, dtype=pl.String), pl.Series("value", values, dtype=pl.String)
    ).select(list(_FRAME))


def _findings(columns: Sequence[Texts], relations: Relations) -> Iterator[Finding]:
    at = {column.name: index for index, column in enumerate(columns)}
    rules = [
        (tuple(at[name] for name in rule.determinants), at[rule.dependent])
        for rule in relations.dependencies
        if rule.dependent in at and all(name in at for name in rule.determinants)
    ]
    yield from broken_rules(columns, rules)
    yield from missing_values(columns)
    yield from merged_values(columns)
    for index, column in enumerate(columns):
        if column.distinct > 1:
            yield from numbers(index, column)
            yield from forms(index, column)
            yield from typos(index, column)
