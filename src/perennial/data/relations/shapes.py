"""The form of a text: runs of capital letters, small letters and digits by their kind, everything else as it stands.

"PN-5b" -> "A-9a"      as a regular expression: [A-Z]{2}-[0-9][a-z]
"""

from __future__ import annotations

import re

import numpy as np
import polars as pl

from perennial.data.relations.texts import Texts

__all__ = ["patterns", "shapes"]

COMMON = 0.01  # a form belongs to the column when this share of its rows has it,
COVERED = 0.95  # and the column has forms when those that belong to it cover this share,
MOST = 5  # are no more than these,
DIFFERENT = 10  # and are those of at least this many different texts
_RUN = r"\p{Lu}+|\p{Ll}+|\p{Nd}+"
_CLASS = {"A": r"\p{Lu}", "a": r"\p{Ll}", "9": "[0-9]"}


def shapes(values: pl.Series) -> pl.Series:
    """The form of each text.

    >>> shapes(pl.Series(["PN-5b", "12.0 oz"])).to_list()
    ['A-9a', '9.9 a']
    """
    kinds = values.str.replace_all(r"\p{Lu}+", "A").str.replace_all(r"\p{Ll}+", "a")
    return kinds.str.replace_all(r"\p{Nd}+", "9")


def patterns(column: Texts) -> list[str]:
    """Regular expressions (Rust's syntax, the whole text) of the forms of a column; none when it has no few forms.

    Plain numbers of different lengths have none either: their type says it all.
    """
    known = np.flatnonzero(~column.is_missing)
    values, counts = column.values.gather(known), column.counts[known]
    if len(values) < DIFFERENT:
        return []
    frame = pl.DataFrame({"value": values, "count": counts, "shape": shapes(values)})
    rows = int(counts.sum())
    kinds = frame.group_by("shape").agg(pl.col("count").sum(), pl.len().alias("different"))
    common = kinds.filter((pl.col("count") >= COMMON * rows) & (pl.col("different") > 1)).sort("count", descending=True)
    if common.height > MOST or common["count"].sum() < COVERED * rows:
        return []
    made = [_pattern(shape, frame.filter(pl.col("shape") == shape)["value"]) for shape in common["shape"]]
    numeric = column.counts[known[~np.isnan(column.numbers[known])]].sum() == rows
    return [] if numeric and made != [_fixed(made[0])] else made


def _fixed(pattern: str) -> str:
    """The pattern, but where it leaves a length open."""
    return pattern if re.fullmatch(r"\[0-9\]\{\d+\}", pattern) else ""


def _pattern(shape: str, values: pl.Series) -> str:
    lengths = values.str.extract_all(_RUN).list.eval(pl.element().str.len_chars())
    parts: list[str] = []
    run = 0
    for kind in shape:
        if kind not in _CLASS:
            parts.append(re.escape(kind) if kind not in " -" else kind)
            continue
        seen = lengths.list.get(run)
        run += 1
        parts.append(_CLASS[kind] + _times(int(str(seen.min())), int(str(seen.max()))))
    return "".join(parts)


def _times(least: int, most: int) -> str:
    if least == most:
        return "" if least == 1 else f"{{{least}}}"
    return "+" if most > 4 * least else f"{{{least},{most}}}"
