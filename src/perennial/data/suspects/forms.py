"""Values whose form nearly no other value of the column has."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from perennial.data.relations.shapes import shapes
from perennial.data.relations.texts import Texts
from perennial.data.suspects.findings import Finding, of_values

__all__ = ["forms"]

NORMS = 3  # the forms that belong to a column are at most this many,
COVER = 0.8  # cover this share of its rows
COVER_LENGTHS = 0.98  # (this share when the lengths of runs belong to the form),
GAP = 5  # each has this many times the rows of the most frequent form that does not belong,
DIFFERENT = 10  # and together they are the form of this many different values
PLAIN = 0.995  # share of rows of nothing but letters and the usual punctuation
_WORDS = r"^[\p{L}\p{M} .,'’&()/-]*$"
_BROKEN = r"\x{FFFD}|[\x00-\x08\x0B-\x1F\x7F]|Ã.|â€|Â[\x{80}-\x{BF}]"


def forms(index: int, column: Texts) -> Iterator[Finding]:
    """Findings by the form of the values of one column."""
    known = np.flatnonzero(~column.is_missing)
    values, counts = column.values.gather(known), column.counts[known]
    broken = values.str.contains(_BROKEN).to_numpy()
    if broken.any() and counts[broken].sum() < 0.1 * counts.sum():
        yield of_values(index, column, known[broken], 0.7, "characters that a wrong encoding leaves")
    edges = (values.str.strip_chars() != values).to_numpy()
    if edges.any() and counts[edges].sum() < 0.1 * counts.sum():
        odd = values.filter(edges)
        repairs = odd.str.strip_chars().to_list()
        yield of_values(index, column, known[edges], 0.7, "space before or after the value", repairs)
    numeric = ~np.isnan(column.numbers[known])
    if len(known) < DIFFERENT or (counts[numeric].sum() > 0.98 * counts.sum() and numeric.all()):
        return
    frame = pl.DataFrame({"count": counts, "code": known, "numeric": numeric, "wordy": values.str.contains(_WORDS)})
    kinds = shapes(values)
    found = _odd(frame.with_columns(kinds.alias("shape")), COVER)
    if found is None and not (kinds.str.contains("^9[^9]").to_numpy() & ~numeric).any():
        found = _odd(frame.with_columns(_lengths(values).alias("shape")), COVER_LENGTHS)
    if found is not None:
        odd, cover, norm = found
        yield of_values(index, column, odd["code"].to_numpy(), cover, f"has another form than nearly all: {norm}")
        return
    wordy = frame["wordy"].to_numpy()
    if counts[wordy].sum() >= PLAIN * counts.sum() and not wordy.all():
        yield of_values(index, column, known[~wordy], 0.65, "holds digits or signs, which no other value does")


def _odd(frame: pl.DataFrame, least: float) -> tuple[pl.DataFrame, float, str] | None:
    """The values of other forms than the column's few, the share of rows of these, and the most frequent form."""
    kinds = frame.group_by("shape").agg(
        pl.col("count").sum(), pl.len().alias("different"), pl.col("wordy").all(), pl.col("numeric").all()
    )
    kinds = kinds.sort("count", "shape", descending=[True, False])
    rows, total = kinds["count"].to_list(), int(kinds["count"].sum())
    for size in range(1, min(NORMS, kinds.height - 1) + 1):
        norm = kinds.head(size)
        cover = sum(rows[:size]) / total
        if cover < least or rows[size - 1] < GAP * rows[size] or norm["different"].sum() < DIFFERENT:
            continue
        if norm["wordy"].all() and least < COVER_LENGTHS:  # words come in many forms
            continue
        odd = frame.filter(~pl.col("shape").is_in(norm["shape"].to_list()))
        odd = odd.filter(~pl.col("numeric")) if norm["numeric"].all() and least < COVER_LENGTHS else odd
        return (odd, cover, kinds["shape"][0]) if odd.height else None
    return None


def _lengths(values: pl.Series) -> pl.Series:
    return values.str.replace_all(r"\p{Lu}", "A").str.replace_all(r"\p{Ll}", "a").str.replace_all(r"\p{Nd}", "9")
