"""What the tests of data share: the real data sets that lie beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder ../shared/data beside the repository. Skips with a reason where it is missing; in CI that fails."""
    folder = Path(__file__).parents[3] / "shared" / "data"
    if not folder.is_dir():
        reason = "the data sets of ../shared/data are not there"
        pytest.fail(reason) if IN_CI else pytest.skip(reason)
    return folder
