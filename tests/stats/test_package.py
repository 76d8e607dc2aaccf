"""What the package exports, what importing it costs, and that its examples run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys

import numpy as np
import pytest

import perennial.stats
from perennial.stats import Finding, StatsError, errors
from perennial.stats.results import plain

MODULES = sorted(info.name for info in pkgutil.iter_modules(perennial.stats.__path__))


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    module = importlib.import_module(f"perennial.stats.{name}")
    assert doctest.testmod(module).failed == 0


def test_every_exported_name_exists_and_is_documented() -> None:
    for name in perennial.stats.__all__:
        value = getattr(perennial.stats, name)
        if inspect.isfunction(value) or inspect.isclass(value):
            assert value.__doc__, name
    assert len(set(perennial.stats.__all__)) == len(perennial.stats.__all__)


def test_import_does_not_load_scipy_stats() -> None:
    code = "import sys, perennial.stats; print([m for m in ('scipy.stats', 'pandas', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_errors_say_what_and_what_next() -> None:
    error = errors.BinMismatch(3, 4)
    assert isinstance(error, StatsError)
    assert isinstance(error, ValueError)
    assert str(error) == "reference has 3 bins, current has 4\n  to go on: count both windows with the same Bins value"


def test_plain_values_are_json() -> None:
    assert plain(np.array([1, 2])) == [1, 2]
    assert plain(np.float64("nan")) is None
    assert plain((True, "a", None)) == [True, "a", None]
    with pytest.raises(TypeError):
        plain(object())
    assert Finding(method="m", decision="d").as_dict()["p_value"] is None
