"""The world of the demo: what people really earned, asked for month by month.

The panel of Vella and Verbeek (1998), "Whose Wages Do Unions Raise?", Journal of Applied Econometrics 13, 163-183,
follows 545 young men in the United States from 1980 to 1987; it comes with `linearmodels`. Its rows are used as they
are. It knows only the year of an interview, so the month, about 45 interviews in each, is drawn by the seed.
"""

from __future__ import annotations

import bz2
import importlib.util
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from perennial.errors import ConfigError

__all__ = ["TARGET", "World"]

TARGET = "log_wage"
YEARS = tuple(range(1980, 1988))
TRAINING_YEARS = 2  # of which the labels are known on the first day
OCCUPATIONS = {  # the panel's codes in the words of the United States Census of 1980, shortened
    1: "professional",
    2: "manager",
    3: "sales",
    4: "clerical",
    5: "craft",
    6: "operative",
    7: "laborer",
    8: "farm",
    9: "service",
}


class World:
    """Interviews in the order in which they come in; the same for the same arguments.

    Columns: person, date (the first of the interview's month), education and experience (years), hours (worked in the
    year), occupation, union, married, black, hispanic, and log_wage (natural logarithm of dollars per hour).

    Args:
        seed: Draws the month of each interview and the order of the people. Not negative.
        years: Consecutive years out of 1980 to 1987, at least three: two to learn from, the rest to live through.
        stationary: Every year's people are drawn, with replacement, from those of 1980 as they were in 1980: a world
            in which nothing changes but chance.

    Raises:
        ConfigError: linearmodels is not installed, or the years or the seed cannot be used.
    """

    def __init__(self, seed: int, years: Sequence[int] = YEARS, *, stationary: bool = False) -> None:
        first = years[0] if years else 0
        if len(years) <= TRAINING_YEARS or list(years) != list(range(first, first + len(years))):
            raise ConfigError(f"{list(years)} are not three or more consecutive years", remedy="such as 1980 to 1987")
        if not set(years) <= set(YEARS):
            raise ConfigError(f"the panel has no {min(set(years) - set(YEARS))}", remedy="use years from 1980 to 1987")
        if seed < 0:
            raise ConfigError(f"a seed is not negative, as {seed} is")
        panel = _panel()
        drawn = [_interviews(panel, seed, year, stationary=stationary) for year in years]
        self._first = pl.concat(drawn[:TRAINING_YEARS])
        self._later = pl.concat(drawn[TRAINING_YEARS:])

    def first_rows(self) -> pl.DataFrame:
        """All interviews of the first two years, with their wages."""
        return self._first

    def months(self) -> list[date]:
        """The months to live through, each by its first day."""
        return self._later["date"].unique().sort().to_list()

    def asked(self, month: date) -> pl.DataFrame:
        """The people whose wage is asked for in a month: everything about them but that."""
        return self.answers(month).drop(TARGET)

    def answers(self, month: date) -> pl.DataFrame:
        """The same rows in the same order, with what they really earned."""
        return self._later.filter(pl.col("date") == month)


def _interviews(panel: pl.DataFrame, seed: int, year: int, *, stationary: bool) -> pl.DataFrame:
    people = panel.filter(pl.col("year") == (YEARS[0] if stationary else year))
    random = np.random.default_rng([seed, year])  # so a year does not depend on how many others there are
    count = len(people)
    rows = random.integers(count, size=count) if stationary else random.permutation(count)
    months = np.arange(count) * 12 // count + 1
    asked = people[rows].with_columns(date=pl.date(year, pl.lit(pl.Series(months)), 1))
    return asked.select("person", "date", pl.exclude("person", "date", "year"))


def _panel() -> pl.DataFrame:
    # The file is read without importing linearmodels, which would take seconds and pandas.
    found = importlib.util.find_spec("linearmodels")
    if found is None or found.origin is None:
        raise ConfigError(
            "the demo needs the wage panel that comes with linearmodels, which is not installed",
            remedy="pip install linearmodels",
        )
    packed = Path(found.origin).parent / "datasets" / "wage_panel" / "wage_panel.csv.bz2"
    if not packed.is_file():
        raise ConfigError(
            "the installed linearmodels has no wage panel",
            where=str(packed),
            remedy="pip install --force-reinstall linearmodels",
        )
    codes = {name: pl.col(name).cast(pl.Boolean) for name in ("union", "married", "black")}
    return (
        pl.read_csv(bz2.decompress(packed.read_bytes()))
        .select(
            "year",
            person="nr",
            education="educ",
            experience="exper",
            hours="hours",
            occupation=pl.col("occupation").replace_strict(OCCUPATIONS, return_dtype=pl.String),
            **codes,
            hispanic=pl.col("hisp").cast(pl.Boolean),
            log_wage="lwage",
        )
        .sort("year", "person")
    )
