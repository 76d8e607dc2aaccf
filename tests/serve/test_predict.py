"""A prediction over HTTP: answered by the model, written down, counted."""

from __future__ import annotations

from typing import Any


def test_a_prediction_is_the_models_and_is_in_the_segment_when_the_answer_is_here(place: Any) -> None:
    place.desire(place.endpoint(live=place.linear(3)))
    service = place.serve()
    place.applied()
    reply = service.predict({"person": "ann", "x": 2.0})
    assert reply.status == 200, reply.body
    (answer,) = reply.json["predictions"]
    assert abs(answer["prediction"] - 5.0) < 1e-9
    assert (answer["version"], answer["arm"]) == (3, "live")
    (frame,) = place.predicted()
    assert frame.id == answer["id"]
    assert frame.inputs == [{"person": "ann", "x": 2.0}]
    assert frame.entities == ["ann"]
    assert frame.outputs == [{"prediction": answer["prediction"]}]
    status = service.status()
    assert (status["received"], status["stored"], status["dropped"], status["pending"]) == (1, 1, 0, 0)
    assert service.stop() == 0
