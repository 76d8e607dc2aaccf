"""Our own form: `{"records": [{...}]}` or `{"columns": {...}}` in, one object for each row out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from perennial.errors import Invalid
from perennial.serve.answer import Answer
from perennial.serve.asked import Asked
from perennial.serve.frames import row_ids
from perennial.serve.protocols.protocol import HttpRequest, Reply

if TYPE_CHECKING:
    from perennial.serve.intake import Intake

__all__ = ["Plain", "predictions"]

_encode = msgspec.json.Encoder().encode


class Plain:
    """`POST /predict/{endpoint}`. The content type is not looked at: what is no JSON is told so."""

    name = "plain"
    tells_rows = True

    def decode(self, request: HttpRequest, intake: Intake) -> Asked:
        if not request.body:
            raise Invalid("the body is not JSON: it is empty", remedy='send {"records": [{...}]}')
        return intake.decode(request.body)

    def encode(self, answer: Answer, request: HttpRequest, intake: Intake) -> Reply:
        return Reply(body=_encode({"endpoint": answer.endpoint, "predictions": predictions(answer)}))

    def refuse(self, status: int, code: str, message: str, where: str, request_id: str) -> Reply:
        told = {"error_code": code, "message": message, "request_id": request_id}
        return Reply(status=status, body=_encode({**told, "where": where} if where else told))


def predictions(answer: Answer) -> list[dict[str, Any]]:
    """One mapping for each row: id, prediction, probabilities by class, version, arm; error, flags, interval and set
    where there are any."""
    names = [str(label) for label in answer.classes or []]
    rows: list[dict[str, Any]] = []
    ids = [answer.id] if len(answer.values) == 1 else row_ids(answer.id, len(answer.values))
    for at, value in enumerate(answer.values):
        row: dict[str, Any] = {"id": ids[at], "prediction": value}
        if answer.probabilities is not None and (table := answer.probabilities[at]) is not None:
            row["probabilities"] = dict(zip(names, table, strict=True))
        if answer.errors is not None and (error := answer.errors[at]) is not None:
            row["error"] = error
        if answer.intervals is not None and answer.intervals[at] is not None:
            row["interval"] = answer.intervals[at]
        if answer.sets is not None and answer.sets[at] is not None:
            row["set"] = answer.sets[at]
        row["version"] = answer.versions[at]
        row["arm"] = answer.arms[at]
        if answer.flags is not None and answer.flags[at]:
            row["flags"] = answer.flags[at]
        rows.append(row)
    return rows
