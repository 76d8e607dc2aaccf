from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from perennial.evaluate.answers import Answers, HeldOut

DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def classified() -> Callable[..., HeldOut]:
    """Rows of a classification with probabilities, some of them equal; more `skill`, better answers."""

    def made(
        seed: int, rows: int = 200, classes: tuple[str, ...] = ("bird", "cat", "dog"), skill: float = 1.0
    ) -> HeldOut:
        random = np.random.default_rng(seed)
        truth = random.integers(len(classes), size=rows)
        table = random.gamma(1.0, size=(rows, len(classes)))
        table[np.arange(rows), truth] += skill * random.gamma(1.0, size=rows)
        table = np.round(table / table.sum(axis=1, keepdims=True), 2) + 1e-9
        table /= table.sum(axis=1, keepdims=True)
        return HeldOut(truth=truth, answers=Answers.of_arrays(None, table, classes, "classification"))

    return made


@pytest.fixture(scope="session")
def adult() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Training and test rows of the census of incomes; `income` is the target."""
    if not (DATA / "adult_census").is_dir():
        pytest.skip("needs shared/data/adult_census beside the repository")
    train, test = (pl.read_csv(DATA / "adult_census" / f"adult_{part}.csv.gz") for part in ("train", "test"))
    return train, test


@pytest.fixture(scope="session")
def wages() -> pl.DataFrame:
    """Men's wages of 1988 with region; `wage` is the target."""
    if not (DATA / "cps_wages").is_dir():
        pytest.skip("needs shared/data/cps_wages beside the repository")
    return pl.read_csv(DATA / "cps_wages" / "cps1988.csv.gz")
