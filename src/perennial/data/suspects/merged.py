"""Values that hold the value of another column, which is empty in the same row: `Meadville PA` with no state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from perennial.data.relations.texts import Texts
from perennial.data.suspects.findings import Finding, of_rows

__all__ = ["merged_values"]

MIN_ROWS = 3
SHARE = 0.1  # of the rows in which the other column is empty, this share ends or begins with one of its values,
TIMES = 10  # and this many times the share of the rows in which it is not empty
SCORE = 0.95


def merged_values(columns: Sequence[Texts]) -> Iterator[Finding]:
    """Findings about both cells, with what each should hold."""
    for empty, other in enumerate(columns):
        blank = other.present < 0
        if not MIN_ROWS <= blank.sum() < len(blank) - MIN_ROWS or other.distinct < 2:
            continue
        values = other.values.filter(pl.Series(~other.is_missing))
        if not (~values.str.contains(r"^[\p{Nd}\s]*$")).all():
            continue
        for full, column in enumerate(columns):
            if full != empty and column.distinct > 1:
                yield from _merged(columns, full, empty, blank, values)


def _merged(columns: Sequence[Texts], full: int, empty: int, blank: np.ndarray, values: pl.Series) -> Iterator[Finding]:
    column = columns[full]
    split = _split(column.values, values)
    holds = np.array([parts is not None for parts in split])[column.codes] & (column.present >= 0)
    both = np.flatnonzero(holds & blank)
    if len(both) < max(MIN_ROWS, SHARE * blank.sum()) or holds[~blank].mean() * TIMES > len(both) / blank.sum():
        return
    parts = [split[code] or ("", "") for code in column.codes[both]]
    name, other = column.name, columns[empty].name
    yield of_rows(full, both, SCORE, f"holds a value of column {other!r}, which is empty", [rest for rest, _ in parts])
    yield of_rows(empty, both, SCORE, f"is empty, its value stands in column {name!r}", [value for _, value in parts])


def _split(texts: pl.Series, values: pl.Series) -> list[tuple[str, str] | None]:
    """For each text (what is left, the value) when it begins or ends with a value and a space or comma."""
    known = set(values.to_list())
    most = max((value.count(" ") for value in known), default=0) + 1
    found: list[tuple[str, str] | None] = []
    for text in texts:
        words = text.replace(",", " ").split()
        ends = ((" ".join(words[:-size]), " ".join(words[-size:])) for size in range(1, min(most, len(words) - 1) + 1))
        begins = ((" ".join(words[size:]), " ".join(words[:size])) for size in range(1, min(most, len(words) - 1) + 1))
        found.append(next((pair for pair in (*ends, *begins) if pair[1] in known), None))
    return found
