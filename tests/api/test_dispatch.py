"""Operations beside one another: none of them keeps the writer of the records waiting."""

from __future__ import annotations

import threading

import msgspec
import pytest

from perennial.api.auth import OWNER, Caller
from perennial.api.dispatch import Dispatcher
from perennial.errors import NotFound

from .conftest import Served


@pytest.mark.parametrize(
    "operation, arguments",
    [
        ("predictions.find", {"prediction_id": "none"}),
        ("predictions.label", {"endpoint": "wage", "labels": [{"prediction_id": "none", "value": 1}], "key": "one"}),
    ],
)
def test_who_waits_for_predictions_to_be_taken_up_keeps_no_writer_waiting(
    operation: str, arguments: dict[str, object], fresh: Served
) -> None:
    dispatcher = Dispatcher(fresh.owned.workspace, fresh.owned.records)
    caller, ingest = Caller("ada", "cli", OWNER), fresh.owned.workspace.predictions._ingest
    ended: list[type[BaseException]] = []

    def ask() -> None:
        with pytest.raises(NotFound) as caught:
            dispatcher.call(operation, msgspec.json.encode(arguments), caller, key=f"key of {operation}")
        ended.append(caught.type)

    asking = threading.Thread(target=ask, daemon=True)
    wrote = threading.Event()
    with ingest._lock:  # as the reconciler's ingest holds it when it comes to write
        asking.start()
        asking.join(0.3)
        writing = threading.Thread(target=lambda: (fresh.owned.records.write(lambda _: None), wrote.set()), daemon=True)
        writing.start()
        was_written = wrote.wait(10)
    asking.join(10)
    assert was_written
    assert ended == [NotFound]
