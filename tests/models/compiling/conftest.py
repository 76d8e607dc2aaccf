"""Real data, and one way from a model to its compiled form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sklearn.datasets import load_digits, load_iris

from perennial.models.compiling.compiler import Compiled, compile_model
from perennial.models.flavors import flavor_of
from perennial.models.flavors.flavor import Scorer
from perennial.models.preparation import learn
from perennial.models.signature import Signature


@dataclass(frozen=True)
class Case:
    """A fitted model with its test rows."""

    model: Any
    signature: Signature
    native: Scorer
    x: pl.DataFrame
    flavor: str

    def compiled(self, **more: Any) -> Compiled:
        return compile_model(self.model, self.flavor, self.signature, self.native, self.x, **more)


def fitted(model: Any, frame: pl.DataFrame, target: str) -> Case:
    """Fit on the first 70 % of the rows; the rest are test rows."""
    table = frame.to_arrow()
    cut = int(frame.height * 0.7)
    preparation = learn(table.slice(0, cut), target=target)
    train = table.slice(0, cut)
    model.fit(preparation.x(preparation.raw(train)), preparation.y(train))
    x = preparation.columns(preparation.raw(table.slice(cut)))
    flavor = flavor_of(model)
    native = flavor.scorer(model, preparation.signature, x)
    return Case(model, preparation.signature, native, x, flavor.name)


@pytest.fixture(scope="session")
def digits() -> pl.DataFrame:
    found = load_digits()
    return pl.DataFrame(found.data, schema=[f"p{i}" for i in range(64)]).with_columns(digit=pl.Series(found.target))


@pytest.fixture(scope="session")
def iris() -> pl.DataFrame:
    found = load_iris()
    names = pl.Series([str(found.target_names[i]) for i in found.target])
    return (
        pl.DataFrame(found.data, schema=list("abcd")).with_columns(kind=names).sample(fraction=1, shuffle=True, seed=0)
    )


@pytest.fixture(scope="session")
def census(shared_data: Path) -> pl.DataFrame:
    return pl.read_csv(shared_data / "adult_census" / "adult_train.csv.gz", null_values="?", n_rows=6_000)


@pytest.fixture(scope="session")
def cps(shared_data: Path) -> pl.DataFrame:
    return pl.read_csv(shared_data / "cps_wages" / "cps1985.csv").sample(fraction=1, shuffle=True, seed=0)
