"""Numbers with something left in them: a unit, a stray sign, the noise of binary fractions; and far outliers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from perennial.data.relations.texts import Ints, Texts
from perennial.data.suspects.findings import Finding, of_values

__all__ = ["numbers"]

NUMERIC = 0.9  # share of rows that begin with a number, for a column of numbers
NUMBERS = 4  # and there are this many different numbers
UNITS = 50  # no more different words than this stand behind the numbers
ONE_UNIT = 0.9  # share of rows from which on one way to write the unit is the norm
_NUMBER = r"^\s*([-+]?[0-9][0-9,]*(?:\.[0-9]+)?)(\s*[^\s0-9.,:/-][^0-9]*)?$"
NOISE = r"^-?[0-9]*\.[0-9]{13,}$"
NOISE_DIGITS = 9  # a number with noise is this many decimals or fewer once it is rounded
FAR = 15.0  # robust standard deviations, of the numbers and of their logarithms,
ALONE = 2  # and as many times as far as the farthest of the others


def numbers(index: int, column: Texts) -> Iterator[Finding]:
    """Findings in a column of which most values begin with a number."""
    known = np.flatnonzero(~column.is_missing)
    rows = int(column.counts[known].sum())
    if not rows:
        return
    parts = column.values.gather(known).str.extract_groups(_NUMBER).struct.unnest()
    parts.columns = ["number", "unit"]
    parts = parts.with_columns(pl.Series("count", column.counts[known]), pl.Series("code", known))
    parts = parts.filter(pl.col("number").is_not_null()).with_columns(pl.col("unit").fill_null(""))
    if parts["count"].sum() < NUMERIC * rows:
        return
    yield from _units(index, column, parts)
    yield from _noise(index, column, parts)
    yield from _outliers(index, column)


def _units(index: int, column: Texts, parts: pl.DataFrame) -> Iterator[Finding]:
    ways = parts.group_by("unit").agg(pl.col("count").sum()).sort("count", descending=True)
    rows = int(ways["count"].sum())
    if parts["number"].n_unique() < NUMBERS or ways.height < 2 or ways.height > min(UNITS, max(parts.height // 2, 5)):
        return
    norm, most = ways.row(0)
    same = ways.with_columns(word=pl.col("unit").str.to_lowercase().str.extract(r"([\p{L}%$€£°]+)", 1))
    words = same.filter(pl.col("word").is_not_null()).group_by("word").agg(pl.col("count").sum(), pl.len())
    if (norm == "" and most > rows / 2) or (norm != "" and most >= ONE_UNIT * rows):
        odd = parts.filter(pl.col("unit") != norm)
        what = "a number with {!r} behind it, most are " + ("plain numbers" if norm == "" else f"with {norm!r}")
    elif norm != "" and words.filter(pl.col("len") > 1)["count"].sum() > rows / 2:
        odd, norm = parts.filter(pl.col("unit") != ""), ""
        what = "a number with {!r} behind it, which this column writes in several ways"
    else:
        return
    reasons = [what.format(unit.strip()) for unit in odd["unit"]]
    repairs = [_plain(number) + norm for number in odd["number"]]
    yield of_values(index, column, odd["code"].to_numpy(), 0.85, reasons, repairs)


def _noise(index: int, column: Texts, parts: pl.DataFrame) -> Iterator[Finding]:
    noisy = parts.filter(pl.col("number").str.contains(NOISE))
    if noisy["count"].sum() > parts["count"].sum() / 2:
        return
    rounded = [f"{float(number):.12f}".rstrip("0").rstrip(".") for number in noisy["number"]]
    keep = [at for at, text in enumerate(rounded) if len(text.partition(".")[2]) <= NOISE_DIGITS]
    if keep:
        codes = noisy["code"].to_numpy()[keep]
        yield of_values(index, column, codes, 0.7, "digits of a binary fraction", [rounded[at] for at in keep])


def _outliers(index: int, column: Texts) -> Iterator[Finding]:
    numbers = column.numbers
    read = np.flatnonzero(~np.isnan(numbers) & ~column.is_missing)
    if len(read) < 20:
        return
    values, counts = numbers[read], column.counts[read]
    far = _distance(values, counts)
    if values.min() >= 0:
        far = np.minimum(far, _distance(np.log1p(values), counts))
    order = np.argsort(far, kind="stable")
    jumps = np.flatnonzero((far[order][1:] > FAR) & (far[order][1:] > ALONE * far[order][:-1]))
    codes = read[order[jumps[0] + 1 :]] if len(jumps) else order[:0]
    if 0 < column.counts[codes].sum() <= max(1, 0.002 * counts.sum()):
        yield of_values(index, column, codes, 0.6, "far from all other numbers of this column")


def _distance(values: Any, counts: Ints) -> Any:
    every = np.repeat(values, counts)
    middle = np.median(every)
    spread = 1.4826 * np.median(np.abs(every - middle))
    return np.abs(values - middle) / spread if spread > 0 else np.zeros(len(values))


def _plain(number: str) -> str:
    return number.removesuffix(".0") if number.count(".") == 1 and number.endswith(".0") else number
