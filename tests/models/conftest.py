"""The wage panel that `linearmodels` brings along: 545 people, 1980 to 1987; the first two years are for training."""

from __future__ import annotations

import bz2
import importlib.util
from pathlib import Path

import polars as pl
import pytest

OCCUPATIONS = ("professional", "manager", "sales", "clerical", "craft", "operative", "labourer", "farm", "service")


@pytest.fixture(scope="session")
def wages() -> pl.DataFrame:
    found = importlib.util.find_spec("linearmodels")
    assert found is not None
    assert found.submodule_search_locations
    path = Path(found.submodule_search_locations[0]) / "datasets" / "wage_panel" / "wage_panel.csv.bz2"
    panel = pl.read_csv(bz2.decompress(path.read_bytes()))
    return panel.select(
        person=pl.col("nr"),
        date=pl.date(pl.col("year"), 1, 1),
        education=pl.col("educ"),
        experience=pl.col("exper"),
        hours=pl.col("hours"),
        occupation=pl.col("occupation").replace_strict(dict(enumerate(OCCUPATIONS, 1)), return_dtype=pl.String()),
        union=pl.col("union") == 1,
        married=pl.col("married") == 1,
        black=pl.col("black") == 1,
        hispanic=pl.col("hisp") == 1,
        log_wage=pl.col("lwage"),
    ).sort("date", "person")


@pytest.fixture(scope="session")
def first_years(wages: pl.DataFrame) -> pl.DataFrame:
    return wages.filter(pl.col("date").dt.year() < 1982)


@pytest.fixture(scope="session")
def later_years(wages: pl.DataFrame) -> pl.DataFrame:
    return wages.filter(pl.col("date").dt.year() >= 1982)
