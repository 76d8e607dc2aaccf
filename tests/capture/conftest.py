"""The owner's records and objects beside writers that stand for the processes of the prediction service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perennial.capture.predictions import LabelIn, Predictions
from perennial.capture.reading import PredictionReader
from perennial.clock import FixedClock
from perennial.config import Settings
from perennial.serve.frames import Answered, Fed, Shadowed, encode, row_ids
from perennial.serve.segments import SegmentWriter
from perennial.store import failpoints
from perennial.store.files import LocalFiles
from perennial.store.objects import ObjectStore
from perennial.store.records import Records, create_tables
from perennial.store.tables import import_tables
from perennial.types import Micros

DAY = 86_400_000_000


class Front:
    """One process of the service: it writes segments of its own."""

    def __init__(self, folder: Path, worker: int = 0) -> None:
        self.writer = SegmentWriter(folder, LocalFiles(), worker=worker)

    def answer(
        self,
        *values: Any,
        endpoint: str = "wage",
        at: int = 50 * DAY,
        entities: list[Any] | None = None,
        names: list[str] | None = None,
        rows: list[list[Any]] | None = None,
        classes: list[Any] | None = None,
        policy: dict[str, str] | None = None,
        **told: Any,
    ) -> list[str]:
        """Write one answered request with these predictions, None for a failed one; returns the ids."""
        names = names or ["person", "x"]
        layout = self.writer.layout(endpoint, names, key=0, classes=classes, policy=policy)
        first = self.writer.issue(len(values), Micros(at))
        errors = [None if value is not None else "raised" for value in values] if None in values else None
        entities = entities or [f"p{i}" for i in range(len(values))]
        frame = Answered(
            **{
                "id": first, "at": at, "layout": layout, "key": first, "request": "", "status": 200, "versions": 1,
                "arms": "live", "rows": rows or [[entity, float(i)] for i, entity in enumerate(entities)],
                "values": list(values), "errors": errors, "latency_us": 5, "source": "plain", **told,
            }
        )  # fmt: skip
        self.writer.append(encode(frame), rows=len(values))
        return row_ids(first, len(values))

    def shadow(self, first: str, *values: Any, version: int = 2, at: int = 50 * DAY) -> None:
        layout = self.writer.layout("wage", ["person", "x"], key=0)
        frame = Shadowed(id=first, at=at, layout=layout, version=version, values=list(values), latency_us=7)
        self.writer.append(encode(frame))

    def feed(self, value: Any, *, key: str, at: int, prediction: str | None = None, entity: str | None = None) -> None:
        frame = Fed(endpoint="wage", at=at, key=key, value=value, prediction=prediction, entity=entity)
        self.writer.append(encode(frame))

    def kill(self) -> None:
        """End without a word, as kill -9 does: the lock goes with the process, and nothing says what was dropped."""
        self.writer._file.close()


class House:
    """The owner, and the folder that the fronts write."""

    def __init__(self, folder: Path, settings: Settings | None = None) -> None:
        self.folder = folder / "serving" / "segments"
        self.clock = FixedClock(Micros(100 * DAY))
        self.objects = ObjectStore(folder / "objects")
        self.records = Records.open(f"sqlite:///{folder / 'records.db'}", clock=self.clock)
        import_tables()
        create_tables(self.records)
        self.predictions = Predictions(self.records, self.objects, self.folder, settings)
        self.reader = PredictionReader(self.objects, self.predictions)
        self.fronts: list[Front] = []
        self.front = self.more()

    def more(self) -> Front:
        self.fronts.append(Front(self.folder, len(self.fronts)))
        return self.fronts[-1]

    def predict(self, *values: Any, **told: Any) -> list[str]:
        return self.front.answer(*values, **told)

    def label(self, **labels: Any) -> tuple[int, int, int]:
        told = self.predictions.label(
            endpoint="wage", labels=[LabelIn(prediction_id=k, value=v) for k, v in labels.items()]
        )
        return told.accepted, told.revised, told.repeated

    def close(self) -> None:
        failpoints.arm("")
        for front in self.fronts:
            front.writer._file.close()
        self.records.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.close()
