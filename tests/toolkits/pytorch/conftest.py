"""Real data for the networks: scikit-learn's digits, and the wages of 534 people."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from sklearn.datasets import load_digits

sys.path.insert(0, str(Path(__file__).parent))  # where a worker would have the package's code

COLUMNS = ("education", "experience", "occupation", "wage")


@pytest.fixture(scope="session")
def digits() -> pl.DataFrame:
    """1,797 images: `pixels` of the shape 8 x 8, and the digit as text."""
    found: Any = load_digits()
    return pl.DataFrame(
        {"pixels": pl.Series(found.images, dtype=pl.Array(pl.Float64(), (8, 8))), "digit": found.target.astype(str)}
    )


@pytest.fixture(scope="session")
def flat_digits() -> pl.DataFrame:
    """The same with a column for each pixel."""
    found: Any = load_digits()
    names = [f"p{i}" for i in range(64)]
    return pl.DataFrame(found.data, schema=names).with_columns(digit=pl.Series(found.target.astype(str)))


@pytest.fixture(scope="session")
def wages(shared_data: Path) -> pl.DataFrame:
    """534 people of 1985: education and experience in years, occupation, wage in dollars an hour."""
    found = pl.read_csv(shared_data / "cps_wages" / "cps1985.csv").select(COLUMNS)
    return found.with_columns(pl.col("education", "experience").cast(pl.Float64()))


@pytest.fixture(scope="session")
def fitted() -> Callable[..., Any]:
    """Fits a network with Adam on whole batches; `loss(output, target)`."""

    def fit(network: Any, inputs: Any, target: Any, loss: Any, steps: int = 120, rate: float = 0.02) -> Any:
        torch.manual_seed(0)
        optimizer = torch.optim.Adam(network.parameters(), lr=rate)
        network.history = {"loss": []}
        network.train()
        for _ in range(steps):
            optimizer.zero_grad()
            output = network(**inputs) if isinstance(inputs, dict) else network(inputs)
            error = loss(output, target)
            error.backward()
            optimizer.step()
            network.history["loss"].append(error.item())
        return network

    return fit
