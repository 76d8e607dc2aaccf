"""One h2o cluster for all tests of h2o: on loopback, of one process, ended by its process id."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import h2o
import pytest

from perennial.models.flavors.processes.h2o_cluster import cluster


@pytest.fixture(scope="session")
def h2o_cluster() -> Iterator[Any]:
    with cluster() as url:
        connection = h2o.connect(url=url, verbose=False, strict_version_check=False)
        h2o.no_progress()
        yield h2o
        connection.close()
