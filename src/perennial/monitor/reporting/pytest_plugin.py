"""Fixtures for tests of data, found by pytest where Perennial is installed: `assert_no_shift`.

    def test_todays_rows(assert_no_shift):
        assert_no_shift("train.parquet", "today.parquet", ignore=["id"])

A failing test shows columns and numbers instead of a traceback through this package. With `--shift-reports FOLDER` it
writes the whole report of each failing test there, as a page. Nothing heavy is imported before a test asks.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from perennial.monitor.reporting.report import MonitorReport

__all__ = ["assert_no_shift", "pytest_addoption"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The plugin's one option."""
    parser.getgroup("perennial").addoption(
        "--shift-reports", metavar="FOLDER", help="write a page for each test whose data have shifted"
    )


@pytest.fixture
def assert_no_shift(request: pytest.FixtureRequest) -> Callable[..., MonitorReport]:
    """`perennial.monitor.reporting.testing.assert_no_shift`, whose failure is a readable message."""

    def check(reference: object, current: object, **options: Any) -> MonitorReport:
        from perennial.monitor.reporting.testing import Shifted, assert_no_shift

        folder = request.config.getoption("--shift-reports")
        if folder is not None and "html" not in options:
            name = re.sub(r"[^\w.-]+", "-", request.node.name).strip("-")
            options["html"] = Path(folder) / f"{name}.html"
        try:
            return assert_no_shift(reference, current, **options)
        except Shifted as shifted:
            pytest.fail(str(shifted), pytrace=False)

    return check
