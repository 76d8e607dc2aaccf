"""Tests of toolkits run in environments of their own, one for each (`make test-toolkits`)."""

from __future__ import annotations

from importlib.util import find_spec

from ..endtoend.conftest import project as project

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
