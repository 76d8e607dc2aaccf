"""What is learned of a column of texts, piece by piece: the set of its values, their forms, what stands for "missing".

A text such as "?" or "N/A" stands for a missing value wherever it occurs. A word such as "empty" or "NA" does only
where no other text of the column has its form: among "12 patients" and "7 patients", not among codes of countries.
"""

from __future__ import annotations

import polars as pl

from perennial.data.relations.shapes import patterns, shapes
from perennial.data.relations.texts import MARKERS, encode

__all__ = ["InferredTexts"]

MAX_TEXTS = 10_000  # different texts that are held
LOOK_ROWS = 1 << 16  # of the first piece, in which forms are looked for
_ALWAYS = frozenset({"nan", "null"})  # words that nobody writes for anything else
LONGEST = max(map(len, MARKERS)) + 2  # with a space on each side
_COUNT = "\1count"


class InferredTexts:
    """What was seen of one column so far.

    Attributes:
        patterns: The few forms that every text so far has; None before the first one.
    """

    def __init__(self) -> None:
        self.patterns: list[str] | None = None
        self._held = pl.DataFrame(schema={"text": pl.String, _COUNT: pl.UInt32})
        self._forms: set[str] | None = None  # of the other texts, once they are too many to be held

    def take(self, values: pl.Series) -> None:
        """See the next values."""
        texts = values.drop_nulls().alias("text")
        if not len(texts):
            return
        if self.patterns is None:
            found = patterns(encode(pl.DataFrame([texts.head(LOOK_ROWS)]))[0])
            self.patterns = found if all("[0-9]" in one for one in found) else []  # of words any form may come
        if self.patterns:
            others = texts.filter(~texts.str.contains(f"^(?:{'|'.join(self.patterns)})$"))
            self.patterns = self.patterns if _may_stand(others).all() else []
        if self._forms is not None:
            texts = texts.filter(texts.str.len_bytes() <= LONGEST)
            texts = texts.filter(_may_stand(texts))
        more = texts.value_counts(name=_COUNT)
        self._held = pl.concat([self._held, more]).group_by("text").agg(pl.col(_COUNT).sum())
        if self._held.height > MAX_TEXTS:
            may_stand = _may_stand(self._held["text"])
            self._forms = set(shapes(self._held["text"].filter(~may_stand)).to_list())
            self._held = self._held.filter(may_stand)

    def missing(self) -> dict[str, int]:
        """The texts that stand for a missing value, and how often."""
        may_stand = self._held.filter(_may_stand(self._held["text"]))
        others = self._held.filter(~_may_stand(self._held["text"]))["text"]
        forms = self._forms or set(shapes(others).to_list())
        return {
            text: count
            for text, count, form in may_stand.with_columns(shapes(may_stand["text"]).alias("form")).iter_rows()
            if not text.strip().isalpha() or text.strip().lower() in _ALWAYS or form not in forms
        }

    def values(self) -> list[str] | None:
        """All other texts, sorted; None when they are too many to be held."""
        if self._forms is not None:
            return None
        return self._held.filter(~pl.col("text").is_in(list(self.missing())))["text"].sort().to_list()


def _may_stand(texts: pl.Series) -> pl.Series:
    """Which texts could stand for a missing value."""
    bare = texts.str.strip_chars().str.to_lowercase()
    return (bare == "") | bare.is_in(list(MARKERS))
