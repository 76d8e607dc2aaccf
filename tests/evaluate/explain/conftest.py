"""Predictors over real models, made as training makes them, and Shapley values by their definition."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from perennial.models.build import predictor_of
from perennial.models.package import Predictor
from perennial.models.preparation import learn

Fit = Callable[..., Predictor]


def _fitted(model: Any, table: pl.DataFrame, target: str, **options: Any) -> Predictor:
    """The model fitted on a table, as it answers natively."""
    arrow = table.to_arrow()
    preparation = learn(arrow, target=target, **options)
    raw = preparation.raw(arrow)
    model.fit(preparation.x(raw), preparation.y(arrow))
    return predictor_of(model=model, preparation=preparation, sample=raw.head(200), compiles=False).native


@pytest.fixture(scope="session")
def fitted() -> Fit:
    return _fitted


def _by_definition(value: Callable[[frozenset[int]], float], players: int) -> np.ndarray:
    """Shapley values from every coalition."""
    found = np.zeros(players)
    for player in range(players):
        others = [other for other in range(players) if other != player]
        for size in range(players):
            for chosen in combinations(others, size):
                known = frozenset(chosen)
                found[player] += (value(known | {player}) - value(known)) / (players * comb(players - 1, size))
    return found


@pytest.fixture(scope="session")
def by_definition() -> Callable[[Callable[[frozenset[int]], float], int], np.ndarray]:
    return _by_definition


@pytest.fixture(scope="session")
def adult(shared_data: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """2,000 rows to train, 1,200 of the published test rows, whose labels end in a full stop there."""
    read = [
        pl.read_csv(shared_data / "adult_census" / f"adult_{part}.csv.gz", null_values="?")
        .drop("fnlwgt")
        .with_columns(pl.col("income").str.strip_chars("."))
        for part in ("train", "test")
    ]
    return read[0].sample(2000, seed=1, shuffle=True), read[1].sample(1200, seed=1, shuffle=True)


@pytest.fixture(scope="session")
def wages_1985(shared_data: Path) -> pl.DataFrame:
    return pl.read_csv(shared_data / "cps_wages" / "cps1985.csv").drop("rownames")
