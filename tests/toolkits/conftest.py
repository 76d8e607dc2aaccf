"""Tests of toolkits run in environments of their own, one for each (`make test-toolkits`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

# With oneDNN it depends on the processor whether a ReLU of TensorFlow's lets NaN through. Without, it does everywhere,
# as in the compiled form, which is refused where it differs.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import pytest

from .inside import Inside

# What an environment has that only it has, by folder.
NEEDS = {
    "h2o": "h2o",
    "lightgbm": "lightgbm",
    "mlflow": "mlflow",
    "otel": "opentelemetry",
    "pytorch": "torch",
    "r": "mlflow",
    "tensorflow": "tensorflow",
    "xgboost": "xgboost",
}

collect_ignore = [folder for folder, module in NEEDS.items() if find_spec(module) is None]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Inside]:
    """An empty folder but for its settings."""
    one = Inside(tmp_path)
    yield one
    one.end()
