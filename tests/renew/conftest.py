from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial.clock import FixedClock
from perennial.ids import SeededIds
from perennial.renew.retraining import Retraining
from perennial.store.records import Records, create_tables
from perennial.types import Micros

NOON = Micros(1_700_000_000_000_000)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOON)


@pytest.fixture
def records(tmp_path: Path, clock: FixedClock) -> Iterator[Records]:
    with Records.open(f"sqlite:///{tmp_path / 'records.db'}", clock=clock, ids=SeededIds(1)) as records:
        create_tables(records)
        yield records


@pytest.fixture
def renew(records: Records) -> Retraining:
    return Retraining(records)
