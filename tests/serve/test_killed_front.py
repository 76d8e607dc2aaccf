"""A front is killed under load: what was answered is written down, and every row is accounted for."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from perennial.capture.predictions import Predictions
from perennial.capture.reading import PredictionReader
from perennial.serve.segments import BLOCK
from perennial.store.records import Records, create_tables


def test_F01_a_front_that_is_killed_under_load_loses_no_answered_row_and_the_sum_holds(
    place: Any, tmp_path: Path
) -> None:
    place.desire(place.endpoint(live=place.linear(1)))
    service = place.serve()
    place.applied()
    with Records.open(f"sqlite:///{tmp_path / 'records.db'}") as records:
        create_tables(records)
        predictions = Predictions(records, place.objects, place.segments)
        answered: dict[str, float] = {}
        killed = 0
        for _ in range(2):
            load = place.load(service, clients=6)
            place.until(lambda load=load: len(load.replies) > 200, "two hundred answers")
            before = service.fronts()
            os.kill(before[0], signal.SIGKILL)
            killed += 1
            place.until(
                lambda before=before: len(service.fronts()) == len(before) and before[0] not in service.fronts(),
                "another front in its place",
            )
            predictions.ingest()
            assert_sum(predictions)
            for x, reply in load.end():
                if reply.status == 200:
                    answered[reply.json["predictions"][0]["id"]] = x
        assert len(answered) > 400
        assert service.predict({"person": "p", "x": 1.0}).status == 200, "the others and the new one go on"
        assert service.stop() == 0
        predictions.ingest()
        assert predictions.ingest().predictions == 0
        frame = PredictionReader(place.objects, predictions).predictions(endpoint="wage")
        values = dict(zip(frame["id"], frame["value"], strict=True))
        assert len(values) == frame.height, "each row once"
        assert {name: values[name] for name in answered} == {name: x + 1 for name, x in answered.items()}
        accounts = assert_sum(predictions)
        assert (accounts.pending, accounts.open, accounts.cut) == (0, 0, killed)
        assert accounts.stored == frame.height
        assert 0 < accounts.lost_at_most == accounts.dropped <= killed * 2 * BLOCK


def assert_sum(predictions: Predictions) -> Any:
    accounts = predictions.accounts()
    assert accounts.received == accounts.stored + accounts.dropped + accounts.pending
    return accounts
