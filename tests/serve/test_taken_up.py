"""What the service writes is what its owner reads, while both are at work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from perennial.capture.predictions import Predictions
from perennial.capture.reading import PredictionReader
from perennial.store.records import Records, create_tables


def test_the_segments_are_taken_up_while_the_service_writes(place: Any, tmp_path: Path) -> None:
    place.desire(place.endpoint(live=place.arm(1), canary=place.arm(3), share=0.5, shadow=place.arm(2)))
    service = place.serve()
    place.applied()
    with Records.open(f"sqlite:///{tmp_path / 'records.db'}") as records:
        create_tables(records)
        predictions = Predictions(records, place.objects, place.segments)
        reader = PredictionReader(place.objects, predictions)
        load = place.load(service)
        place.until(lambda: predictions.ingest() and predictions.counts(endpoint="wage").predictions > 100)
        answers = {reply.json["predictions"][0]["id"]: (x, reply.json["predictions"][0]) for x, reply in load.end()}
        place.until(lambda: service.status()["shadow_pending"] == 0, "the shadow's answers")
        predictions.ingest()
        assert predictions.counts(endpoint="wage").shadow_pending == 0
        frame = reader.predictions(endpoint="wage")
        assert set(frame["id"]) == set(answers)
        assert frame["value"].to_list() == [answers[name][1]["prediction"] for name in frame["id"]]
        assert frame["arm"].to_list() == [answers[name][1]["arm"] for name in frame["id"]]
        assert frame["shadow_value"].to_list() == [answers[name][0] + 2 for name in frame["id"]]
        inputs = reader.inputs(frame, place.preparation.signature)
        assert inputs["x"].to_list() == [answers[name][0] for name in frame["id"]]
