"""What a person should know first about a table, from its profile: rules with fixed limits, the gravest first."""

from __future__ import annotations

import re
from typing import NamedTuple

import polars as pl

from perennial.data.profile.association import Associations
from perennial.data.profile.columns import ColumnProfile
from perennial.data.profile.profiles import Profile
from perennial.data.profile.words import figure, of_value, percent

__all__ = ["Note", "notes"]

MISSING = 0.05  # share of rows from which missing values are told
STAND_IN = 0.001  # share of rows from which a text that stands for a missing value is told
ONE_VALUE = 0.995  # share of one value from which a column is nearly constant
SKEW = 5.0  # an exponential column has 2
TIED = 0.9  # association from which two columns say nearly the same
ALIKE = 0.01  # share of repeated rows from which they are told first
_STANDS_IN = re.compile(r"(?i)^\W*$|^(n/?a|nan|none|null|nil|unknown|missing|undefined|not available|#n/a)$")
_NUMBER = re.compile(r"^[+-]?[\d,.]*\d[\d,.]*([eE][+-]?\d+)?$")


class Note(NamedTuple):
    """One thing to know; `column` is empty when it is about the table. The higher the weight, the graver."""

    weight: float
    column: str
    says: str


def notes(profile: Profile, found: Associations) -> list[Note]:
    """What is unusual, gravest first."""
    told: list[Note] = []
    if profile.rows == 0:
        return [Note(10, "", "there are no rows")]
    frame = profile.sample.frame()
    texts = {name: frame[name] for name, kind in frame.schema.items() if kind == pl.String}
    for column in profile.columns:
        told += _of_column(column, texts)
    share = profile.repeats.share
    if share:
        count = f"{round(share * profile.rows):,}"
        about = "" if profile.repeats.is_exact else "about "
        says = f"{about}{count} rows ({percent(share)}) repeat another row"
        told.append(Note(6 if share > ALIKE else 2, "", says))
    told += [
        Note(
            3 + abs(pair.value), pair.second, f"says nearly the same as {pair.first} ({pair.measure} {pair.value:.2f})"
        )
        for pair in found.pairs[:20]
        if abs(pair.value) >= TIED
    ]
    return sorted(told, key=lambda note: (-note.weight, note.column))


def _of_column(column: ColumnProfile, sample: dict[str, pl.Series]) -> list[Note]:
    name, rows, told = column.name, column.rows, list[Note]()
    if column.missing == rows:
        return [Note(9, name, "has no value at all")]
    if column.missing / rows >= MISSING:
        share = column.missing / rows
        told.append(Note(5 + 3 * share, name, f"is missing in {percent(share)} of the rows"))
    if column.infinite:
        told.append(Note(8, name, f"holds {column.infinite:,} infinite values"))
    if column.kind == "other":
        return told
    top = column.frequent.counts[0] if column.frequent.counts else 0
    if column.n_distinct == 1:
        value = of_value(column.frequent.values[0], column) if top else "an infinite value"
        told.append(Note(7, name, f"has one value only: {value[:60]}"))
    elif top / column.present >= ONE_VALUE:
        value = of_value(column.frequent.values[0], column)
        told.append(Note(4, name, f"is {value[:60]} in {percent(top / column.present)} of its values"))
    if column.kind == "text":
        told += _of_text(column, sample)
    elif column.kind == "number" and column.n_distinct > 10:
        skew = column.moments.skew
        if skew is not None and abs(skew) > SKEW:
            side = "high" if skew > 0 else "low"
            told.append(Note(3, name, f"has a long tail of {side} values (skew {figure(skew)})"))
    if column.kind == "number" and 0.5 <= column.zeros / column.present < ONE_VALUE and column.n_distinct > 10:
        told.append(Note(2, name, f"is 0 in {percent(column.zeros / column.present)} of its values"))
    return told


def _of_text(column: ColumnProfile, sample: dict[str, pl.Series]) -> list[Note]:
    told: list[Note] = []
    counted = zip(column.frequent.values, column.frequent.counts, strict=True)
    stand_ins = [(str(value), count) for value, count in counted if _STANDS_IN.match(str(value))]
    share = sum(count for _, count in stand_ins) / column.rows
    if share >= STAND_IN:
        listed = ", ".join(repr(value) for value, _ in stand_ins[:3])
        says = f"holds {listed} in {percent(share)} of the rows, which looks like a missing value"
        told.append(Note(5 + 3 * share, column.name, says))
    if column.n_distinct > 50 and column.n_distinct >= 0.9 * column.present:
        told.append(Note(1, column.name, "has nearly as many values as rows: a name, a key or free text"))
    elif column.n_distinct > 50:
        told.append(Note(2, column.name, f"has {column.n_distinct:,} different values"))
    if column.name in sample:
        present = sample[column.name].drop_nulls()
        numbers = present.filter(present.str.contains(_NUMBER.pattern))
        if len(present) and len(numbers) >= 0.95 * len(present):
            told.append(Note(4, column.name, "holds numbers as text"))
    return told
